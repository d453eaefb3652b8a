//! The frames between two servers, written and read. The first byte says what a frame is.
//!
//! | first byte | frame | content |
//! | --- | --- | --- |
//! | 1 | a message to be taken | its id, then its fields in binary, the body last |
//! | 2 | a call | its id, then JSON |
//! | 3 | an event for a session | JSON |
//! | 4 | the answer to a message | its id, what it is, then in binary or JSON |
//! | 5 | the answer to a call | its id, then JSON |
//! | 6 | a sign of life of an end that owes answers | nothing |
//!
//! Numbers are big-endian. A message is binary because there are very many of them; calls are few, and can be
//! extended more easily as JSON.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frames::{LENGTH, write_frame};
use super::message::{Call, Called, Forward, Forwarded, Told};
use crate::protocol::ids::{Blob, ByteArray, MessageId};
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::reply::{Accepted, MessageState, Reply};
use crate::protocol::request::{Body, Send};
use crate::store::UserId;

/// The version of this format and of the calls in it. Servers of different versions have no link.
pub(super) const VERSION: u8 = 1;

/// The longest frame that asks something, in bytes: an `outcome` of as many ids as there may be, in JSON.
pub(super) const MAX_REQUEST: usize = 256 * 1024;

/// The longest frame that answers, in bytes: the list of all sessions of a large server.
pub(super) const MAX_REPLY: usize = 32 * 1024 * 1024;

const FORWARD: u8 = 1;
const CALL: u8 = 2;
const EVENT: u8 = 3;
const ANSWER: u8 = 4;
const CALLED: u8 = 5;
const BEAT: u8 = 6;

/// The bits of a message's flags.
const IS_PLAIN: u8 = 1;
const HAS_IDENTITY: u8 = 2;
const IS_AGAIN: u8 = 4;
const HAS_AFTER: u8 = 8;
const IS_FIRST: u8 = 16;
const ALL_FLAGS: u8 = IS_PLAIN | HAS_IDENTITY | IS_AGAIN | HAS_AFTER | IS_FIRST;

/// What the answer to a message is.
const STORED: u8 = 0;
const DELIVERED: u8 = 1;
const OTHER: u8 = 2;
const NOT_HERE: u8 = 3;

/// What one end asks.
#[derive(Debug)]
pub(super) enum Request {
    Forward(u64, Forward),
    Call(u64, Call),
    Event(Told),
}

/// What the other end says.
#[derive(Debug)]
pub(super) enum Response {
    Answer(u64, Forwarded),
    Called(u64, Called),
    Beat,
}

/// A frame can't be understood; what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

