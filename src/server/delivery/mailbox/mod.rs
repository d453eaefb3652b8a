//! One user's mailbox: the promise of delivery as a pure state machine.
//!
//! Events go in (submit, acknowledge, attach, detach, the writer's reports) and
//! [`Effect`]s come out. The machine does no I/O, takes no lock and reads no clock, so
//! that tests can try every interleaving. `shared_mailbox` guards it with a lock.
//!
//! A message gets its number when it is submitted and not refused. From then until its recipient
//! acknowledges it, it is *pending*, and it is in at least one of two places:
//!
//! - `unwritten`, in memory. If the recipient was pushed the message at once, its write
//!   is *deferred* briefly, because an early acknowledgement makes it unnecessary.
//! - the store.
//!
//! It is *accepted*, and its sender answered, when it is on disk or acknowledged, whichever
//! comes first; both mean that it is safe.
//!
//! A session is *live* when all that is pending has been pushed to it. Otherwise it is
//! *behind* and reads the store page by page.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the senders' side, and acknowledgements |
//! | `reading` | the recipient's side: a session and its reading cursor |
//! | `window` | the messages that a session has not acknowledged |
//! | `writing` | the writer's side: what is to be stored and deleted, and when |
//! | `unwritten` | the messages that are not on disk |
//! | `withdraw` | taking a sender's messages out |
//! | `stalled` | the senders who have to send something again first |
//! | `seen` | remembered message ids, so that a repeated send is stored once |
//! | `quota` | counts of what is pending, and their limits |
//! | `model`, `tests` | the promise against random interleavings; single steps |

mod quota;
mod reading;
mod seen;
mod stalled;
mod unwritten;
mod window;
mod withdraw;
mod writing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use self::quota::{Counts, Kind};
pub(crate) use self::quota::{Quota, TurnedAway};
use self::reading::Attached;
pub(crate) use self::reading::{Attachment, Step};
use self::seen::{IdState, Seen};
pub(in crate::server::delivery) use self::stalled::{Stalled, overtakes};
use self::unwritten::{Progress, Queue, Unwritten};
use self::window::InFlight;
pub(crate) use self::withdraw::Withdrawn;
use self::writing::MAX_DEFERRED_BYTES;
pub(crate) use self::writing::{Room, WRITE_DELAY, Wake, Work};

use crate::protocol::ids::MessageId;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{MessageState, News};
use crate::protocol::request::{Body, Sender};
use crate::store::{Message, Summary, Tally, UserId};

/// A session's number. A later session has a higher one, so that a late event of an
/// old session is not taken for its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub u64);

/// What the caller has to do. `R` is where a sender's answer goes.
#[derive(Debug)]
pub(crate) enum Effect<R> {
    /// Append the message to the attached session's send queue, in this order.
    Push(Arc<Message>),
    /// Tell the attached console that this many envelopes wait.
    EnvelopesWait(u64),
    /// Tell the sender that the message was accepted.
    Answer(R, Taken),
    /// Tell the sender that the message was not accepted.
    Refuse(R, Refusal),
    /// Tell a sender whose answer was `stored` that the message is delivered.
    Receipt(Receipt),
}

/// A message that its sender's client does not know to be delivered yet.
#[derive(Debug)]
pub(crate) struct Receipt {
    /// Who sent the message.
    pub sender: UserName,
    /// The sender's number.
    pub user: UserId,
    /// The message's id.
    pub mid: MessageId,
}

/// How a message was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its place in the mailbox. The sender gets it only as a sealed handle.
    pub number: u64,
    /// Whether it is on disk or acknowledged.
    pub state: MessageState,
    /// When it was accepted, in ms since 1970.
    pub at: u64,
}

/// What a sender may learn of the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discretion {
    /// When the recipient acknowledges.
    Open,
    /// Nothing: every message looks like one that is stored and stays.
    Hidden,
    /// The same, and the recipient must not get it: the message is dropped.
    Blocked,
}

/// How a `send` is answered.
#[derive(Debug, PartialEq)]
#[must_use]
pub(crate) enum Disposition {
    /// Later, as an [`Effect`]: once the message is on disk or acknowledged.
    AnsweredLater,
    /// At once: the message was accepted before.
    Accepted(Taken),
    /// At once: the message is not accepted.
    Refused(Refusal),
}

