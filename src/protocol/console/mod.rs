//! The console format: what a person types into telnet or `openssl s_client`. Its commands are in
//! `commands`; what the server answers is here.
//!
//! An answer begins with `+OK` or `-ERR code`, an event with `*`. The console carries unencrypted
//! mail only, and says so with each message. Everything that it prints has passed [`sanitize`] or
//! [`rows`], so no user's text can control the reader's terminal or pass for a line of the server.

mod commands;

pub use self::commands::parse;

use super::name::UserName;
use super::reply::{
    AccountSettings, Answer, Event, MessageState, News, Notice, Reply, UserStatus, Welcome,
};
use super::request::{Body, Request};
use super::rows::{Frame, rows};
use super::sanitize::sanitize;

/// What a console line asks for.
#[derive(Debug)]
pub enum ConsoleLine {
    /// A request for the server's logic.
    Request(Request),
    /// An empty line, which the greeting answers.
    Greeting,
    /// `help`, and its answer.
    Help(String),
    /// `quit`.
    Quit,
}

/// The width, in columns, that the terminal at the other end is assumed to have.
const COLUMNS: usize = 80;

/// The beginning of each row of an event after the first.
const GUTTER: &str = "*     | ";

/// The answer to an empty line.
pub const GREETING: &str = "* Secure Chat console. Type help and press Enter; quit ends.\r\n";

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
        | Reply::PersonalData(_)
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
    if !settings.blocked.is_empty() {
        let names: Vec<&str> = settings.blocked.iter().map(UserName::as_str).collect();
        news(out, &["* you block: ", &names.join(", ")]);
    }
    let on_off = |on| if on { "on" } else { "off" };
    line(
        out,
        &format!(
            "+OK listed {}, presence {}, refuse-unencrypted {}, {} blocked",
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
        Event::Notice(notice) => write_notice(out, notice),
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

fn write_notice(out: &mut Vec<u8>, notice: &Notice) {
    match &notice.news {
        News::Announcement { text } => {
            let head = format!("* {} from the server's operator: ", utc(notice.at));
            news(out, &[&head, text]);
        }
        News::TurnedAway { names, count } => {
            let names: Vec<&str> = names.iter().map(UserName::as_str).collect();
            let (count, names) = (were(*count), names.join(", "));
            let told = "turned away because your mailbox was full, from:";
            news(out, &[&format!("* {count} {told} {names}")]);
        }
        News::Expired { to, ids } => {
            let count = were(ids.len() as u64);
            let told = "removed, because nobody fetched them for too long, to:";
            news(out, &[&format!("* {count} {told} {to}")]);
        }
        News::Missed { from, count } => {
            let names: Vec<&str> = from.iter().map(|from| from.name.as_str()).collect();
            let (count, names) = (were(*count), names.join(", "));
            let told = "removed, because you did not fetch them for too long, from:";
            news(out, &[&format!("* {count} {told} {names}")]);
        }
        News::Unknown => {}
    }
}

fn were(count: u64) -> String {
    match count {
        1 => "1 message was".to_owned(),
        many => format!("{many} messages were"),
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