fn malformed<T>(what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

// Writing

/// Appends a message to be taken.
pub(super) fn write_forward(queue: &mut Vec<u8>, id: u64, forward: &Forward) {
    let Forward {
        sender,
        from,
        send,
        at,
        first,
    } = forward;
    write_frame(queue, |queue| {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        queue.push(FORWARD);
        queue.extend_from_slice(&id.to_be_bytes());
        queue.extend_from_slice(&sender.0.to_be_bytes());
        queue.extend_from_slice(&at.to_be_bytes());
        queue.push(
            flag(matches!(send.body, Body::Plain(_)), IS_PLAIN)
                | flag(send.identity.is_some(), HAS_IDENTITY)
                | flag(send.again, IS_AGAIN)
                | flag(send.after.is_some(), HAS_AFTER)
                | flag(*first, IS_FIRST),
        );
        write_name(queue, from);
        write_name(queue, &send.to);
        queue.extend_from_slice(&send.mid.0);
        if let Some(identity) = &send.identity {
            queue.extend_from_slice(&identity.0);
        }
        if let Some(after) = &send.after {
            queue.extend_from_slice(&after.0);
        }
        queue.extend_from_slice(match &send.body {
            Body::Envelope(envelope) => &envelope.0,
            Body::Plain(text) => text.as_bytes(),
        });
    });
}

fn write_name(queue: &mut Vec<u8>, name: &UserName) {
    let name = name.as_str().as_bytes();
    queue.push(name.len() as u8);
    queue.extend_from_slice(name);
}

/// Appends a call.
pub(super) fn write_call(queue: &mut Vec<u8>, id: u64, call: &Call) {
    write_frame(queue, |queue| write_json(queue, CALL, Some(id), call));
}

/// Appends an event for a session.
pub(super) fn write_event(queue: &mut Vec<u8>, told: &Told) {
    write_frame(queue, |queue| write_json(queue, EVENT, None, told));
}

/// Appends the answer to a message, which is never [`Forwarded::Lost`].
pub(super) fn write_answer(queue: &mut Vec<u8>, id: u64, forwarded: &Forwarded) {
    write_frame(queue, |queue| {
        queue.push(ANSWER);
        queue.extend_from_slice(&id.to_be_bytes());
        match forwarded {
            Forwarded::Answer(Ok(Reply::Accepted(accepted))) => {
                queue.push(match accepted.state {
                    MessageState::Stored => STORED,
                    MessageState::Delivered => DELIVERED,
                });
                queue.extend_from_slice(&accepted.at.to_be_bytes());
                if let Some(handle) = &accepted.handle {
                    queue.extend_from_slice(&handle.0);
                }
            }
            Forwarded::Answer(answer) => {
                queue.push(OTHER);
                append_json(queue, &Called::Answer(answer.clone()));
            }
            Forwarded::NotHere | Forwarded::Lost => queue.push(NOT_HERE),
        }
    });
}

/// Appends the answer to a call.
pub(super) fn write_called(queue: &mut Vec<u8>, id: u64, called: &Called) {
    write_frame(queue, |queue| write_json(queue, CALLED, Some(id), called));
}

/// Appends a sign of life.
pub(super) fn write_beat(queue: &mut Vec<u8>) {
    write_frame(queue, |queue| queue.push(BEAT));
}

fn write_json(queue: &mut Vec<u8>, tag: u8, id: Option<u64>, value: &impl Serialize) {
    queue.push(tag);
    if let Some(id) = id {
        queue.extend_from_slice(&id.to_be_bytes());
    }
    append_json(queue, value);
}

fn append_json(queue: &mut Vec<u8>, value: &impl Serialize) {
    // Values of these types have a form, and a vector takes it. If not, the reader says so and ends the link.
    let _written = serde_json::to_writer(queue, value);
}

// Reading

/// Reads what the other end asks.
///
/// # Errors
/// It can't be understood, and the connection has to end.
pub(super) fn read_request(frame: &[u8]) -> Result<Request, Malformed> {
    let mut fields = Fields(frame);
    match fields.byte()? {
        FORWARD => {
            let id = fields.number()?;
            Ok(Request::Forward(id, read_forward(fields)?))
        }
        CALL => {
            let id = fields.number()?;
            Ok(Request::Call(id, fields.json()?))
        }
        EVENT => Ok(Request::Event(fields.json()?)),
        other => malformed(format!("nobody asks with a frame of kind {other}")),
    }
}

fn read_forward(mut fields: Fields<'_>) -> Result<Forward, Malformed> {
    let sender = UserId(fields.number()? as i64);
    let at = fields.number()?;
    let flags = fields.byte()?;
    if flags & !ALL_FLAGS != 0 {
        return malformed(format!("there are no flags {flags:#x}"));
    }
    let has = |flag: u8| flags & flag != 0;
    let (from, to) = (fields.name()?, fields.name()?);
    let mid = MessageId(fields.array()?);
    let identity = match has(HAS_IDENTITY) {
        true => Some(ByteArray(fields.array()?)),
        false => None,
    };
    let after = match has(HAS_AFTER) {
        true => Some(ByteArray(fields.array()?)),
        false => None,
    };
    let Fields(body) = fields;
    let longest = match has(IS_PLAIN) {
        true => limits::MAX_TEXT,
        false => limits::MAX_ENVELOPE,
    };
    if body.is_empty() || body.len() > longest {
        return malformed(format!("no message has a body of {} bytes", body.len()));
    }
    let body = match has(IS_PLAIN) {
        true => match std::str::from_utf8(body) {
            Ok(text) => Body::Plain(text.into()),
            Err(_) => return malformed("a text is not UTF-8"),
        },
        false => Body::Envelope(Blob(body.into())),
    };
    Ok(Forward {
        sender,
        from,
        send: Send {
            to,
            mid,
            body,
            identity,
            again: has(IS_AGAIN),
            after,
        },
        at,
        first: has(IS_FIRST),
    })
}

/// Reads what the other end says.
///
/// # Errors
/// It can't be understood, and the connection has to end.
pub(super) fn read_response(frame: &[u8]) -> Result<Response, Malformed> {
    let mut fields = Fields(frame);
    match fields.byte()? {
        ANSWER => {
            let id = fields.number()?;
            Ok(Response::Answer(id, read_answer(fields)?))
        }
        CALLED => {
            let id = fields.number()?;
            Ok(Response::Called(id, fields.json()?))
        }
        BEAT => {
            fields.end()?;
            Ok(Response::Beat)
        }
        other => malformed(format!("nobody answers with a frame of kind {other}")),
    }
}

fn read_answer(mut fields: Fields<'_>) -> Result<Forwarded, Malformed> {
    let state = match fields.byte()? {
        STORED => MessageState::Stored,
        DELIVERED => MessageState::Delivered,
        OTHER => {
            return match fields.json()? {
                Called::Answer(answer) => Ok(Forwarded::Answer(answer)),
                _ => malformed("a message is not answered like a call"),
            };
        }
        NOT_HERE => {
            fields.end()?;
            return Ok(Forwarded::NotHere);
        }
        other => return malformed(format!("no message has an answer of kind {other}")),
    };
    let at = fields.number()?;
    let handle = match fields.0.is_empty() {
        true => None,
        false => Some(ByteArray(fields.array()?)),
    };
    fields.end()?;
    let accepted = Accepted { state, at, handle };
    Ok(Forwarded::Answer(Ok(Reply::Accepted(accepted))))
}

/// What is left of a frame.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((array, rest)) = self.0.split_first_chunk() else {
            return malformed("a frame ends too early");
        };
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn name(&mut self) -> Result<UserName, Malformed> {
        let length = usize::from(self.byte()?);
        let Some((name, rest)) = self.0.split_at_checked(length) else {
            return malformed("a frame ends within a name");
        };
        self.0 = rest;
        let name = std::str::from_utf8(name).ok();
        let name = name.and_then(|name| name.parse::<UserName>().ok());
        name.map_or_else(|| malformed("a name is no user's"), Ok)
    }

    fn json<T: DeserializeOwned>(self) -> Result<T, Malformed> {
        serde_json::from_slice(self.0).map_err(|error| Malformed(error.to_string()))
    }

    fn end(self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => malformed("a frame goes on behind its end"),
        }
    }
}

