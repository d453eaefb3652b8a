//! The commands of the console: one table, from which lines are parsed and `help` is made. They
//! have the names that the client's commands have, and may be typed with its slash.

use super::ConsoleLine;
use crate::protocol::ids::MessageId;
use crate::protocol::limits;
use crate::protocol::name::{NameError, UserName};
use crate::protocol::nearest::nearest;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{
    Body, ChangeSettings, Fetch, Password, PasswordLogin, Request, Search, Send, UserRef,
};
use crate::protocol::sanitize::sanitize;

/// A row of the table.
struct Spec {
    /// Its names; `help` shows the first one.
    names: &'static [&'static str],
    /// Its arguments. Each is a word, except that `TEXT` and `PASSWORD` take the rest of the line.
    /// One in brackets is optional.
    arguments: &'static [&'static str],
    /// One line of help.
    help: &'static str,
}

#[rustfmt::skip]
const TABLE: &[Spec] = &[
    Spec { names: &["register"], arguments: &["NAME", "PASSWORD"], help: "make an account and log in" },
    Spec { names: &["login"], arguments: &["NAME", "PASSWORD"], help: "log in" },
    Spec { names: &["takeover"], arguments: &["NAME", "PASSWORD"], help: "log in and end the account's other session" },
    Spec { names: &["search", "who"], arguments: &["PART"], help: "names that begin with PART, and who is online" },
    Spec { names: &["status"], arguments: &["NAME"], help: "is NAME online, or when was NAME last seen" },
    Spec { names: &["msg", "send", "send-unencrypted"], arguments: &["NAME", "TEXT"], help: "send TEXT, which the server can read" },
    Spec { names: &["fetch"], arguments: &[], help: "mark what was shown as read, show what waits" },
    Spec { names: &["ack"], arguments: &[], help: "mark what was shown as read" },
    Spec { names: &["block"], arguments: &["NAME"], help: "drop what NAME sends from now on" },
    Spec { names: &["unblock"], arguments: &["NAME"], help: "take messages from NAME again" },
    Spec { names: &["blocked"], arguments: &[], help: "whom you block" },
    Spec { names: &["settings"], arguments: &["[NAME]", "[on|off]"], help: "listed, presence or refuse-unencrypted" },
    Spec { names: &["passwd"], arguments: &["OLD", "NEW"], help: "change the password" },
    Spec { names: &["reset"], arguments: &["NAME", "CODE", "PASSWORD"], help: "set a password with the operator's code" },
    Spec { names: &["ping"], arguments: &[], help: "is the server there" },
    Spec { names: &["logout"], arguments: &[], help: "end the session, stay connected" },
    Spec { names: &["quit", "exit"], arguments: &[], help: "end the connection" },
    Spec { names: &["help", "?"], arguments: &["[COMMAND]"], help: "this list, or all about one command" },
];

/// The end of the list of commands.
const REMARKS: &str = "\
* Encrypted messages are not shown here; they wait for your client.\r\n\
* The server gets your password here; a client never sends it.\r\n";

/// The operations that exist in JSON only.
const JSON_ONLY: [&str; 10] = [
    "available",
    "hello",
    "kdf",
    "keys",
    "publish",
    "outcome",
    "invite",
    "personal_data",
    "delete_account",
    "delete-account",
];

impl Spec {
    fn usage(&self) -> String {
        let mut usage = self.names[0].to_owned();
        for argument in self.arguments {
            usage.push(' ');
            usage.push_str(argument);
        }
        usage
    }

    /// Cuts the rest of a line into as many words as the command takes.
    fn split<'a>(&self, mut rest: &'a str) -> Result<Vec<&'a str>, Refusal> {
        let mut words = Vec::new();
        for argument in self.arguments {
            if rest.is_empty() {
                match argument.starts_with('[') {
                    true => break,
                    false => {
                        return Err(Refusal::bad_request(format!("usage: {}", self.usage())));
                    }
                }
            }
            let whole = matches!(*argument, "TEXT" | "PASSWORD");
            let (word, behind) = match whole {
                true => (rest, ""),
                false => cut_word(rest),
            };
            words.push(word);
            rest = behind;
        }
        match rest {
            "" => Ok(words),
            more => Err(Refusal::bad_request(format!(
                "{} takes no \"{}\", so nothing was done; usage: {}",
                self.names[0],
                sanitize(more),
                self.usage()
            ))),
        }
    }
}

