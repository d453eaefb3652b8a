//! The writer's side: what is on its way to the disk, and what the disk still
//! holds of what was acknowledged.
//!
//! It decides when the writer has to come and what it takes along, never how
//! that is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unwritten::Unwritten;
use super::{Effect, Kind, Mailbox};
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Accepted, MessageState};
use crate::store::Message;

/// How long a pushed message is held back from the disk, to let an
/// acknowledgement come first: that costs a round trip and the sync of the
/// recipient's vault, which most disks do within this time.
pub(crate) const WRITE_DELAY: Duration = Duration::from_millis(5);

/// Bytes held back at most in one mailbox; past it, messages are written at once.
pub(super) const MAX_DEFERRED_BYTES: usize = 1024 * 1024;

/// When the writer has to visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// As soon as it can.
    Now,
    /// After [`WRITE_DELAY`].
    Later,
}

/// What the writer takes along.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// To store, in order.
    pub messages: Vec<Arc<Message>>,
    /// To delete.
    pub acknowledged: BTreeSet<u64>,
    /// Acknowledged messages that never will be deleted: see [`Mailbox::abandon`].
    pub abandoned: usize,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Pushed; an acknowledgement may come first.
    Deferred(Instant),
    /// To be written as soon as possible.
    Due,
    /// The writer has it.
    Writing,
    /// The writer has it, and the recipient has acknowledged it since.
    WritingAcknowledged,
}

impl<R> Mailbox<R> {
    /// Whether the writer has to visit, said once until it does.
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

    /// What the writer has to do now: messages that are due or were held long
    /// enough, at most `limit`, and deletions.
    pub(crate) fn take_work(&mut self, now: Instant, limit: usize) -> Work {
        self.woken_now = false;
        self.woken_later = false;
        let mut work = Work {
            messages: Vec::new(),
            acknowledged: std::mem::take(&mut self.acknowledged),
            abandoned: 0,
        };
        self.deleting.extend(&work.acknowledged);
        for unwritten in self.unwritten.iter_mut() {
            if work.messages.len() == limit {
                break;
            }
            match unwritten.progress {
                Progress::Deferred(since) if now.duration_since(since) >= WRITE_DELAY => {
                    self.deferred_bytes -= unwritten.message.body.len();
                }
                Progress::Due => self.due -= 1,
                _ => continue,
            }
            unwritten.progress = Progress::Writing;
            work.messages.push(Arc::clone(&unwritten.message));
        }
        work
    }

    /// The writer's work is on disk.
    pub(crate) fn committed(&mut self, work: &Work, effects: &mut Vec<Effect<R>>) {
        for message in &work.messages {
            let Some(mut unwritten) = self.unwritten.remove(message.number) else {
                continue;
            };
            if unwritten.progress == Progress::WritingAcknowledged {
                self.acknowledged.insert(message.number);
                continue;
            }
            let accepted = Accepted {
                state: MessageState::Stored,
                at: message.at,
            };
            self.seen.decide(message.sender, message.mid, accepted);
            for reply_to in unwritten.take_waiters() {
                effects.push(Effect::Answer(reply_to, accepted));
            }
        }
        for number in &work.acknowledged {
            self.deleting.remove(number);
        }
    }

    /// The writer's work could not be done; nothing of it was.
    pub(crate) fn failed(&mut self, work: &Work, refusal: &Refusal, effects: &mut Vec<Effect<R>>) {
        for message in &work.messages {
            let Some(mut unwritten) = self.unwritten.remove(message.number) else {
                continue;
            };
            if unwritten.progress == Progress::WritingAcknowledged {
                continue;
            }
            // Not accepted, so not pending: if the recipient was pushed it and
            // takes it all the same, its vault knows it when it comes again.
            self.counts
                .remove(message.sender, Kind::of(message), message.body.len());
            self.seen.forget(message.sender, message.mid);
            if let Some(attached) = &mut self.attached {
                attached.window.take(message.from, message.mid);
            }
            for reply_to in unwritten.take_waiters() {
                effects.push(Effect::Refuse(reply_to, refusal.clone()));
            }
        }
        for number in &work.acknowledged {
            self.deleting.remove(number);
        }
        self.acknowledged.extend(&work.acknowledged);
    }

    /// Nothing more of this mailbox reaches the disk: what waits to be written is
    /// refused, and what waits to be deleted stays, to be delivered again when the
    /// mailbox is opened next. Says how many of those there are.
    pub(crate) fn abandon(&mut self, refusal: &Refusal, effects: &mut Vec<Effect<R>>) -> usize {
        self.woken_now = false;
        self.woken_later = false;
        let waiting = self.unwritten.iter();
        let messages = waiting
            .filter(|unwritten| matches!(unwritten.progress, Progress::Deferred(_) | Progress::Due))
            .map(|unwritten| Arc::clone(&unwritten.message))
            .collect();
        self.deferred_bytes = 0;
        self.due = 0;
        let work = Work {
            messages,
            ..Work::default()
        };
        self.failed(&work, refusal, effects);
        std::mem::take(&mut self.acknowledged).len()
    }

    /// Nobody is expected to acknowledge soon: what is held back is due.
    pub(super) fn make_deferred_due(&mut self) {
        for unwritten in self.unwritten.iter_mut() {
            if let Progress::Deferred(_) = unwritten.progress {
                unwritten.progress = Progress::Due;
                self.due += 1;
            }
        }
        self.deferred_bytes = 0;
    }

    /// Numbers that are acknowledged, and that the store holds or will hold
    /// until their deletion is committed.
    pub(super) fn acknowledged_on_disk(&self) -> BTreeSet<u64> {
        let writing = self.unwritten.iter();
        writing
            .filter(|unwritten| unwritten.progress == Progress::WritingAcknowledged)
            .map(|unwritten| unwritten.message.number)
            .chain(self.acknowledged.iter().copied())
            .chain(self.deleting.iter().copied())
            .collect()
    }

    /// Takes a message out of what is held back or due.
    pub(super) fn release(&mut self, unwritten: &Unwritten<R>) {
        match unwritten.progress {
            Progress::Deferred(_) => self.deferred_bytes -= unwritten.message.body.len(),
            Progress::Due => self.due -= 1,
            Progress::Writing | Progress::WritingAcknowledged => {}
        }
    }
}
