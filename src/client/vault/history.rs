//! The history: sent and received messages that a person can look at again. How a message
//! is sent or trusted is not decided here.

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use super::seal::{Place, Row};
use super::{Result, Vault, VaultError};
use crate::protocol::{ByteArray, MessageId};

/// One message of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// Its place in the history.
    pub seq: i64,
    /// The vault's number for the contact it was exchanged with.
    pub contact: i64,
    /// Its id.
    pub mid: MessageId,
    /// When it happened here, or the server took it: milliseconds since 1970.
    pub at: u64,
    /// The sealed part.
    pub record: MessageRecord,
}

/// What is known about a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Whether this account sent it.
    pub outgoing: bool,
    /// Its text; empty if it could not be decrypted.
    pub text: String,
    /// How it travelled.
    pub form: EncryptionStatus,
    /// How far it got.
    pub state: DeliveryState,
    /// The sender's clock when it was written.
    pub sent_at: Option<u64>,
    /// The server's clock when it was accepted.
    pub stored_at: Option<u64>,
    /// Our clock when the server said it was delivered.
    pub delivered_at: Option<u64>,
    /// Our clock when the recipient's client proved that it has the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<u64>,
    /// The fingerprint of the other side's identity it was encrypted with.
    pub identity: Option<ByteArray<32>>,
    /// Whether that identity had been verified by hand.
    pub verified: bool,
    /// The ids of the answers to requests to send it again.
    #[serde(rename = "again", default, skip_serializing_if = "Vec::is_empty")]
    pub resends: Vec<MessageId>,
}

/// How a message travelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncryptionStatus {
    /// Encrypted end to end.
    Encrypted,
    /// Readable by the server and the network.
    Unencrypted,
    /// Came encrypted and could not be decrypted, for this reason.
    Undecryptable(String),
    /// Came under another identity than the known one, and waits for its acceptance.
    Held,
}

/// How far a message got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Not yet accepted by the server.
    Waiting,
    /// Accepted.
    Stored,
    /// Acknowledged by the recipient's client, as the server says.
    Delivered,
    /// Decrypted by the recipient's client, which has proven it.
    Confirmed,
    /// Received here.
    Received,
    /// Given up, for this reason.
    Failed(String),
}

impl DeliveryState {
    /// Whether the recipient's client has the message, as the server or that client says.
    pub fn has_arrived(&self) -> bool {
        matches!(self, DeliveryState::Delivered | DeliveryState::Confirmed)
    }
}

