//! Mail that waits longer than the operator keeps it: which that is, and what is left of it.
//!
//! Of a message that was removed, a row stays with its place and its id, so that its sender is told, and
//! so that `outcome` does not take it for delivered. Its recipient finds a notice in its place. The row is
//! forgotten after a year, or when either of the two accounts is deleted.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Message, Place, StoreError, UserId};
use crate::protocol::ids::MessageId;
use crate::protocol::name::UserName;
use crate::protocol::reply::{MissedFrom, News};
use crate::protocol::request::{Body, Sender};

/// At most so many messages are removed in one transaction: a login may wait for it.
pub(crate) const MESSAGES: usize = 200;

/// So many mailboxes are looked at in one read.
pub(crate) const MAILBOXES: usize = 200;

/// At so many rows of what is left it is looked at once.
pub(crate) const ROWS: i64 = 500;

/// A notice about missed messages names at most so many senders.
const MAX_SENDERS: usize = 100;

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

/// The first and the last of the oldest messages of a mailbox, as far as they are from before a time.
pub(crate) struct Oldest {
    before: u64,
    first: Option<u64>,
    last: Option<u64>,
}

impl Oldest {
    /// Before the first message.
    pub(crate) fn new(before: u64) -> Self {
        Oldest {
            before,
            first: None,
            last: None,
        }
    }

    /// Takes the next message, with the body of a notice. Returns `false` if it is not from before
    /// the time, so that nothing behind it counts.
    pub(crate) fn take(&mut self, number: u64, at: u64, notice: Option<&[u8]>) -> bool {
        // It stays, and takes up what is removed behind it.
        let is_missed = notice.is_some_and(|body| missed(body).is_some());
        if !is_missed && at >= self.before {
            return false;
        }
        self.first = self.first.or(Some(number));
        if !is_missed {
            self.last = Some(number);
        }
        true
    }

    /// Their numbers, if there are any.
    pub(crate) fn numbers(self) -> Option<RangeInclusive<u64>> {
        self.first.zip(self.last).map(|(first, last)| first..=last)
    }
}

/// Counts the messages that are removed, for those who are told.
#[derive(Default)]
pub(crate) struct Removed {
    senders: BTreeMap<UserName, u64>,
    /// What an earlier notice says, which is removed, too.
    from_earlier: Vec<MissedFrom>,
    earlier: u64,
    count: u64,
}

impl Removed {
    /// Takes a row, with the body of a notice and the sender's name, if it has one.
    pub(crate) fn take(&mut self, sender: UserId, notice: Option<&[u8]>, name: Option<UserName>) {
        if let Some((from, count)) = notice.and_then(missed) {
            self.from_earlier.extend(from);
            self.earlier += count;
        } else if sender != UserId::SERVER {
            self.count += 1;
            if let Some(name) = name {
                *self.senders.entry(name).or_default() += 1;
            }
        }
    }

    /// What the recipient is told, in the last place that becomes free; `None` if only notices are gone.
    pub(crate) fn notice(&self, place: u64, now: u64) -> Option<Message> {
        let mut senders = self.senders.clone();
        for MissedFrom { name, count } in &self.from_earlier {
            *senders.entry(*name).or_default() += count;
        }
        let count = self.count + self.earlier;
        if count == 0 {
            return None;
        }
        let from = senders.into_iter().take(MAX_SENDERS);
        let from = from.map(|(name, count)| MissedFrom { name, count });
        let news = News::Missed {
            from: from.collect(),
            count,
        };
        let mut mid = [0; 16];
        mid[..8].copy_from_slice(&place.to_be_bytes());
        mid[8..].copy_from_slice(&now.to_be_bytes());
        Some(Message {
            number: place,
            sender: UserId::SERVER,
            from: Sender::Server,
            mid: MessageId(mid),
            at: now,
            // Names and numbers always serialise.
            body: Body::Plain(serde_json::to_string(&news).unwrap_or_default().into()),
        })
    }

    /// What was done.
    pub(crate) fn stepped(self) -> Stepped {
        Stepped::Removed(self.count, self.senders.into_keys().collect())
    }
}

/// The senders in a notice about missed messages, and how many messages there were.
fn missed(body: &[u8]) -> Option<(Vec<MissedFrom>, u64)> {
    match serde_json::from_slice(body) {
        Ok(News::Missed { from, count }) => Some((from, count)),
        _ => None,
    }
}
