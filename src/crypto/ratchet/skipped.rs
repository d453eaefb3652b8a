//! Keys of messages that have not arrived, kept in case they still do
//! ("Double Ratchet Algorithm" sections 2.6 and 8.4).
//!
//! Each kept key is one that a thief of the device could use, so their number
//! and their age are bounded. The clock is the caller's, in milliseconds; how it may
//! differ from the clock on the wall is the vault's to say.

use std::collections::VecDeque;

use super::chain::{MessageKey, RemoteRatchetKey};
use crate::crypto::codec::{Malformed, Reader};

/// The most keys kept in one session; the oldest makes room. Twice what one
/// message may skip, so that one large gap never wipes out another at once.
pub const MAX_SKIPPED: usize = 2_000;

/// How long a key is kept: 30 days, as long as an old signed prekey and as long
/// as a sender answers requests to send again.
pub const SKIPPED_LIFETIME_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// A message that has not arrived: whose chain, which number, and its key.
#[derive(Clone)]
pub(crate) struct SkippedKey {
    pub(crate) chain: RemoteRatchetKey,
    pub(crate) number: u32,
    pub(crate) key: MessageKey,
}

/// The kept keys of a session, oldest first.
#[derive(Clone, Default)]
pub(crate) struct SkippedKeys {
    entries: VecDeque<Entry>,
}

#[derive(Clone)]
struct Entry {
    skipped: SkippedKey,
    since_ms: u64,
}

impl Entry {
    /// A clock set back makes no key older than it is.
    fn expired(&self, age_ms: u64) -> bool {
        age_ms.saturating_sub(self.since_ms) > SKIPPED_LIFETIME_MS
    }
}

impl SkippedKeys {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The place of a key that is kept and has not expired. Places hold until
    /// the next change.
    pub(crate) fn find(&self, chain: &RemoteRatchetKey, number: u32, age_ms: u64) -> Option<usize> {
        self.entries.iter().position(|entry| {
            entry.skipped.number == number
                && entry.skipped.chain == *chain
                && !entry.expired(age_ms)
        })
    }

    pub(crate) fn key(&self, place: usize) -> Option<&MessageKey> {
        self.entries.get(place).map(|entry| &entry.skipped.key)
    }

    pub(crate) fn remove(&mut self, place: usize) {
        self.entries.remove(place);
    }

    /// Erases the keys that have expired.
    pub(crate) fn expire(&mut self, age_ms: u64) {
        self.entries.retain(|entry| !entry.expired(age_ms));
    }

    /// Adds keys skipped just now, then drops the expired and the oldest ones
    /// over the bound.
    pub(crate) fn add(&mut self, skipped: Vec<SkippedKey>, age_ms: u64) {
        self.entries
            .extend(skipped.into_iter().map(|skipped| Entry {
                skipped,
                since_ms: age_ms,
            }));
        self.expire(age_ms);
        let surplus = self.entries.len().saturating_sub(MAX_SKIPPED);
        self.entries.drain(..surplus);
    }

    /// `count (4)`, then for each `ratchet key (32) || number (4) || message key
    /// (32) || since (8)`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        // At most MAX_SKIPPED entries exist.
        put(&(self.entries.len() as u32).to_be_bytes());
        for Entry { skipped, since_ms } in &self.entries {
            put(&skipped.chain.0);
            put(&skipped.number.to_be_bytes());
            put(skipped.key.0.expose());
            put(&since_ms.to_be_bytes());
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
        if count > MAX_SKIPPED {
            return Err(Malformed);
        }
        let entries = (0..count).map(|_| {
            let chain = RemoteRatchetKey(*reader.array()?);
            let number = reader.u32()?;
            let key = MessageKey(reader.secret()?);
            let since_ms = reader.u64()?;
            let skipped = SkippedKey { chain, number, key };
            Ok(Entry { skipped, since_ms })
        });
        let entries = entries.collect::<Result<_, Malformed>>()?;
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::secret::Secret;

    const CHAIN: RemoteRatchetKey = RemoteRatchetKey([1; 32]);

    fn keys(numbers: std::ops::Range<u32>) -> Vec<SkippedKey> {
        let key = |number: u32| SkippedKey {
            chain: CHAIN,
            number,
            key: MessageKey(Secret::from_bytes(&[number as u8; 32])),
        };
        numbers.map(key).collect()
    }

    #[test]
    fn the_oldest_make_room() {
        let mut kept = SkippedKeys::default();
        kept.add(keys(0..1_000), 0);
        kept.add(keys(1_000..2_001), 0);
        assert_eq!(kept.len(), MAX_SKIPPED);
        assert_eq!(kept.find(&CHAIN, 0, 0), None);
        assert!(kept.find(&CHAIN, 1, 0).is_some());
        assert_eq!(kept.find(&RemoteRatchetKey([2; 32]), 1, 0), None);
    }

    #[test]
    fn keys_expire_after_thirty_days_by_the_callers_clock() {
        let mut kept = SkippedKeys::default();
        kept.add(keys(0..1), 5_000);
        let last = 5_000 + SKIPPED_LIFETIME_MS;
        assert!(kept.find(&CHAIN, 0, last).is_some());
        assert_eq!(kept.find(&CHAIN, 0, last + 1), None);
        assert!(
            kept.find(&CHAIN, 0, 0).is_some(),
            "a clock set back expires nothing"
        );
        kept.add(keys(1..2), last + 1);
        assert_eq!(kept.len(), 1);
    }
}
