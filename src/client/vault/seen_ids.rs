//! The ids of messages and control messages: which were received before, and where the
//! message of an id is. Ids are many and come in no order, so they are filed under a keyed
//! hash in 2^14 pages (`rows`). The key keeps an adversary who chooses ids from filling one
//! page with all of them; it is random and stays when the vault key is replaced.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use rand::Rng;

use super::codec::Reader;
use super::seal::Tag;
use super::table::Table;
use super::{Result, Vault};
use crate::crypto::os_rng;
use crate::protocol::MessageId;

/// The row of `state` with the key.
pub(super) const FILING_KEY: i64 = 3;

/// How many pages there are: with a million ids, each has 61 entries.
const PAGES: u16 = 1 << 14;

/// Bytes of an entry: the keyed hash of contact and id, then twice the number of the
/// message, or 0, plus 1 if the id was received before.
const ENTRY_LEN: usize = 24;

/// Where an id is filed.
#[derive(Clone, Copy)]
pub(super) struct Filed {
    page: i64,
    hash: Tag,
}

/// What is filed under an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The number of its message or control message; 0 if it has none.
    number: i64,
    is_seen: bool,
}

impl Entry {
    pub(super) fn to_bytes(self) -> [u8; 8] {
        ((self.number as u64) << 1 | u64::from(self.is_seen)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        let value = u64::from_be_bytes(bytes);
        Entry {
            number: (value >> 1) as i64,
            is_seen: value & 1 == 1,
        }
    }
}

impl Vault {
    /// Whether a message with this id was received from the contact before.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn is_seen(&self, contact: i64, mid: &MessageId) -> Result<bool> {
        let entries = self.entries(contact, mid)?;
        Ok(entries.iter().any(|entry| entry.is_seen))
    }

    /// Notes the id of a received message, in the transaction that stores the message.
    ///
    /// # Errors
    /// That nothing was written, for instance because it was noted before.
    pub fn mark_seen(&mut self, contact: i64, mid: &MessageId) -> Result<()> {
        let mut entries = self.entries(contact, mid)?;
        if entries.iter().any(|entry| entry.is_seen) {
            return Err(self.damaged(format!("message {mid} was received twice")));
        }
        match entries.last_mut() {
            Some(entry) => entry.is_seen = true,
            None => entries.push(Entry {
                number: 0,
                is_seen: true,
            }),
        }
        self.set_entries(contact, mid, &entries)
    }

    /// Files a new message or control message under its id.
    pub(super) fn file(&mut self, contact: i64, mid: &MessageId, number: i64) -> Result<()> {
        let mut entries = self.entries(contact, mid)?;
        match entries.iter_mut().find(|entry| entry.number == 0) {
            Some(entry) => entry.number = number,
            None => entries.push(Entry {
                number,
                is_seen: false,
            }),
        }
        self.set_entries(contact, mid, &entries)
    }

    /// Forgets where a message or control message was; whether its id was seen stays.
    pub(super) fn unfile(&mut self, contact: i64, mid: &MessageId, number: i64) -> Result<()> {
        let mut entries = self.entries(contact, mid)?;
        for entry in &mut entries {
            if entry.number == number {
                entry.number = 0;
            }
        }
        entries.retain(|entry| entry.is_seen || entry.number != 0);
        self.set_entries(contact, mid, &entries)
    }

    /// The numbers of the messages and control messages with an id, the latest first.
    pub(super) fn numbers_of(&self, contact: i64, mid: &MessageId) -> Result<Vec<i64>> {
        let entries = self.entries(contact, mid)?;
        let mut numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
        numbers.retain(|number| *number != 0);
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// Makes the key under which ids are filed, for a new vault.
    pub(super) fn make_filing_key(&mut self) -> Result<()> {
        let mut key = [0; 32];
        os_rng().fill_bytes(&mut key);
        self.put(Table::State, FILING_KEY, &key)?;
        self.filing = Aes256::new(&key.into());
        self.last_filed.set(None);
        Ok(())
    }

    /// Reads the key under which ids are filed.
    pub(super) fn load_filing_key(&mut self) -> Result<()> {
        let key = self.get(Table::State, FILING_KEY)?;
        let key = key.and_then(|key| Aes256::new_from_slice(&key).ok());
        self.filing = key.ok_or_else(|| self.damaged("it has no key for ids"))?;
        self.last_filed.set(None);
        Ok(())
    }

    /// Where an id is filed. The one that was asked for last is remembered, since a message
    /// that arrives is looked up, noted and filed.
    fn filed(&self, contact: i64, mid: &MessageId) -> Filed {
        if let Some((last, filed)) = self.last_filed.get()
            && last == (contact, *mid)
        {
            return filed;
        }
        // The CBC-MAC of two blocks: the contact, then the id.
        let mut block = u128::from(contact as u64).to_be_bytes().into();
        self.filing.encrypt_block(&mut block);
        for (byte, id) in block.iter_mut().zip(&mid.0) {
            *byte ^= id;
        }
        self.filing.encrypt_block(&mut block);
        let hash: Tag = block.into();
        let filed = Filed {
            page: i64::from(u16::from_be_bytes([hash[0], hash[1]]) % PAGES),
            hash,
        };
        self.last_filed.set(Some(((contact, *mid), filed)));
        filed
    }

    fn entries(&self, contact: i64, mid: &MessageId) -> Result<Vec<Entry>> {
        let filed = self.filed(contact, mid);
        let page = self.page(Table::SeenIds, filed.page)?;
        let found = page.chunks_exact(ENTRY_LEN).filter_map(|entry| {
            let behind = entry.strip_prefix(&filed.hash)?;
            Reader(behind).array().map(Entry::from_bytes)
        });
        Ok(found.collect())
    }

    fn set_entries(&mut self, contact: i64, mid: &MessageId, entries: &[Entry]) -> Result<()> {
        let filed = self.filed(contact, mid);
        self.change_page(Table::SeenIds, filed.page, |page| {
            let others = page
                .chunks_exact(ENTRY_LEN)
                .filter(|entry| !entry.starts_with(&filed.hash));
            let mut changed: Vec<u8> = others.flatten().copied().collect();
            for entry in entries {
                changed.extend_from_slice(&filed.hash);
                changed.extend_from_slice(&entry.to_bytes());
            }
            *page = changed;
        })
    }
}
