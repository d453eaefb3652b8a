//! The console format: what a person types into telnet or `openssl s_client`.
//!
//! An answer begins with `+OK` or `-ERR code`, an event with `*`. The console carries unencrypted
//! mail only, and says so with each message. Everything that it prints has passed [`sanitize`] or
//! [`rows`], so no user's text can control the reader's terminal or pass for a line of the server.

use super::ids::MessageId;
use super::limits;
use super::name::UserName;
use super::refusal::{Code, Refusal};
use super::reply::{
    AccountSettings, Answer, Event, MessageState, News, Reply, UserStatus, Welcome,
};
use super::request::{
    Body, ChangeSettings, Fetch, Password, PasswordLogin, Request, Search, Send, UserRef,
};
use super::rows::{Frame, rows};
use super::sanitize::sanitize;

/// What a console line asks for.
#[derive(Debug)]
pub enum ConsoleLine {
    /// A request for the server's logic.
    Request(Request),
    /// An empty line, which the greeting answers.
    Greeting,
    /// `help`.
    Help,
    /// `quit`.
    Quit,
}

/// The width, in columns, that the terminal at the other end is assumed to have.
const COLUMNS: usize = 80;

/// The beginning of each row of an event after the first.
const GUTTER: &str = "*     | ";

/// The answer to an empty line.
pub const GREETING: &str = "* Secure Chat console. Type help and press Enter; quit ends.\r\n";

/// The answer to `help`.
pub const HELP: &str = "\
* register NAME PASSWORD     make an account and log in\r\n\
* login NAME PASSWORD        log in\r\n\
* takeover NAME PASSWORD     log in and end the account's other session\r\n\
* search TEXT                users whose names begin with TEXT, and who is online\r\n\
* status NAME                is NAME online, or when was NAME last seen\r\n\
* send NAME TEXT             send TEXT, readable by the server and the network\r\n\
* fetch                      mark what was shown as read, then show what is pending\r\n\
* ack                        mark what was shown as read\r\n\
* block NAME, unblock NAME   drop what NAME sends, or stop doing so\r\n\
* settings                   show them; settings listed|presence|encrypted-only on|off\r\n\
* passwd OLD NEW             change the password\r\n\
* reset NAME CODE PASSWORD   set a password with the operator's code, and log in\r\n\
* logout                     end the session, stay connected\r\n\
* quit                       end the connection\r\n\
* The console shows unencrypted messages only; encrypted ones wait for your client.\r\n\
* Your password crosses the network to the server here; a client never sends it.\r\n\
+OK\r\n";

/// The operations that exist in JSON only.
const JSON_ONLY: [&str; 8] = [
    "available",
    "hello",
    "kdf",
    "keys",
    "publish",
    "outcome",
    "invite",
    "delete_account",
];

/// Whether a connection's first line is an HTTP request. A web page can make a browser send one
/// to any port, and the lines of its body must never run as commands.
pub fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PRI ",
    ];
    METHODS.iter().any(|method| line.starts_with(method))
        || line
            .windows(6)
            .any(|six| six == b"HTTP/1" || six == b"HTTP/2")
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
    let (word, rest) = split(text);
    let request = match word.to_ascii_lowercase().as_str() {
        "" => return Ok(ConsoleLine::Greeting),
        "help" | "?" => return Ok(ConsoleLine::Help),
        "quit" | "exit" => return Ok(ConsoleLine::Quit),
        "register" => Request::PasswordRegister(password_login(rest, "register", false)?),
        "login" => Request::PasswordLogin(password_login(rest, "login", false)?),
        "takeover" => Request::PasswordLogin(password_login(rest, "takeover", true)?),
        "search" => Request::Search(Search {
            text: rest.to_owned(),
            after: None,
            limit: Some(limits::MAX_FOUND),
        }),
        "status" => Request::Status(named(rest, "status")?),
        "block" => Request::Block(named(rest, "block")?),
        "unblock" => Request::Unblock(named(rest, "unblock")?),
        "send" => Request::Send(send(rest, new_id)?),
        "fetch" => Request::Fetch(Fetch { limit: None }),
        "ack" => Request::AckShown,
        "settings" => Request::Settings(settings(rest)?),
        "passwd" => passwd(rest)?,
        "reset" => reset(rest)?,
        "logout" => Request::Logout,
        "ping" => Request::Ping,
        op if JSON_ONLY.contains(&op) => {
            return Err(Refusal::new(
                Code::UseJson,
                "this operation exists in JSON only; see docs/PROTOCOL.md",
            ));
        }
        _ => {
            return Err(Refusal::new(
                Code::UnknownOp,
                "there is no such command; type help for the list",
            ));
        }
    };
    Ok(ConsoleLine::Request(request))
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

