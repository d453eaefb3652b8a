//! The promise, against a model: random interleavings of senders, sessions, the
//! writer, page reads, disconnects and crashes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::protocol::binary::Blob;
use crate::store::{Page, Tally};

pub(super) const QUOTA: Quota = Quota {
    messages: 10_000,
    bytes: 1 << 30,
    share: 100,
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
    reading: Option<(SessionId, Reading, Page)>,
    session: Option<SessionId>,
    sessions: u64,
    /// On the wire to the recipient, and acknowledgements on their way back.
    pushed: VecDeque<(Sender, MessageId)>,
    acks: VecDeque<(SessionId, Sender, MessageId)>,
    /// The recipient's vault and screen: survive everything.
    vault: HashSet<(Sender, MessageId)>,
    shown: Vec<(Sender, usize)>,
    /// By sender: sequence numbers sent so far, and those without an answer.
    sent: [usize; 2],
    unanswered: [Vec<usize>; 2],
    accepted: HashSet<(usize, usize)>,
    refused: HashSet<(usize, usize)>,
    now: Instant,
    clock: u64,
}

#[derive(Debug, Clone)]
enum Op {
    Send(usize),
    Repeat(usize),
    Take(usize),
    Acknowledge(usize),
    WriterTakes(usize),
    WriterCommits,
    WriterFails,
    Read,
    Page,
    Attach,
    Detach,
    Rewind,
    Wait,
    Crash,
}

impl World {
    fn new() -> Self {
        World {
            mailbox: Mailbox::new(&Summary::default(), QUOTA),
            disk: BTreeMap::new(),
            writing: None,
            reading: None,
            session: None,
            sessions: 0,
            pushed: VecDeque::new(),
            acks: VecDeque::new(),
            vault: HashSet::new(),
            shown: Vec::new(),
            sent: [0; 2],
            unanswered: [Vec::new(), Vec::new()],
            accepted: HashSet::new(),
            refused: HashSet::new(),
            now: Instant::now(),
            clock: 0,
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Send(sender) => {
                self.sent[sender] += 1;
                self.unanswered[sender].push(self.sent[sender]);
                self.offer(sender, self.sent[sender], Earlier::None);
            }
            Op::Repeat(sender) => self.repeat(sender),
            Op::Take(count) => (0..count).for_each(|_| self.take()),
            Op::Acknowledge(place) => {
                if let Some((session, from, id)) = self.acks.remove(place) {
                    let mut effects = Vec::new();
                    self.mailbox.acknowledge(session, from, id, &mut effects);
                    self.apply(effects);
                }
            }
            Op::WriterTakes(limit) => {
                if self.writing.is_none() {
                    self.writing = Some(self.mailbox.take_work(self.now, limit));
                }
            }
            Op::WriterCommits => self.commit(),
            Op::WriterFails => self.fail(),
            Op::Read => self.read(),
            Op::Page => self.page(),
            Op::Attach => self.attach(),
            Op::Detach => {
                if let Some(session) = self.session.take() {
                    self.mailbox.detach(session);
                    self.pushed.clear();
                }
            }
            Op::Rewind => {
                if let Some(session) = self.session {
                    self.mailbox.rewind(session, 0);
                }
            }
            Op::Wait => self.now += HOLD,
            Op::Crash => self.crash(),
        }
        self.check_counts();
    }

    /// What the mailbox counts as pending is what is pending.
    fn check_counts(&self) {
        let in_memory = self.mailbox.unwritten.values();
        let in_memory = in_memory
            .filter(|u| u.progress != Progress::WritingAcknowledged)
            .count();
        let on_disk = self
            .disk
            .keys()
            .filter(|n| !self.mailbox.is_acknowledged(**n))
            .count();
        assert_eq!(self.mailbox.pending().0, (in_memory + on_disk) as u64);
    }

    fn offer(&mut self, sender: usize, sequence: usize, earlier: Earlier) {
        self.clock += 1;
        let offered = Offered {
            sender: UserId(sender as i64 + 1),
            from: name(sender),
            id: id(sequence),
            body: Body::Envelope(Blob(vec![sequence as u8; 3].into())),
            at: self.clock,
            origin: (sender, sequence),
        };
        let mut effects = Vec::new();
        let offer = self
            .mailbox
            .accept(offered, earlier, true, self.now, &mut effects);
        self.apply(effects);
        match offer {
            Offer::Undecided => {}
            Offer::Known(_) => self.answered(sender, sequence),
            Offer::Refused(refusal) => panic!("{refusal:?}"),
            Offer::Search => {
                let found = self.disk.values().find(|message| {
                    message.sender == UserId(sender as i64 + 1) && message.id == id(sequence)
                });
                self.offer(sender, sequence, Earlier::Searched(found.cloned()));
            }
        }
    }

    /// A sender that lost its connection sends its outbox again, in order.
    fn repeat(&mut self, sender: usize) {
        for sequence in self.unanswered[sender].clone() {
            self.offer(sender, sequence, Earlier::Unknown);
        }
    }

    fn answered(&mut self, sender: usize, sequence: usize) {
        self.accepted.insert((sender, sequence));
        self.unanswered[sender].retain(|unanswered| *unanswered != sequence);
    }

