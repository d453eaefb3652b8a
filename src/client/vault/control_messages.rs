//! What the client sends without being told to: requests to send messages again,
//! and the answers to such requests. Each has a place of its own among the
//! messages, so that all that leaves goes in one order.
//!
//! Also kept here: which messages could not be decrypted and may still arrive.

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use super::history::{Raw, raw};
use super::seal::Place;
use super::{Result, Vault, VaultError};
use crate::protocol::{ByteArray, MessageId};

/// How long an errand is remembered, so that somebody who could not decrypt it
/// can be told what it was: as long as messages are sent again.
pub(crate) const REMEMBERED_MS: u64 = 30 * 24 * 3600 * 1000;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlMessage {
    /// Its place.
    pub seq: i64,
    /// To whom.
    pub contact: i64,
    /// Its id.
    pub mid: MessageId,
    /// When it was made: milliseconds since 1970.
    pub at: u64,
    /// What it is.
    pub task: ControlKind,
    /// Whether it was encrypted and put into the outbox: that happens once.
    pub sent: bool,
}

/// What an errand is to tell the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// These could not be decrypted here.
    Prompt(Vec<MessageId>),
    /// The words of the message at a place, for the identity that asked.
    Again(i64, ByteArray<32>),
    /// Nothing was in these for a person, for the identity that asked.
    NothingThere(Vec<MessageId>, ByteArray<32>),
    /// Nothing yet: this identity asks for these, and the person has to say whether
    /// it gets them.
    Requested(Vec<MessageId>, ByteArray<32>),
}

impl Vault {
    /// Adds an errand, to be encrypted and sent after all that is there already; a
    /// [`ControlKind::Requested`] only waits.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_control_message(
        &mut self,
        contact: i64,
        mid: &MessageId,
        at: u64,
        task: &ControlKind,
    ) -> Result<()> {
        let seq = self.next_seq()?;
        let row = self.timed_row(Place::ControlMessage, seq, contact, &mid.0, at as i64)?;
        let sealed = self.seal_json(&row, &(task, false))?;
        self.db
            .prepare_cached(
                "INSERT INTO errands (seq, contact, mid, at, sealed) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((seq, contact, mid.0, at as i64, sealed))?;
        match task {
            ControlKind::Requested(..) => Ok(()),
            ControlKind::Prompt(_) | ControlKind::Again(..) | ControlKind::NothingThere(..) => {
                self.postpone(seq, contact)
            }
        }
    }

    /// Notes that an errand was put into the outbox.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn errand_sent(&mut self, control: &ControlMessage) -> Result<()> {
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
        let sealed = self.seal_json(&row, &(&control.task, true))?;
        self.db
            .prepare_cached("UPDATE errands SET sealed = ? WHERE seq = ?")?
            .execute((sealed, seq))?;
        Ok(())
    }

    /// What a contact has asked for and the person has to decide about, oldest first,
    /// but for rows that were changed.
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
            match self.opened_errand(row?) {
                Ok(ControlMessage {
                    task: ControlKind::Requested(ids, identity),
                    ..
                }) => requests.push((ids, identity)),
                Ok(_) | Err(VaultError::Damaged(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(requests)
    }

    /// Forgets what a contact has asked for: it was decided, or the identity that
    /// asked is known no more.
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
            match self.opened_errand(row) {
                Ok(ControlMessage {
                    task: ControlKind::Requested(..),
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

    /// Forgets the errands of long ago.
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

    /// The errand at a place.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn control(&self, seq: i64) -> Result<Option<ControlMessage>> {
        self.one_errand("seq = ?", [seq])
    }

    /// The errand to a contact under an id.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn control_message_by_mid(
        &self,
        contact: i64,
        mid: &MessageId,
    ) -> Result<Option<ControlMessage>> {
        self.one_errand("contact = ? AND mid = ?", (contact, mid.0))
    }

    fn one_errand(
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
        row.map(|row| self.opened_errand(row)).transpose()
    }

    fn opened_errand(&self, (seq, contact, mid, at, sealed): Raw) -> Result<ControlMessage> {
        let row = self.timed_row(Place::ControlMessage, seq, contact, &mid, at)?;
        let (task, sent) = self.open_json(&row, &sealed)?;
        Ok(ControlMessage {
            seq,
            contact,
            mid: MessageId(mid),
            at: at as u64,
            task,
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

    /// A message arrived after all, or never will.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn want_no_more(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM wanted WHERE contact = ? AND mid = ?")?
            .execute((contact, mid.0))?;
        Ok(())
    }

    /// The messages of a contact that are wanted and were asked for fewer than
    /// `times` times, in the order they came, `most` at most.
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

    /// The contacts of whom messages are wanted.
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
