//! The writer's side of a mailbox: which messages it has to store, which it has to
//! delete, and when it has to look.
//!
//! How they are written is the writer's affair; nothing here touches a disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unwritten::{Progress, Unwritten};
use super::{Effect, Kind, Mailbox, Taken, answer};
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::MessageState;
use crate::store::Message;

/// How long the write of a pushed message is deferred, so that an acknowledgement
/// can make it unnecessary. An acknowledgement takes a round trip and a sync of the
/// recipient's vault, which most disks do within this time.
pub(crate) const WRITE_DELAY: Duration = Duration::from_millis(5);

/// At most this many bytes are deferred in one mailbox; past it, messages are due at once.
pub(super) const MAX_DEFERRED_BYTES: usize = 1024 * 1024;

/// When the writer has to take a mailbox's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// As soon as it can.
    Now,
    /// After [`WRITE_DELAY`].
    Later,
}

/// How much more goes into a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Messages to store.
    pub messages: usize,
    /// Bytes of their bodies. The last message may exceed them.
    pub bytes: usize,
    /// Messages to delete.
    pub deletions: usize,
}

impl Room {
    /// Whether nothing more goes in.
    pub(crate) fn is_full(self) -> bool {
        self.messages == 0 || self.bytes == 0 || self.deletions == 0
    }

    /// Makes room for a mailbox's work.
    pub(crate) fn take(&mut self, work: &Work) {
        let bytes = work.messages.iter().map(|message| message.body.len());
        self.messages = self.messages.saturating_sub(work.messages.len());
        self.bytes = self.bytes.saturating_sub(bytes.sum());
        let deletions = work.acknowledged.len() + work.unneeded.len();
        self.deletions = self.deletions.saturating_sub(deletions);
    }
}

/// What the writer does for one mailbox in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Messages to store, in order.
    pub messages: Vec<Arc<Message>>,
    /// Numbers of messages to delete.
    pub acknowledged: BTreeSet<u64>,
    /// Numbers among `messages` that are deleted in the transaction that stores them.
    pub unneeded: BTreeSet<u64>,
    /// How many acknowledged messages will never be deleted: see [`Mailbox::abandon`].
    pub abandoned: usize,
}

impl<R> Mailbox<R> {
    /// When the writer has to call [`take_work`](Self::take_work); `None` if it need not,
    /// or was told already.
    pub(crate) fn wake(&mut self) -> Option<Wake> {
        if self.due > 0 && !self.woken_now {
            self.woken_now = true;
            return Some(Wake::Now);
        }
        let later = self.deferred_bytes > 0 || !self.acknowledged.is_empty();
        if later && !self.woken_now && !self.woken_later {
            self.woken_later = true;
            return Some(Wake::Later);
        }
        None
    }

    /// Hands over to the writer the messages that are due or were deferred long enough, and
    /// the deletions, as far as there is room. It reports back with [`committed`](Self::committed)
    /// or [`failed`](Self::failed).
    pub(crate) fn take_work(&mut self, now: Instant, room: Room) -> Work {
        self.woken_now = false;
        self.woken_later = false;
        let mut work = Work {
            messages: Vec::new(),
            acknowledged: take_first(&mut self.acknowledged, room.deletions),
            ..Work::default()
        };
        self.deleting.extend(&work.acknowledged);
        let mut bytes = 0;
        for unwritten in self.unwritten.iter_mut() {
            if work.messages.len() == room.messages || bytes >= room.bytes {
                break;
            }
            match unwritten.progress {
                Progress::Deferred(since) if now.duration_since(since) >= WRITE_DELAY => {
                    self.deferred_bytes -= unwritten.message.body.len();
                }
                Progress::Due | Progress::DueUnneeded => self.due -= 1,
                _ => continue,
            }
            unwritten.progress = match unwritten.progress {
                Progress::DueUnneeded => {
                    work.unneeded.insert(unwritten.message.number);
                    Progress::WritingAcknowledged
                }
                _ => Progress::Writing,
            };
            bytes += unwritten.message.body.len();
            work.messages.push(Arc::clone(&unwritten.message));
        }
        work
    }

    /// Takes note that the writer's work is on disk.
    pub(crate) fn committed(&mut self, work: &Work, effects: &mut Vec<Effect<R>>) {
        for message in &work.messages {
            let Some(mut unwritten) = self.unwritten.remove(message.number) else {
                continue;
            };
            let needed = unwritten.progress.is_needed();
            if !needed && !work.unneeded.contains(&message.number) {
                self.acknowledged.insert(message.number);
            }
            let taken = Taken {
                number: unwritten.first_copy.unwrap_or(message.number),
                state: MessageState::Stored,
                at: message.at,
            };
            // One that was acknowledged openly is decided already.
            if needed || unwritten.has_waiters() {
                self.seen.decide(message.sender, message.mid, taken);
            }
            answer(unwritten.take_waiters(), taken, effects);
        }
        for number in &work.acknowledged {
            self.deleting.remove(number);
        }
    }

