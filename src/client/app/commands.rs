//! The table of commands. Parsing, help, the menu, completion and the tests all read it. A command
//! is run by `dispatch` and the messenger.

use super::{files, settings};
use crate::client::messenger::command::Command;
use crate::protocol::UserName;

/// When a command makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before logging in.
    LoggedOut,
    /// After logging in.
    LoggedIn,
    /// Always.
    Always,
}

/// What runs a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// Makes an account.
    Register,
    /// Logs in.
    Login,
    /// Ends the session.
    Logout,
    /// Chooses the person to whom lines without a command go.
    Talk,
    /// Asks for the passwords, then changes the account's.
    ChangePassword,
    /// Asks for the password, then makes a new recovery code.
    RenewRecoveryCode,
    /// Lists the commands.
    Help,
    /// Ends the program.
    Quit,
    /// Has the session run the command that this function makes of the arguments. The function
    /// fails with a sentence about a wrong argument.
    Session(fn(&[String]) -> Result<Command, String>),
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Spec {
    /// What runs it.
    pub operation: Operation,
    /// Its names; help shows the first one.
    pub names: &'static [&'static str],
    /// Its arguments. Each is a word, except that `TEXT` takes the rest of the line. One in
    /// brackets is optional.
    pub arguments: &'static [&'static str],
    /// One line of help.
    pub help: &'static str,
    /// When it can be used.
    pub when: When,
    /// Its number and name in the menu.
    pub menu: Option<(&'static str, &'static str)>,
}

use Operation::Session;
use When::{Always, LoggedIn, LoggedOut};

/// Every command, in the order in which help shows them.
#[rustfmt::skip]
pub(crate) const TABLE: &[Spec] = &[
    Spec { operation: Operation::Register,
        names: &["/register"], arguments: &["NAME"], when: LoggedOut, menu: Some(("1", "Create account")),
        help: "create an account; asks for a password" },
    Spec { operation: Operation::Login,
        names: &["/login"], arguments: &["NAME"], when: LoggedOut, menu: Some(("2", "Log in")),
        help: "log in; asks for the password" },
    Spec { operation: Session(|given| Ok(Command::Search(text(given)))),
        names: &["/search"], arguments: &["TEXT"], when: LoggedIn, menu: Some(("1", "Search users")),
        help: "find users whose names begin with a text of two characters or more" },
    Spec { operation: Session(|given| Ok(Command::Send(name(given)?, text(given)))),
        names: &["/msg", "/send"], arguments: &["NAME", "TEXT"], when: LoggedIn, menu: Some(("2", "Send a message")),
        help: "send one encrypted message" },
    Spec { operation: Session(|_| Ok(Command::Fetch)),
        names: &["/fetch"], arguments: &[], when: LoggedIn, menu: Some(("3", "Fetch missed messages")),
        help: "get what waits on the server" },
    Spec { operation: Operation::Logout,
        names: &["/logout"], arguments: &[], when: LoggedIn, menu: Some(("4", "Log out")),
        help: "end the session; messages wait on the server" },
    Spec { operation: Operation::Talk,
        names: &["/to"], arguments: &["[NAME]"], when: LoggedIn, menu: None,
        help: "talk to somebody: plain lines go there; without a name, to nobody" },
    Spec { operation: Session(|given| Ok(Command::Status(name(given)?))),
        names: &["/who", "/status"], arguments: &["NAME"], when: LoggedIn, menu: None,
        help: "is somebody online, and when were they last seen" },
    Spec { operation: Session(|_| Ok(Command::Contacts)),
        names: &["/contacts"], arguments: &[], when: LoggedIn, menu: None,
        help: "everyone you know, and whether they are verified" },
    Spec { operation: Session(|given| Ok(Command::History(optional_name(given)?))),
        names: &["/history"], arguments: &["[NAME]"], when: LoggedIn, menu: None,
        help: "the last messages, with somebody or with all" },
    Spec { operation: Session(verify),
        names: &["/verify"], arguments: &["NAME", "[yes]"], when: LoggedIn, menu: None,
        help: "show the safety number to compare by voice; 'yes' notes that it is the same" },
    Spec { operation: Session(|given| Ok(Command::Accept(name(given)?))),
        names: &["/accept"], arguments: &["NAME"], when: LoggedIn, menu: None,
        help: "accept somebody's changed identity without comparing; earlier messages wait for /verify" },
    Spec { operation: Session(|given| Ok(Command::Reject(name(given)?))),
        names: &["/reject"], arguments: &["NAME"], when: LoggedIn, menu: None,
        help: "reject somebody's changed identity and drop what came under it, or decline what their client asks for again" },
    Spec { operation: Session(|_| Ok(Command::Invite)),
        names: &["/invite"], arguments: &[], when: LoggedIn, menu: None,
        help: "make a link for somebody new, who is then a verified contact" },
    Spec { operation: Session(|given| Ok(Command::Renew(name(given)?))),
        names: &["/renew"], arguments: &["NAME"], when: LoggedIn, menu: None,
        help: "start a new session with somebody, when messages can't be decrypted and don't come again" },
    Spec { operation: Session(|given| Ok(Command::Info(given.first().cloned()))),
        names: &["/info"], arguments: &["[ID]"], when: LoggedIn, menu: None,
        help: "all that is known of the last message, or of one by the beginning of its id" },
    Spec { operation: Session(|given| Ok(Command::SendUnencrypted(name(given)?, text(given)))),
        names: &["/send-unencrypted"], arguments: &["NAME", "TEXT"], when: LoggedIn, menu: None,
        help: "send a message that the server and the network can read" },
    Spec { operation: Session(|given| Ok(Command::Settings(settings::change(given)?))),
        names: &["/settings"], arguments: &["[listed|presence|receipts|refuse-unencrypted]", "[on|off]"], when: LoggedIn, menu: None,
        help: "show the settings, or change one" },
    Spec { operation: Session(|given| Ok(Command::Block(name(given)?))),
        names: &["/block"], arguments: &["NAME"], when: LoggedIn, menu: None,
        help: "drop what somebody sends from now on, without telling them" },
    Spec { operation: Session(|given| Ok(Command::Unblock(name(given)?))),
        names: &["/unblock"], arguments: &["NAME"], when: LoggedIn, menu: None,
        help: "take messages from somebody again" },
    Spec { operation: Operation::ChangePassword,
        names: &["/passwd"], arguments: &[], when: LoggedIn, menu: None,
        help: "change the password, and encrypt the vault anew under another key" },
    Spec { operation: Operation::RenewRecoveryCode,
        names: &["/recovery"], arguments: &[], when: LoggedIn, menu: None,
        help: "make a new recovery code, which opens the vault if the password is lost; the one before ends" },
    Spec { operation: Operation::Help,
        names: &["/help"], arguments: &[], when: Always, menu: None,
        help: "this list" },
    Spec { operation: Operation::Quit,
        names: &["/quit", "/exit"], arguments: &[], when: Always, menu: Some(("0", "Quit")),
        help: "end the program" },
];

