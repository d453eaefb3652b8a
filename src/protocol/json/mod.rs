//! The JSON format: one object on each line.
//!
//! A request is `{"id":7,"op":"send",…}`, its answer `{"id":7,"ok":{…}}` or
//! `{"id":7,"error":{…}}`, and an event `{"event":…}`. A request without an `id` is answered only
//! if it fails. Unknown fields are ignored.

mod frequent;

use std::borrow::Cow;
use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::frequent::Frequent;
use super::ids::MessageId;
use super::message::SendFields;
use super::name::UserName;
use super::refusal::{Code, Refusal};
use super::reply::{Accepted, Answer, Event, MessageState, Reply};
use super::request::{Body, Request};

/// A parsed line: the request's id, if it has one, and the request, or why it is refused.
pub type ParsedLine = (Option<u64>, Result<Request, Refusal>);

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow)]
    op: Cow<'a, str>,
}

/// Only the id, for lines whose operation can't be read.
#[derive(Deserialize)]
struct Id {
    #[serde(default)]
    id: Option<u64>,
}

/// Parses one request.
pub fn parse_request(line: &[u8]) -> ParsedLine {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return (
            None,
            Err(Refusal::bad_request("a request is a JSON object")),
        );
    }
    let mut frequent = Frequent::default();
    if frequent.read(line)
        && let Some(request) = frequent.take_request()
    {
        return (frequent.id, Ok(request));
    }
    // Other requests and faulty ones take two passes; the second says exactly what is wrong.
    match serde_json::from_slice::<Head<'_>>(line) {
        Ok(head) => (head.id, parse_op(&head.op, line)),
        Err(error) => {
            let id = serde_json::from_slice::<Id>(line).map_or(None, |head| head.id);
            (id, Err(malformed(&error)))
        }
    }
}

fn parse_op(op: &str, line: &[u8]) -> Result<Request, Refusal> {
    Ok(match op {
        "send" => Request::Send(fields::<SendFields>(line)?.try_into()?),
        "ack" => Request::Ack(fields(line)?),
        "hello" => Request::Hello(fields(line)?),
        "kdf" => Request::Kdf(fields(line)?),
        "available" => Request::Available(fields(line)?),
        "register" => Request::Register(fields(line)?),
        "login" => Request::Login(fields(line)?),
        "logout" => Request::Logout,
        "search" => Request::Search(fields(line)?),
        "status" => Request::Status(fields(line)?),
        "settings" => Request::Settings(fields(line)?),
        "block" => Request::Block(fields(line)?),
        "unblock" => Request::Unblock(fields(line)?),
        "keys" => Request::Keys(fields(line)?),
        "publish" => Request::Publish(fields(line)?),
        "outcome" => Request::Outcome(fields(line)?),
        "fetch" => Request::Fetch(fields(line)?),
        "passwd" => Request::Passwd(fields(line)?),
        "reset" => Request::Reset(fields(line)?),
        "claim" => Request::Claim(fields(line)?),
        "invite" => Request::Invite,
        "personal_data" => Request::PersonalData(fields(line)?),
        "delete_account" => Request::DeleteAccount(fields(line)?),
        "ping" => Request::Ping,
        _ => {
            return Err(Refusal::new(
                Code::UnknownOp,
                "there is no such operation; see docs/PROTOCOL.md for the list",
            ));
        }
    })
}

fn fields<T: DeserializeOwned>(line: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(line).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::bad_request(format!("the line is not a valid request: {error}"))
}

/// Appends the answer to the request `id`. The success of a request without an id is not sent.
pub fn write_answer(out: &mut Vec<u8>, id: Option<u64>, answer: &Answer) {
    match (answer, id) {
        (Ok(_), None) => {}
        (Ok(Reply::Accepted(accepted)), Some(id)) => write_accepted(out, id, *accepted),
        (Ok(reply), Some(id)) => {
            out.extend_from_slice(b"{\"id\":");
            write_number(out, id);
            out.extend_from_slice(b",\"ok\":");
            append(out, reply);
            out.extend_from_slice(b"}\n");
        }
        (Err(refusal), id) => {
            out.extend_from_slice(b"{\"id\":");
            match id {
                Some(id) => write_number(out, id),
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b",\"error\":");
            append(out, refusal);
            out.extend_from_slice(b"}\n");
        }
    }
}

