//! The messages that are in memory and not yet on disk, in order of their numbers.
//!
//! Messages are acknowledged and written in the order in which they came, so nearly
//! all of them leave at the front: this is a queue that can also be searched.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::store::Message;

/// The capacity that an empty queue keeps while its mailbox rests, about 6 KiB.
const IDLE_PLACES: usize = 64;

/// The capacity that it keeps while messages come and go.
const BUSY_PLACES: usize = 1024;

/// How far a message has come on its way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was pushed at this moment, and is written later unless it is acknowledged first.
    Deferred(Instant),
    /// It has to be written as soon as possible.
    Due,
    /// The same, but nobody needs it: the recipient has it, or blocks the sender, who must not notice.
    /// It is written and deleted in one transaction, so that the answer takes as long as any
    /// other.
    DueUnneeded,
    /// The writer has it.
    Writing,
    /// The writer has it, and nobody needs it.
    WritingAcknowledged,
}

impl Progress {
    /// Whether the recipient is still to get it.
    pub(super) fn is_needed(self) -> bool {
        !matches!(self, Progress::DueUnneeded | Progress::WritingAcknowledged)
    }

    /// Whether the writer has it.
    pub(super) fn is_writing(self) -> bool {
        matches!(self, Progress::Writing | Progress::WritingAcknowledged)
    }
}

/// A message that is not on disk yet.
#[derive(Debug)]
pub(super) struct Unwritten<R> {
    pub(super) message: Arc<Message>,
    /// The place of the first copy, if this one is not needed because of that.
    pub(super) first_copy: Option<u64>,
    /// Where the answer goes; `None` for a notice that nobody waits for.
    pub(super) reply_to: Option<R>,
    /// Where the answers to repeated sends of the same message go.
    pub(super) repeats: Vec<R>,
    pub(super) progress: Progress,
}

impl<R> Unwritten<R> {
    /// Whether anybody is to be answered.
    pub(super) fn has_waiters(&self) -> bool {
        self.reply_to.is_some() || !self.repeats.is_empty()
    }

    /// Removes and returns everybody to be answered.
    pub(super) fn take_waiters(&mut self) -> impl Iterator<Item = R> + use<R> {
        let repeats = std::mem::take(&mut self.repeats);
        self.reply_to.take().into_iter().chain(repeats)
    }
}

/// Unwritten messages by rising number.
#[derive(Debug)]
pub(super) struct Queue<R> {
    messages: VecDeque<Unwritten<R>>,
}

impl<R> Queue<R> {
    pub(super) fn new() -> Self {
        Queue {
            messages: VecDeque::new(),
        }
    }

    /// Adds a message whose number is above all others.
    pub(super) fn push(&mut self, unwritten: Unwritten<R>) {
        debug_assert!(
            self.messages
                .back()
                .is_none_or(|last| last.message.number < unwritten.message.number)
        );
        self.messages.push_back(unwritten);
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        // Nearly always no number is missing between the first one and this one.
        let first = self.messages.front()?.message.number;
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        match self.messages.get(guess) {
            Some(unwritten) if unwritten.message.number == number => Some(guess),
            _ => self
                .messages
                .binary_search_by_key(&number, |unwritten| unwritten.message.number)
                .ok(),
        }
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Unwritten<R>> {
        let index = self.index_of(number)?;
        self.messages.get_mut(index)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Unwritten<R>> {
        let index = self.index_of(number)?;
        let removed = self.messages.remove(index);
        self.shrink_to(BUSY_PLACES);
        removed
    }

    /// Gives the memory of a burst back. Call it when nothing has come for a while.
    pub(super) fn shrink(&mut self) {
        self.shrink_to(IDLE_PLACES);
    }

    fn shrink_to(&mut self, kept: usize) {
        if self.messages.is_empty() && self.messages.capacity() > kept {
            self.messages = VecDeque::new();
        }
    }

    /// The first message above `number`.
    pub(super) fn after(&self, number: u64) -> Option<&Unwritten<R>> {
        let index = self
            .messages
            .partition_point(|unwritten| unwritten.message.number <= number);
        self.messages.get(index)
    }

    /// Since when a message counts as deferred that comes at `now`: not before the one ahead of it,
    /// although each sender's thread has read the time for itself, or it would be due first.
    pub(super) fn deferred_since(&self, now: Instant) -> Instant {
        match self.messages.back().map(|last| last.progress) {
            Some(Progress::Deferred(before)) => now.max(before),
            _ => now,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Unwritten<R>> {
        self.messages.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Unwritten<R>> {
        self.messages.iter_mut()
    }

    /// Bytes of memory that the queue takes, about.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.messages.capacity() * size_of::<Unwritten<R>>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::ids::MessageId;
    use crate::protocol::request::{Body, Sender};
    use crate::store::UserId;

    fn unwritten(number: u64) -> Unwritten<()> {
        let message = Message {
            number,
            sender: UserId(1),
            from: Sender::Server,
            mid: MessageId([0; 16]),
            at: 0,
            body: Body::Plain("x".into()),
        };
        Unwritten {
            message: Arc::new(message),
            first_copy: None,
            reply_to: None,
            repeats: Vec::new(),
            progress: Progress::Due,
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_by_number(steps in prop::collection::vec((0..3_u8, 0..40_u64), 0..400)) {
            let (mut queue, mut map, mut next) = (Queue::new(), BTreeMap::new(), 0);
            for (step, number) in steps {
                match step {
                    0 => {
                        // They need not follow each other closely.
                        next += 1 + number / 20;
                        queue.push(unwritten(next));
                        map.insert(next, ());
                    }
                    1 => {
                        let number = next.saturating_sub(number);
                        prop_assert_eq!(
                            queue.remove(number).map(|u| u.message.number),
                            map.remove(&number).map(|()| number)
                        );
                        prop_assert!(queue.get_mut(number).is_none());
                    }
                    _ => {
                        let number = next.saturating_sub(number);
                        prop_assert_eq!(
                            queue.after(number).map(|u| u.message.number),
                            map.range(number + 1..).next().map(|(number, ())| *number)
                        );
                    }
                }
                prop_assert!(queue.iter().map(|u| u.message.number).eq(map.keys().copied()));
            }
        }
    }
}
