//! Messages under way: ids seen, envelopes held until an identity is accepted, and what
//! is still to be encrypted or sent. Nothing here encrypts or sends.

use rusqlite::OptionalExtension;

use serde::{Deserialize, Serialize};

use super::seal::{Place, Row};
use super::{Result, Vault, VaultError};
use crate::crypto::ratchet::counters::MessageNumber;
use crate::protocol::reply::Incoming;
use crate::protocol::request::Send;
use crate::protocol::{ByteArray, MessageId, UserName};

/// A row of the outbox.
#[derive(Deserialize)]
#[serde(untagged)]
enum OutboxRow {
    /// With the message's number in the conversation, if it has one.
    Numbered(Send, Option<(ByteArray<16>, u32)>),
    /// As it was written before messages had numbers.
    Bare(Send),
}

impl OutboxRow {
    fn into_parts(self) -> (Send, Option<MessageNumber>) {
        match self {
            OutboxRow::Numbered(send, number) => {
                let number =
                    number.map(|(ByteArray(instance), number)| MessageNumber { instance, number });
                (send, number)
            }
            OutboxRow::Bare(send) => (send, None),
        }
    }
}

/// What is written of a row.
#[derive(Serialize)]
struct NewRow<'a>(&'a Send, Option<(ByteArray<16>, u32)>);

impl Vault {
    /// Whether a message with this id was received from the contact before.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_seen(&self, contact: i64, mid: &MessageId) -> Result<bool> {
        Ok(self
            .db
            .prepare_cached("SELECT 1 FROM taken WHERE contact = ? AND mid = ?")?
            .exists((contact, mid.0))?)
    }

    /// Notes the id of a received message, in the transaction that stores the message.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_seen(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        self.db
            .prepare_cached("INSERT INTO taken (contact, mid) VALUES (?, ?)")?
            .execute((contact, mid.0))?;
        Ok(())
    }

    /// Holds an envelope until the identity that it came under is accepted.
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

    /// The envelopes held for a contact, each with the place of its message, in the order
    /// of their arrival. Rows that somebody changed are left out.
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

    /// How many envelopes are held for a contact, and how many bytes they take here.
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

    /// Removes a held envelope, which was decrypted or given up.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn release(&mut self, seq: i64) -> Result<()> {
        self.db.execute("DELETE FROM held WHERE seq = ?", [seq])?;
        Ok(())
    }

    /// Puts what is to be sent into the outbox, in the transaction that
    /// encrypted it, with its number in the conversation.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_to_outbox(
        &mut self,
        seq: i64,
        send: &Send,
        number: Option<MessageNumber>,
    ) -> Result<()> {
        let number = number.map(|number| (ByteArray(number.instance), number.number));
        let row = NewRow(send, number);
        let sealed = self.seal_json(&Row::new(Place::Outbox, seq), &row)?;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO outbox (seq, sealed) VALUES (?, ?)")?
            .execute((seq, sealed))?;
        Ok(())
    }

    /// The first place of the outbox after `behind`, and what is to be sent; `None` in its
    /// stead if somebody changed the row.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn next_in_outbox(&self, behind: i64) -> Result<Option<(i64, Option<Send>)>> {
        let row = self
            .db
            .prepare_cached("SELECT seq, sealed FROM outbox WHERE seq > ? ORDER BY seq LIMIT 1")?
            .query_row([behind], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, sealed)): Option<(i64, Vec<u8>)> = row else {
            return Ok(None);
        };
        match self.open_json::<OutboxRow>(&Row::new(Place::Outbox, seq), &sealed) {
            Ok(row) => Ok(Some((seq, Some(row.into_parts().0)))),
            Err(VaultError::Damaged(..)) => Ok(Some((seq, None))),
            Err(error) => Err(error),
        }
    }

    /// To whom the message at a place goes, and its number in the conversation.
    ///
    /// # Errors
    /// That the vault could not be read, or that somebody changed the row.
    pub fn number_in_outbox(&self, seq: i64) -> Result<Option<(UserName, MessageNumber)>> {
        let sealed: Option<Vec<u8>> = self
            .db
            .prepare_cached("SELECT sealed FROM outbox WHERE seq = ?")?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let row: OutboxRow = self.open_json(&Row::new(Place::Outbox, seq), &sealed)?;
        let (send, number) = row.into_parts();
        Ok(number.map(|number| (send.to, number)))
    }

    /// Whether the next of the outbox behind a place is the one at `seq`.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_next_in_outbox(&self, behind: i64, seq: i64) -> Result<bool> {
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
    pub fn is_in_outbox(&self, seq: i64) -> Result<bool> {
        let mut query = self
            .db
            .prepare_cached("SELECT 1 FROM outbox WHERE seq = ?")?;
        Ok(query.exists([seq])?)
    }

    /// The last place in the outbox, 0 if it is empty.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn last_in_outbox(&self) -> Result<i64> {
        let sql = "SELECT coalesce(max(seq), 0) FROM outbox";
        Ok(self.db.query_row(sql, [], |row| row.get(0))?)
    }

    /// Removes a message from the outbox, because the server has answered for it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn remove_from_outbox(&mut self, seq: i64) -> Result<()> {
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

    /// Whether a message or a control message still has to be encrypted.
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
    /// Nothing in these rows is sealed, so the sender compares them with the sealed message.
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

    /// Notes that a postponed message was encrypted or given up.
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
