//! One user's mailbox: the promise of delivery as a pure state machine.
//!
//! Events go in (accept, acknowledge, attach, detach, what the writer did),
//! [`Effect`]s come out. It does no I/O, takes no lock and reads no clock, so
//! every interleaving can be tested; `delivery` runs it, `writer` feeds the disk.
//!
//! A message is numbered when it is accepted. From then until its recipient
//! acknowledges it, it is *pending*, and stands in at least one of two places:
//!
//! - `unwritten`: in memory, on its way to the disk. If its recipient was pushed
//!   it at once, it is *held* back briefly, because the acknowledgement may come
//!   first and spare the write.
//! - the store.
//!
//! The sender is answered when the message is on disk or acknowledged, whichever
//! comes first; both mean that it is safe.
//!
//! A session is *live* when all that is pending has been pushed to it, otherwise
//! *behind*: then it reads the store page by page ([`Mailbox::step`]) and turns
//! live in here, under the mailbox's lock, so that nothing falls between.
//!
//! Here stand the senders' side (accept) and the end of a message's way
//! (acknowledge); `reading` is the recipient's side, `writing` the writer's.

mod quota;
mod reading;
mod seen;
mod unwritten;
mod window;
mod writing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use self::quota::Quota;
use self::quota::{Counts, Kind};
use self::reading::Attached;
pub(crate) use self::reading::{Attachment, Step};
use self::seen::{IdState, Seen};
use self::unwritten::{Queue, Unwritten};
use self::window::InFlight;
pub(crate) use self::writing::{HOLD, Wake, Work};
use self::writing::{MAX_HELD_BYTES, Progress};

use crate::protocol::ids::MessageId;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Accepted, MessageState, News};
use crate::protocol::request::{Body, Sender};
use crate::store::{Message, Summary, UserId};

/// Numbers sessions, ever upward: a late event of an old session is told from
/// its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub u64);

/// What has to be done now. `O` names who waits for an answer.
#[derive(Debug)]
pub(crate) enum Effect<O> {
    /// Hand the message to the attached session's outbox, in this order.
    Push(Arc<Message>),
    /// Tell the attached console that this many envelopes wait.
    EnvelopesWait(u64),
    /// Tell the sender: accepted.
    Answer(O, Accepted),
    /// Tell the sender: not accepted.
    Refuse(O, Refusal),
    /// Tell a sender whose message was answered as stored: delivered.
    Receipt(UserName, MessageId),
}

/// What became of a message offered to [`Mailbox::accept`].
#[derive(Debug, PartialEq)]
pub(crate) enum Offer {
    /// The answer comes as an [`Effect`], on disk or on acknowledgement.
    Undecided,
    /// It was accepted before.
    Known(Accepted),
    /// Not accepted.
    Refused(Refusal),
    /// Only the store can tell whether it was accepted before: look there, then
    /// offer it again with what was found.
    Search,
}

/// A message offered by a sender.
#[derive(Debug)]
pub(crate) struct Submission<O> {
    /// Who sends.
    pub sender: UserId,
    /// The same, by name.
    pub from: UserName,
    /// Chosen by the sender.
    pub id: MessageId,
    /// What it carries.
    pub body: Body,
    /// Now, ms since 1970.
    pub at: u64,
    /// Who waits for the answer.
    pub origin: O,
}

/// What is known about an earlier acceptance of a message.
#[derive(Debug)]
pub(crate) enum Earlier {
    /// The sender says there was none.
    None,
    /// There may have been one; the store has not been searched.
    Unknown,
    /// The store was searched, and holds this.
    Searched(Option<Message>),
}

/// One user's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox<O> {
    next: u64,
    unwritten: Queue<O>,
    held_bytes: usize,
    /// How many of `unwritten` are due, so that asking is cheap.
    due: usize,
    /// On disk and acknowledged: to be deleted.
    acknowledged: BTreeSet<u64>,
    /// The same, in the writer's hands.
    deleting: BTreeSet<u64>,
    attached: Option<Attached>,
    seen: Seen,
    counts: Counts,
    /// Wakes handed out and not yet honoured by [`take_work`](Self::take_work).
    woken_now: bool,
    woken_later: bool,
}

impl<O> Mailbox<O> {
    /// A mailbox as the store holds it.
    pub(crate) fn new(summary: &Summary, quota: Quota) -> Self {
        Mailbox {
            next: summary.last + 1,
            unwritten: Queue::new(),
            held_bytes: 0,
            due: 0,
            acknowledged: BTreeSet::new(),
            deleting: BTreeSet::new(),
            attached: None,
            seen: Seen::default(),
            counts: Counts::new(summary, quota),
            woken_now: false,
            woken_later: false,
        }
    }

    /// Offers a message. `room` says whether the session's outbox can take it.
    pub(crate) fn accept(
        &mut self,
        offered: Submission<O>,
        earlier: Earlier,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<O>>,
    ) -> Offer {
        let digest = self.seen.digest(&offered.body);
        if let Some(known) = self.seen.get(offered.sender, offered.id) {
            return match known.state {
                _ if known.digest != digest => Offer::Refused(id_conflict()),
                IdState::Decided(accepted) => Offer::Known(accepted),
                IdState::Undecided(number) => {
                    if let Some(unwritten) = self.unwritten.get_mut(number) {
                        unwritten.repeats.push(offered.origin);
                    }
                    Offer::Undecided
                }
            };
        }
        match earlier {
            Earlier::Unknown => return Offer::Search,
            Earlier::Searched(Some(stored)) if stored.body != offered.body => {
                return Offer::Refused(id_conflict());
            }
            Earlier::Searched(Some(stored)) => {
                return Offer::Known(Accepted {
                    state: MessageState::Stored,
                    at: stored.at,
                });
            }
            Earlier::Searched(None) | Earlier::None => {}
        }
        if let Err(refusal) = self.counts.check(offered.sender, &offered.body) {
            self.counts.turn_away(offered.from);
            self.give_notice(offered.at, room, now, effects);
            return Offer::Refused(refusal);
        }
        let number = self.next;
        self.seen.insert(offered.sender, offered.id, digest, number);
        let message = Message {
            number,
            sender: offered.sender,
            from: Sender::User(offered.from),
            id: offered.id,
            at: offered.at,
            body: offered.body,
        };
        self.add(message, Some(offered.origin), room, now, effects);
        Offer::Undecided
    }

