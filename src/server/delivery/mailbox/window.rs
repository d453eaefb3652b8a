//! The messages that a session was pushed and has not acknowledged, in order.
//!
//! The window is bounded, so that a million pending messages are delivered with flat
//! memory. It keeps what an acknowledgement needs, not the bodies.

use std::collections::{BTreeSet, VecDeque};

use super::quota::Kind;
use crate::protocol::ids::MessageId;
use crate::protocol::request::Sender;
use crate::store::{Message, UserId};

/// At most this many messages are in flight to one session.
const MAX_MESSAGES: usize = 2048;

/// Past this many bytes of bodies in flight, the window is full.
const MAX_BYTES: usize = 1024 * 1024;

/// The capacity that an empty window keeps.
const IDLE_PLACES: usize = 64;

/// A message that was pushed and not acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) number: u64,
    pub(super) sender: UserId,
    pub(super) from: Sender,
    pub(super) mid: MessageId,
    pub(super) at: u64,
    pub(super) kind: Kind,
    pub(super) size: usize,
}

/// One session's messages in flight.
#[derive(Debug, Default)]
pub(super) struct Window {
    messages: VecDeque<InFlight>,
    bytes: usize,
}

impl Window {
    pub(super) fn push(&mut self, message: &Message) {
        let size = message.body.len();
        self.bytes += size;
        self.messages.push_back(InFlight {
            number: message.number,
            sender: message.sender,
            from: message.from,
            mid: message.mid,
            at: message.at,
            kind: Kind::of(message),
            size,
        });
    }

    /// Removes a message by its sender and id. It is usually the first.
    pub(super) fn remove(&mut self, from: Sender, mid: MessageId) -> Option<InFlight> {
        let index = self
            .messages
            .iter()
            .position(|message| message.mid == mid && message.from == from)?;
        let removed = self.messages.remove(index)?;
        self.removed(&removed);
        Some(removed)
    }

    pub(super) fn pop_first(&mut self) -> Option<InFlight> {
        let removed = self.messages.pop_front()?;
        self.removed(&removed);
        Some(removed)
    }

    /// Removes messages by their numbers.
    pub(super) fn withdraw(&mut self, numbers: &BTreeSet<u64>) {
        let mut withdrawn = Vec::new();
        self.messages.retain(|message| {
            let stays = !numbers.contains(&message.number);
            if !stays {
                withdrawn.push(*message);
            }
            stays
        });
        for message in &withdrawn {
            self.removed(message);
        }
    }

    /// Counts a message that was removed. An empty window gives its memory back.
    fn removed(&mut self, removed: &InFlight) {
        self.bytes -= removed.size;
        if self.messages.is_empty() && self.messages.capacity() > IDLE_PLACES {
            self.messages = VecDeque::new();
        }
    }

    /// Bytes of memory that the window takes, about.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.messages.capacity() * size_of::<InFlight>()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.space() == 0 || self.bytes >= MAX_BYTES
    }

    /// How many more messages fit.
    pub(super) fn space(&self) -> usize {
        MAX_MESSAGES.saturating_sub(self.messages.len())
    }
}
