//! One document of the original's collections, as both formats of an export lead to it: where it
//! stands, which collection it is of, and why there is none.

use std::fmt;
use std::io;

/// MongoDB's own bound of a document is 16 MiB; what is longer is no document.
pub(super) const MAX_DOCUMENT: usize = 16 * 1024 * 1024 + 16 * 1024;

/// Where in a file a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Position {
    /// The line on which it begins; the first is 1.
    Line(u64),
    /// The how-manieth it is, in a file without lines; the first is 1.
    Document(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Line(line) => write!(f, "line {line}"),
            Position::Document(number) => write!(f, "document {number}"),
        }
    }
}

/// Why a file can't be read to its end.
#[derive(Debug)]
pub(super) enum FormatError {
    /// The system does not read it, or what was compressed is damaged.
    Read(io::Error),
    /// It ends within the document there.
    Cut(Position),
    /// There is no document there.
    Wrong(Position, &'static str),
    /// It is an archive of several collections.
    Archive,
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        FormatError::Read(error)
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An ObjectId.
    ObjectId([u8; 12]),
    /// A value of a type that none of these fields has.
    Other,
}

impl Value {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The fields that an import reads. Others are passed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) id: Option<Value>,
    pub(super) username: Option<Value>,
    pub(super) password: Option<Value>,
    pub(super) sender: Option<Value>,
    pub(super) message: Option<Value>,
    /// A field that counts came twice.
    pub(super) is_ambiguous: bool,
}

/// Which collection a document is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collection {
    /// `accounts`: who may log in.
    Accounts,
    /// `messages`: what waits for somebody.
    Messages,
    /// `online_peers`: who was logged in at that moment.
    Peers,
    /// None of the original's.
    Unknown,
}

impl Document {
    /// Where a field of this name is kept, if it is.
    pub(super) fn slot(&mut self, name: &str) -> Option<&mut Option<Value>> {
        Some(match name {
            "_id" => &mut self.id,
            "username" => &mut self.username,
            "password" => &mut self.password,
            "sender" => &mut self.sender,
            "message" => &mut self.message,
            _ => return None,
        })
    }

    /// Keeps a field, if it is one of these.
    pub(super) fn keep(&mut self, name: &str, value: Value) {
        let Some(slot) = self.slot(name) else {
            return;
        };
        let came_before = slot.replace(value).is_some();
        self.is_ambiguous |= came_before;
    }

    /// The collection, which the fields tell.
    pub(super) fn collection(&self) -> Collection {
        if self.sender.is_some() || self.message.is_some() {
            Collection::Messages
        } else if self.password.is_some() {
            Collection::Accounts
        } else if self.username.is_some() {
            Collection::Peers
        } else {
            Collection::Unknown
        }
    }

    /// The ObjectId.
    pub(super) fn object_id(&self) -> Option<[u8; 12]> {
        match self.id {
            Some(Value::ObjectId(id)) => Some(id),
            _ => None,
        }
    }
}
