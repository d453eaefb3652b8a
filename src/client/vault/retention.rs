//! Deletes messages from the history: single ones, and those that are older than the person keeps
//! them. What was received stays known by its id, and no ratchet or counter moves, so nothing
//! that was deleted can come again.

use super::table::Table;
use super::{Result, Vault, unchanged};

/// How many chunks of messages one slice looks at, so that nobody waits long for it.
const SLICE: usize = 16;

/// How far the deletion of old messages is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    /// How many messages were deleted.
    pub count: u64,
    /// The chunk to go on from; `None` at the end.
    pub next: Option<i64>,
}

impl Vault {
    /// Deletes a message; `false` if it can't go: it is still to be sent, or is held until its
    /// sender's identity is accepted.
    ///
    /// # Errors
    /// That nothing was written.
    pub(crate) fn forget_message(&mut self, seq: i64) -> Result<bool> {
        if self.is_bound(seq) {
            return Ok(false);
        }
        self.remove_message(seq)?;
        Ok(true)
    }

    /// Whether something else in the vault needs the message at a place.
    pub(super) fn is_bound(&self, seq: i64) -> bool {
        let tables = [Table::Outbox, Table::Unsent, Table::WaitingEnvelopes];
        tables.into_iter().any(|table| self.has(table, seq))
    }

    /// Deletes, from chunk `from` on, the messages of a slice that are older than `before`
    /// (milliseconds since 1970), and were shown. A row that somebody changed stays.
    ///
    /// A date later than `now` is wrong, by the server's clock or its will. Such a message is as old
    /// as the next one with a possible date, which came after it. This device's clock does not date it:
    /// one that is behind for a day would make the latest messages old for good.
    ///
    /// # Errors
    /// That nothing was written.
    pub(crate) fn expire(&mut self, from: i64, before: u64, now: u64) -> Result<Expired> {
        let mut chunks: Vec<i64> = self
            .numbers(Table::MessageChunks)
            .filter(|chunk| *chunk >= from)
            .take(SLICE + 1)
            .collect();
        let next = (chunks.len() > SLICE).then(|| chunks.pop()).flatten();
        let mut old = Vec::new();
        let mut next_is_old = match next {
            Some(next) => self.is_next_old(next, before, now)?,
            None => false,
        };
        for chunk in chunks.into_iter().rev() {
            for (seq, _) in self.listed(chunk)?.into_iter().rev() {
                let Some(message) = unchanged(self.message(seq))? else {
                    continue;
                };
                if message.at <= now {
                    next_is_old = message.at < before;
                }
                if next_is_old && !self.has(Table::Unread, seq) && !self.is_bound(seq) {
                    old.push(seq);
                }
            }
        }
        let count = old.len() as u64;
        if count > 0 {
            self.transact(|vault| old.iter().try_for_each(|seq| vault.remove_message(*seq)))?;
        }
        Ok(Expired { count, next })
    }

    /// Whether the first message with a possible date, from a chunk on, is older than `before`.
    fn is_next_old(&self, from: i64, before: u64, now: u64) -> Result<bool> {
        let chunks = self.numbers(Table::MessageChunks);
        for chunk in chunks.filter(|chunk| *chunk >= from) {
            for (seq, _) in self.listed(chunk)? {
                let message = unchanged(self.message(seq))?;
                if let Some(message) = message.filter(|message| message.at <= now) {
                    return Ok(message.at < before);
                }
            }
        }
        Ok(false)
    }