/// The name that a command is about.
pub(super) fn name(given: &[String]) -> Result<UserName, String> {
    let name = given.first().map_or("", String::as_str);
    name.parse::<UserName>().map_err(|error| error.to_string())
}

/// The name that a command may be about.
pub(super) fn optional_name(given: &[String]) -> Result<Option<UserName>, String> {
    match given.is_empty() {
        true => Ok(None),
        false => name(given).map(Some),
    }
}

/// The last argument of a command, a text.
fn text(given: &[String]) -> String {
    given.last().cloned().unwrap_or_default()
}

fn verify(given: &[String]) -> Result<Command, String> {
    let name = name(given)?;
    match given.get(1).map(String::as_str) {
        None => Ok(Command::Verify(name, false)),
        Some("yes") => Ok(Command::Verify(name, true)),
        Some(_) => Err("after comparing, it is: /verify NAME yes".to_owned()),
    }
}

/// What a line asks for.
#[derive(Debug)]
pub(crate) enum TypedLine {
    /// The line is empty.
    Empty,
    /// A command.
    Command {
        /// Its row of the table.
        spec: &'static Spec,
        /// Its arguments, at most as many as it takes.
        given: Vec<String>,
        /// Whether it was picked from the menu, so that missing arguments are asked for.
        by_number: bool,
    },
    /// A text for the person who is talked to.
    Text(String),
}

impl Spec {
    /// The arguments that must be given.
    pub(crate) fn required(&self) -> impl Iterator<Item = &'static str> {
        self.arguments
            .iter()
            .copied()
            .filter(|argument| !argument.starts_with('['))
    }

    /// Its first name and its arguments, as help and errors show them.
    pub(crate) fn usage(&self) -> String {
        let mut usage = self.names[0].to_owned();
        for argument in self.arguments {
            usage.push(' ');
            usage.push_str(argument);
        }
        usage
    }

    /// Whether it can be used now.
    pub(crate) fn fits(&self, logged_in: bool) -> bool {
        match self.when {
            When::Always => true,
            When::LoggedIn => logged_in,
            When::LoggedOut => !logged_in,
        }
    }
}

