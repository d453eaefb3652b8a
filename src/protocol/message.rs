//! What a message is on its way: its body, its sender, and the request that sends it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{Blob, ByteArray, Handle, MessageId, TextVisitor};
use super::limits;
use super::name::UserName;
use super::refusal::{Code, Refusal};

/// The body of a message. The server sees which of the two it is; it can read only the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A text encrypted end to end, which is opaque here: 1 to [`limits::MAX_ENVELOPE`] bytes.
    Envelope(Blob),
    /// A text that the server and the network can read: 1 to [`limits::MAX_TEXT`] bytes.
    Plain(Box<str>),
}

impl Body {
    /// The size in bytes, as quotas count it.
    pub fn len(&self) -> usize {
        match self {
            Body::Envelope(blob) => blob.0.len(),
            Body::Plain(text) => text.len(),
        }
    }

    /// The body that the two fields of the wire hold.
    ///
    /// # Errors
    /// Both of them are there, or none.
    pub(super) fn from_fields(
        envelope: Option<Blob>,
        text: Option<Box<str>>,
    ) -> Result<Self, Refusal> {
        match (envelope, text) {
            (Some(envelope), None) => Ok(Body::Envelope(envelope)),
            (None, Some(text)) => Ok(Body::Plain(text)),
            _ => Err(Refusal::bad_request(
                "a message has either an 'envelope' or a 'text'",
            )),
        }
    }

    /// The two fields of the wire, one of them empty.
    pub(super) fn into_fields(self) -> (Option<Blob>, Option<Box<str>>) {
        match self {
            Body::Envelope(blob) => (Some(blob), None),
            Body::Plain(text) => (None, Some(text)),
        }
    }

    /// The body of a `send`, as [`from_fields`](Self::from_fields) reads it, within the bounds
    /// that a server accepts.
    pub(super) fn of_send(envelope: Option<Blob>, text: Option<Box<str>>) -> Result<Self, Refusal> {
        let body = Self::from_fields(envelope, text)?;
        match &body {
            body if body.is_empty() => Err(Refusal::bad_request("the message is empty")),
            Body::Envelope(blob) if blob.0.len() > limits::MAX_ENVELOPE => Err(Refusal::new(
                Code::TooLarge,
                "an envelope has at most 24576 bytes",
            )),
            Body::Plain(text) if text.len() > limits::MAX_TEXT => Err(Refusal::new(
                Code::TooLarge,
                "a text has at most 16384 bytes",
            )),
            Body::Envelope(_) | Body::Plain(_) => Ok(body),
        }
    }

    /// Whether it has no bytes. Such a body is never accepted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Fields of `send`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "SendFields", into = "SendFields")]
pub struct Send {
    /// The recipient.
    pub to: UserName,
    /// The message's id.
    pub mid: MessageId,
    /// The body: `envelope` or `text` on the wire.
    pub body: Body,
    /// The fingerprint of the recipient identity that the envelope was made for.
    pub identity: Option<ByteArray<32>>,
    /// Whether the message may have been sent before, on a connection that was lost. The server
    /// then looks for it in the store, too.
    pub again: bool,
    /// With `again`: the handle of a message to the same recipient that was accepted before this
    /// one was sent for the first time. Only what came later is searched.
    pub after: Option<Handle>,
}

/// The fields of `send` on the wire.
#[derive(Serialize, Deserialize)]
pub(super) struct SendFields {
    to: UserName,
    mid: MessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    envelope: Option<Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<ByteArray<32>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Handle>,
}

impl TryFrom<SendFields> for Send {
    type Error = Refusal;

    fn try_from(fields: SendFields) -> Result<Self, Self::Error> {
        let body = Body::of_send(fields.envelope, fields.text)?;
        Ok(Send {
            to: fields.to,
            mid: fields.mid,
            body,
            identity: fields.identity,
            again: fields.again,
            after: fields.after,
        })
    }
}

impl From<Send> for SendFields {
    fn from(send: Send) -> Self {
        let (envelope, text) = send.body.into_fields();
        SendFields {
            to: send.to,
            mid: send.mid,
            envelope,
            text,
            identity: send.identity,
            again: send.again,
            after: send.after,
        }
    }
}

/// The sender of a message: a user, or the server itself, called `*`, which is no user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A user.
    User(UserName),
    /// The server, whose messages are its notices.
    Server,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::User(name) => fmt::Display::fmt(name, f),
            Sender::Server => f.pad("*"),
        }
    }
}

impl Serialize for Sender {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Sender::User(name) => name.serialize(serializer),
            Sender::Server => serializer.serialize_str("*"),
        }
    }
}

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("a user name or *", |text| match text {
            "*" => Ok(Sender::Server),
            name => name.parse::<UserName>().map(Sender::User),
        }))
    }
}
