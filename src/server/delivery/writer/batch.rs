//! A batch: the changes and the work of mailboxes that make one transaction, how large it is, and how it is
//! divided when something in it is damaged, or locked by another server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ChangeReply;
use crate::clock;
use crate::server::delivery::mailbox::{Room, Work};
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::stats::Stats;
use crate::store::{Batch, Change, Changed, Store, StoreError};

/// What makes a batch: enough that the sync costs little for each message, and little enough
/// that the first sender, and a login, do not wait long. Messages for many mailboxes need a large
/// batch, or the page where each mailbox ends is written again with every few of its messages.
const BATCH: Room = Room {
    messages: 4096,
    bytes: 4 * 1024 * 1024,
    deletions: 1024,
};

/// The messages in a batch while accounts are being changed, and for how long after a change they are
/// taken to be: people log in together, after a restart for instance.
const MESSAGES_BESIDE_CHANGES: usize = 1024;
const CHANGES_FOLLOW: Duration = Duration::from_millis(100);

/// What the thread remembers of earlier batches.
#[derive(Default)]
pub(super) struct Recent {
    /// How many acknowledgements were not recorded.
    pub(super) unrecorded: u64,
    /// Of the last mail more was stored than deleted.
    pub(super) stores: bool,
    /// When a change was taken last.
    pub(super) change: Option<Instant>,
}

impl Recent {
    /// What goes into a batch that is made `now`.
    pub(super) fn room(&self, now: Instant) -> Room {
        let changes = self.change.is_some_and(|last| now < last + CHANGES_FOLLOW);
        match changes {
            true => Room {
                messages: MESSAGES_BESIDE_CHANGES,
                ..BATCH
            },
            false => BATCH,
        }
    }
}

/// A part of a batch: it is stored as a whole or not at all.
pub(super) enum Part {
    /// A change of an account.
    Change(Change, ChangeReply),
    /// What one mailbox has to write.
    Mailbox(Arc<SharedMailbox>, Work),
}

/// Commits parts as one transaction. If something is damaged or locked, each half is committed by
/// itself, and so on, until the part that meets it stands alone and all others are
/// stored. The parts keep their order. `results` gets one entry for each part.
pub(super) fn commit_by_halves(
    store: &dyn Store,
    stats: &Stats,
    parts: &[Part],
    results: &mut Vec<Result<Option<Changed>, StoreError>>,
) {
    if parts.is_empty() {
        return;
    }
    let batch = batch_of(parts);
    let begun = clock::now();
    let committed = store.commit(&batch);
    match committed {
        Ok(changed) => {
            let took = clock::now().saturating_duration_since(begun);
            stats.commit_times.observe(took);
            stats.stored.add(batch.messages.len() as u64);
            stats.commits.add(1);
            let mut changed = changed.into_iter();
            results.extend(parts.iter().map(|part| match part {
                Part::Change(..) => Ok(changed.next()),
                Part::Mailbox(..) => Ok(None),
            }));
        }
        Err(StoreError::Damaged(_) | StoreError::Locked(_)) if parts.len() > 1 => {
            let (first, second) = parts.split_at(parts.len() / 2);
            commit_by_halves(store, stats, first, results);
            commit_by_halves(store, stats, second, results);
        }
        Err(error) => results.extend(parts.iter().map(|_| Err(error.clone()))),
    }
}

fn batch_of(parts: &[Part]) -> Batch {
    let mut batch = Batch::default();
    for part in parts {
        match part {
            Part::Change(change, _) => batch.changes.push(change.clone()),
            Part::Mailbox(mailbox, work) => add_work(&mut batch, mailbox, work),
        }
    }
    batch
}

/// Adds one mailbox's work. Neighbouring deletions become one range.
fn add_work(batch: &mut Batch, mailbox: &SharedMailbox, work: &Work) {
    let recipient = mailbox.user;
    batch
        .messages
        .extend(work.messages.iter().map(|m| (recipient, Arc::clone(m))));
    let deleted: BTreeSet<u64> = work.acknowledged.union(&work.unneeded).copied().collect();
    let mut numbers = deleted.into_iter();
    let Some(first) = numbers.next() else {
        return;
    };
    let mut range = first..=first;
    for number in numbers {
        if number == range.end() + 1 {
            range = *range.start()..=number;
        } else {
            batch.acknowledged.push((recipient, range));
            range = number..=number;
        }
    }
    batch.acknowledged.push((recipient, range));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::delivery::shared_mailbox::testing::mailbox;

    #[test]
    fn neighbours_are_deleted_as_one_range() {
        let mailbox = mailbox("bob");
        let work = Work {
            messages: Vec::new(),
            acknowledged: [1, 3, 5, 8, 9].into(),
            unneeded: [2].into(),
            abandoned: 0,
        };
        let mut batch = Batch::default();
        add_work(&mut batch, &mailbox, &work);
        let ranges: Vec<_> = batch
            .acknowledged
            .into_iter()
            .map(|(_, range)| range)
            .collect();
        assert_eq!(ranges, [1..=3, 5..=5, 8..=9]);
    }

    #[test]
    fn batches_are_small_while_accounts_change() {
        let now = clock::now();
        let mut recent = Recent::default();
        assert_eq!(recent.room(now).messages, BATCH.messages);
        recent.change = Some(now);
        assert_eq!(recent.room(now).messages, MESSAGES_BESIDE_CHANGES);
        let later = recent.room(now + CHANGES_FOLLOW);
        assert_eq!(later.messages, BATCH.messages);
        assert_eq!(later.deletions, BATCH.deletions);
    }
}