/// The commands that can be used now.
pub(crate) fn usable(logged_in: bool) -> impl Iterator<Item = &'static Spec> {
    TABLE.iter().filter(move |spec| spec.fits(logged_in))
}

/// Parses a line. If somebody is talked to (`talks`), a line without a slash is a text for them
/// and keeps its leading blanks. Otherwise a number picks from the menu.
///
/// # Errors
/// A sentence that says what is wrong and what to type instead.
pub(crate) fn parse(whole: &str, logged_in: bool, talks: bool) -> Result<TypedLine, String> {
    let line = whole.trim();
    if line.is_empty() {
        return Ok(TypedLine::Empty);
    }
    if line.starts_with('/') {
        // A text that begins with a slash is typed with two.
        if let (Some(text), true) = (line.strip_prefix('/'), talks)
            && text.starts_with('/')
        {
            return Ok(TypedLine::Text(text.to_owned()));
        }
        return parse_command(line, logged_in);
    }
    if talks {
        return Ok(TypedLine::Text(whole.trim_end_matches('\n').to_owned()));
    }
    let by_number = |spec: &&Spec| spec.menu.is_some_and(|(number, _)| number == line);
    match usable(logged_in).find(by_number) {
        Some(spec) => Ok(TypedLine::Command {
            spec,
            given: Vec::new(),
            by_number: true,
        }),
        None if logged_in => Err("nobody is being talked to; choose somebody with /to NAME, \
                                  or a number from the menu (/help lists all commands)"
            .to_owned()),
        None => Err("that is not in the menu; type its number, or /help".to_owned()),
    }
}

fn parse_command(line: &str, logged_in: bool) -> Result<TypedLine, String> {
    let (word, rest) = cut_word(line);
    let Some(spec) = TABLE.iter().find(|spec| spec.names.contains(&word)) else {
        return Err(format!(
            "there is no command {word}; /help lists them (nothing was sent)"
        ));
    };
    if !spec.fits(logged_in) {
        return Err(if logged_in {
            format!("{word} works only before logging in; /logout first")
        } else {
            format!("{word} needs a login first; choose 2 or /login NAME")
        });
    }
    let given = split(spec, rest);
    if given.len() < spec.required().count() {
        return Err(format!("{word} is used like this: {}", spec.usage()));
    }
    Ok(TypedLine::Command {
        spec,
        given,
        by_number: false,
    })
}

/// Cuts the rest of a line into the command's arguments. A text of several lines keeps its leading
/// blanks.
fn split(spec: &Spec, mut rest: &str) -> Vec<String> {
    let mut given = Vec::new();
    for argument in spec.arguments {
        let text = *argument == "TEXT";
        if !(text && rest.contains('\n')) {
            rest = rest.trim_start();
        }
        if rest.trim().is_empty() {
            break;
        }
        let (word, behind) = match text {
            true => (rest, ""),
            false => cut_word(rest),
        };
        given.push(word.to_owned());
        rest = behind;
    }
    given
}

/// The first word, and what follows the one blank after it.
fn cut_word(line: &str) -> (&str, &str) {
    line.split_once(char::is_whitespace).unwrap_or((line, ""))
}