/// Reads a frame of either direction. Returns whether what was read, if anything, can be written and read
/// again without a change.
pub(super) fn reads_back(frame: &[u8]) -> bool {
    let requests = read_request(frame).map(|request| {
        let first = write_request(&request);
        let again = read_request(first.get(LENGTH..).unwrap_or_default());
        again.is_ok_and(|again| write_request(&again) == first)
    });
    let responses = read_response(frame).map(|response| {
        let first = write_response(&response);
        let again = read_response(first.get(LENGTH..).unwrap_or_default());
        again.is_ok_and(|again| write_response(&again) == first)
    });
    requests.unwrap_or(true) && responses.unwrap_or(true)
}

pub(super) fn write_request(request: &Request) -> Vec<u8> {
    let mut queue = Vec::new();
    match request {
        Request::Forward(id, forward) => write_forward(&mut queue, *id, forward),
        Request::Call(id, call) => write_call(&mut queue, *id, call),
        Request::Event(told) => write_event(&mut queue, told),
    }
    queue
}

fn write_response(response: &Response) -> Vec<u8> {
    let mut queue = Vec::new();
    match response {
        Response::Answer(id, forwarded) => write_answer(&mut queue, *id, forwarded),
        Response::Called(id, called) => write_called(&mut queue, *id, called),
        Response::Beat => write_beat(&mut queue),
    }
    queue
}