/// Appends the most frequent answer. With serde, it would cost as much as the message itself.
fn write_accepted(out: &mut Vec<u8>, id: u64, accepted: Accepted) {
    out.extend_from_slice(b"{\"id\":");
    write_number(out, id);
    out.extend_from_slice(match accepted.state {
        MessageState::Stored => b",\"ok\":{\"state\":\"stored\",\"at\":",
        MessageState::Delivered => b",\"ok\":{\"state\":\"delivered\",\"at\":",
    });
    write_number(out, accepted.at);
    if let Some(handle) = accepted.handle {
        out.extend_from_slice(b",\"handle\":\"");
        let text = out.len();
        out.resize(text + BASE64.encode_len(handle.0.len()), 0);
        BASE64.encode_mut(&handle.0, &mut out[text..]);
        out.push(b'"');
    }
    out.extend_from_slice(b"}}\n");
}

/// Appends an event.
pub fn write_event(out: &mut Vec<u8>, event: &Event) {
    append(out, event);
    out.push(b'\n');
}

/// Appends the event of an arriving message: the line that [`write_event`] makes, without a copy
/// of the body.
pub fn write_message(out: &mut Vec<u8>, from: &UserName, mid: &MessageId, at: u64, body: &Body) {
    out.extend_from_slice(b"{\"event\":\"message\",\"from\":\"");
    out.extend_from_slice(from.as_str().as_bytes());
    out.extend_from_slice(b"\",\"mid\":\"");
    let digits = out.len();
    out.resize(digits + 32, 0);
    HEXLOWER.encode_mut(&mid.0, &mut out[digits..]);
    out.extend_from_slice(b"\",\"at\":");
    write_number(out, at);
    match body {
        Body::Envelope(blob) => {
            out.extend_from_slice(b",\"envelope\":\"");
            let text = out.len();
            out.resize(text + BASE64.encode_len(blob.0.len()), 0);
            BASE64.encode_mut(&blob.0, &mut out[text..]);
            out.push(b'"');
        }
        Body::Plain(text) => {
            out.extend_from_slice(b",\"text\":");
            append(out, text);
        }
    }
    out.extend_from_slice(b"}\n");
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Appends a request, as clients write it. Returns `None` if it exists on the console only.
pub fn write_request(out: &mut Vec<u8>, id: Option<u64>, request: &Request) -> Option<()> {
    #[derive(Serialize)]
    struct RequestLine<'a, T> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        op: &'a str,
        #[serde(flatten)]
        fields: T,
    }
    fn line<T: Serialize>(out: &mut Vec<u8>, id: Option<u64>, op: &str, fields: T) {
        append(out, &RequestLine { id, op, fields });
        out.push(b'\n');
    }
    let none = super::reply::Done {};
    match request {
        Request::Hello(fields) => line(out, id, "hello", fields),
        Request::Kdf(fields) => line(out, id, "kdf", fields),
        Request::Available(fields) => line(out, id, "available", fields),
        Request::Register(fields) => line(out, id, "register", fields),
        Request::Login(fields) => line(out, id, "login", fields),
        Request::Logout => line(out, id, "logout", none),
        Request::Search(fields) => line(out, id, "search", fields),
        Request::Status(fields) => line(out, id, "status", fields),
        Request::Settings(fields) => line(out, id, "settings", fields),
        Request::Block(fields) => line(out, id, "block", fields),
        Request::Unblock(fields) => line(out, id, "unblock", fields),
        Request::Keys(fields) => line(out, id, "keys", fields),
        Request::Publish(fields) => line(out, id, "publish", fields),
        Request::Send(fields) => line(out, id, "send", fields),
        Request::Outcome(fields) => line(out, id, "outcome", fields),
        Request::Ack(fields) => line(out, id, "ack", fields),
        Request::Fetch(fields) => line(out, id, "fetch", fields),
        Request::Passwd(fields) => line(out, id, "passwd", fields),
        Request::Reset(fields) => line(out, id, "reset", fields),
        Request::Claim(fields) => line(out, id, "claim", fields),
        Request::Invite => line(out, id, "invite", none),
        Request::PersonalData(fields) => line(out, id, "personal_data", fields),
        Request::DeleteAccount(fields) => line(out, id, "delete_account", fields),
        Request::Ping => line(out, id, "ping", none),
        Request::AckShown
        | Request::PasswordRegister(_)
        | Request::PasswordLogin(_)
        | Request::PasswordReset { .. }
        | Request::PasswordChange { .. } => return None,
    }
    Some(())
}

