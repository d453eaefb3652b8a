//! The commands of the chat: their table, and what is made of a typed line. Parsing, help, the
//! menu, completion and the tests all read the one table. A command is run by `dispatch` and the
//! messenger.
//!
//! | file | what |
//! | --- | --- |
//! | this one | what a command is, parsing and completion |
//! | `table` | every command |
//! | `arguments` | from a command's words to what the messenger is asked |
//! | `help` | `/help`, a topic and a command |

mod arguments;
pub(super) mod help;
mod table;

pub(super) use self::arguments::{before, delete, keep, name, optional_name, since};
pub(crate) use self::table::TABLE;

use super::files;
use crate::client::messenger::command::Command;
use crate::protocol::nearest::nearest;

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
    /// Shows what has arrived from people other than the one who is talked to.
    Unread,
    /// Clears the terminal.
    Clear,
    /// Deletes a message, or all with somebody after a question.
    Delete,
    /// Deletes old messages, after a question.
    Keep,
    /// Writes the history into a new file.
    ExportHistory,
    /// Deletes the account, after its name and the password were typed.
    DeleteAccount,
    /// Has the session send the message that this function makes of the arguments. The message
    /// shows itself, so the typed line does not stay.
    Message(fn(&[String]) -> Result<Command, String>),
    /// Has the session run the command that this function makes of the arguments. The function
    /// fails with a sentence about a wrong argument.
    Session(fn(&[String]) -> Result<Command, String>),
}

/// What a command is about; `/help TOPIC` lists the commands of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Messages,
    Earlier,
    People,
    Trust,
    Account,
    Program,
}

impl Topic {
    /// All of them, in the order in which help lists them.
    pub(crate) const ALL: [Topic; 6] = [
        Topic::Messages,
        Topic::Earlier,
        Topic::People,
        Topic::Trust,
        Topic::Account,
        Topic::Program,
    ];

    /// Its name, as it is typed after `/help`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Topic::Messages => "messages",
            Topic::Earlier => "earlier",
            Topic::People => "people",
            Topic::Trust => "trust",
            Topic::Account => "account",
            Topic::Program => "program",
        }
    }
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
    /// More sentences for `/help COMMAND`; empty if one line says it all.
    pub more: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// When it can be used.
    pub when: When,
    /// Its number and name in the menu.
    pub menu: Option<(&'static str, &'static str)>,
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

    /// Whether it sends a message, which shows itself once it is safe.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.operation, Operation::Message(_))
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
        return parse_command(line, logged_in, talks);
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

/// The command with this name, slash included.
pub(crate) fn find(word: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.names.contains(&word))
}

/// Says that there is no such command, and which one was meant perhaps.
fn unknown(word: &str, logged_in: bool, talks: bool) -> String {
    let as_text = match talks {
        true => format!("; as a text it is typed with two slashes: /{word}"),
        false => String::new(),
    };
    let names = usable(logged_in).flat_map(|spec| spec.names.iter().copied());
    match nearest(word, names) {
        Some(near) => format!(
            "there is no command {word}; did you mean {near}? (nothing was sent; /help lists the commands{as_text})"
        ),
        None => format!("there is no command {word}; /help lists them (nothing was sent{as_text})"),
    }
}

fn parse_command(line: &str, logged_in: bool, talks: bool) -> Result<TypedLine, String> {
    let (word, rest) = cut_word(line);
    let Some(spec) = find(word) else {
        return Err(unknown(word, logged_in, talks));
    };
    if !spec.fits(logged_in) {
        return Err(if logged_in {
            format!("{word} works only before logging in; /logout first")
        } else {
            format!("{word} needs a login first; choose 2 or /login NAME")
        });
    }
    let (given, left) = split(spec, rest);
    if !left.is_empty() {
        return Err(format!(
            "{word} takes no \"{left}\", so nothing was done; it is used like this: {}",
            spec.usage()
        ));
    }
    if given.len() < spec.required().count() {
        return Err(format!("{word} is used like this: {}", spec.usage()));
    }
    Ok(TypedLine::Command {
        spec,
        given,
        by_number: false,
    })
}

/// Cuts the rest of a line into the command's arguments, and returns what is left over. A text of
/// several lines keeps its leading blanks.
fn split<'a>(spec: &Spec, mut rest: &'a str) -> (Vec<String>, &'a str) {
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
    (given, rest.trim())
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
    let spec = find(command);
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
mod tests;
