//! Control messages, which the client sends by itself: requests to send messages again,
//! and the answers to such requests. Each has a place of its own among the messages, so
//! that everything leaves in one order.
//!
//! Also here: which messages could not be decrypted and may still arrive. Whether
//! anything is asked for or sent again is decided in the messenger.

use serde::{Deserialize, Serialize};

use super::codec::Header;
use super::table::Table;
use super::{Result, Vault};
use crate::protocol::{ByteArray, MessageId};

/// How long a control message is remembered, in milliseconds: as long as messages are sent
/// again, so that somebody who could not decrypt it can be told what it was.
pub(crate) const REMEMBERED_MS: u64 = 30 * 24 * 3600 * 1000;

/// A control message.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlMessage {
    /// Its place among messages and control messages.
    pub seq: i64,
    /// The vault's number for the contact it goes to.
    pub contact: i64,
    /// Its id.
    pub mid: MessageId,
    /// When it was made: milliseconds since 1970.
    pub at: u64,
    /// What it is.
    pub kind: ControlKind,
    /// Whether it was encrypted and put into the outbox: that happens once.
    pub sent: bool,
}

/// What a control message tells the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// Asks for these again, which could not be decrypted here.
    #[serde(rename = "prompt")]
    ResendRequest(Vec<MessageId>),
    /// Sends the text of the message at a place again, to the identity that asked.
    #[serde(rename = "again")]
    Resend(i64, ByteArray<32>),
    /// Tells the identity that asked that these held nothing for a person.
    NothingThere(Vec<MessageId>, ByteArray<32>),
    /// Tells nothing yet: this identity asks for these, and the person has to decide
    /// whether it gets them.
    Requested(Vec<MessageId>, ByteArray<32>),
    /// Tells the contact that this account has joined by their invitation: its number, its end,
    /// and the proof. The proof names both identities, so it is worth nothing to another one.
    Introduction(ByteArray<8>, u64, ByteArray<32>),
    /// Confirmed messages. It was sent when it was made, and is not sent again.
    Receipt,
}