/// What [`Mailbox::submit`] decided.
#[derive(Debug)]
#[must_use]
pub(crate) enum Decision<R> {
    /// It decided this.
    Made(Disposition),
    /// It can't decide, because only the store can tell whether the message was accepted
    /// before. Search the store, then submit the message again with what was found.
    SearchFirst(Box<Submission<R>>),
}

/// A message that a sender submits.
#[derive(Debug)]
pub(crate) struct Submission<R> {
    /// The sender's number.
    pub sender: UserId,
    /// The sender's name.
    pub from: UserName,
    /// The message's id, chosen by the sender.
    pub mid: MessageId,
    /// The message's body.
    pub body: Body,
    /// The time of the request, in ms since 1970.
    pub at: u64,
    /// What the sender may learn of the recipient.
    pub discretion: Discretion,
    /// Where the answer goes.
    pub reply_to: R,
}

/// What is known about an earlier submission of the same message.
#[derive(Debug)]
pub(crate) enum Earlier {
    /// The sender says that there was none.
    None,
    /// There may have been one; the store has not been searched.
    Unknown,
    /// The store was searched and holds this message, or none.
    Searched(Option<Message>),
}

/// One user's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox<R> {
    /// The number of the next message.
    next: u64,
    unwritten: Queue<R>,
    /// Bytes of the bodies in `unwritten` that are deferred.
    deferred_bytes: usize,
    /// How many messages in `unwritten` are due.
    due: usize,
    /// Messages that are on disk and acknowledged: the writer has to delete them.
    acknowledged: BTreeSet<u64>,
    /// Messages that the writer is deleting.
    deleting: BTreeSet<u64>,
    attached: Option<Attached>,
    seen: Seen,
    stalled: Stalled<UserId>,
    counts: Counts,
    /// The writer was told to come, and has not called [`take_work`](Self::take_work) yet.
    woken_now: bool,
    woken_later: bool,
    /// Messages that were acknowledged before they were written, since this was asked last.
    elided: u64,
}

impl<R> Mailbox<R> {
    /// A mailbox as the store holds it. Its next number is at least `first`: a number must not
    /// name two messages, also not after one of them left the store.
    pub(crate) fn new(summary: &Summary, first: u64, quota: Quota) -> Self {
        Mailbox {
            next: first.max(summary.last + 1),
            unwritten: Queue::new(),
            deferred_bytes: 0,
            due: 0,
            acknowledged: BTreeSet::new(),
            deleting: BTreeSet::new(),
            attached: None,
            seen: Seen::default(),
            stalled: Stalled::default(),
            counts: Counts::new(summary, quota),
            woken_now: false,
            woken_later: false,
            elided: 0,
        }
    }

    /// Takes a message in, unless it is known or refused. `room` says whether the
    /// session's send queue can take it.
    pub(crate) fn submit(
        &mut self,
        submission: Submission<R>,
        earlier: Earlier,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<R>>,
    ) -> Decision<R> {
        let digest = self.seen.digest(&submission.body);
        if let Some(known) = self.seen.get(submission.sender, submission.mid) {
            return Decision::Made(match known.state {
                _ if known.digest != digest => Disposition::Refused(id_conflict()),
                IdState::Decided(taken) => Disposition::Accepted(taken),
                IdState::Undecided(number) => {
                    if let Some(unwritten) = self.unwritten.get_mut(number) {
                        unwritten.repeats.push(submission.reply_to);
                    }
                    Disposition::AnsweredLater
                }
            });
        }
        let mut first_copy = None;
        match earlier {
            Earlier::Unknown => return Decision::SearchFirst(Box::new(submission)),
            Earlier::Searched(Some(stored)) if submission.discretion == Discretion::Open => {
                return Decision::Made(self.repeated(&submission, digest, &stored));
            }
            // The sender must not learn that the first copy still waits.
            Earlier::Searched(Some(stored)) if stored.body == submission.body => {
                first_copy = Some(stored.number);
            }
            Earlier::Searched(_) | Earlier::None => {}
        }
        let (sender, mid) = (submission.sender, submission.mid);
        if !self.stalled.may_send(sender, mid, now) {
            return Decision::Made(Disposition::Refused(overtakes()));
        }
        if let Err(refusal) = self.counts.check(submission.sender, &submission.body) {
            if submission.discretion != Discretion::Blocked {
                self.counts.note_turned_away(submission.from);
                self.deliver_notice(submission.at, room, now, effects);
            }
            return Decision::Made(Disposition::Refused(refusal));
        }
        let number = self.next;
        self.seen
            .insert(submission.sender, submission.mid, digest, number);
        let message = Message {
            number,
            sender: submission.sender,
            from: Sender::User(submission.from),
            mid: submission.mid,
            at: submission.at,
            body: submission.body,
        };
        let reply_to = Some(submission.reply_to);
        match submission.discretion {
            _ if first_copy.is_some() => self.add_dropped(message, first_copy, reply_to),
            Discretion::Blocked => self.add_dropped(message, None, reply_to),
            discretion => self.add(message, reply_to, discretion, room, now, effects),
        }
        Decision::Made(Disposition::AnsweredLater)
    }

