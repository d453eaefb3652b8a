//! How much is pending in a mailbox, in all and by sender; which senders its quota has
//! turned away since the recipient was last told.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::News;
use crate::protocol::request::{Body, Sender};
use crate::store::{Message, Summary, Tally, UserId};

/// At most this many names are listed in one notice about senders turned away.
const MAX_TURNED_AWAY: usize = 100;

/// Bounds of a mailbox, and of one sender's share of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// The most pending messages.
    pub messages: u64,
    /// The most bytes of their bodies.
    pub bytes: u64,
    /// The part of both that one sender may fill, in percent.
    pub share: u64,
}

/// What the server sees of a message's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Envelope,
    Plain,
    Notice,
}

impl Kind {
    pub(super) fn of(message: &Message) -> Kind {
        match (message.from, &message.body) {
            (Sender::Server, _) => Kind::Notice,
            (_, Body::Envelope(_)) => Kind::Envelope,
            (_, Body::Plain(_)) => Kind::Plain,
        }
    }
}

/// Counts of what is pending, checked against the quota.
#[derive(Debug)]
pub(super) struct Counts {
    quota: Quota,
    total: Tally,
    /// The server gives the numbers of accounts, so nobody can choose them to collide.
    by_sender: HashMap<UserId, Tally, RandomState>,
    turned_away: TurnedAway,
}

/// Who was turned away since the recipient was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TurnedAway {
    /// At most [`MAX_TURNED_AWAY`] names.
    names: BTreeSet<UserName>,
    /// How many messages.
    count: u64,
}

impl TurnedAway {
    /// Whether nobody was.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds what was noted elsewhere.
    pub(crate) fn add(&mut self, other: TurnedAway) {
        self.count += other.count;
        self.names.extend(other.names);
    }
}

impl<R> super::Mailbox<R> {
    /// Who was turned away since the last notice. It is in memory only, so it has to be taken along
    /// when another machine takes this one's place.
    pub(crate) fn turned_away(&mut self) -> &mut TurnedAway {
        &mut self.counts.turned_away
    }
}

impl Counts {
    pub(super) fn new(summary: &Summary, quota: Quota) -> Self {
        let mut total = Tally::default();
        for (_, tally) in &summary.tallies {
            total.envelopes += tally.envelopes;
            total.plain += tally.plain;
            total.notices += tally.notices;
            total.bytes += tally.bytes;
        }
        Counts {
            quota,
            total,
            by_sender: summary.tallies.iter().copied().collect(),
            turned_away: TurnedAway::default(),
        }
    }

    /// Whether a message from `sender` still fits.
    pub(super) fn check(&self, sender: UserId, body: &Body) -> Result<(), Refusal> {
        let exceeds = |tally: &Tally, percent: u64| {
            let share = |bound: u64| bound.saturating_mul(percent) / 100;
            tally.messages() + 1 > share(self.quota.messages)
                || tally.bytes + body.len() as u64 > share(self.quota.bytes)
        };
        if exceeds(&self.total, 100) {
            return Err(Refusal::new(
                Code::MailboxFull,
                "the recipient's mailbox is full; try again when they have read their messages",
            ));
        }
        let share = self.by_sender.get(&sender).copied().unwrap_or_default();
        if exceeds(&share, self.quota.share) {
            return Err(Refusal::new(
                Code::MailboxFull,
                "your share of the recipient's mailbox is full; try again when they have read \
                 your messages",
            ));
        }
        Ok(())
    }

    pub(super) fn add(&mut self, sender: UserId, kind: Kind, size: usize) {
        let share = self.by_sender.entry(sender).or_default();
        for tally in [&mut self.total, share] {
            *of_kind(tally, kind) += 1;
            tally.bytes += size as u64;
        }
    }

    pub(super) fn remove(&mut self, sender: UserId, kind: Kind, size: usize) {
        let subtract = |tally: &mut Tally| {
            let of_kind = of_kind(tally, kind);
            *of_kind = of_kind.saturating_sub(1);
            tally.bytes = tally.bytes.saturating_sub(size as u64);
        };
        subtract(&mut self.total);
        if let Some(share) = self.by_sender.get_mut(&sender) {
            subtract(share);
            if share.messages() == 0 {
                self.by_sender.remove(&sender);
            }
        }
    }

    /// Whether anything of a sender's is pending.
    pub(super) fn holds_any_of(&self, sender: UserId) -> bool {
        self.by_sender.contains_key(&sender)
    }

    /// Remembers a sender for the next notice.
    pub(super) fn note_turned_away(&mut self, name: UserName) {
        self.turned_away.count += 1;
        if self.turned_away.names.len() < MAX_TURNED_AWAY {
            self.turned_away.names.insert(name);
        }
    }

    /// The news of who was turned away since the last notice. There is none while a
    /// notice is pending, so that a flood of messages makes one notice.
    pub(super) fn next_notice(&mut self) -> Option<News> {
        if self.turned_away.is_empty() || self.total.notices > 0 {
            return None;
        }
        let TurnedAway { names, count } = std::mem::take(&mut self.turned_away);
        Some(News::TurnedAway {
            names: names.into_iter().collect(),
            count,
        })
    }

    /// What is pending from all senders.
    pub(super) fn total(&self) -> Tally {
        self.total
    }
}

fn of_kind(tally: &mut Tally, kind: Kind) -> &mut u64 {
    match kind {
        Kind::Envelope => &mut tally.envelopes,
        Kind::Plain => &mut tally.plain,
        Kind::Notice => &mut tally.notices,
    }
}