    /// Takes note that nothing of the writer's work was done, and refuses its messages. What
    /// their senders sent after them is refused, too, or it would overtake them.
    pub(crate) fn failed(
        &mut self,
        work: &Work,
        refusal: &Refusal,
        now: Instant,
        effects: &mut Vec<Effect<R>>,
    ) {
        for message in &work.messages {
            // Nobody waits for one that was acknowledged openly.
            let waits = |unwritten: &mut Unwritten<R>| unwritten.has_waiters();
            if self.unwritten.get_mut(message.number).is_some_and(waits) {
                self.stalled.begin(message.sender, message.mid, now);
            }
            self.refuse(message.number, refusal, effects);
        }
        let stalled = &self.stalled;
        let later = self.unwritten.iter().map(|unwritten| &unwritten.message);
        let later = later.filter(|message| stalled.concerns(message.sender));
        let later: Vec<u64> = later.map(|message| message.number).collect();
        for number in later {
            self.refuse(number, refusal, effects);
        }
        for number in &work.acknowledged {
            self.deleting.remove(number);
        }
        self.acknowledged.extend(&work.acknowledged);
    }

    /// Removes a message and refuses it to whoever waits for an answer. It was not accepted, so it
    /// is not pending. If the recipient has stored it all the same, its vault recognises the
    /// copy that the sender sends next.
    fn refuse(&mut self, number: u64, refusal: &Refusal, effects: &mut Vec<Effect<R>>) {
        let Some(mut unwritten) = self.unwritten.remove(number) else {
            return;
        };
        self.forget_progress(&unwritten);
        let message = Arc::clone(&unwritten.message);
        let needed = unwritten.progress.is_needed();
        if needed {
            self.counts
                .remove(message.sender, Kind::of(&message), message.body.len());
            if let Some(attached) = &mut self.attached {
                attached.window.remove(message.from, message.mid);
            }
        }
        if needed || unwritten.has_waiters() {
            self.seen.forget(message.sender, message.mid);
        }
        for reply_to in unwritten.take_waiters() {
            effects.push(Effect::Refuse(reply_to, refusal.clone()));
        }
    }

    /// Gives up writing: refuses all messages that wait to be stored, and drops the
    /// deletions. Returns how many deletions those were; their messages are delivered
    /// again when the mailbox is next opened.
    pub(crate) fn abandon(&mut self, refusal: &Refusal, effects: &mut Vec<Effect<R>>) -> usize {
        self.woken_now = false;
        self.woken_later = false;
        let waiting = self.unwritten.iter();
        let waiting = waiting.filter(|unwritten| !unwritten.progress.is_writing());
        let waiting: Vec<u64> = waiting.map(|u| u.message.number).collect();
        for number in waiting {
            self.refuse(number, refusal, effects);
        }
        std::mem::take(&mut self.acknowledged).len()
    }

    /// Makes all deferred messages due, since no early acknowledgement is expected.
    pub(super) fn make_deferred_due(&mut self) {
        // A body is never empty. With a recipient who is away, none is deferred, and each message
        // would pay for a look at all others.
        if self.deferred_bytes == 0 {
            return;
        }
        for unwritten in self.unwritten.iter_mut() {
            if let Progress::Deferred(_) = unwritten.progress {
                unwritten.progress = Progress::Due;
                self.due += 1;
            }
        }
        self.deferred_bytes = 0;
    }

    /// The numbers of messages that are acknowledged but that the store holds, or will
    /// hold, until their deletion is committed.
    pub(super) fn acknowledged_on_disk(&self) -> BTreeSet<u64> {
        let writing = self.unwritten.iter();
        writing
            .filter(|unwritten| unwritten.progress == Progress::WritingAcknowledged)
            .map(|unwritten| unwritten.message.number)
            .chain(self.acknowledged.iter().copied())
            .chain(self.deleting.iter().copied())
            .collect()
    }

    /// Updates the counts for a message that was removed from `unwritten`.
    pub(super) fn forget_progress(&mut self, unwritten: &Unwritten<R>) {
        match unwritten.progress {
            Progress::Deferred(_) => self.deferred_bytes -= unwritten.message.body.len(),
            Progress::Due | Progress::DueUnneeded => self.due -= 1,
            Progress::Writing | Progress::WritingAcknowledged => {}
        }
    }
}

/// Removes and returns at most `count` of the lowest numbers.
fn take_first(numbers: &mut BTreeSet<u64>, count: usize) -> BTreeSet<u64> {
    match numbers.iter().nth(count).copied() {
        None => std::mem::take(numbers),
        Some(rest) => {
            let rest = numbers.split_off(&rest);
            std::mem::replace(numbers, rest)
        }
    }
}