    /// Adds a message that nobody gets, or whose first copy has a place already. It takes the way
    /// of one that is stored, so that its sender's answer comes no earlier and says no more.
    fn add_dropped(&mut self, message: Message, first_copy: Option<u64>, reply_to: Option<R>) {
        self.next = message.number + 1;
        self.make_deferred_due();
        self.due += 1;
        self.unwritten.push(Unwritten {
            message: Arc::new(message),
            first_copy,
            reply_to,
            repeats: Vec::new(),
            progress: Progress::DueUnneeded,
        });
    }

    /// Adds a message that has the next number: pushes it if the session is live, and
    /// decides when it is written.
    fn add(
        &mut self,
        message: Message,
        reply_to: Option<R>,
        discretion: Discretion,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<R>>,
    ) {
        let size = message.body.len();
        self.next = message.number + 1;
        self.counts.add(message.sender, Kind::of(&message), size);
        let message = Arc::new(message);
        let pushed = self.push_live(&message, room, effects);
        let early_ack = pushed && discretion == Discretion::Open;
        let progress = if early_ack && self.deferred_bytes + size <= MAX_DEFERRED_BYTES {
            self.deferred_bytes += size;
            Progress::Deferred(self.unwritten.deferred_since(now))
        } else {
            // No message may reach the disk ahead of one that was accepted before it:
            // a crash in between would turn their order round.
            self.make_deferred_due();
            self.due += 1;
            Progress::Due
        };
        let unwritten = Unwritten {
            message,
            first_copy: None,
            reply_to,
            repeats: Vec::new(),
            progress,
        };
        self.unwritten.push(unwritten);
    }

    /// Acknowledges one message. Returns `false` if the session was not pushed it or has
    /// acknowledged it before. With `hidden`, its sender must not learn of that.
    pub(crate) fn acknowledge(
        &mut self,
        session: SessionId,
        from: Sender,
        mid: MessageId,
        hidden: bool,
        effects: &mut Vec<Effect<R>>,
    ) -> bool {
        let acknowledged = self
            .attached(session)
            .and_then(|attached| attached.window.remove(from, mid));
        match acknowledged {
            Some(message) => {
                self.conclude(message, hidden, effects);
                true
            }
            None => false,
        }
    }

    /// Acknowledges all messages that the session was pushed. Returns how many. `hidden` says
    /// from which senders it is kept.
    pub(crate) fn acknowledge_shown(
        &mut self,
        session: SessionId,
        hidden: impl Fn(&Sender) -> bool,
        effects: &mut Vec<Effect<R>>,
    ) -> usize {
        let mut count = 0;
        while let Some(message) = self.attached(session).and_then(|a| a.window.pop_first()) {
            self.conclude(message, hidden(&message.from), effects);
            count += 1;
        }
        count
    }

    /// How many messages were acknowledged before they were written, since this was asked last.
    pub(crate) fn take_elided(&mut self) -> u64 {
        std::mem::take(&mut self.elided)
    }

