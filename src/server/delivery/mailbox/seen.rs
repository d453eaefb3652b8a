//! The message ids that a mailbox remembers: all that are undecided, and the last few
//! that were decided. A sender that repeats an id gets the first one's answer.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use super::Taken;
use crate::protocol::ids::MessageId;
use crate::protocol::request::Body;
use crate::store::UserId;

/// How many decided ids are remembered. A client repeats an id without `again` only on
/// the connection that it first used, and has at most 64 of them unanswered there.
const MAX_DECIDED: usize = 128;

/// The capacity that the table keeps while its mailbox rests.
const IDLE_CAPACITY: usize = 2 * MAX_DECIDED;

/// Past this capacity it gives memory back as soon as nothing is undecided. Below, a sender that
/// keeps some dozens of messages unanswered would have it shrink and grow all the time.
const BUSY_CAPACITY: usize = 8 * MAX_DECIDED;

/// What is known about an id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// A randomly keyed digest of the body, which reveals another body under the same id.
    pub(super) digest: u64,
    pub(super) state: IdState,
}

/// Whether the sender has its answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdState {
    /// The message has this number and is not yet answered.
    Undecided(u64),
    /// The message was answered like this.
    Decided(Taken),
}

/// The remembered ids, by sender.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Senders choose their ids, so each mailbox hashes them with a random key of its own.
    ids: HashMap<(UserId, MessageId), Known, RandomState>,
    decided: VecDeque<(UserId, MessageId)>,
}

impl Seen {
    pub(super) fn digest(&self, body: &Body) -> u64 {
        let keyed = self.ids.hasher();
        match body {
            Body::Envelope(blob) => keyed.hash_one((0, &blob.0)),
            Body::Plain(text) => keyed.hash_one((1, text)),
        }
    }

    pub(super) fn get(&self, sender: UserId, mid: MessageId) -> Option<&Known> {
        self.ids.get(&(sender, mid))
    }

    pub(super) fn insert(&mut self, sender: UserId, mid: MessageId, digest: u64, number: u64) {
        let state = IdState::Undecided(number);
        self.ids.insert((sender, mid), Known { digest, state });
    }

    /// Records an answer, in place of an earlier one if there is one.
    pub(super) fn decide(&mut self, sender: UserId, mid: MessageId, taken: Taken) {
        let Some(known) = self.ids.get_mut(&(sender, mid)) else {
            return;
        };
        let first = matches!(known.state, IdState::Undecided(_));
        known.state = IdState::Decided(taken);
        if first {
            if self.decided.len() == MAX_DECIDED
                && let Some(oldest) = self.decided.pop_front()
            {
                self.ids.remove(&oldest);
            }
            self.decided.push_back((sender, mid));
            self.shrink_to(BUSY_CAPACITY);
        }
    }

    /// Forgets an id that was never decided.
    pub(super) fn forget(&mut self, sender: UserId, mid: MessageId) {
        self.ids.remove(&(sender, mid));
        self.shrink_to(BUSY_CAPACITY);
    }

    /// Gives the memory of a burst back. Call it when nothing has come for a while.
    pub(super) fn shrink(&mut self) {
        self.shrink_to(IDLE_CAPACITY);
    }

    fn shrink_to(&mut self, kept: usize) {
        if self.ids.len() <= MAX_DECIDED && self.ids.capacity() > kept {
            self.ids.shrink_to(MAX_DECIDED);
        }
    }

    /// Bytes of memory that the tables take, about.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.ids.capacity() * size_of::<((UserId, MessageId), Known)>()
            + self.decided.capacity() * size_of::<(UserId, MessageId)>()
    }
}