/// Parses a line. `new_id` draws the id of a message, since a person types none.
///
/// # Errors
/// A refusal that tells the person what to type instead.
pub fn parse(line: &[u8], new_id: impl FnOnce() -> MessageId) -> Result<ConsoleLine, Refusal> {
    let line = without_telnet(line);
    let text = std::str::from_utf8(&line).map_err(|_| {
        Refusal::bad_request("the line is not UTF-8 text; type help for the commands")
    })?;
    let text = text.trim();
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Refusal::bad_request(
            "the line has control characters; type help for the commands",
        ));
    }
    let (word, rest) = cut_word(text);
    let word = word.to_ascii_lowercase();
    let word = word.strip_prefix('/').unwrap_or(&word);
    if word.is_empty() && text.is_empty() {
        return Ok(ConsoleLine::Greeting);
    }
    let Some(spec) = find(word) else {
        return Err(unknown(word));
    };
    let words = spec.split(rest)?;
    let at = |place: usize| words.get(place).copied().unwrap_or_default();
    let request = match spec.names[0] {
        "help" => return help(words.first().copied()).map(ConsoleLine::Help),
        "quit" => return Ok(ConsoleLine::Quit),
        "register" => Request::PasswordRegister(password_login(at(0), at(1), false)?),
        "login" => Request::PasswordLogin(password_login(at(0), at(1), false)?),
        "takeover" => Request::PasswordLogin(password_login(at(0), at(1), true)?),
        "search" => Request::Search(Search {
            text: at(0).to_owned(),
            after: None,
            limit: Some(limits::MAX_FOUND),
        }),
        "status" => Request::Status(named(at(0))?),
        "block" => Request::Block(named(at(0))?),
        "unblock" => Request::Unblock(named(at(0))?),
        "msg" => Request::Send(send(at(0), at(1), new_id)?),
        "fetch" => Request::Fetch(Fetch { limit: None }),
        "ack" => Request::AckShown,
        "blocked" => Request::Settings(ChangeSettings::default()),
        "settings" => Request::Settings(settings(&words)?),
        "passwd" => Request::PasswordChange {
            old: Password(at(0).to_owned().into()),
            new: Password(at(1).to_owned().into()),
        },
        "reset" => Request::PasswordReset {
            name: name(at(0))?,
            code: Password(at(1).to_owned().into()),
            password: Password(at(2).to_owned().into()),
        },
        "logout" => Request::Logout,
        "ping" => Request::Ping,
        _ => return Err(unknown(word)),
    };
    Ok(ConsoleLine::Request(request))
}

fn find(word: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.names.contains(&word))
}

fn unknown(word: &str) -> Refusal {
    if JSON_ONLY.contains(&word) {
        return Refusal::new(
            Code::UseJson,
            "this operation exists in JSON only; see docs/PROTOCOL.md",
        );
    }
    let names = TABLE.iter().flat_map(|spec| spec.names.iter().copied());
    let sentence = match nearest(word, names) {
        Some(near) => {
            format!("there is no such command; did you mean {near}? type help for the list")
        }
        None => "there is no such command; type help for the list".to_owned(),
    };
    Refusal::new(Code::UnknownOp, sentence)
}

/// The answer to `help`, with all commands or with one.
fn help(about: Option<&str>) -> Result<String, Refusal> {
    let mut answer = String::new();
    let mut row = |spec: &Spec| {
        answer.push_str(&format!("* {:<26} {}\r\n", spec.usage(), spec.help));
    };
    match about {
        None => TABLE.iter().for_each(row),
        Some(word) => {
            let word = word.to_ascii_lowercase();
            let word = word.strip_prefix('/').unwrap_or(&word);
            let spec = find(word).ok_or_else(|| unknown(word))?;
            row(spec);
            if let [_, others @ ..] = spec.names
                && !others.is_empty()
            {
                answer.push_str(&format!("* also called {}\r\n", others.join(", ")));
            }
        }
    }
    if about.is_none() {
        answer.push_str(REMARKS);
    }
    answer.push_str("+OK\r\n");
    Ok(answer)
}

