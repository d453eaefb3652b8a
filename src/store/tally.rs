//! What is pending, in numbers.

use super::UserId;

/// Pending messages, counted by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Envelopes.
    pub envelopes: u64,
    /// Unencrypted messages.
    pub plain: u64,
    /// Notices.
    pub notices: u64,
    /// Bytes of all their bodies.
    pub bytes: u64,
}

impl Tally {
    /// How many messages those are.
    pub(crate) fn messages(&self) -> u64 {
        self.envelopes + self.plain + self.notices
    }
}

/// A mailbox in numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// The highest number in use; 0 when empty.
    pub last: u64,
    /// What is pending from each sender.
    pub tallies: Vec<(UserId, Tally)>,
}
