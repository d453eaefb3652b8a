//! The messages a session was pushed and has not acknowledged, in order.
//!
//! Bounded, so that a million waiting messages are delivered with flat memory.
//! It keeps what an acknowledgement needs, not the bodies.

use std::collections::VecDeque;

use super::quota::Kind;
use crate::protocol::ids::MessageId;
use crate::protocol::request::Sender;
use crate::store::{Message, UserId};

/// Messages under way to one session at most.
const MAX_MESSAGES: usize = 2048;

/// Bytes of bodies under way to one session at most.
const MAX_BYTES: usize = 1024 * 1024;

/// A message under way.
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

/// See the module.
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

    /// Takes out a message by sender and id: usually the first.
    pub(super) fn take(&mut self, from: Sender, mid: MessageId) -> Option<InFlight> {
        let place = self
            .messages
            .iter()
            .position(|message| message.mid == mid && message.from == from)?;
        let taken = self.messages.remove(place)?;
        self.bytes -= taken.size;
        Some(taken)
    }

    pub(super) fn take_first(&mut self) -> Option<InFlight> {
        let taken = self.messages.pop_front()?;
        self.bytes -= taken.size;
        Some(taken)
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
