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

mod quota;
mod seen;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use quota::Quota;
use quota::{Counts, Kind};
use seen::{Seen, State};
use window::{InFlight, Window};

use crate::protocol::binary::MessageId;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Accepted, MessageState, News};
use crate::protocol::request::{Body, Sender};
use crate::store::{Message, Page, PageBounds, Summary, UserId};

/// How long a pushed message is held back from the disk, to let an
/// acknowledgement come first: that costs a round trip and the sync of the
/// recipient's vault, which most disks do within this time.
pub const HOLD: Duration = Duration::from_millis(5);

/// Bytes held back at most in one mailbox; past it, messages are written at once.
const MAX_HELD_BYTES: usize = 1024 * 1024;

/// Messages of one page read from the store.
const PAGE_MESSAGES: usize = 500;

/// Bytes after which a page ends.
const PAGE_BYTES: usize = 256 * 1024;

/// Numbers sessions, ever upward: a late event of an old session is told from
/// its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What has to be done now. `O` names who waits for an answer.
#[derive(Debug)]
pub enum Effect<O> {
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
pub enum Offer {
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
pub struct Offered<O> {
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
pub enum Earlier {
    /// The sender says there was none.
    None,
    /// There may have been one; the store has not been searched.
    Unknown,
    /// The store was searched, and holds this.
    Searched(Option<Message>),
}

/// What a session takes.
#[derive(Debug, Clone, Copy)]
pub struct Attachment {
    /// Which session.
    pub session: SessionId,
    /// Envelopes too; the console can't read them.
    pub envelopes: bool,
    /// Everything as it comes; `Some` for a session that fetches so many at a time.
    pub budget: Option<usize>,
}

/// When the writer has to visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// As soon as it can.
    Now,
    /// After [`HOLD`].
    Later,
}

/// What the writer takes along.
#[derive(Debug, Default)]
pub struct Work {
    /// To store, in order.
    pub messages: Vec<Arc<Message>>,
    /// To delete.
    pub acknowledged: BTreeSet<u64>,
}

/// The next thing a session that is behind needs.
#[derive(Debug)]
pub enum Step {
    /// Read this page and hand it to [`Mailbox::page`].
    Read(Reading),
    /// Nothing: it is live, full, out of budget or gone.
    Rest,
}

/// A page to read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Which.
    pub bounds: PageBounds,
    /// Tells an answer that came too late: the session may have gone back since,
    /// and the store shown messages that were acknowledged in between.
    ticket: u64,
}

#[derive(Debug)]
struct Unwritten<O> {
    message: Arc<Message>,
    /// Who waits for the answer.
    origin: Option<O>,
    /// Who else does: the sender repeated itself.
    repeats: Vec<O>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Pushed; an acknowledgement may come first.
    Held(Instant),
    /// To be written as soon as possible.
    Due,
    /// The writer has it.
    Writing,
    /// The writer has it, and the recipient has acknowledged it since.
    WritingAcknowledged,
}

#[derive(Debug)]
struct Attached {
    what: Attachment,
    window: Window,
    position: Position,
    /// The last page asked for.
    ticket: u64,
    /// Acknowledged before this session began, deletion not committed yet: the
    /// store may still show them.
    stale: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// All pending messages up to the newest have been pushed.
    Live,
    /// Pushed up to `cursor`; the store holds nothing above `cursor` and below `clear_to`.
    Behind { cursor: u64, clear_to: u64 },
}

/// One user's mailbox.
#[derive(Debug)]
pub struct Mailbox<O> {
    next: u64,
    unwritten: BTreeMap<u64, Unwritten<O>>,
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
    pub fn new(summary: &Summary, quota: Quota) -> Self {
        Mailbox {
            next: summary.last + 1,
            unwritten: BTreeMap::new(),
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
    pub fn accept(
        &mut self,
        offered: Offered<O>,
        earlier: Earlier,
        room: bool,
        now: Instant,
        effects: &mut Vec<Effect<O>>,
    ) -> Offer {
        let digest = self.seen.digest(&offered.body);
        if let Some(known) = self.seen.get(offered.sender, offered.id) {
            return match known.state {
                _ if known.digest != digest => Offer::Refused(id_conflict()),
                State::Decided(accepted) => Offer::Known(accepted),
                State::Undecided(number) => {
                    if let Some(unwritten) = self.unwritten.get_mut(&number) {
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
        self.unwritten.insert(unwritten.message.number, unwritten);
    }

    fn push_live(
        &mut self,
        message: &Arc<Message>,
        room: bool,
        effects: &mut Vec<Effect<O>>,
    ) -> bool {
        let envelopes = self.counts.envelopes();
        let Some(attached) = &mut self.attached else {
            return false;
        };
        if attached.position != Position::Live {
            return false;
        }
        if !attached.takes(message) {
            effects.push(Effect::EnvelopesWait(envelopes));
            return false;
        }
        if !room || attached.window.is_full() {
            attached.position = Position::Behind {
                cursor: message.number - 1,
                clear_to: message.number,
            };
            return false;
        }
        attached.window.push(message);
        effects.push(Effect::Push(Arc::clone(message)));
        true
    }

    /// Acknowledges one message; `false` if the session was not pushed it, or
    /// has acknowledged it before.
    pub fn acknowledge(
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
                self.settle(taken, effects);
                true
            }
            None => false,
        }
    }

    /// Acknowledges all that the session was pushed, and says how many.
    pub fn acknowledge_shown(&mut self, session: SessionId, effects: &mut Vec<Effect<O>>) -> usize {
        let mut count = 0;
        while let Some(taken) = self.attached(session).and_then(|a| a.window.take_first()) {
            self.settle(taken, effects);
            count += 1;
        }
        count
    }

    /// A message is with its recipient: it needs neither disk nor memory any more.
    fn settle(&mut self, taken: InFlight, effects: &mut Vec<Effect<O>>) {
        self.counts.remove(taken.sender, taken.kind, taken.size);
        let accepted = Accepted {
            state: MessageState::Delivered,
            at: taken.at,
        };
        self.seen.decide(taken.sender, taken.id, accepted);
        match self.unwritten.get_mut(&taken.number) {
            Some(unwritten) if unwritten.progress == Progress::Writing => {
                unwritten.progress = Progress::WritingAcknowledged;
                for origin in unwritten.take_origins() {
                    effects.push(Effect::Answer(origin, accepted));
                }
            }
            Some(_) => {
                if let Some(mut unwritten) = self.unwritten.remove(&taken.number) {
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

    /// Takes a message out of what is held back or due.
    fn release(&mut self, unwritten: &Unwritten<O>) {
        match unwritten.progress {
            Progress::Held(_) => self.held_bytes -= unwritten.message.body.len(),
            Progress::Due => self.due -= 1,
            Progress::Writing | Progress::WritingAcknowledged => {}
        }
    }

    /// Begins a session, in place of the one before, unless that is a later
    /// one (`false`). It is behind, from the first pending message: call [`step`](Self::step).
    pub fn attach(&mut self, what: Attachment) -> bool {
        if self
            .attached
            .as_ref()
            .is_some_and(|a| a.what.session > what.session)
        {
            return false;
        }
        self.write_held();
        self.attached = Some(Attached {
            what,
            window: Window::default(),
            position: Position::Behind {
                cursor: 0,
                clear_to: 0,
            },
            ticket: 0,
            stale: self.acknowledged_on_disk(),
        });
        true
    }

    /// Ends a session; `false` if it was not attached. What it did not
    /// acknowledge stays pending.
    pub fn detach(&mut self, session: SessionId) -> bool {
        let attached = self.attached(session).is_some();
        if attached {
            self.attached = None;
            self.write_held();
        }
        attached
    }

    /// Goes back to the first pending message, with a new budget for sessions
    /// that have one. Call [`step`](Self::step) afterwards.
    pub fn rewind(&mut self, session: SessionId, budget: usize) {
        let stale = self.acknowledged_on_disk();
        if let Some(attached) = self.attached(session) {
            attached.window = Window::default();
            attached.position = Position::Behind {
                cursor: 0,
                clear_to: 0,
            };
            attached.stale = stale;
            attached.ticket += 1;
            attached.what.budget = attached.what.budget.map(|_| budget);
        }
    }

    /// Numbers that are acknowledged, and that the store holds or will hold
    /// until their deletion is committed.
    fn acknowledged_on_disk(&self) -> BTreeSet<u64> {
        let writing = self.unwritten.iter();
        writing
            .filter(|(_, unwritten)| unwritten.progress == Progress::WritingAcknowledged)
            .map(|(&number, _)| number)
            .chain(self.acknowledged.iter().copied())
            .chain(self.deleting.iter().copied())
            .collect()
    }

    /// Nobody is expected to acknowledge soon: what is held back is due.
    fn write_held(&mut self) {
        for unwritten in self.unwritten.values_mut() {
            if let Progress::Held(_) = unwritten.progress {
                unwritten.progress = Progress::Due;
                self.due += 1;
            }
        }
        self.held_bytes = 0;
    }

    fn attached(&mut self, session: SessionId) -> Option<&mut Attached> {
        self.attached.as_mut().filter(|a| a.what.session == session)
    }

    /// Moves a session that is behind: pushes what is at hand, and says what to
    /// read next. `room` says whether its outbox can take more.
    pub fn step(&mut self, session: SessionId, room: bool, effects: &mut Vec<Effect<O>>) -> Step {
        let next = self.next;
        let Some(attached) = self.attached.as_mut().filter(|a| a.what.session == session) else {
            return Step::Rest;
        };
        loop {
            let Position::Behind { cursor, clear_to } = attached.position else {
                return Step::Rest;
            };
            if !room || attached.window.is_full() || attached.what.budget == Some(0) {
                return Step::Rest;
            }
            let unwritten = self.unwritten.range(cursor + 1..).next();
            match unwritten {
                Some((&number, unwritten)) if number <= clear_to => {
                    let cursor = number;
                    let clear_to = clear_to.max(number + 1);
                    attached.position = Position::Behind { cursor, clear_to };
                    let waiting = unwritten.progress != Progress::WritingAcknowledged;
                    if waiting && attached.takes(&unwritten.message) {
                        attached.push(&unwritten.message, effects);
                    }
                }
                None if clear_to >= next => {
                    if attached.what.budget.is_none() {
                        attached.position = Position::Live;
                    }
                    return Step::Rest;
                }
                unwritten => {
                    attached.ticket += 1;
                    let bounds = PageBounds {
                        after: cursor,
                        before: unwritten.map_or(next, |(&number, _)| number),
                        messages: PAGE_MESSAGES
                            .min(attached.window.space())
                            .min(attached.what.budget.unwrap_or(usize::MAX)),
                        bytes: PAGE_BYTES,
                        envelopes: attached.what.envelopes,
                    };
                    return Step::Read(Reading {
                        bounds,
                        ticket: attached.ticket,
                    });
                }
            }
        }
    }

    /// Takes a page that [`step`](Self::step) asked for. A page that is
    /// not the last one asked for is ignored.
    pub fn page(
        &mut self,
        session: SessionId,
        reading: Reading,
        page: Page,
        effects: &mut Vec<Effect<O>>,
    ) {
        let Some(attached) = self.attached(session) else {
            return;
        };
        let Position::Behind {
            mut cursor,
            mut clear_to,
        } = attached.position
        else {
            return;
        };
        if attached.ticket != reading.ticket {
            return;
        }
        attached.ticket += 1;
        if page.complete {
            clear_to = clear_to.max(reading.bounds.before);
        }
        for message in page.messages {
            cursor = message.number;
            if !attached.stale.remove(&message.number) {
                attached.push(&Arc::new(message), effects);
            }
        }
        attached.position = Position::Behind { cursor, clear_to };
    }

    /// Whether the writer has to visit, said once until it does.
    pub fn wake(&mut self) -> Option<Wake> {
        if self.due > 0 && !self.woken_now {
            self.woken_now = true;
            return Some(Wake::Now);
        }
        let later = self.held_bytes > 0 || !self.acknowledged.is_empty();
        if later && !self.woken_now && !self.woken_later {
            self.woken_later = true;
            return Some(Wake::Later);
        }
        None
    }

    /// What the writer has to do now: messages that are due or were held long
    /// enough, at most `limit`, and deletions.
    pub fn take_work(&mut self, now: Instant, limit: usize) -> Work {
        self.woken_now = false;
        self.woken_later = false;
        let mut work = Work {
            messages: Vec::new(),
            acknowledged: std::mem::take(&mut self.acknowledged),
        };
        self.deleting.extend(&work.acknowledged);
        for unwritten in self.unwritten.values_mut() {
            if work.messages.len() == limit {
                break;
            }
            match unwritten.progress {
                Progress::Held(since) if now.duration_since(since) >= HOLD => {
                    self.held_bytes -= unwritten.message.body.len();
                }
                Progress::Due => self.due -= 1,
                _ => continue,
            }
            unwritten.progress = Progress::Writing;
            work.messages.push(Arc::clone(&unwritten.message));
        }
        work
    }

    /// The writer's work is on disk.
    pub fn committed(&mut self, work: &Work, effects: &mut Vec<Effect<O>>) {
        for message in &work.messages {
            let Some(mut unwritten) = self.unwritten.remove(&message.number) else {
                continue;
            };
            if unwritten.progress == Progress::WritingAcknowledged {
                self.acknowledged.insert(message.number);
                continue;
            }
            let accepted = Accepted {
                state: MessageState::Stored,
                at: message.at,
            };
            self.seen.decide(message.sender, message.id, accepted);
            for origin in unwritten.take_origins() {
                effects.push(Effect::Answer(origin, accepted));
            }
        }
        for number in &work.acknowledged {
            self.deleting.remove(number);
        }
    }

    /// The writer's work could not be done; nothing of it was.
    pub fn failed(&mut self, work: &Work, refusal: &Refusal, effects: &mut Vec<Effect<O>>) {
        for message in &work.messages {
            let Some(mut unwritten) = self.unwritten.remove(&message.number) else {
                continue;
            };
            if unwritten.progress == Progress::WritingAcknowledged {
                continue;
            }
            // Not accepted, so not pending: if the recipient was pushed it and
            // takes it all the same, its vault knows it when it comes again.
            self.counts
                .remove(message.sender, Kind::of(message), message.body.len());
            self.seen.forget(message.sender, message.id);
            if let Some(attached) = &mut self.attached {
                attached.window.take(message.from, message.id);
            }
            for origin in unwritten.take_origins() {
                effects.push(Effect::Refuse(origin, refusal.clone()));
            }
        }
        for number in &work.acknowledged {
            self.deleting.remove(number);
        }
        self.acknowledged.extend(&work.acknowledged);
    }

    /// Writes down who was turned away, one notice at a time.
    pub fn give_notice(&mut self, at: u64, room: bool, now: Instant, effects: &mut Vec<Effect<O>>) {
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
    pub fn waits(&self, sender: UserId, id: MessageId) -> Option<bool> {
        match self.seen.get(sender, id)?.state {
            State::Undecided(_) => Some(true),
            State::Decided(accepted) => Some(accepted.state == MessageState::Stored),
        }
    }

    /// Whether the store's message of this number was acknowledged already.
    pub fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.contains(&number) || self.deleting.contains(&number)
    }

    /// Pending messages: envelopes, unencrypted ones, notices.
    pub fn pending(&self) -> (u64, u64, u64) {
        self.counts.pending()
    }

    /// Pending messages that have not been pushed to the session.
    pub fn not_pushed(&self) -> u64 {
        let (envelopes, plain, notices) = self.counts.pending();
        let pushed = self.attached.as_ref().map_or(0, |a| a.window.len() as u64);
        (envelopes + plain + notices).saturating_sub(pushed)
    }

    /// Nothing is attached, under way or unwritten: the store alone knows all.
    pub fn is_idle(&self) -> bool {
        self.attached.is_none()
            && self.unwritten.is_empty()
            && self.acknowledged.is_empty()
            && self.deleting.is_empty()
    }
}

impl<O> Unwritten<O> {
    fn take_origins(&mut self) -> impl Iterator<Item = O> + use<O> {
        let repeats = std::mem::take(&mut self.repeats);
        self.origin.take().into_iter().chain(repeats)
    }
}

impl Attached {
    fn takes(&self, message: &Message) -> bool {
        self.what.envelopes || !matches!(message.body, Body::Envelope(_))
    }

    fn push<O>(&mut self, message: &Arc<Message>, effects: &mut Vec<Effect<O>>) {
        self.window.push(message);
        if let Some(budget) = &mut self.what.budget {
            *budget = budget.saturating_sub(1);
        }
        effects.push(Effect::Push(Arc::clone(message)));
    }
}

fn id_conflict() -> Refusal {
    Refusal::new(
        Code::IdConflict,
        "this message id was used for another message; choose a new random id",
    )
}

#[cfg(test)]
mod tests;
