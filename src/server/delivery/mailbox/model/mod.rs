//! The promise, against a model: random interleavings of senders, sessions, the
//! writer, page reads, disconnects and crashes.

mod checks;
mod ops;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use self::ops::{Op, Taker, op};
use super::reading::Reading;
use super::*;
use crate::protocol::ids::Blob;
use crate::store::{Page, Tally};

pub(super) const QUOTA: Quota = Quota {
    messages: 30,
    bytes: 1 << 30,
    share: 60,
};

pub(super) fn name(sender: usize) -> UserName {
    ["alice", "bob", "carol"][sender].parse().unwrap()
}

pub(super) fn id(sequence: usize) -> MessageId {
    MessageId((sequence as u128).to_be_bytes())
}

/// Everything around one mailbox, with all that can go wrong there.
struct World {
    mailbox: Mailbox<(usize, usize)>,
    /// What is on disk: survives crashes.
    disk: BTreeMap<u64, Message>,
    writing: Option<Work>,
    /// Pages that were read and are yet to be handed over: several threads move a session.
    readings: VecDeque<(SessionId, Reading, Page)>,
    session: Option<Attachment>,
    sessions: u64,
    /// Whether the session's send queue can take more.
    room: bool,
    /// What the session was pushed since it came, or has asked for all once more.
    pushed_before: HashSet<(Sender, MessageId)>,
    /// On the wire to the recipient, and acknowledgements on their way back.
    pushed: VecDeque<(Sender, MessageId)>,
    acks: VecDeque<(SessionId, Sender, MessageId)>,
    /// The recipient's vault and screen: survive everything.
    vault: HashSet<(Sender, MessageId)>,
    shown: Vec<(Sender, usize)>,
    /// By sender: sequence numbers sent so far, and those without an answer.
    sent: [usize; 2],
    unanswered: [Vec<usize>; 2],
    /// Refused for the disk's sake: to be sent again, in order with what has no answer.
    retried: [BTreeSet<usize>; 2],
    accepted: HashSet<(usize, usize)>,
    /// The place of the last message that each sender had an answer for when it sent another one
    /// for the first time.
    handles: [u64; 2],
    held: HashMap<(usize, usize), u64>,
    /// Whether the recipient hides its presence, and blocks the second sender.
    hides: bool,
    blocks: bool,
    /// What was dropped because its sender was blocked, and all that ever came so.
    dropped: HashSet<(Sender, MessageId)>,
    blocked: HashSet<(Sender, MessageId)>,
    /// Numbers are given once, whatever leaves memory.
    first_number: u64,
    used: HashMap<u64, (UserId, MessageId)>,
    last_on_disk: u64,
    /// Refused for good. May have been shown all the same.
    refused: HashSet<(usize, usize)>,
    /// Those that could not be stored at some time.
    failed: HashSet<(Sender, MessageId)>,
    now: Instant,
    clock: u64,
}

