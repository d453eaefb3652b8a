//! Messages under way: what is still to be encrypted or sent, and envelopes that wait
//! until an identity is accepted. Nothing here encrypts or sends.

use super::codec::{Header, Reader};
use super::table::Table;
use super::{Result, Vault, unchanged};
use crate::crypto::ratchet::counters::MessageNumber;
use crate::protocol::ids::Handle;
use crate::protocol::reply::Incoming;
use crate::protocol::request::Send;
use crate::protocol::{Blob, Body, ByteArray, MessageId};

/// The kinds of a body in the vault.
const ENVELOPE: u8 = 1;
const PLAIN: u8 = 2;

/// What a value of the outbox has before the body: an identity that it is bound to, a
/// number in the conversation, and the handle of an earlier message.
const BOUND: u8 = 1;
const NUMBERED: u8 = 2;
const BEHIND: u8 = 4;

/// A value of the outbox, taken apart: `flags (1) || identity (32) [|| instance (16) ||
/// number (4)] [|| handle (16)] || body`.
pub(super) struct OutboxRow<'a> {
    identity: Option<ByteArray<32>>,
    number: Option<MessageNumber>,
    after: Option<Handle>,
    body: &'a [u8],
}

impl<'a> OutboxRow<'a> {
    pub(super) fn split(plain: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(plain);
        let flags = reader.byte()?;
        if flags & !(BOUND | NUMBERED | BEHIND) != 0 {
            return None;
        }
        let identity = ByteArray(reader.array()?);
        if flags & BOUND == 0 && identity.0 != [0; 32] {
            return None;
        }
        let number = match flags & NUMBERED {
            0 => None,
            _ => Some(MessageNumber {
                instance: reader.array()?,
                number: u32::from_be_bytes(reader.array()?),
            }),
        };
        let after = match flags & BEHIND {
            0 => None,
            _ => Some(ByteArray(reader.array()?)),
        };
        Some(OutboxRow {
            identity: (flags & BOUND != 0).then_some(identity),
            number,
            after,
            body: reader.0,
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let flags = self.identity.map_or(0, |_| BOUND)
            | self.number.map_or(0, |_| NUMBERED)
            | self.after.map_or(0, |_| BEHIND);
        let identity = self.identity.map_or([0; 32], |identity| identity.0);
        let mut bytes = [&[flags], &identity[..]].concat();
        if let Some(MessageNumber { instance, number }) = self.number {
            bytes.extend_from_slice(&instance);
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        if let Some(handle) = self.after {
            bytes.extend_from_slice(&handle.0);
        }
        bytes.extend_from_slice(self.body);
        bytes
    }
}

impl Vault {
    /// Holds an envelope until the identity that it came under is accepted.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn hold(&mut self, seq: i64, contact: i64, message: &Incoming) -> Result<()> {
        let (mid, at) = (message.mid, message.at);
        let header = Header { contact, mid, at };
        let plain = header.before(&body_to_bytes(&message.body));
        self.put(Table::WaitingEnvelopes, seq, &plain)
    }

    /// The envelopes held for a contact, each with the place of its message, in the order
    /// of their arrival.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn held(&self, contact: i64) -> Result<Vec<(i64, Incoming)>> {
        let mut held = Vec::new();
        for seq in self.held_places(contact)? {
            if let Some(plain) = self.get(Table::WaitingEnvelopes, seq)? {
                let message = self.incoming(contact, &plain);
                let damaged = || self.damaged_row(Table::WaitingEnvelopes, seq);
                held.push((seq, message.ok_or_else(damaged)?));
            }
        }
        Ok(held)
    }

    /// The message that waits in a value, from its contact.
    fn incoming(&self, contact: i64, plain: &[u8]) -> Option<Incoming> {
        let (header, body) = Header::split(plain)?;
        let from = self.contact_by_id(contact)?.name;
        Some(Incoming {
            from,
            mid: header.mid,
            at: header.at,
            body: body_from_bytes(body)?,
        })
    }

    /// The places of the envelopes that are held for a contact: those of its messages.
    fn held_places(&self, contact: i64) -> Result<Vec<i64>> {
        let mut places = Vec::new();
        for seq in self.numbers(Table::WaitingEnvelopes) {
            if self.contact_of_message(seq)? == Some(contact) {
                places.push(seq);
            }
        }
        Ok(places)
    }

    /// How many envelopes are held for a contact, and how many bytes they take here.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn held_size(&self, contact: i64) -> Result<(u64, u64)> {
        let places = self.held_places(contact)?;
        let bytes = |seq: &i64| self.len_of(Table::WaitingEnvelopes, *seq);
        Ok((places.len() as u64, places.iter().map(bytes).sum()))
    }