    fn apply(&mut self, effects: Vec<Effect<(usize, usize)>>) {
        for effect in effects {
            match effect {
                Effect::Push(message) => self.pushed.push_back((message.from, message.id)),
                Effect::Answer((sender, sequence), _) => self.answered(sender, sequence),
                Effect::Refuse((sender, sequence), _) => {
                    self.refused.insert((sender, sequence));
                    self.unanswered[sender].retain(|unanswered| *unanswered != sequence);
                }
                Effect::EnvelopesWait(_) | Effect::Receipt(..) => {}
            }
        }
    }

    /// The recipient's client takes the next message off the wire.
    fn take(&mut self) {
        let Some((from, id)) = self.pushed.pop_front() else {
            return;
        };
        if self.vault.insert((from, id)) {
            self.shown.push((from, u128::from_be_bytes(id.0) as usize));
        }
        if let Some(session) = self.session {
            self.acks.push_back((session, from, id));
        }
    }

    fn commit(&mut self) {
        let Some(work) = self.writing.take() else {
            return;
        };
        for message in &work.messages {
            let before = self.disk.insert(message.number, (**message).clone());
            assert!(before.is_none(), "a number was used twice");
        }
        for number in &work.acknowledged {
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
        self.mailbox.failed(&work, &refusal, &mut effects);
        self.apply(effects);
    }

    fn read(&mut self) {
        let Some(session) = self.session else { return };
        let mut effects = Vec::new();
        if let Step::Read(reading) = self.mailbox.step(session, true, &mut effects) {
            let mut rows = self
                .disk
                .range(reading.bounds.after + 1..reading.bounds.before);
            // Small pages, to meet their ends often.
            let messages: Vec<Message> = rows.by_ref().take(3).map(|(_, m)| m.clone()).collect();
            let page = Page {
                messages,
                complete: rows.next().is_none(),
            };
            self.reading = Some((session, reading, page));
        }
        self.apply(effects);
    }

    fn page(&mut self) {
        if let Some((session, reading, page)) = self.reading.take() {
            let mut effects = Vec::new();
            self.mailbox.page(session, reading, page, &mut effects);
            self.apply(effects);
        }
    }

    fn attach(&mut self) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.session = Some(session);
        self.pushed.clear();
        let what = Attachment {
            session,
            envelopes: true,
            budget: None,
        };
        self.mailbox.attach(what);
    }

    /// kill -9: the disk and the clients remain.
    fn crash(&mut self) {
        let mut summary = Summary {
            last: self.disk.keys().last().copied().unwrap_or(0),
            tallies: Vec::new(),
        };
        for message in self.disk.values() {
            summary.tallies.push((
                message.sender,
                Tally {
                    envelopes: 1,
                    bytes: 3,
                    ..Tally::default()
                },
            ));
        }
        self.mailbox = Mailbox::new(&summary, QUOTA);
        self.writing = None;
        self.reading = None;
        self.session = None;
        self.pushed.clear();
        self.acks.clear();
        (0..2).for_each(|sender| self.repeat(sender));
    }

    /// Lets everything come to rest with the recipient online.
    fn settle(&mut self) {
        (0..2).for_each(|sender| self.repeat(sender));
        // A session that is there must get all of it without a new one's help.
        if self.session.is_none() {
            self.attach();
        }
        for _ in 0..10_000 {
            for op in [
                Op::Read,
                Op::Page,
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

    fn check(&self) {
        assert!(
            self.unanswered.iter().all(Vec::is_empty),
            "every sender has its answers"
        );
        assert!(self.disk.is_empty(), "all was acknowledged");
        assert_eq!(self.mailbox.pending(), (0, 0, 0));
        assert_eq!((self.mailbox.held_bytes, self.mailbox.due), (0, 0));
        let mut last = HashMap::new();
        let shown: HashSet<_> = self.shown.iter().collect();
        assert_eq!(shown.len(), self.shown.len(), "nothing is shown twice");
        for sender in 0..2 {
            let from = Sender::User(name(sender));
            for sequence in 1..=self.sent[sender] {
                let accepted = self.accepted.contains(&(sender, sequence));
                assert!(
                    !accepted || shown.contains(&(from, sequence)),
                    "{sequence} was lost"
                );
            }
            for (_, sequence) in self.shown.iter().filter(|(by, _)| *by == from) {
                if !self.refused.contains(&(sender, *sequence)) {
                    let before = last.insert(from, *sequence);
                    assert!(before < Some(*sequence), "order: {:?}", self.shown);
                }
            }
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..2usize).prop_map(Op::Send),
        1 => (0..2usize).prop_map(Op::Repeat),
        12 => (1..4usize).prop_map(Op::Take),
        10 => (0..3usize).prop_map(Op::Acknowledge),
        8 => (1..4usize).prop_map(Op::WriterTakes),
        8 => Just(Op::WriterCommits),
        1 => Just(Op::WriterFails),
        8 => Just(Op::Read),
        8 => Just(Op::Page),
        3 => Just(Op::Attach),
        1 => Just(Op::Detach),
        1 => Just(Op::Rewind),
        4 => Just(Op::Wait),
        1 => Just(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn accepted_arrives_exactly_once_in_order(ops in proptest::collection::vec(op(), 1..400)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.settle();
        world.check();
    }
}