    /// Numbers a message's way to the disk and, if the session is live, to its outbox.
    fn add(
        &mut self,
        message: Message,
        origin: Option<O>,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<O>>,
    ) {
        let size = message.body.len();
        self.next = message.number + 1;
        self.counts.add(message.sender, Kind::of(&message), size);
        let message = Arc::new(message);
        let pushed = self.push_live(&message, room, effects);
        let progress = if pushed && self.held_bytes + size <= MAX_HELD_BYTES {
            self.held_bytes += size;
            Progress::Held(now)
        } else {
            // Nothing may be on disk ahead of what was accepted before it: a
            // crash in between would turn the order round.
            self.write_held();
            self.due += 1;
            Progress::Due
        };
        let unwritten = Unwritten {
            message,
            origin,
            repeats: Vec::new(),
            progress,
        };
        self.unwritten.push(unwritten);
    }

    /// Acknowledges one message; `false` if the session was not pushed it, or
    /// has acknowledged it before.
    pub(crate) fn acknowledge(
        &mut self,
        session: SessionId,
        from: Sender,
        id: MessageId,
        effects: &mut Vec<Effect<O>>,
    ) -> bool {
        let taken = match self.attached(session) {
            Some(attached) => attached.window.take(from, id),
            None => None,
        };
        match taken {
            Some(taken) => {
                self.conclude(taken, effects);
                true
            }
            None => false,
        }
    }

    /// Acknowledges all that the session was pushed, and says how many.
    pub(crate) fn acknowledge_shown(
        &mut self,
        session: SessionId,
        effects: &mut Vec<Effect<O>>,
    ) -> usize {
        let mut count = 0;
        while let Some(taken) = self.attached(session).and_then(|a| a.window.take_first()) {
            self.conclude(taken, effects);
            count += 1;
        }
        count
    }

    /// A message is with its recipient: it needs neither disk nor memory any more.
    fn conclude(&mut self, taken: InFlight, effects: &mut Vec<Effect<O>>) {
        self.counts.remove(taken.sender, taken.kind, taken.size);
        let accepted = Accepted {
            state: MessageState::Delivered,
            at: taken.at,
        };
        self.seen.decide(taken.sender, taken.id, accepted);
        match self.unwritten.get_mut(taken.number) {
            Some(unwritten) if unwritten.progress == Progress::Writing => {
                unwritten.progress = Progress::WritingAcknowledged;
                for origin in unwritten.take_origins() {
                    effects.push(Effect::Answer(origin, accepted));
                }
            }
            Some(_) => {
                if let Some(mut unwritten) = self.unwritten.remove(taken.number) {
                    self.release(&unwritten);
                    for origin in unwritten.take_origins() {
                        effects.push(Effect::Answer(origin, accepted));
                    }
                }
            }
            None => {
                self.acknowledged.insert(taken.number);
                if let Sender::User(name) = taken.from {
                    effects.push(Effect::Receipt(name, taken.id));
                }
            }
        }
    }

    /// Writes down who was turned away, one notice at a time.
    pub(crate) fn give_notice(
        &mut self,
        at: u64,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<O>>,
    ) {
        let Some((names, count)) = self.counts.take_turned_away() else {
            return;
        };
        let Ok(text) = serde_json::to_string(&News::TurnedAway { names, count }) else {
            return; // Names and a number always serialise.
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next.to_be_bytes());
        id[8..].copy_from_slice(&at.to_be_bytes());
        let message = Message {
            number: self.next,
            sender: UserId::SERVER,
            from: Sender::Server,
            id: MessageId(id),
            at,
            body: Body::Plain(text.into()),
        };
        self.add(message, None, room, now, effects);
    }

    /// Which of a sender's `ids` are in memory: `Some(pending)` where the
    /// answer is known here, `None` where only the store can tell.
    pub(crate) fn waits(&self, sender: UserId, id: MessageId) -> Option<bool> {
        match self.seen.get(sender, id)?.state {
            IdState::Undecided(_) => Some(true),
            IdState::Decided(accepted) => Some(accepted.state == MessageState::Stored),
        }
    }

    /// Whether the store's message of this number was acknowledged already.
    pub(crate) fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.contains(&number) || self.deleting.contains(&number)
    }

    /// Pending messages: envelopes, unencrypted ones, notices.
    pub(crate) fn pending(&self) -> (u64, u64, u64) {
        self.counts.pending()
    }

    /// Pending messages that have not been pushed to the session.
    pub(crate) fn not_pushed(&self) -> u64 {
        let (envelopes, plain, notices) = self.counts.pending();
        let pushed = self.attached.as_ref().map_or(0, |a| a.window.len() as u64);
        (envelopes + plain + notices).saturating_sub(pushed)
    }

    /// Nothing is attached, under way or unwritten: the store alone knows all.
    pub(crate) fn is_idle(&self) -> bool {
        self.attached.is_none()
            && self.unwritten.is_empty()
            && self.acknowledged.is_empty()
            && self.deleting.is_empty()
    }
}

fn id_conflict() -> Refusal {
    Refusal::new(
        Code::IdConflict,
        "this message id was used for another message; choose a new random id",
    )
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