impl World {
    fn new() -> Self {
        World {
            mailbox: Mailbox::new(&Summary::default(), 1, QUOTA),
            disk: BTreeMap::new(),
            writing: None,
            readings: VecDeque::new(),
            session: None,
            sessions: 0,
            room: true,
            pushed_before: HashSet::new(),
            pushed: VecDeque::new(),
            acks: VecDeque::new(),
            vault: HashSet::new(),
            shown: Vec::new(),
            sent: [0; 2],
            unanswered: [Vec::new(), Vec::new()],
            retried: [BTreeSet::new(), BTreeSet::new()],
            accepted: HashSet::new(),
            handles: [0; 2],
            held: HashMap::new(),
            hides: false,
            blocks: false,
            dropped: HashSet::new(),
            blocked: HashSet::new(),
            first_number: 1,
            used: HashMap::new(),
            last_on_disk: 0,
            refused: HashSet::new(),
            failed: HashSet::new(),
            now: Instant::now(),
            clock: 0,
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Send(sender) => self.send_next(sender),
            Op::SendLate(sender) => {
                let present = self.now;
                self.now -= WRITE_DELAY;
                self.send_next(sender);
                self.now = present;
            }
            Op::Repeat(sender, again) => self.repeat(sender, again),
            Op::Take(count) => (0..count).for_each(|_| self.take()),
            Op::Acknowledge(place) => {
                if let Some((session, from, id)) = self.acks.remove(place) {
                    let mut effects = Vec::new();
                    let hidden = self.discretion_by(&from) != Discretion::Open;
                    self.mailbox
                        .acknowledge(session, from, id, hidden, &mut effects);
                    self.apply(effects);
                }
            }
            Op::AcknowledgeShown => {
                if let Some(what) = self.session
                    && self.pushed.is_empty()
                {
                    let mut effects = Vec::new();
                    let (hides, blocks) = (self.hides, self.blocks);
                    let hidden =
                        |from: &Sender| discretion(hides, blocks, from) != Discretion::Open;
                    self.mailbox
                        .acknowledge_shown(what.session, hidden, &mut effects);
                    self.apply(effects);
                }
            }
            Op::WriterTakes(limit) => {
                if self.writing.is_none() {
                    let room = Room {
                        messages: limit,
                        bytes: 8,
                        deletions: limit,
                    };
                    self.writing = Some(self.mailbox.take_work(self.now, room));
                }
            }
            Op::WriterCommits => self.commit(),
            Op::WriterFails => self.fail(),
            Op::Read => self.read(),
            Op::Page(which) => self.page(which),
            Op::Attach(taker) => self.attach(taker),
            Op::Detach => {
                if let Some(what) = self.session.take() {
                    assert!(self.mailbox.detach(what.session));
                    self.pushed.clear();
                }
            }
            Op::Latecomer => {
                if let Some(what) = self.session {
                    let late = SessionId(what.session.0 - 1);
                    let what = Attachment {
                        session: late,
                        ..what
                    };
                    assert!(!self.mailbox.attach(what), "it came before");
                    assert!(!self.mailbox.detach(late));
                }
            }
            Op::Rewind(budget) => {
                if let Some(what) = self.session {
                    self.mailbox.rewind(what.session, budget);
                    self.pushed_before.clear();
                }
            }
            Op::Room(room) => self.room = room,
            Op::Wait => self.now += WRITE_DELAY,
            Op::Hide(hides) => self.hides = hides,
            Op::Block(blocks) => self.blocks = blocks,
            Op::Evict => {
                if self.mailbox.is_idle(self.now) && self.writing.is_none() {
                    self.first_number = self.mailbox.next_number();
                    self.load();
                }
            }
            Op::GiveUp => {
                self.fail();
                let mut effects = Vec::new();
                let refusal = Refusal::new(Code::Storage, "full");
                self.mailbox.abandon(&refusal, &mut effects);
                self.apply(effects);
                self.crash();
            }
            Op::Crash => self.crash(),
        }
        self.check_state();
    }

    fn send_next(&mut self, sender: usize) {
        self.sent[sender] += 1;
        let sequence = self.sent[sender];
        self.unanswered[sender].push(sequence);
        self.held.insert((sender, sequence), self.handles[sender]);
        self.send(sender, sequence, Earlier::None);
    }

    fn send(&mut self, sender: usize, sequence: usize, earlier: Earlier) {
        self.clock += 1;
        let submission = Submission {
            sender: user(sender),
            from: name(sender),
            mid: id(sequence),
            // One writes from a client, the other from a console.
            body: match sender {
                0 => Body::Envelope(Blob(vec![sequence as u8; 3].into())),
                _ => Body::Plain(format!("{sequence:3}").into()),
            },
            at: self.clock,
            discretion: self.discretion_by(&Sender::User(name(sender))),
            reply_to: (sender, sequence),
        };
        let blocked = submission.discretion == Discretion::Blocked;
        let has_first_copy = matches!(earlier, Earlier::Searched(Some(_)));
        let before = self.mailbox.next_number();
        let mut effects = Vec::new();
        let decision = self
            .mailbox
            .submit(submission, earlier, self.room, self.now, &mut effects);
        let pushes = effects.iter().any(|e| matches!(e, Effect::Push(_)));
        assert!(self.room || !pushes, "pushed into a full send queue");
        self.apply(effects);
        if let Decision::Made(Disposition::AnsweredLater) = &decision
            && self.mailbox.next_number() > before
        {
            let message = (Sender::User(name(sender)), id(sequence));
            if blocked {
                self.blocked.insert(message);
            }
            match blocked && !has_first_copy {
                true => drop(self.dropped.insert(message)),
                false => drop(self.dropped.remove(&message)),
            }
        }
        match decision {
            Decision::Made(Disposition::AnsweredLater) => {}
            Decision::Made(Disposition::Accepted(taken)) => self.answered(sender, sequence, taken),
            Decision::Made(Disposition::Refused(refusal)) => {
                self.refused(sender, sequence, &refusal);
            }
            Decision::SearchFirst(_) => {
                let copy = |message: &&Message| {
                    message.sender == user(sender) && message.mid == id(sequence)
                };
                let after = self.held[&(sender, sequence)];
                let found = self.disk.range(after + 1..).map(|(_, m)| m).find(copy);
                let anywhere = self.disk.values().find(copy);
                assert_eq!(found, anywhere, "the handle hides the first copy");
                self.send(sender, sequence, Earlier::Searched(found.cloned()));
            }
        }
    }

