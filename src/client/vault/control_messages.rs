//! Control messages, which the client sends by itself: requests to send messages again,
//! and the answers to such requests. Each has a place of its own among the messages, so
//! that everything leaves in one order. The table is called `errands`.
//!
//! Also here: which messages could not be decrypted and may still arrive. Whether
//! anything is asked for or sent again is decided in the messenger.

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use super::history::{Raw, raw};
use super::seal::Place;
use super::{Result, Vault, VaultError};
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
        let seq = self.next_seq()?;
        let row = self.timed_row(Place::ControlMessage, seq, contact, &mid.0, at as i64)?;
        let sent = *kind == ControlKind::Receipt;
        let sealed = self.seal_json(&row, &(kind, sent))?;
        self.db
            .prepare_cached(
                "INSERT INTO errands (seq, contact, mid, at, sealed) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((seq, contact, mid.0, at as i64, sealed))?;
        match kind {
            ControlKind::Requested(..) | ControlKind::Receipt => Ok(()),
            ControlKind::ResendRequest(_)
            | ControlKind::Resend(..)
            | ControlKind::NothingThere(..) => self.postpone(seq, contact),
        }
    }

    /// Notes that a control message was put into the outbox.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_control_sent(&mut self, control: &ControlMessage) -> Result<()> {
        let ControlMessage {
            seq, contact, mid, ..
        } = *control;
        let row = self.timed_row(
            Place::ControlMessage,
            seq,
            contact,
            &mid.0,
            control.at as i64,
        )?;
        let sealed = self.seal_json(&row, &(&control.kind, true))?;
        self.db
            .prepare_cached("UPDATE errands SET sealed = ? WHERE seq = ?")?
            .execute((sealed, seq))?;
        Ok(())
    }

    /// The requests of a contact about which the person has to decide, oldest first: the
    /// ids, and the identity that asked. Rows that somebody changed are left out.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn requests(&self, contact: i64) -> Result<Vec<(Vec<MessageId>, ByteArray<32>)>> {
        let sql =
            "SELECT seq, contact, mid, at, sealed FROM errands WHERE contact = ? ORDER BY seq";
        let mut query = self.db.prepare_cached(sql)?;
        let rows = query.query_map([contact], raw)?;
        let mut requests = Vec::new();
        for row in rows {
            match self.open_control_row(row?) {
                Ok(ControlMessage {
                    kind: ControlKind::Requested(ids, identity),
                    ..
                }) => requests.push((ids, identity)),
                Ok(_) | Err(VaultError::Damaged(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(requests)
    }

    /// Forgets the requests of a contact, because they were decided or the identity that
    /// asked was replaced.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn forget_requests(&mut self, contact: i64) -> Result<()> {
        let sql = "SELECT seq, contact, mid, at, sealed FROM errands WHERE contact = ?";
        let rows: Vec<_> = self
            .db
            .prepare_cached(sql)?
            .query_map([contact], raw)?
            .collect::<rusqlite::Result<_>>()?;
        for row in rows {
            let seq = row.0;
            match self.open_control_row(row) {
                Ok(ControlMessage {
                    kind: ControlKind::Requested(..),
                    ..
                }) => {
                    self.db
                        .execute("DELETE FROM errands WHERE seq = ?", [seq])?;
                }
                Ok(_) | Err(VaultError::Damaged(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Forgets control messages older than [`REMEMBERED_MS`] that were sent.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn forget_control_messages(&mut self, now: u64) -> Result<()> {
        self.db.execute(
            "DELETE FROM errands WHERE at < ?
             AND seq NOT IN (SELECT seq FROM outbox UNION ALL SELECT seq FROM unsent)",
            [now.saturating_sub(REMEMBERED_MS) as i64],
        )?;
        Ok(())
    }

    /// The control message at a place.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn control(&self, seq: i64) -> Result<Option<ControlMessage>> {
        self.one_control("seq = ?", [seq])
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
        self.one_control("contact = ? AND mid = ?", (contact, mid.0))
    }

    fn one_control(
        &self,
        which: &str,
        values: impl rusqlite::Params,
    ) -> Result<Option<ControlMessage>> {
        let sql = format!("SELECT seq, contact, mid, at, sealed FROM errands WHERE {which}");
        let row = self
            .db
            .prepare_cached(&sql)?
            .query_row(values, raw)
            .optional()?;
        row.map(|row| self.open_control_row(row)).transpose()
    }

    fn open_control_row(&self, (seq, contact, mid, at, sealed): Raw) -> Result<ControlMessage> {
        let row = self.timed_row(Place::ControlMessage, seq, contact, &mid, at)?;
        let (kind, sent) = self.open_json(&row, &sealed)?;
        Ok(ControlMessage {
            seq,
            contact,
            mid: MessageId(mid),
            at: at as u64,
            kind,
            sent,
        })
    }

    /// Notes that a message could not be decrypted and is to be asked for.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn want(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO wanted (contact, mid, asked) VALUES (?, ?, 0)")?
            .execute((contact, mid.0))?;
        Ok(())
    }

    /// Notes that a wanted message arrived, or never will.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn want_no_more(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM wanted WHERE contact = ? AND mid = ?")?
            .execute((contact, mid.0))?;
        Ok(())
    }

    /// At most `most` wanted messages of a contact that were asked for fewer than `times`
    /// times, in the order of their arrival.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn wanted(&self, contact: i64, times: u8, most: usize) -> Result<Vec<MessageId>> {
        let mut query = self.db.prepare_cached(
            "SELECT mid FROM wanted WHERE contact = ? AND asked < ? ORDER BY id LIMIT ?",
        )?;
        let rows = query.query_map((contact, times, most as i64), |row| row.get(0))?;
        Ok(rows
            .map(|row| row.map(MessageId))
            .collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a message is still wanted.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_wanted(&self, contact: i64, mid: &MessageId) -> Result<bool> {
        Ok(self
            .db
            .prepare_cached("SELECT 1 FROM wanted WHERE contact = ? AND mid = ?")?
            .exists((contact, mid.0))?)
    }

    /// Counts one more time that a message is asked for.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn asked(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        self.db
            .prepare_cached("UPDATE wanted SET asked = asked + 1 WHERE contact = ? AND mid = ?")?
            .execute((contact, mid.0))?;
        Ok(())
    }

    /// The contacts from whom messages are wanted.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn wanting(&self) -> Result<Vec<i64>> {
        let mut query = self
            .db
            .prepare_cached("SELECT DISTINCT contact FROM wanted")?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
