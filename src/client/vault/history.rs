//! The history: sent and received messages that a person can look at again. How a message
//! is sent or trusted is not decided here.
//!
//! Which messages there are is said by `message_chunks`.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::codec::Header;
use super::message_chunks::{LISTING_LEN, Listing, place_of};
use super::seal::Sealer;
use super::table::Table;
use super::{Result, Vault, VaultError};
use crate::protocol::ids::Handle;
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
    /// Whether it stands in the history alone: it was not shown, and may be nothing for a person.
    #[serde(rename = "quiet", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_quiet: bool,
    /// The server's handle of the message, once it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Handle>,
    /// Its number in the conversation: the instance that it was counted in, and the number there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<(ByteArray<16>, u32)>,
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
    /// Removed by the server, which kept it for as long as it keeps mail.
    Expired,
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
        let seq = self.take_number()?;
        let mid = *mid;
        self.insert_message(seq, Header { contact, mid, at }, record)?;
        Ok(seq)
    }

    /// Adds a message at a place that none has.
    pub(super) fn insert_message(
        &mut self,
        seq: i64,
        header: Header,
        record: &MessageRecord,
    ) -> Result<()> {
        self.write_message(seq, header, record, true)?;
        self.file(header.contact, &header.mid, seq)
    }

    /// Writes a message's row, and what its chunk says of it.
    fn write_message(
        &mut self,
        seq: i64,
        header: Header,
        record: &MessageRecord,
        is_new: bool,
    ) -> Result<()> {
        let json = self.json(Table::Messages, seq, record)?;
        let plain = zeroize::Zeroizing::new(header.before(&json));
        let (tag, _) = self.write(Table::Messages, seq, &plain, is_new)?;
        let Some(listing) = Listing::of(&tag, &header) else {
            return Err(self.damaged(format!("there is no contact {}", header.contact)));
        };
        self.list(seq, listing.to_bytes())
    }

    /// Removes what turned out to be no message for a person, or a second copy of one.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn remove_message(&mut self, seq: i64) -> Result<()> {
        let Some(message) = self.message(seq)? else {
            return Ok(());
        };
        self.unfile(message.contact, &message.mid, seq)?;
        self.erase(Table::Messages, seq)?;
        self.list(seq, [0; LISTING_LEN])?;
        self.delete(Table::Unread, seq)
    }

    /// Notes that a message is about to be shown, in the transaction that keeps it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_unread(&mut self, seq: i64) -> Result<()> {
        match self.has(Table::Unread, seq) {
            true => Ok(()),
            false => self.put(Table::Unread, seq, &[]),
        }
    }

    /// Notes that messages were shown.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn mark_read(&mut self, seqs: &[i64]) -> Result<()> {
        seqs.iter()
            .try_for_each(|seq| self.delete(Table::Unread, *seq))
    }

    /// How many messages may not have been shown, by the vault's numbers for their contacts.
    ///
    /// # Errors
    /// That it could not be read.
    pub(crate) fn unread_by_contact(&self) -> Result<HashMap<i64, u64>> {
        let mut counts = HashMap::new();
        for seq in self.numbers(Table::Unread) {
            if let Some(contact) = self.contact_of_message(seq)? {
                *counts.entry(contact).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// The messages that may not have been shown, oldest first; one whose row was
    /// changed says so in place of its words.
    ///
    /// # Errors
    /// That they could not be read.
    pub fn all_unread(&self) -> Result<Vec<HistoryEntry>> {
        let mut unread = Vec::new();
        for seq in self.numbers(Table::Unread) {
            if let Some(listing) = self.listing(seq)? {
                unread.push(self.message_or_damage(seq, listing)?);
            }
        }
        Ok(unread)
    }

    /// The whole history, oldest first.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn whole_history(&self) -> Result<Vec<HistoryEntry>> {
        self.all_messages()?.into_iter().collect()
    }

    /// Each message of the history, oldest first, or why it could not be read.
    ///
    /// # Errors
    /// That the list of them could not be read.
    pub(super) fn all_messages(&self) -> Result<Vec<Result<HistoryEntry>>> {
        let mut messages = Vec::new();
        for chunk in self.numbers(Table::MessageChunks) {
            let listed = self.listed(chunk)?.into_iter();
            messages.extend(listed.map(|(seq, listing)| self.read_message(seq, listing)));
        }
        Ok(messages)
    }

    /// Puts the row of a held message back that somebody changed: what it says is in the envelope
    /// that waits.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn restore_message(
        &mut self,
        seq: i64,
        contact: i64,
        mid: MessageId,
        at: u64,
        record: &MessageRecord,
    ) -> Result<()> {
        let is_gone = self.read(Table::Messages, seq)?.is_none();
        self.write_message(seq, Header { contact, mid, at }, record, is_gone)
    }

    /// Replaces what is known of a message.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn save_message(&mut self, seq: i64, record: &MessageRecord) -> Result<()> {
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
        self.write_entry(message, false)
    }

    fn write_entry(&mut self, message: &HistoryEntry, is_new: bool) -> Result<()> {
        let HistoryEntry {
            contact, mid, at, ..
        } = *message;
        let header = Header { contact, mid, at };
        self.write_message(message.seq, header, &message.record, is_new)
    }

    /// The message at a place.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn message(&self, seq: i64) -> Result<Option<HistoryEntry>> {
        self.listing(seq)?
            .map(|listing| self.read_message(seq, listing))
            .transpose()
    }

    /// The latest message with a contact under an id.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn message_by_mid(&self, contact: i64, mid: &MessageId) -> Result<Option<HistoryEntry>> {
        for seq in self.numbers_of(contact, mid)? {
            if let Some(message) = self.message(seq)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The latest message of all, or the latest whose id begins with `prefix`
    /// (hexadecimal digits).
    ///
    /// # Errors
    /// That it could not be read.
    pub fn find_message(&self, prefix: Option<&str>) -> Result<Option<HistoryEntry>> {
        Ok(self.messages_with_id(prefix.unwrap_or_default(), 1)?.pop())
    }

    /// The latest messages whose ids begin with `prefix` (hexadecimal digits), at most `count`,
    /// the latest first.
    ///
    /// # Errors
    /// That they could not be read.
    pub(super) fn messages_with_id(&self, prefix: &str, count: usize) -> Result<Vec<HistoryEntry>> {
        let prefix = prefix.to_ascii_lowercase();
        let mut found = Vec::new();
        'all: for chunk in self.numbers(Table::MessageChunks).rev() {
            for (seq, listing) in self.listed(chunk)?.into_iter().rev() {
                let begins = HEXLOWER.encode(&listing.mid);
                if !prefix.starts_with(&begins) && !begins.starts_with(&prefix) {
                    continue;
                }
                let message = self.read_message(seq, listing)?;
                if HEXLOWER.encode(&message.mid.0).starts_with(&prefix) {
                    found.push(message);
                    if found.len() >= count {
                        break 'all;
                    }
                }
            }
        }
        Ok(found)
    }

    /// The last `count` messages, with one contact or with all, oldest first; one
    /// whose row was changed says so in place of its text.
    ///
    /// # Errors
    /// That they could not be read.
    pub fn history(&self, contact: Option<i64>, count: u32) -> Result<Vec<HistoryEntry>> {
        let mut messages = Vec::new();
        'all: for chunk in self.numbers(Table::MessageChunks).rev() {
            for (seq, listing) in self.listed(chunk)?.into_iter().rev() {
                if messages.len() >= count as usize {
                    break 'all;
                }
                if contact.is_none_or(|contact| contact == listing.contact()) {
                    messages.push(self.message_or_damage(seq, listing)?);
                }
            }
        }
        messages.reverse();
        Ok(messages)
    }

    /// At most `limit` received messages behind a place that are shown, oldest first; one whose row
    /// was changed says so in place of its text.
    ///
    /// # Errors
    /// That they could not be read.
    pub fn received_after(&self, place: i64, limit: usize) -> Result<Vec<HistoryEntry>> {
        let (first, _) = place_of(place);
        let mut messages = Vec::new();
        for chunk in self.numbers(Table::MessageChunks) {
            if chunk < first {
                continue;
            }
            for (seq, listing) in self.listed(chunk)? {
                if messages.len() >= limit {
                    return Ok(messages);
                }
                if seq > place {
                    let message = self.message_or_damage(seq, listing)?;
                    if !message.record.outgoing && !message.record.is_quiet {
                        messages.push(message);
                    }
                }
            }
        }
        Ok(messages)
    }

    /// Protects all messages with another sealer, calling `progress` for each.
    pub(super) fn protect_messages(
        &mut self,
        other: &mut Sealer,
        progress: &mut impl FnMut(),
    ) -> Result<()> {
        let chunks: Vec<i64> = self.numbers(Table::MessageChunks).collect();
        for chunk in chunks {
            // It is read while the sealer still opens it.
            self.change_page(Table::MessageChunks, chunk, |_| ())?;
            for (seq, listing) in self.listed(chunk)? {
                let (message, is_gone) = match self.read_message(seq, listing) {
                    // It stays to say so. What is to be sent has to be whole.
                    Err(VaultError::Damaged(..)) if !self.is_bound(seq) => (
                        self.message_or_damage(seq, listing)?,
                        self.read(Table::Messages, seq)?.is_none(),
                    ),
                    message => (message?, false),
                };
                self.with_sealer(other, |vault| vault.write_entry(&message, is_gone))?;
                progress();
            }
        }
        Ok(())
    }

    fn read_message(&self, seq: i64, listing: Listing) -> Result<HistoryEntry> {
        let value = self
            .read(Table::Messages, seq)?
            .filter(|value| value.ends_with(&listing.tag));
        let value = value.ok_or_else(|| self.damaged_row(Table::Messages, seq))?;
        let plain = self.open_value(Table::Messages, seq, &value)?;
        let (header, json) =
            Header::split(&plain).ok_or_else(|| self.damaged_row(Table::Messages, seq))?;
        Ok(HistoryEntry {
            seq,
            contact: header.contact,
            mid: header.mid,
            at: header.at,
            record: self.parse_json(Table::Messages, seq, json)?,
        })
    }

    /// The message, or one that says that its row was changed, so that a row which
    /// somebody changed does not hide the others.
    pub(super) fn message_or_damage(&self, seq: i64, listing: Listing) -> Result<HistoryEntry> {
        match self.read_message(seq, listing) {
            Err(VaultError::Damaged(..)) => {
                let mut mid = [0; 16];
                mid[..4].copy_from_slice(&listing.mid);
                Ok(HistoryEntry {
                    seq,
                    contact: listing.contact(),
                    mid: MessageId(mid),
                    at: 0,
                    record: MessageRecord::of_changed_row(),
                })
            }
            message => message,
        }
    }
}

impl MessageRecord {
    /// A record of somebody else's message without words, of which nothing more is known.
    pub fn new(form: EncryptionStatus, state: DeliveryState) -> Self {
        MessageRecord {
            outgoing: false,
            text: String::new(),
            form,
            state,
            sent_at: None,
            stored_at: None,
            delivered_at: None,
            received_at: None,
            identity: None,
            verified: false,
            resends: Vec::new(),
            is_quiet: false,
            handle: None,
            number: None,
        }
    }

    /// Stands for a message that somebody without the key wrote over.
    pub(super) fn of_changed_row() -> Self {
        let why = "its row in the vault's file was changed";
        let form = EncryptionStatus::Undecryptable(why.to_owned());
        Self::new(form, DeliveryState::Received)
    }
}
