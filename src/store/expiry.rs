//! Mail that waits longer than the operator keeps it: which that is, and what is left of it.
//!
//! Of a message that was removed, a row stays with its place and its id, so that its sender is told, and
//! so that `outcome` does not take it for delivered. Its recipient finds a notice in its place. The row is
//! forgotten after a year, or when either of the two accounts is deleted.

use std::ops::RangeInclusive;

use super::{Place, StoreError, UserId};
use crate::protocol::ids::MessageId;
use crate::protocol::name::UserName;

/// At most so many messages are removed in one transaction: a login may wait for it.
pub(crate) const MESSAGES: usize = 200;

/// Reads of what has waited for too long, and of what is left of it.
pub(crate) trait ExpiredMail {
    /// Looks at the oldest messages of some mailboxes, of those behind `after`, until one has mail from
    /// before this time, ms since 1970. It reads one row of a mailbox without such mail, and no more
    /// than [`MESSAGES`] of another.
    fn due(&self, after: UserId, before: u64) -> Result<Look, StoreError>;

    /// The places, among some numbers of a mailbox, from which messages were removed.
    fn expired(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError>;

    /// At most `limit` places of a mailbox behind a number from which messages were removed, in order.
    fn expired_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError>;

    /// At most `limit` removed messages behind this one of which their sender was not told.
    fn untold(&self, sender: UserId, after: Key, limit: usize) -> Result<Vec<Untold>, StoreError>;
}

/// What a look at mailboxes has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// This one has mail to be removed.
    Found(Due),
    /// None has, up to this one; there may be more.
    UpTo(UserId),
    /// None has, up to the last.
    End,
}

/// The mail of one mailbox that is to be removed: all that it holds between two numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Whose mailbox it is.
    pub recipient: UserId,
    /// The owner's name.
    pub name: UserName,
    /// From the first number to the last.
    pub numbers: RangeInclusive<u64>,
}

/// A message that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Untold {
    /// Whose mailbox it was in.
    pub recipient: UserId,
    /// The owner's name, unless it was given away.
    pub name: Option<UserName>,
    /// Its number there.
    pub number: u64,
    /// Its id.
    pub mid: MessageId,
    /// Whether the recipient lets the sender see what becomes of messages.
    pub open: bool,
}

impl Untold {
    /// Its place.
    pub(crate) fn key(&self) -> Key {
        (self.recipient, self.number)
    }
}

/// The place of a message that was removed: its recipient, and its number in that mailbox.
pub(crate) type Key = (UserId, u64);

/// Before all places.
pub(crate) const FIRST: Key = (UserId(i64::MIN), 0);

/// A change of mail that waited for too long, or of what is left of it.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Remove mail at this time, ms since 1970. A notice takes its place.
    Remove(Due, u64),
    /// The sender is about to be told of these.
    Told(Vec<Key>),
    /// Forget, of some rows behind this one, those from before this time, ms since 1970, and those of
    /// accounts that are deleted.
    Forget(Key, u64),
}

/// What such a change has done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stepped {
    /// So many messages were removed, of these senders.
    Removed(u64, Vec<UserName>),
    /// These were not told before.
    Told(Vec<Key>),
    /// Rows were looked at up to this one; `None` if it was the last.
    Forgotten(Option<Key>),
}
