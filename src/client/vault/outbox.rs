//! Messages under way: what was taken, what is held back, what is to be sent.

use rusqlite::OptionalExtension;

use super::seal::{Place, Row};
use super::{Result, Vault, VaultError};
use crate::protocol::MessageId;
use crate::protocol::reply::Incoming;
use crate::protocol::request::Send;

impl Vault {
    /// Whether this message was taken before.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn was_taken(&self, contact: i64, mid: &MessageId) -> Result<bool> {
        Ok(self
            .db
            .prepare_cached("SELECT 1 FROM taken WHERE contact = ? AND mid = ?")?
            .exists((contact, mid.0))?)
    }

    /// Notes that a message was taken, in the transaction that keeps it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn take(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        self.db
            .prepare_cached("INSERT INTO taken (contact, mid) VALUES (?, ?)")?
            .execute((contact, mid.0))?;
        Ok(())
    }

    /// Keeps an envelope until the identity it came under is accepted.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn hold(&mut self, seq: i64, contact: i64, message: &Incoming) -> Result<()> {
        let sealed = self.seal_json(&self.row_of(Place::Held, seq, contact)?, message)?;
        self.db.execute(
            "INSERT INTO held (seq, contact, sealed) VALUES (?, ?, ?)",
            (seq, contact, sealed),
        )?;
        Ok(())
    }

    /// The envelopes kept for a contact, in the order they came, with the places
    /// of their messages; without those whose rows were changed.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn held(&self, contact: i64) -> Result<Vec<(i64, Incoming)>> {
        let mut query = self
            .db
            .prepare_cached("SELECT seq, sealed FROM held WHERE contact = ? ORDER BY seq")?;
        let rows = query.query_map([contact], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut held = Vec::new();
        for row in rows {
            let (seq, sealed): (i64, Vec<u8>) = row?;
            let row = self.row_of(Place::Held, seq, contact)?;
            match self.open_json(&row, &sealed) {
                Ok(message) => held.push((seq, message)),
                Err(VaultError::Damaged(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }

    /// How many envelopes are kept for a contact, and how many bytes they take here.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn held_size(&self, contact: i64) -> Result<(u64, u64)> {
        let (count, bytes): (i64, i64) = self
            .db
            .prepare_cached(
                "SELECT count(*), coalesce(sum(length(sealed)), 0) FROM held WHERE contact = ?",
            )?
            .query_row([contact], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((count as u64, bytes as u64))
    }

    /// Lets a kept envelope go once it was tried again.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn release(&mut self, seq: i64) -> Result<()> {
        self.db.execute("DELETE FROM held WHERE seq = ?", [seq])?;
        Ok(())
    }

    /// Puts what is to be sent into the outbox, in the transaction that
    /// encrypted it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn put_out(&mut self, seq: i64, send: &Send) -> Result<()> {
        let sealed = self.seal_json(&Row::new(Place::Outbox, seq), send)?;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO outbox (seq, sealed) VALUES (?, ?)")?
            .execute((seq, sealed))?;
        Ok(())
    }

    /// The next of the outbox behind a place, oldest first; without what is to be
    /// sent if the row is not as it was written here.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn next_out(&self, behind: i64) -> Result<Option<(i64, Option<Send>)>> {
        let row = self
            .db
            .prepare_cached("SELECT seq, sealed FROM outbox WHERE seq > ? ORDER BY seq LIMIT 1")?
            .query_row([behind], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, sealed)): Option<(i64, Vec<u8>)> = row else {
            return Ok(None);
        };
        match self.open_json(&Row::new(Place::Outbox, seq), &sealed) {
            Ok(send) => Ok(Some((seq, Some(send)))),
            Err(VaultError::Damaged(..)) => Ok(Some((seq, None))),
            Err(error) => Err(error),
        }
    }

    /// Whether the next of the outbox behind a place is the one at `seq`.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_next_out(&self, behind: i64, seq: i64) -> Result<bool> {
        let next: Option<i64> = self
            .db
            .prepare_cached("SELECT min(seq) FROM outbox WHERE seq > ?")?
            .query_row([behind], |row| row.get(0))?;
        Ok(next == Some(seq))
    }

    /// Whether there is something in the outbox at a place.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_out(&self, seq: i64) -> Result<bool> {
        let mut query = self
            .db
            .prepare_cached("SELECT 1 FROM outbox WHERE seq = ?")?;
        Ok(query.exists([seq])?)
    }

    /// The last place in the outbox, 0 if it is empty.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn last_out(&self) -> Result<i64> {
        let sql = "SELECT coalesce(max(seq), 0) FROM outbox";
        Ok(self.db.query_row(sql, [], |row| row.get(0))?)
    }

    /// Takes a message out of the outbox: the server has answered for it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn answered(&mut self, seq: i64) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM outbox WHERE seq = ?")?
            .execute([seq])?;
        Ok(())
    }

    /// Notes that a message still has to be encrypted.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn postpone(&mut self, seq: i64, contact: i64) -> Result<()> {
        self.db.execute(
            "INSERT OR REPLACE INTO unsent (seq, contact) VALUES (?, ?)",
            (seq, contact),
        )?;
        Ok(())
    }

    /// Whether a message or an errand still has to be encrypted.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_postponed(&self, seq: i64) -> Result<bool> {
        let mut query = self
            .db
            .prepare_cached("SELECT 1 FROM unsent WHERE seq = ?")?;
        Ok(query.exists([seq])?)
    }

    /// The messages still to be encrypted, as places and contacts, oldest first.
    /// Nothing in these rows is sealed: whoever sends compares them with what is.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn postponed(&self) -> Result<Vec<(i64, i64)>> {
        let mut query = self
            .db
            .prepare_cached("SELECT seq, contact FROM unsent ORDER BY seq")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// A postponed message was encrypted, or given up.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn unpostpone(&mut self, seq: i64) -> Result<()> {
        self.db.execute("DELETE FROM unsent WHERE seq = ?", [seq])?;
        Ok(())
    }

    /// How many messages the server has not accepted yet.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn unanswered(&self) -> Result<u64> {
        let count: i64 = self.db.query_row(
            "SELECT count(*) FROM messages
             WHERE seq IN (SELECT seq FROM outbox UNION ALL SELECT seq FROM unsent)",
            [],
            |row| row.get(0),
        )?;
        Ok(count as u64)
    }
}