/// A line from the server, as a client reads it.
#[derive(Debug)]
pub enum ServerLine {
    /// The answer to the request `id`, which is `None` if the server could not tell the request.
    /// The type of a success follows from the request.
    Answer(Option<u64>, Result<serde_json::Value, Refusal>),
    /// An event.
    Event(Box<Event>),
}

/// Why a line is not one of a server's: the peer does not speak this protocol.
#[derive(Debug)]
pub enum NotAServerLine {
    /// It is not JSON, or a field has the wrong type.
    Json(serde_json::Error),
    /// It is JSON, but neither an answer nor an event.
    OtherJson,
}

impl fmt::Display for NotAServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAServerLine::Json(error) => {
                write!(f, "the server's line is not understood: {error}")
            }
            NotAServerLine::OtherJson => {
                f.write_str("the server's line is neither an answer nor an event")
            }
        }
    }
}

impl std::error::Error for NotAServerLine {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NotAServerLine::Json(error) => Some(error),
            NotAServerLine::OtherJson => None,
        }
    }
}

/// Parses a line from the server.
///
/// # Errors
/// The peer does not speak this protocol.
pub fn parse_server_line(line: &[u8]) -> Result<ServerLine, NotAServerLine> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        id: Option<u64>,
        #[serde(default)]
        ok: Option<serde_json::Value>,
        #[serde(default)]
        error: Option<Refusal>,
        #[serde(default)]
        event: Option<serde::de::IgnoredAny>,
    }
    if let Some(refusal) = console_refusal(line) {
        return Ok(ServerLine::Answer(None, Err(refusal)));
    }
    let head: Fields = serde_json::from_slice(line).map_err(NotAServerLine::Json)?;
    match head {
        Fields { event: Some(_), .. } => {
            let event = serde_json::from_slice(line).map_err(NotAServerLine::Json)?;
            Ok(ServerLine::Event(Box::new(event)))
        }
        Fields {
            error: Some(refusal),
            id,
            ..
        } => Ok(ServerLine::Answer(id, Err(refusal))),
        Fields {
            ok: Some(value),
            id,
            ..
        } => Ok(ServerLine::Answer(id, Ok(value))),
        _ => Err(NotAServerLine::OtherJson),
    }
}

/// The refusal of a connection that had not sent a byte yet. The server writes it in the console's
/// format, because it does not know yet which one the client speaks.
pub(crate) fn console_refusal(line: &[u8]) -> Option<Refusal> {
    let text = std::str::from_utf8(line.strip_prefix(b"-ERR ")?).ok()?;
    let (code, message) = text.trim_end().split_once(' ')?;
    let known = Code::ALL.iter().find(|known| known.as_str() == code);
    let code = known.copied().unwrap_or(Code::Unknown);
    Some(Refusal::new(code, message.to_owned()))
}

/// Appends a value as JSON.
fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let before = out.len();
    // Writing to memory cannot fail, and no type here has a fallible Serialize
    // or a map with keys that are not strings; should one ever come, the line
    // is left out whole instead of half.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
    }
}

#[cfg(test)]
mod tests;