    /// Removes a held envelope, which was decrypted or given up.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn release(&mut self, seq: i64) -> Result<()> {
        self.delete(Table::WaitingEnvelopes, seq)
    }

    /// Puts what is to be sent into the outbox, in the transaction that
    /// encrypted it, with its number in the conversation. Whom it goes to, and under which id,
    /// is said by the message or control message at its place. With it stays the handle of
    /// the last message that the server had accepted for the same contact: one that comes
    /// later may lie behind this message.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_to_outbox(
        &mut self,
        seq: i64,
        send: &Send,
        number: Option<MessageNumber>,
    ) -> Result<()> {
        let row = OutboxRow {
            identity: send.identity,
            number,
            after: send.after,
            body: &body_to_bytes(&send.body),
        };
        self.put(Table::Outbox, seq, &row.to_bytes())
    }

    /// To whom the message at a place goes, and its number in the conversation, if there is
    /// one in the outbox that has a number.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn number_in_outbox(&self, seq: i64) -> Result<Option<(i64, MessageNumber)>> {
        let Some(plain) = self.get(Table::Outbox, seq)? else {
            return Ok(None);
        };
        let row = OutboxRow::split(&plain).ok_or_else(|| self.damaged_row(Table::Outbox, seq))?;
        let (contact, _) = self.addressed(seq)?;
        Ok(row.number.map(|number| (contact, number)))
    }

    /// The first place of the outbox after `behind`, and what is to be sent.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn next_in_outbox(&self, behind: i64) -> Result<Option<(i64, Send)>> {
        let Some(seq) = self.number_behind(Table::Outbox, behind) else {
            return Ok(None);
        };
        let plain = self.get(Table::Outbox, seq)?;
        let (contact, mid) = self.addressed(seq)?;
        let send = plain.and_then(|plain| {
            let row = OutboxRow::split(&plain)?;
            Some(Send {
                to: self.contact_by_id(contact)?.name,
                mid,
                body: body_from_bytes(row.body)?,
                identity: row.identity,
                again: false,
                after: row.after,
            })
        });
        let send = send.ok_or_else(|| self.damaged_row(Table::Outbox, seq))?;
        Ok(Some((seq, send)))
    }

    /// The contact and the id of the message or control message at a place.
    fn addressed(&self, seq: i64) -> Result<(i64, MessageId)> {
        if let Some(message) = self.message(seq)? {
            return Ok((message.contact, message.mid));
        }
        let control = self.control(seq)?;
        let control = control.ok_or_else(|| self.damaged_row(Table::Outbox, seq))?;
        Ok((control.contact, control.mid))
    }

    /// Whether the next of the outbox behind a place is the one at `seq`.
    pub fn is_next_in_outbox(&self, behind: i64, seq: i64) -> bool {
        self.number_behind(Table::Outbox, behind) == Some(seq)
    }

    /// Whether there is something in the outbox at a place.
    pub(crate) fn is_in_outbox(&self, seq: i64) -> bool {
        self.has(Table::Outbox, seq)
    }

    /// The last place in the outbox, 0 if it is empty.
    pub fn last_in_outbox(&self) -> i64 {
        self.numbers(Table::Outbox).next_back().unwrap_or(0)
    }

    /// Removes a message from the outbox, because the server has answered for it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn remove_from_outbox(&mut self, seq: i64) -> Result<()> {
        self.delete(Table::Outbox, seq)
    }

    /// Notes that a message still has to be encrypted.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn postpone(&mut self, seq: i64, contact: i64) -> Result<()> {
        self.put(Table::Unsent, seq, &contact.to_be_bytes())
    }

    /// The messages still to be encrypted, as places and contacts, oldest first.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn postponed(&self) -> Result<Vec<(i64, i64)>> {
        let mut postponed = Vec::new();
        for seq in self.numbers(Table::Unsent) {
            if let Some(plain) = self.get(Table::Unsent, seq)? {
                let contact = Reader(&plain).array().map(i64::from_be_bytes);
                let contact = contact.ok_or_else(|| self.damaged_row(Table::Unsent, seq))?;
                postponed.push((seq, contact));
            }
        }
        Ok(postponed)
    }

    /// Whether a message still has to be encrypted.
    pub fn is_postponed(&self, seq: i64) -> bool {
        self.has(Table::Unsent, seq)
    }

    /// Notes that a postponed message was encrypted or given up.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn unpostpone(&mut self, seq: i64) -> Result<()> {
        self.delete(Table::Unsent, seq)
    }

    /// The places of what the server has not accepted yet, oldest first.
    pub(crate) fn not_accepted(&self) -> Vec<i64> {
        let outbox = self.numbers(Table::Outbox);
        let mut places: Vec<i64> = outbox.chain(self.numbers(Table::Unsent)).collect();
        places.sort_unstable();
        places
    }

    /// The places and contacts of the messages that the server has not accepted and whose rows
    /// somebody changed.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub(crate) fn changed_while_waiting(&self) -> Result<Vec<(i64, i64)>> {
        let mut changed = Vec::new();
        for seq in self.not_accepted() {
            if let Some(contact) = self.contact_of_message(seq)?
                && unchanged(self.message(seq))?.is_none()
            {
                changed.push((seq, contact));
            }
        }
        Ok(changed)
    }

    /// How many messages the server has not accepted yet.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn unanswered(&self) -> Result<u64> {
        let mut count = 0;
        for seq in self.not_accepted() {
            count += u64::from(self.contact_of_message(seq)?.is_some());
        }
        Ok(count)
    }
}

/// A body as it stands in the vault: its kind, then its bytes as they are.
pub(super) fn body_to_bytes(body: &Body) -> Vec<u8> {
    match body {
        Body::Envelope(envelope) => [&[ENVELOPE], &envelope.0[..]].concat(),
        Body::Plain(text) => [&[PLAIN], text.as_bytes()].concat(),
    }
}

pub(super) fn body_from_bytes(bytes: &[u8]) -> Option<Body> {
    match bytes.split_first()? {
        (&ENVELOPE, envelope) => Some(Body::Envelope(Blob(envelope.into()))),
        (&PLAIN, text) => Some(Body::Plain(std::str::from_utf8(text).ok()?.into())),
        _ => None,
    }
}