/// The line without telnet's own bytes: IAC sequences (RFC 854), and the NUL after a bare
/// carriage return.
fn without_telnet(line: &[u8]) -> Vec<u8> {
    const IAC: u8 = 255;
    const SB: u8 = 250;
    const SE: u8 = 240;
    const WILL_TO_DONT: std::ops::RangeInclusive<u8> = 251..=254;
    let mut clean = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            IAC => match bytes.next() {
                Some(SB) => {
                    // A subnegotiation extends to IAC SE, or to the end of the line.
                    let mut last = 0;
                    for inner in bytes.by_ref() {
                        if last == IAC && inner == SE {
                            break;
                        }
                        last = inner;
                    }
                }
                Some(verb) if WILL_TO_DONT.contains(&verb) => {
                    bytes.next();
                }
                _ => {}
            },
            b'\r' if bytes.peek() == Some(&0) => {
                bytes.next();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// The first word, and what follows it.
fn cut_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

fn named(text: &str) -> Result<UserRef, Refusal> {
    Ok(UserRef { name: name(text)? })
}

fn name(text: &str) -> Result<UserName, Refusal> {
    text.parse()
        .map_err(|error: NameError| Refusal::bad_request(error.to_string()))
}

fn password_login(who: &str, password: &str, take_over: bool) -> Result<PasswordLogin, Refusal> {
    Ok(PasswordLogin {
        name: name(who)?,
        password: Password(password.to_owned().into()),
        take_over,
    })
}

fn send(to: &str, text: &str, new_id: impl FnOnce() -> MessageId) -> Result<Send, Refusal> {
    if text.len() > limits::MAX_TEXT {
        return Err(Refusal::new(
            Code::TooLarge,
            "a text has at most 16384 bytes",
        ));
    }
    Ok(Send {
        to: name(to)?,
        mid: new_id(),
        body: Body::Plain(text.into()),
        identity: None,
        again: false,
        after: None,
    })
}

fn settings(words: &[&str]) -> Result<ChangeSettings, Refusal> {
    let mut change = ChangeSettings::default();
    if words.is_empty() {
        return Ok(change);
    }
    let usage =
        || Refusal::bad_request("usage: settings listed|presence|refuse-unencrypted on|off");
    let value = match words.get(1) {
        Some(&"on") => Some(true),
        Some(&"off") => Some(false),
        _ => return Err(usage()),
    };
    match words[0] {
        "listed" => change.listed = value,
        "presence" => change.presence = value,
        "refuse-unencrypted" => change.refuse_unencrypted = value,
        _ => return Err(usage()),
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &[u8]) -> Result<ConsoleLine, Refusal> {
        parse(text, || MessageId([7; 16]))
    }

    #[test]
    fn words_that_are_too_many_are_an_error_in_every_command() {
        for spec in TABLE {
            if spec
                .arguments
                .iter()
                .any(|word| matches!(*word, "TEXT" | "PASSWORD"))
            {
                continue;
            }
            let line = format!(
                "{} {}please no",
                spec.names[0],
                "word ".repeat(spec.arguments.len())
            );
            let refusal = parse_text(line.as_bytes()).unwrap_err();
            assert!(
                refusal.message.contains("takes no \"please no\""),
                "{line}: {}",
                refusal.message
            );
        }
    }

    #[test]
    fn the_words_are_the_clients() {
        let same = |one: &[u8], other: &[u8]| {
            let debug = |line| format!("{:?}", parse_text(line).unwrap());
            assert_eq!(debug(one), debug(other));
        };
        same(b"/msg bob hi", b"send bob hi");
        same(b"who bo", b"search bo");
        same(b"/blocked", b"settings");
        same(b"/help", b"?");
        let refusal = parse_text(b"/mgs bob hi").unwrap_err();
        assert!(
            refusal.message.contains("did you mean msg?"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn help_fits_a_terminal() {
        let Ok(ConsoleLine::Help(all)) = parse_text(b"help") else {
            panic!()
        };
        assert!(all.lines().count() <= 24, "{all}");
        assert!(all.lines().all(|line| line.len() < 80), "{all}");
        for spec in TABLE {
            assert!(all.contains(&spec.usage()), "{}", spec.names[0]);
            let line = format!("help {}", spec.names[0]);
            let Ok(ConsoleLine::Help(one)) = parse_text(line.as_bytes()) else {
                panic!("{line}")
            };
            assert!(one.contains(spec.help) && one.ends_with("+OK\r\n"));
        }
        assert!(parse_text(b"help dance").is_err());
    }
}