    /// Deletes all messages with a contact that can go. Returns how many went, and how many stay.
    ///
    /// # Errors
    /// That nothing was written.
    pub(crate) fn forget_messages_with(&mut self, contact: i64) -> Result<(u64, u64)> {
        let (mut gone, mut kept) = (0, 0);
        let chunks: Vec<i64> = self.numbers(Table::MessageChunks).collect();
        for some in chunks.chunks(SLICE) {
            let mut seqs = Vec::new();
            for chunk in some {
                let listed = self.listed(*chunk)?;
                let theirs = listed
                    .iter()
                    .filter(|(_, listing)| listing.contact() == contact);
                seqs.extend(theirs.map(|(seq, _)| *seq));
            }
            self.transact(|vault| {
                for seq in seqs {
                    let is_readable = unchanged(vault.message(seq))?.is_some();
                    match is_readable && vault.forget_message(seq)? {
                        true => gone += 1,
                        false => kept += 1,
                    }
                }
                Ok(())
            })?;
        }
        Ok((gone, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::vault::tests::{create, record};
    use crate::protocol::MessageId;

    fn mid(number: u32) -> MessageId {
        let mut mid = [0; 16];
        mid[..4].copy_from_slice(&number.to_be_bytes());
        MessageId(mid)
    }

    /// A vault with `count` messages, one a second.
    fn filled(dir: &tempfile::TempDir, count: u32) -> (Vault, i64) {
        let (mut vault, _) = create(dir);
        let contact = vault
            .transact(|vault| {
                let contact = vault.contact_or_new(&"bob".parse().unwrap())?.id;
                for number in 0..count {
                    let at = u64::from(number) * 1000;
                    vault.mark_seen(contact, &mid(number))?;
                    vault.add_message(contact, &mid(number), at, &record("text"))?;
                }
                Ok(contact)
            })
            .unwrap();
        (vault, contact)
    }

    #[test]
    fn old_messages_go_in_slices_and_their_ids_stay_known() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, contact) = filled(&dir, 1500);
        vault.mark_unread(1).unwrap();
        vault.transact(|vault| vault.postpone(2, contact)).unwrap();
        let (mut from, mut gone, mut slices) = (i64::MIN, 0, 0);
        loop {
            let expired = vault.expire(from, 1_000_000, u64::MAX).unwrap();
            (gone, slices) = (gone + expired.count, slices + 1);
            match expired.next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!((gone, slices), (998, 3), "an unread and a waiting one stay");
        let left = vault.whole_history().unwrap();
        assert_eq!(left.len(), 502);
        assert!(left[2..].iter().all(|message| message.at >= 1_000_000));
        for number in [0, 500, 1499] {
            assert!(vault.is_seen(contact, &mid(number)).unwrap(), "{number}");
        }
        drop(vault);
        let vault = crate::client::vault::tests::open(&dir, "right").unwrap();
        assert_eq!(vault.whole_history().unwrap().len(), 502);
        assert!(vault.is_seen(contact, &mid(500)).unwrap());
    }

    #[test]
    fn a_message_from_the_future_goes_with_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _) = create(&dir);
        // Enough for several slices, each with every fifth message from the future.
        let future = 1_000_000_000;
        vault
            .transact(|vault| {
                let contact = vault.contact_or_new(&"bob".parse().unwrap())?.id;
                for number in 0..1500_u32 {
                    let at = match number % 5 {
                        0 => u64::MAX,
                        1 => future,
                        _ => u64::from(number) * 1000,
                    };
                    vault.add_message(contact, &mid(number), at, &record("text"))?;
                }
                Ok(())
            })
            .unwrap();
        let mut expire = |before| {
            let mut from = i64::MIN;
            loop {
                match vault.expire(from, before, future - 1).unwrap().next {
                    Some(next) => from = next,
                    None => break vault.whole_history().unwrap(),
                }
            }
        };
        let left = expire(1_000_000);
        assert_eq!(left.len(), 500);
        assert_eq!(left[0].mid, mid(1000), "it came after what is old");
        // Behind the last ones from the future, nothing is old yet.
        assert_eq!(expire(1_499_000).len(), 1);
        assert_eq!(expire(1_500_000).len(), 0);
    }

    #[test]
    fn all_with_somebody_go_but_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, contact) = filled(&dir, 700);
        vault.transact(|vault| vault.postpone(5, contact)).unwrap();
        assert_eq!(vault.forget_messages_with(contact).unwrap(), (699, 1));
        assert!(!vault.transact(|vault| vault.forget_message(5)).unwrap());
        assert_eq!(vault.whole_history().unwrap().len(), 1);
    }
}