fn split(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

fn named(rest: &str, command: &str) -> Result<UserRef, Refusal> {
    Ok(UserRef {
        name: name(rest, || format!("{command} NAME"))?,
    })
}

fn name(text: &str, usage: impl FnOnce() -> String) -> Result<UserName, Refusal> {
    if text.is_empty() {
        return Err(Refusal::bad_request(format!("usage: {}", usage())));
    }
    text.parse()
        .map_err(|error: super::name::NameError| Refusal::bad_request(error.to_string()))
}

fn password_login(rest: &str, command: &str, take_over: bool) -> Result<PasswordLogin, Refusal> {
    let (who, password) = split(rest);
    let usage = || format!("{command} NAME PASSWORD");
    if password.is_empty() {
        return Err(Refusal::bad_request(format!("usage: {}", usage())));
    }
    Ok(PasswordLogin {
        name: name(who, usage)?,
        password: Password(password.to_owned().into()),
        take_over,
    })
}

fn passwd(rest: &str) -> Result<Request, Refusal> {
    let (old, new) = split(rest);
    if new.is_empty() || new.contains(char::is_whitespace) {
        return Err(Refusal::bad_request(
            "usage: passwd OLD NEW, neither with a space in it",
        ));
    }
    Ok(Request::PasswordChange {
        old: Password(old.to_owned().into()),
        new: Password(new.to_owned().into()),
    })
}

fn reset(rest: &str) -> Result<Request, Refusal> {
    let usage = || "reset NAME CODE PASSWORD, the code with dashes and without spaces".to_owned();
    let (who, rest) = split(rest);
    let (code, password) = split(rest);
    if password.is_empty() {
        return Err(Refusal::bad_request(format!("usage: {}", usage())));
    }
    Ok(Request::PasswordReset {
        name: name(who, usage)?,
        code: Password(code.to_owned().into()),
        password: Password(password.to_owned().into()),
    })
}

fn send(rest: &str, new_id: impl FnOnce() -> MessageId) -> Result<Send, Refusal> {
    let (to, text) = split(rest);
    let usage = || "send NAME TEXT".to_owned();
    if text.is_empty() {
        return Err(Refusal::bad_request(format!("usage: {}", usage())));
    }
    if text.len() > limits::MAX_TEXT {
        return Err(Refusal::new(
            Code::TooLarge,
            "a text has at most 16384 bytes",
        ));
    }
    Ok(Send {
        to: name(to, usage)?,
        mid: new_id(),
        body: Body::Plain(text.into()),
        identity: None,
        again: false,
        after: None,
    })
}

fn settings(rest: &str) -> Result<ChangeSettings, Refusal> {
    let mut change = ChangeSettings::default();
    if rest.is_empty() {
        return Ok(change);
    }
    let usage = || Refusal::bad_request("usage: settings listed|presence|encrypted-only on|off");
    let (which, value) = split(rest);
    let value = match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => return Err(usage()),
    };
    match which {
        "listed" => change.listed = value,
        "presence" => change.presence = value,
        "encrypted-only" => change.refuse_unencrypted = value,
        _ => return Err(usage()),
    }
    Ok(change)
}

/// Appends the answer to a request.
pub fn write_answer(out: &mut Vec<u8>, answer: &Answer) {
    match answer {
        Ok(reply) => write_reply(out, reply),
        Err(refusal) => line(
            out,
            &format!(
                "-ERR {} {}",
                refusal.code.as_str(),
                sanitize(&refusal.message)
            ),
        ),
    }
}

fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Welcome(welcome) => write_welcome(out, welcome),
        Reply::Found(found) => {
            for user in &found.users {
                line(out, &format!("* {}", user_line(user)));
            }
            let more = if found.more {
                ", and more: type more of the name"
            } else {
                ""
            };
            line(out, &format!("+OK {} found{more}", found.users.len()));
        }
        Reply::Status(user) => line(out, &format!("+OK {}", user_line(user))),
        Reply::Settings(settings) => write_settings(out, settings),
        Reply::Accepted(accepted) => line(
            out,
            match accepted.state {
                MessageState::Stored => "+OK stored, not encrypted",
                MessageState::Delivered => "+OK delivered, not encrypted",
            },
        ),
        Reply::Acked(acked) => line(out, &format!("+OK {} marked as read", acked.acked)),
        Reply::Fetched(fetched) => line(
            out,
            &format!("+OK {} shown, {} more wait", fetched.sent, fetched.waiting),
        ),
        // The console has no operation that is answered so, or shows only that it succeeded.
        Reply::Done(_)
        | Reply::Greeting(_)
        | Reply::Kdf(_)
        | Reply::Bundle(_)
        | Reply::Published(_)
        | Reply::Invited(_)
        | Reply::Waiting(_) => line(out, "+OK"),
    }
}

fn write_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    line(out, &format!("+OK you are {}", welcome.name));
    if welcome.plain > 0 {
        line(
            out,
            &format!("* {} unread, shown below", messages(welcome.plain)),
        );
    }
    if welcome.envelopes > 0 {
        line(out, &envelopes_wait(welcome.envelopes));
    }
}

fn envelopes_wait(count: u64) -> String {
    format!(
        "* {} for your client, encrypted",
        match count {
            1 => "1 message waits".to_owned(),
            many => format!("{many} messages wait"),
        }
    )
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    }
}

fn write_settings(out: &mut Vec<u8>, settings: &AccountSettings) {
    let on_off = |on| if on { "on" } else { "off" };
    line(
        out,
        &format!(
            "+OK listed {}, presence {}, encrypted-only {}, {} blocked",
            on_off(settings.listed),
            on_off(settings.presence),
            on_off(settings.refuse_unencrypted),
            settings.blocked.len()
        ),
    );
}

fn user_line(user: &UserStatus) -> String {
    match (user.online, user.last_seen) {
        (true, _) => format!("{} is online", user.name),
        (false, Some(at)) => format!("{} is offline, last seen {}", user.name, utc(at)),
        (false, None) => format!("{} is offline", user.name),
    }
}

/// Appends an event.
pub fn write_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Message(message) => {
            if let Body::Plain(text) = &message.body {
                let head = format!(
                    "* {} NOT ENCRYPTED from {}: ",
                    utc(message.at),
                    message.from
                );
                news(out, &[&head, text]);
            }
        }
        Event::Notice(notice) => {
            if let News::Announcement { text } = &notice.news {
                let head = format!("* {} from the server's operator: ", utc(notice.at));
                news(out, &[&head, text]);
            } else if let News::TurnedAway { names, count } = &notice.news {
                let names: Vec<&str> = names.iter().map(UserName::as_str).collect();
                let count = match count {
                    1 => "1 message was".to_owned(),
                    many => format!("{many} messages were"),
                };
                let names = names.join(", ");
                let told = "turned away because your mailbox was full, from:";
                news(out, &[&format!("* {count} {told} {names}")]);
            }
        }
        Event::Delivered { to, ids } => {
            line(
                out,
                &format!("* {} received {}", to, messages(ids.len() as u64)),
            );
        }
        Event::EnvelopesWait { count } => line(out, &envelopes_wait(*count)),
        Event::Replaced {} => line(out, "* your session was taken over by another login"),
        Event::Ping {} => line(out, "* are you there? press Enter"),
        Event::ShuttingDown {} => line(out, "* the server shuts down; what was accepted is safe"),
        Event::PrekeysLow { .. } | Event::Unknown => {}
    }
}

fn utc(millis: u64) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(
            || "at an unknown time".to_owned(),
            |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        )
}

/// Appends what has words of others in it.
fn news(out: &mut Vec<u8>, pieces: &[&str]) {
    let pieces: Vec<((), &str)> = pieces.iter().map(|text| ((), *text)).collect();
    let frame = Frame {
        gutter: ((), GUTTER),
        width: Some(COLUMNS),
    };
    for row in rows(&pieces, frame) {
        let text: String = row.into_iter().map(|((), text)| text).collect();
        line(out, &text);
    }
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