/// Completes the word at the cursor to a command's name, or to a person's or a file's where a
/// command takes one. Returns where the word starts, and the candidates.
pub(crate) fn complete(line: &str, logged_in: bool, people: &[String]) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &line[start..];
    if start == 0 {
        let names = usable(logged_in).flat_map(|spec| spec.names);
        let fitting = names.filter(|name| word.starts_with('/') && name.starts_with(word));
        return (0, fitting.map(|name| format!("{name} ")).collect());
    }
    let mut words = line[..start].split_whitespace();
    let command = words.next().unwrap_or_default();
    let spec = TABLE.iter().find(|spec| spec.names.contains(&command));
    let argument = spec.and_then(|spec| spec.arguments.get(words.count()));
    let fitting = match argument.map(|argument| argument.trim_matches(['[', ']'])) {
        Some("NAME") => {
            let fitting = people.iter().filter(|name| name.starts_with(word));
            fitting.map(|name| format!("{name} ")).collect()
        }
        Some("FILE") => files::complete(word),
        _ => Vec::new(),
    };
    (start, fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> (&'static str, Vec<String>) {
        match parse(line, true, true) {
            Ok(TypedLine::Command { spec, given, .. }) => (spec.names[0], given),
            other => panic!("{line:?}: {other:?}"),
        }
    }

    fn talk(line: &str) -> String {
        match parse(line, true, true) {
            Ok(TypedLine::Text(text)) => text,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    /// What the session is asked to run for a line.
    fn command(line: &str) -> Result<Command, String> {
        match parse(line, true, false) {
            Ok(TypedLine::Command { spec, given, .. }) => match spec.operation {
                Session(command) => command(&given),
                other => panic!("{line:?}: {other:?}"),
            },
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn the_table_makes_the_sessions_commands() {
        let bob: UserName = "bob".parse().unwrap();
        assert!(matches!(
            command("/msg bob hi there"),
            Ok(Command::Send(name, text)) if name == bob && text == "hi there"
        ));
        assert!(matches!(command("/history"), Ok(Command::History(None))));
        assert!(matches!(
            command("/history bob"),
            Ok(Command::History(Some(name))) if name == bob
        ));
        assert!(matches!(command("/info"), Ok(Command::Info(None))));
        assert!(matches!(
            command("/verify bob yes"),
            Ok(Command::Verify(name, true)) if name == bob
        ));
        for wrong in [
            "/verify bob no",
            "/block b!b",
            "/settings presence",
            "/status -",
        ] {
            assert!(command(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_table_is_consistent() {
        let mut names: Vec<_> = TABLE.iter().flat_map(|spec| spec.names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice");
        for logged_in in [false, true] {
            let mut numbers: Vec<_> = usable(logged_in).filter_map(|spec| spec.menu).collect();
            let count = numbers.len();
            numbers.sort();
            numbers.dedup_by_key(|(number, _)| *number);
            assert_eq!(numbers.len(), count, "a number stands twice");
        }
        for spec in TABLE {
            assert!(
                spec.names.iter().all(|name| name.starts_with('/')),
                "{spec:?}"
            );
            assert!(
                !spec.help.is_empty() && !spec.help.ends_with('.'),
                "{spec:?}"
            );
            let optional = |argument: &&'static str| argument.starts_with('[');
            assert!(
                spec.arguments
                    .iter()
                    .skip_while(|argument| !optional(argument))
                    .all(|argument| argument.starts_with('[')),
                "{spec:?}: nothing required follows what is optional"
            );
            let text = spec
                .arguments
                .iter()
                .position(|argument| *argument == "TEXT");
            assert!(
                text.is_none_or(|at| at + 1 == spec.arguments.len()),
                "{spec:?}"
            );
        }
    }

    #[test]
    fn arguments_are_cut_as_the_table_says() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            given("/msg  bob  hi  there "),
            ("/msg", words(&["bob", "hi  there"]))
        );
        assert_eq!(
            given("/verify bob yes"),
            ("/verify", words(&["bob", "yes"]))
        );
        assert_eq!(given("/to"), ("/to", Vec::new()));
    }

    #[test]
    fn a_text_of_several_lines_keeps_its_blanks() {
        let text = "\tone\n\n  two";
        let typed = format!("/msg bob {text}\n");
        assert_eq!(given(&typed).1, ["bob", text]);
        assert_eq!(talk(&format!("{text} \n")), format!("{text} "));
        assert_eq!(
            given("/msg\n bob hi"),
            ("/msg", vec!["bob".into(), "hi".into()])
        );
        assert!(parse("/msg bob \n", true, true).is_err());
    }

    #[test]
    fn an_unknown_word_is_never_sent() {
        for talks in [false, true] {
            assert!(parse("/mgs bob secret", true, talks).is_err());
            assert!(parse("/msg bob", true, talks).is_err());
            assert!(parse("/login bob", true, talks).is_err());
        }
        assert_eq!(talk("//shrug"), "/shrug");
    }

    #[test]
    fn numbers_pick_unless_one_talks() {
        let pick = |line, logged_in| match parse(line, logged_in, false) {
            Ok(TypedLine::Command {
                spec,
                by_number: true,
                ..
            }) => Some(spec.names[0]),
            _ => None,
        };
        assert_eq!(pick("1", false), Some("/register"));
        assert_eq!(pick("1", true), Some("/search"));
        assert_eq!(pick("0", true), Some("/quit"));
        assert_eq!(pick("9", true), None);
        assert_eq!(talk("1"), "1");
        assert!(parse("hello", true, false).is_err());
    }

    #[test]
    fn completion_follows_the_table() {
        let people = ["bob".to_owned(), "bea".to_owned()];
        assert_eq!(complete("/con", true, &people).1, ["/contacts "]);
        assert_eq!(
            complete("/msg b", true, &people),
            (5, vec!["bob ".into(), "bea ".into()])
        );
        assert!(complete("/msg bob b", true, &people).1.is_empty());
        assert!(complete("/con", false, &people).1.is_empty());
        assert_eq!(complete("/to be", true, &people).1, ["bea "]);
    }
}