impl Vault {
    /// Adds a control message, to be encrypted and sent after everything that waits already;
    /// a [`ControlKind::Requested`] and a [`ControlKind::Receipt`] are only stored.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_control_message(
        &mut self,
        contact: i64,
        mid: &MessageId,
        at: u64,
        kind: &ControlKind,
    ) -> Result<()> {
        let seq = self.take_number()?;
        let control = ControlMessage {
            seq,
            contact,
            mid: *mid,
            at,
            kind: kind.clone(),
            sent: *kind == ControlKind::Receipt,
        };
        self.insert_control(&control)?;
        match kind {
            ControlKind::Requested(..) | ControlKind::Receipt => Ok(()),
            ControlKind::ResendRequest(_)
            | ControlKind::Resend(..)
            | ControlKind::Introduction(..)
            | ControlKind::NothingThere(..) => self.postpone(seq, contact),
        }
    }

    /// Notes that a control message was put into the outbox.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_control_sent(&mut self, control: &ControlMessage) -> Result<()> {
        let sent = true;
        self.save_control(&ControlMessage {
            sent,
            ..control.clone()
        })
    }

    /// Adds a control message at a place that none has.
    pub(super) fn insert_control(&mut self, control: &ControlMessage) -> Result<()> {
        self.save_control(control)?;
        self.file(control.contact, &control.mid, control.seq)
    }

    fn save_control(&mut self, control: &ControlMessage) -> Result<()> {
        let ControlMessage {
            seq,
            contact,
            mid,
            at,
            ..
        } = *control;
        let content = (&control.kind, control.sent);
        let json = self.json(Table::ControlMessages, seq, &content)?;
        let plain = Header { contact, mid, at }.before(&json);
        self.put(Table::ControlMessages, seq, &plain)
    }

    /// The requests of a contact about which the person has to decide, oldest first: the
    /// ids, and the identity that asked.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn requests(&self, contact: i64) -> Result<Vec<(Vec<MessageId>, ByteArray<32>)>> {
        let requests = self.undecided(contact)?.into_iter();
        Ok(requests.map(|(_, ids, identity)| (ids, identity)).collect())
    }

    /// Forgets the requests of a contact, because they were decided or the identity that
    /// asked was replaced.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn forget_requests(&mut self, contact: i64) -> Result<()> {
        for (control, ..) in self.undecided(contact)? {
            self.forget_control(&control)?;
        }
        Ok(())
    }

    /// The requests of a contact about which the person has to decide: each control
    /// message, with the ids and the identity that asked.
    fn undecided(
        &self,
        contact: i64,
    ) -> Result<Vec<(ControlMessage, Vec<MessageId>, ByteArray<32>)>> {
        let mut undecided = Vec::new();
        for seq in self.numbers(Table::ControlMessages) {
            let control = self.control(seq)?;
            let Some(control) = control.filter(|control| control.contact == contact) else {
                continue;
            };
            if let ControlKind::Requested(ids, identity) = &control.kind {
                let (ids, identity) = (ids.clone(), *identity);
                undecided.push((control, ids, identity));
            }
        }
        Ok(undecided)
    }

    fn forget_control(&mut self, control: &ControlMessage) -> Result<()> {
        self.unfile(control.contact, &control.mid, control.seq)?;
        self.delete(Table::ControlMessages, control.seq)
    }

    /// Forgets control messages older than [`REMEMBERED_MS`] that were sent.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn forget_control_messages(&mut self, now: u64) -> Result<()> {
        let oldest = now.saturating_sub(REMEMBERED_MS);
        let sent = |seq: &i64| !self.has(Table::Outbox, *seq) && !self.has(Table::Unsent, *seq);
        let sent: Vec<i64> = self.numbers(Table::ControlMessages).filter(sent).collect();
        for seq in sent {
            let control = self.control(seq)?;
            if let Some(control) = control.filter(|control| control.at < oldest) {
                self.forget_control(&control)?;
            }
        }
        Ok(())
    }

    /// The control message at a place.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn control(&self, seq: i64) -> Result<Option<ControlMessage>> {
        let table = Table::ControlMessages;
        let Some(plain) = self.get(table, seq)? else {
            return Ok(None);
        };
        let (header, json) = Header::split(&plain).ok_or_else(|| self.damaged_row(table, seq))?;
        let (kind, sent) = self.parse_json(table, seq, json)?;
        Ok(Some(ControlMessage {
            seq,
            contact: header.contact,
            mid: header.mid,
            at: header.at,
            kind,
            sent,
        }))
    }

    /// The control message to a contact under an id.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn control_message_by_mid(
        &self,
        contact: i64,
        mid: &MessageId,
    ) -> Result<Option<ControlMessage>> {
        for seq in self.numbers_of(contact, mid)? {
            if let Some(control) = self.control(seq)? {
                return Ok(Some(control));
            }
        }
        Ok(None)
    }

    /// Notes that a message could not be decrypted and is to be asked for.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn want(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        let mut wanted = self.all_wanted(contact)?;
        if wanted.iter().any(|(known, _)| known == mid) {
            return Ok(());
        }
        wanted.push((*mid, 0));
        self.save_wanted(contact, &wanted)
    }

    /// Notes that a wanted message arrived, or never will.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn want_no_more(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        let mut wanted = self.all_wanted(contact)?;
        let before = wanted.len();
        wanted.retain(|(known, _)| known != mid);
        match wanted.len() == before {
            true => Ok(()),
            false => self.save_wanted(contact, &wanted),
        }
    }

    /// At most `most` wanted messages of a contact that were asked for fewer than `times`
    /// times, in the order of their arrival.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn wanted(&self, contact: i64, times: u8, most: usize) -> Result<Vec<MessageId>> {
        let wanted = self.all_wanted(contact)?.into_iter();
        let fewer = wanted.filter(|(_, asked)| *asked < u64::from(times));
        Ok(fewer.map(|(mid, _)| mid).take(most).collect())
    }

    /// Whether a message is still wanted.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_wanted(&self, contact: i64, mid: &MessageId) -> Result<bool> {
        let wanted = self.all_wanted(contact)?;
        Ok(wanted.iter().any(|(known, _)| known == mid))
    }

    /// Counts one more time that a message is asked for.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn asked(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        let mut wanted = self.all_wanted(contact)?;
        for (_, asked) in wanted.iter_mut().filter(|(known, _)| known == mid) {
            *asked += 1;
        }
        self.save_wanted(contact, &wanted)
    }

    /// The contacts from whom messages are wanted.
    pub fn wanting(&self) -> Vec<i64> {
        self.numbers(Table::Wanted).collect()
    }

    /// The wanted messages of a contact in the order of their arrival, each with how often
    /// it was asked for.
    fn all_wanted(&self, contact: i64) -> Result<Vec<(MessageId, u64)>> {
        let wanted = self.get_json(Table::Wanted, contact)?;
        Ok(wanted.unwrap_or_default())
    }

    pub(super) fn save_wanted(&mut self, contact: i64, wanted: &[(MessageId, u64)]) -> Result<()> {
        match wanted.is_empty() {
            true => self.delete(Table::Wanted, contact),
            false => self.put_json(Table::Wanted, contact, &wanted),
        }
    }
}