    /// A sender sends again what has no answer, in order.
    fn repeat(&mut self, sender: usize, again: bool) {
        let mut again_all = std::mem::take(&mut self.retried[sender]);
        let retried = again_all.clone();
        again_all.extend(&self.unanswered[sender]);
        for sequence in again_all {
            if retried.contains(&sequence) {
                self.unanswered[sender].push(sequence);
            }
            let earlier = match again {
                true => Earlier::Unknown,
                false => Earlier::None,
            };
            self.send(sender, sequence, earlier);
        }
    }

    fn refused(&mut self, sender: usize, sequence: usize, refusal: &Refusal) {
        match refusal.code {
            Code::Storage => {
                self.retried[sender].insert(sequence);
                let what = (Sender::User(name(sender)), id(sequence));
                self.failed.insert(what);
            }
            _ => drop(self.refused.insert((sender, sequence))),
        }
        let message = (Sender::User(name(sender)), id(sequence));
        self.pushed_before.remove(&message);
        self.unanswered[sender].retain(|unanswered| *unanswered != sequence);
    }

    fn answered(&mut self, sender: usize, sequence: usize, taken: Taken) {
        self.handles[sender] = taken.number;
        self.accepted.insert((sender, sequence));
        self.unanswered[sender].retain(|unanswered| *unanswered != sequence);
    }

    fn apply(&mut self, effects: Vec<Effect<(usize, usize)>>) {
        for effect in effects {
            match effect {
                Effect::Push(message) => {
                    let message = (message.from, message.mid);
                    assert!(self.pushed_before.insert(message), "pushed twice");
                    self.pushed.push_back(message);
                }
                Effect::Answer((sender, sequence), taken) => {
                    let from = Sender::User(name(sender));
                    if self.discretion_by(&from) != Discretion::Open {
                        assert_eq!(taken.state, MessageState::Stored, "it tells");
                    }
                    self.answered(sender, sequence, taken);
                }
                Effect::Refuse((sender, sequence), refusal) => {
                    self.refused(sender, sequence, &refusal);
                }
                Effect::Receipt(receipt) => {
                    let from = Sender::User(receipt.sender);
                    assert_eq!(self.discretion_by(&from), Discretion::Open, "it tells");
                }
                Effect::EnvelopesWait(_) => {}
            }
        }
    }

    /// The recipient's client takes the next message off the wire.
    fn take(&mut self) {
        let Some((from, id)) = self.pushed.pop_front() else {
            return;
        };
        if self.vault.insert((from, id)) {
            // A copy that was pushed and could not be stored may arrive, although the one that was
            // sent after it is dropped.
            let dropped = self.dropped.contains(&(from, id));
            let failed = self.failed.contains(&(from, id));
            assert!(failed || !dropped, "it was blocked");
            self.shown.push((from, u128::from_be_bytes(id.0) as usize));
        }
        if let Some(what) = self.session {
            self.acks.push_back((what.session, from, id));
        }
    }

    fn commit(&mut self) {
        let Some(work) = self.writing.take() else {
            return;
        };
        for message in &work.messages {
            let before = self.disk.insert(message.number, (**message).clone());
            assert!(before.is_none(), "a number was used twice");
            let last = std::mem::replace(&mut self.last_on_disk, message.number);
            assert!(last < message.number, "written ahead of an earlier one");
            let what = (message.sender, message.mid);
            let before = self.used.insert(message.number, what);
            assert!(
                before.is_none_or(|before| before == what),
                "a number came again"
            );
        }
        for number in work.acknowledged.iter().chain(&work.unneeded) {
            self.disk.remove(number);
        }
        let mut effects = Vec::new();
        self.mailbox.committed(&work, &mut effects);
        self.apply(effects);
    }

    fn fail(&mut self) {
        let Some(work) = self.writing.take() else {
            return;
        };
        let refusal = Refusal::new(Code::Storage, "full");
        let mut effects = Vec::new();
        self.mailbox.failed(&work, &refusal, self.now, &mut effects);
        self.apply(effects);
    }