impl Vault {
    /// Adds a message at the end and gives its place.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_message(
        &mut self,
        contact: i64,
        mid: &MessageId,
        at: u64,
        record: &MessageRecord,
    ) -> Result<i64> {
        let seq = self.next_seq()?;
        let row = self.timed_row(Place::Message, seq, contact, &mid.0, at as i64)?;
        let sealed = self.seal_json(&row, record)?;
        self.db
            .prepare_cached(
                "INSERT INTO messages (seq, contact, mid, at, sealed) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((seq, contact, mid.0, at as i64, sealed))?;
        Ok(seq)
    }

    /// The row of a message or a control message.
    pub(super) fn timed_row(
        &self,
        place: Place,
        seq: i64,
        contact: i64,
        mid: &[u8; 16],
        at: i64,
    ) -> Result<Row> {
        let row = self.row_of(place, seq, contact)?;
        Ok(row.with(mid).with_number(at))
    }

    /// The next place, which no message and no control message ever had.
    ///
    /// # Errors
    /// That it could not be read.
    pub(super) fn next_seq(&self) -> Result<i64> {
        // Not from the counter alone: it is readable, and may have been set back.
        let sql = "SELECT 1 + max(
            (SELECT coalesce(max(seq), 0) FROM sqlite_sequence),
            (SELECT coalesce(max(seq), 0) FROM messages),
            (SELECT coalesce(max(seq), 0) FROM errands))";
        Ok(self
            .db
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?)
    }

    /// Removes what turned out to be no message for a person, or a second copy of one.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn remove_message(&mut self, seq: i64) -> Result<()> {
        for table in ["messages", "unread"] {
            self.db
                .execute(&format!("DELETE FROM {table} WHERE seq = ?"), [seq])?;
        }
        Ok(())
    }

    /// Notes that a message is about to be shown, in the transaction that keeps it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_unread(&mut self, seq: i64) -> Result<()> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO unread (seq) VALUES (?)")?
            .execute([seq])?;
        Ok(())
    }

    /// Notes that messages were shown.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_read(&mut self, seqs: &[i64]) -> Result<()> {
        let mut delete = self.db.prepare_cached("DELETE FROM unread WHERE seq = ?")?;
        for seq in seqs {
            delete.execute([seq])?;
        }
        Ok(())
    }

    /// The messages that may not have been shown, oldest first; one whose row was
    /// changed says so in place of its words.
    ///
    /// # Errors
    /// That they could not be read.
    pub fn all_unread(&self) -> Result<Vec<HistoryEntry>> {
        let unread = self.many("WHERE seq IN (SELECT seq FROM unread) ORDER BY seq", ())?;
        unread.into_iter().map(changed_or).collect()
    }

    /// The whole history, oldest first.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn whole_history(&self) -> Result<Vec<HistoryEntry>> {
        self.many("ORDER BY seq", ())?
            .into_iter()
            .map(|(_, message)| message)
            .collect()
    }

    /// Replaces what is known of a message.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn save_message(&mut self, seq: i64, record: &MessageRecord) -> Result<()> {
        // What is readable in the row is believed only because the old value opens.
        let Some(message) = self.message(seq)? else {
            return Ok(());
        };
        let record = record.clone();
        self.update_message(&HistoryEntry { record, ..message })
    }

    /// Replaces what is known of a message that was read in the same transaction.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn update_message(&mut self, message: &HistoryEntry) -> Result<()> {
        let HistoryEntry {
            seq, contact, mid, ..
        } = *message;
        let row = self.timed_row(Place::Message, seq, contact, &mid.0, message.at as i64)?;
        let sealed = self.seal_json(&row, &message.record)?;
        self.db
            .prepare_cached("UPDATE messages SET sealed = ? WHERE seq = ?")?
            .execute((sealed, seq))?;
        Ok(())
    }

    /// The message at a place.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn message(&self, seq: i64) -> Result<Option<HistoryEntry>> {
        self.one_message("WHERE seq = ?", [seq])
    }

    /// The latest message with a contact under an id.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn message_by_mid(&self, contact: i64, mid: &MessageId) -> Result<Option<HistoryEntry>> {
        self.one_message(
            "WHERE contact = ? AND mid = ? ORDER BY seq DESC LIMIT 1",
            (contact, mid.0),
        )
    }

    /// The latest message of all, or the latest whose id begins with `prefix`
    /// (hexadecimal digits).
    ///
    /// # Errors
    /// That it could not be read.
    pub fn find_message(&self, prefix: Option<&str>) -> Result<Option<HistoryEntry>> {
        match prefix {
            None => self.one_message("ORDER BY seq DESC LIMIT 1", []),
            Some(prefix) => self.one_message(
                "WHERE substr(lower(hex(mid)), 1, ?) = ? ORDER BY seq DESC LIMIT 1",
                (prefix.len() as i64, prefix.to_ascii_lowercase()),
            ),
        }
    }

    /// The last `count` messages, with one contact or with all, oldest first; one
    /// whose row was changed says so in place of its text.
    ///
    /// # Errors
    /// That they could not be read.
    pub fn history(&self, contact: Option<i64>, count: u32) -> Result<Vec<HistoryEntry>> {
        let messages = self.many(
            "WHERE ?1 IS NULL OR contact = ?1 ORDER BY seq DESC LIMIT ?2",
            (contact, count),
        )?;
        messages.into_iter().rev().map(changed_or).collect()
    }

    /// Messages, each with the readable columns of its row.
    fn many(&self, tail: &str, values: impl rusqlite::Params) -> Result<Vec<Many>> {
        let sql = format!("SELECT seq, contact, mid, at, sealed FROM messages {tail}");
        let mut query = self.db.prepare_cached(&sql)?;
        let rows = query.query_map(values, raw)?;
        let mut messages = Vec::new();
        for row in rows {
            let row = row?;
            let readable = (row.0, row.1, row.2, row.3);
            messages.push((readable, self.opened(row)));
        }
        Ok(messages)
    }

    fn one_message(
        &self,
        tail: &str,
        values: impl rusqlite::Params,
    ) -> Result<Option<HistoryEntry>> {
        let sql = format!("SELECT seq, contact, mid, at, sealed FROM messages {tail}");
        let row = self
            .db
            .prepare_cached(&sql)?
            .query_row(values, raw)
            .optional()?;
        row.map(|row| self.opened(row)).transpose()
    }

    fn opened(&self, row: Raw) -> Result<HistoryEntry> {
        let (seq, contact, mid, at, sealed) = row;
        let place = self.timed_row(Place::Message, seq, contact, &mid, at)?;
        Ok(HistoryEntry {
            seq,
            contact,
            mid: MessageId(mid),
            at: at as u64,
            record: self.open_json(&place, &sealed)?,
        })
    }
}

/// What is readable in a message's row, and the message.
type Many = ((i64, i64, [u8; 16], i64), Result<HistoryEntry>);

/// The message, or one that says that its row was changed, so that a row which somebody
/// changed does not hide the others.
fn changed_or((readable, message): Many) -> Result<HistoryEntry> {
    let (seq, contact, mid, at) = readable;
    match message {
        Err(VaultError::Damaged(..)) => Ok(HistoryEntry {
            seq,
            contact,
            mid: MessageId(mid),
            at: at as u64,
            record: MessageRecord {
                outgoing: false,
                text: String::new(),
                form: EncryptionStatus::Undecryptable(
                    "its row in the vault's file was changed".to_owned(),
                ),
                state: DeliveryState::Received,
                sent_at: None,
                stored_at: None,
                delivered_at: None,
                received_at: None,
                identity: None,
                verified: false,
                resends: Vec::new(),
            },
        }),
        message => message,
    }
}

pub(super) type Raw = (i64, i64, [u8; 16], i64, Vec<u8>);

pub(super) fn raw(row: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
    ))
}
