//! Messages under way: what was taken, what is held back, what is to be sent.

use rusqlite::OptionalExtension;

use super::seal::Place;
use super::{Result, Vault};
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
        let sealed = self.seal_json(Place::Held, seq, message)?;
        self.db.execute(
            "INSERT INTO held (seq, contact, sealed) VALUES (?, ?, ?)",
            (seq, contact, sealed),
        )?;
        Ok(())
    }

    /// The envelopes kept for a contact, in the order they came, with the places
    /// of their messages.
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
            held.push((seq, self.open_json(Place::Held, seq, &sealed)?));
        }
        Ok(held)
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
        let sealed = self.seal_json(Place::Outbox, seq, send)?;
        self.db
            .prepare_cached("INSERT INTO outbox (seq, sealed) VALUES (?, ?)")?
            .execute((seq, sealed))?;
        Ok(())
    }

    /// The next of the outbox behind a place, oldest first.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn next_out(&self, behind: i64) -> Result<Option<(i64, Send)>> {
        let row = self
            .db
            .prepare_cached("SELECT seq, sealed FROM outbox WHERE seq > ? ORDER BY seq LIMIT 1")?
            .query_row([behind], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, sealed)): Option<(i64, Vec<u8>)> = row else {
            return Ok(None);
        };
        Ok(Some((seq, self.open_json(Place::Outbox, seq, &sealed)?)))
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
            "INSERT OR IGNORE INTO unsent (seq, contact) VALUES (?, ?)",
            (seq, contact),
        )?;
        Ok(())
    }

    /// The messages still to be encrypted, as places and contacts, oldest first.
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

    /// Whether anything is on its way to being accepted by the server, which is
    /// all that no changed identity holds back.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn under_way(&self) -> Result<bool> {
        if self.next_out(0)?.is_some() {
            return Ok(true);
        }
        let held = |contact| {
            let contact = self.contact_by_id(contact);
            contact.is_some_and(|contact| contact.offered.is_some())
        };
        Ok(self.postponed()?.iter().any(|(_, contact)| !held(*contact)))
    }
}