    fn read(&mut self) {
        let Some(Attachment { session, .. }) = self.session else {
            return;
        };
        let mut effects = Vec::new();
        if let Step::Read(reading) = self.mailbox.step(session, self.room, &mut effects) {
            let bounds = reading.bounds;
            let rows = self.disk.range(bounds.after + 1..bounds.before);
            let mut rows = rows.map(|(_, message)| message);
            let readable = |m: &Message| bounds.envelopes || matches!(m.body, Body::Plain(_));
            // Small pages, to meet their ends often.
            let mut page = Page::default();
            for message in rows.by_ref().take(bounds.messages.min(3)) {
                page.end = message.number;
                page.messages
                    .extend(readable(message).then(|| message.clone()));
            }
            page.complete = rows.next().is_none();
            self.readings.push_back((session, reading, page));
        }
        assert!(
            self.room || effects.is_empty(),
            "pushed into a full send queue"
        );
        self.apply(effects);
    }

    fn page(&mut self, which: usize) {
        if let Some((session, reading, page)) = self.readings.remove(which) {
            let mut effects = Vec::new();
            self.mailbox.page(session, reading, page, &mut effects);
            self.apply(effects);
        }
    }

    fn attach(&mut self, taker: Taker) {
        // The number below is left to a latecomer.
        self.sessions += 2;
        let what = Attachment {
            session: SessionId(self.sessions),
            envelopes: !matches!(taker, Taker::Console),
            budget: matches!(taker, Taker::Fetcher).then_some(0),
        };
        // Who was turned away is written down at a login, before it attaches.
        self.clock += 1;
        let mut effects = Vec::new();
        self.mailbox
            .deliver_notice(self.clock, false, self.now, &mut effects);
        self.apply(effects);
        self.session = Some(what);
        self.room = true;
        self.pushed.clear();
        self.pushed_before.clear();
        assert!(self.mailbox.attach(what));
    }

    /// The mailbox as the store holds it.
    fn load(&mut self) {
        let mut summary = Summary {
            last: self.disk.keys().last().copied().unwrap_or(0),
            tallies: Vec::new(),
        };
        let mut tallies: HashMap<UserId, Tally> = HashMap::new();
        for message in self.disk.values() {
            let tally = tallies.entry(message.sender).or_default();
            match Kind::of(message) {
                Kind::Envelope => tally.envelopes += 1,
                Kind::Plain => tally.plain += 1,
                Kind::Notice => tally.notices += 1,
            }
            tally.bytes += message.body.len() as u64;
        }
        summary.tallies.extend(tallies);
        self.mailbox = Mailbox::new(&summary, self.first_number, QUOTA);
    }

    /// kill -9: the disk and the clients remain.
    fn crash(&mut self) {
        self.first_number += 10_000;
        self.load();
        self.writing = None;
        self.readings.clear();
        self.session = None;
        self.pushed.clear();
        self.acks.clear();
        (0..2).for_each(|sender| self.repeat(sender, true));
    }

    fn discretion_by(&self, sender: &Sender) -> Discretion {
        discretion(self.hides, self.blocks, sender)
    }

    /// Lets everything come to rest with the recipient online.
    fn conclude(&mut self) {
        (0..2).for_each(|sender| self.repeat(sender, true));
        self.room = true;
        // A client that is there must get all of it without a new login's help.
        let takes_all = |what: Attachment| what.envelopes && what.budget.is_none();
        if !self.session.is_some_and(takes_all) {
            self.attach(Taker::Client);
        }
        while !self.readings.is_empty() {
            self.run(Op::Page(0));
        }
        for _ in 0..10_000 {
            for op in [
                Op::Read,
                Op::Page(0),
                Op::Take(9),
                Op::Acknowledge(0),
                Op::Wait,
                Op::WriterTakes(99),
                Op::WriterCommits,
            ] {
                self.run(op);
            }
            if self.mailbox.not_pushed() == 0
                && self.pushed.is_empty()
                && self.acks.is_empty()
                && self.mailbox.unwritten.is_empty()
                && self.mailbox.acknowledged.is_empty()
            {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.mailbox);
    }
}

fn discretion(hides: bool, blocks: bool, sender: &Sender) -> Discretion {
    match (blocks && *sender == Sender::User(name(1)), hides) {
        (true, _) => Discretion::Blocked,
        (false, true) => Discretion::Hidden,
        (false, false) => Discretion::Open,
    }
}

fn user(sender: usize) -> UserId {
    UserId(sender as i64 + 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn accepted_arrives_exactly_once_in_order(ops in proptest::collection::vec(op(), 1..400)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.conclude();
        world.check();
    }
}