    /// Ends a message's way: its recipient has it, so neither disk nor memory need it. With
    /// `hidden`, all that its sender can see goes on as if it were stored and stayed.
    fn conclude(&mut self, message: InFlight, hidden: bool, effects: &mut Vec<Effect<R>>) {
        self.counts
            .remove(message.sender, message.kind, message.size);
        let taken = Taken {
            number: message.number,
            state: MessageState::Delivered,
            at: message.at,
        };
        if !hidden {
            self.seen.decide(message.sender, message.mid, taken);
        }
        let Some(unwritten) = self.unwritten.get_mut(message.number) else {
            self.acknowledged.insert(message.number);
            if let Sender::User(sender) = message.from
                && !hidden
            {
                let (user, mid) = (message.sender, message.mid);
                effects.push(Effect::Receipt(Receipt { sender, user, mid }));
            }
            return;
        };
        match unwritten.progress {
            Progress::Writing => {
                unwritten.progress = Progress::WritingAcknowledged;
                if !hidden {
                    answer(unwritten.take_waiters(), taken, effects);
                }
            }
            _ if hidden => {
                self.make_deferred_due();
                if let Some(unwritten) = self.unwritten.get_mut(message.number) {
                    unwritten.progress = Progress::DueUnneeded;
                }
            }
            _ => {
                if let Some(mut unwritten) = self.unwritten.remove(message.number) {
                    self.elided += 1;
                    self.forget_progress(&unwritten);
                    answer(unwritten.take_waiters(), taken, effects);
                }
            }
        }
    }

    /// Adds a notice of who was turned away, unless nobody was or one is pending.
    pub(crate) fn deliver_notice(
        &mut self,
        at: u64,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<R>>,
    ) {
        if let Some(news) = self.counts.next_notice() {
            self.add_notice(&news, at, None, room, now, effects);
        }
    }

    /// Adds a notice of the server, which no quota refuses. `reply_to` is told whether it is taken.
    pub(crate) fn add_notice(
        &mut self,
        news: &News,
        at: u64,
        reply_to: Option<R>,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<R>>,
    ) {
        let Ok(text) = serde_json::to_string(news) else {
            return; // Names, numbers and texts always serialise.
        };
        let mut mid = [0; 16];
        mid[..8].copy_from_slice(&self.next.to_be_bytes());
        mid[8..].copy_from_slice(&at.to_be_bytes());
        let message = Message {
            number: self.next,
            sender: UserId::SERVER,
            from: Sender::Server,
            mid: MessageId(mid),
            at,
            body: Body::Plain(text.into()),
        };
        self.add(message, reply_to, Discretion::Open, room, now, effects);
    }

    /// Whether a sender's message is pending; `None` if only the store can tell.
    pub(crate) fn is_pending(&self, sender: UserId, mid: MessageId) -> Option<bool> {
        match self.seen.get(sender, mid)?.state {
            IdState::Undecided(_) => Some(true),
            IdState::Decided(taken) => Some(taken.state == MessageState::Stored),
        }
    }

    /// Whether the message of this number was acknowledged but is not deleted yet.
    pub(crate) fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.contains(&number) || self.deleting.contains(&number)
    }

    /// Decides about a message that may be a repetition of one in the store, and remembers it.
    fn repeated(
        &mut self,
        submission: &Submission<R>,
        digest: u64,
        stored: &Message,
    ) -> Disposition {
        if stored.body != submission.body {
            return Disposition::Refused(id_conflict());
        }
        let gone = self.is_acknowledged(stored.number);
        let taken = Taken {
            number: stored.number,
            state: match gone {
                true => MessageState::Delivered,
                false => MessageState::Stored,
            },
            at: stored.at,
        };
        let (sender, mid) = (submission.sender, submission.mid);
        self.seen.insert(sender, mid, digest, stored.number);
        self.seen.decide(sender, mid, taken);
        Disposition::Accepted(taken)
    }

    /// Whether anything of a sender's is pending.
    pub(crate) fn holds_any_of(&self, sender: UserId) -> bool {
        self.counts.holds_any_of(sender)
    }

    /// The number that the next message gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Counts of the pending messages.
    pub(crate) fn pending(&self) -> Tally {
        self.counts.total()
    }

    /// How many pending messages have not been pushed to the session.
    pub(crate) fn not_pushed(&self) -> u64 {
        let pushed = self.attached.as_ref().map_or(0, |a| a.window.len() as u64);
        self.counts.total().messages().saturating_sub(pushed)
    }

    /// Whether the store alone knows all about this mailbox, so that it may leave memory.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.attached.is_none()
            && self.stalled.is_over(now)
            && self.unwritten.is_empty()
            && self.acknowledged.is_empty()
            && self.deleting.is_empty()
    }
}

fn answer<R>(waiters: impl Iterator<Item = R>, taken: Taken, effects: &mut Vec<Effect<R>>) {
    effects.extend(waiters.map(|reply_to| Effect::Answer(reply_to, taken)));
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
