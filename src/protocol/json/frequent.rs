//! Reads `send` and `ack`, which make up nearly all traffic, in one pass and where they are to
//! lie: moving the fields about would cost as much as reading them. All other requests, and whatever
//! is faulty, are left to the parser that says what is wrong.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::protocol::ids::{Blob, ByteArray, Handle, MessageId};
use crate::protocol::message::{Body, Send, Sender};
use crate::protocol::name::UserName;
use crate::protocol::request::{Ack, Request};

/// The fields of both, and the id.
#[derive(Default)]
pub(super) struct Frequent {
    pub(super) id: Option<u64>,
    op: Option<Op>,
    to: Option<UserName>,
    mid: Option<MessageId>,
    envelope: Option<Blob>,
    text: Option<Box<str>>,
    identity: Option<ByteArray<32>>,
    again: bool,
    after: Option<Handle>,
    from: Option<Sender>,
    ids: Option<Vec<MessageId>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Op {
    Send,
    Ack,
    #[serde(other)]
    Other,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Id,
    Op,
    To,
    Mid,
    Envelope,
    Text,
    Identity,
    Again,
    After,
    From,
    Ids,
    #[serde(other)]
    Unknown,
}

impl Frequent {
    /// Reads a line. `false` if it is not an object of such fields.
    pub(super) fn read(&mut self, line: &[u8]) -> bool {
        let mut line = serde_json::Deserializer::from_slice(line);
        Fields(self).deserialize(&mut line).is_ok() && line.end().is_ok()
    }

    /// The request, if it is a correct `send` or `ack`.
    pub(super) fn take_request(&mut self) -> Option<Request> {
        match self.op? {
            Op::Send => {
                let body = Body::of_send(self.envelope.take(), self.text.take()).ok()?;
                Some(Request::Send(Send {
                    to: self.to?,
                    mid: self.mid?,
                    body,
                    identity: self.identity,
                    again: self.again,
                    after: self.after,
                }))
            }
            Op::Ack => Some(Request::Ack(Ack {
                from: self.from?,
                ids: self.ids.take()?,
            })),
            Op::Other => None,
        }
    }
}

/// Fills the fields in.
struct Fields<'f>(&'f mut Frequent);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, line: D) -> Result<(), D::Error> {
        line.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields = self.0;
        let mut found = 0_u32;
        while let Some(field) = map.next_key::<Field>()? {
            let bit = 1 << field as u32;
            if found & bit != 0 && !matches!(field, Field::Unknown) {
                return Err(A::Error::custom("a field stands there twice"));
            }
            found |= bit;
            match field {
                Field::Id => fields.id = map.next_value()?,
                Field::Op => fields.op = Some(map.next_value()?),
                Field::To => fields.to = map.next_value()?,
                Field::Mid => fields.mid = map.next_value()?,
                Field::Envelope => fields.envelope = map.next_value()?,
                Field::Text => fields.text = map.next_value()?,
                Field::Identity => fields.identity = map.next_value()?,
                Field::Again => fields.again = map.next_value()?,
                Field::After => fields.after = map.next_value()?,
                Field::From => fields.from = map.next_value()?,
                Field::Ids => fields.ids = map.next_value()?,
                Field::Unknown => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
