//! Random schedules with a hostile network in between: it drops, reorders, repeats, feeds
//! garbage and withholds one-time prekeys, while both sides start sessions at once and a
//! thief copies states. Against a model that knows this:
//!
//! - once the network behaves, both send in one session after one round trip;
//! - what the network does starts no session, and nothing that a thief with an old
//!   state writes brings that state's session back;
//! - every message that is missing was said, and no message that never went out.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::pair::{Pair, TestDevice, content};
use super::*;
use crate::crypto::testing::TestRng;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// One side writes.
    Send(usize),
    /// One of the messages on the way arrives.
    Deliver(usize),
    /// One that has arrived comes again.
    Repeat(usize),
    /// One of the messages on the way is lost.
    Drop(usize),
    /// A message is refused, and never goes out.
    Refuse(usize),
    /// Bytes that somebody on the way changed arrive.
    Garbage(usize, u8, usize),
    /// One side starts a session: its person says so, or its chain is stuck.
    Start(usize, bool),
    /// A thief copies the state of one side.
    Steal(usize),
    /// The thief writes with the state that was copied.
    Forge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize).prop_map(Step::Send),
        8 => any::<usize>().prop_map(Step::Deliver),
        1 => any::<usize>().prop_map(Step::Repeat),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => (0..2_usize).prop_map(Step::Refuse),
        2 => (any::<usize>(), any::<u8>(), any::<usize>()).prop_map(|(at, bits, which)| Step::Garbage(at, bits, which)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(from, linked)| Step::Start(from, linked)),
        1 => (0..2_usize).prop_map(Step::Steal),
        1 => Just(Step::Forge),
    ]
}

struct World {
    pair: Pair,
    /// From whom, its number in the model, and the bytes.
    on_the_way: Vec<(usize, u32, Vec<u8>)>,
    arrived: Vec<(usize, u32, Vec<u8>)>,
    /// By sender: how many were sent, which were refused, and which arrived.
    sent: [u32; 2],
    refused: [BTreeSet<u32>; 2],
    taken: [BTreeSet<u32>; 2],
    /// By sender: how many of theirs were said to be missing, less those that were not
    /// sent or came after all.
    said: [i64; 2],
    /// Sessions that a side has superseded.
    superseded: [BTreeSet<[u8; 16]>; 2],
    stolen: Option<(usize, SessionSet)>,
    started: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut pair = Pair::new();
        pair.rng = TestRng::new(seed);
        for at in 0..2 {
            pair.conversations[at] = SessionSet::new(pair.devices[1 - at].our.public());
        }
        let empty = || [BTreeSet::new(), BTreeSet::new()];
        Self {
            pair,
            on_the_way: Vec::new(),
            arrived: Vec::new(),
            sent: [0; 2],
            refused: empty(),
            taken: empty(),
            said: [0; 2],
            superseded: [BTreeSet::new(), BTreeSet::new()],
            stolen: None,
            started: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Send(from) => self.send(from),
            Step::Deliver(which) if !self.on_the_way.is_empty() => {
                let at = which % self.on_the_way.len();
                let message = self.on_the_way.remove(at);
                self.deliver(message);
            }
            Step::Repeat(which) if !self.arrived.is_empty() => {
                let (from, _, envelope) = self.arrived[which % self.arrived.len()].clone();
                assert!(self.pair.receive(1 - from, &envelope).is_err());
            }
            Step::Drop(which) if !self.on_the_way.is_empty() => {
                self.on_the_way.remove(which % self.on_the_way.len());
            }
            Step::Refuse(from) if self.pair.conversations[from].has_session() => {
                let encrypted = self.pair.encrypt(from, &content("refused"));
                self.pair.conversations[from].void(&encrypted.number.unwrap());
                self.refused[from].insert(self.sent[from]);
                self.sent[from] += 1;
            }
            Step::Garbage(at, bits, which) if !self.on_the_way.is_empty() => {
                let (from, _, envelope) = &self.on_the_way[which % self.on_the_way.len()];
                let mut garbage = envelope.clone();
                let at = at % garbage.len();
                garbage[at] ^= bits.max(1);
                assert!(self.pair.receive(1 - *from, &garbage).is_err());
            }
            Step::Start(from, linked) if self.started < 4 => self.start(from, linked),
            Step::Steal(at) => {
                self.stolen = Some((at, self.pair.conversations[at].clone()));
            }
            Step::Forge => self.forge(),
            _ => {}
        }
        self.check_superseded();
    }

    /// The server never has a one-time prekey.
    fn start(&mut self, from: usize, linked: bool) {
        let cause = match linked && self.pair.conversations[from].has_link() {
            true => Cause::Linked,
            false if self.sent[from] == 0 => Cause::First,
            false => Cause::Person,
        };
        self.pair.start(from, cause).unwrap();
        self.started += 1;
    }

    fn send(&mut self, from: usize) {
        if !self.pair.conversations[from].has_session() {
            self.pair.start(from, Cause::First).unwrap();
        }
        let number = self.sent[from];
        let envelope = self.pair.send(from, &number.to_string());
        self.sent[from] += 1;
        self.on_the_way.push((from, number, envelope));
    }

    fn deliver(&mut self, (from, number, envelope): (usize, u32, Vec<u8>)) {
        let to = 1 - from;
        let opened = match self.pair.receive(to, &envelope) {
            Ok(opened) => opened,
            // The network held back the start of a session until both had gone on in one of a
            // higher rank, which may be superseded since; it is asked for again.
            Err(DecryptError::UnknownLink) => {
                let header = Envelope::parse(&envelope).unwrap().header;
                let origin = header.initial.unwrap().origin.unwrap();
                let sessions = &self.pair.conversations[to].sessions;
                let rank = (origin.generation, Reverse(header.session_id));
                assert!(sessions.iter().any(|s| s.is_answered() && s.rank() > rank));
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(opened.content, Ok(content(&number.to_string())));
        let findings = opened.findings;
        assert!(!findings.void && findings.void_but_arrived == 0);
        assert!(!findings.twice || self.stolen.is_some(), "no copy, no fork");
        let late = self.taken[from].last().is_some_and(|last| number < *last);
        self.said[from] += findings.missing as i64 - findings.never_sent as i64 - i64::from(late);
        self.taken[from].insert(number);
        self.arrived.push((from, number, envelope));
    }

    /// A forgery opens at most, in a session that the thief has: it changes no sending.
    fn forge(&mut self) {
        let Some((at, state)) = &mut self.stolen else {
            return;
        };
        let (from, to) = (*at, 1 - *at);
        if !state.has_session() {
            return;
        }
        let stolen = state.sessions[state.current().unwrap()].id;
        if !self.superseded[to].contains(&stolen) {
            return;
        }
        let context = self.pair.context(from);
        let our = self.pair.devices[from].our.clone();
        let forged = state
            .encrypt(&our, &context, &content("forged"), 0, &mut self.pair.rng)
            .unwrap();
        let mut after = self.pair.conversations[to].clone();
        let device: &TestDevice = &self.pair.devices[to];
        let before = after.current();
        let _ = after.decrypt(&device.our, device, &forged.envelope, &context, 0);
        assert_eq!(after.current(), before, "a session was brought back");
    }

    fn check_superseded(&mut self) {
        for at in 0..2 {
            let set = &self.pair.conversations[at];
            if let Some(place) = set.current() {
                let id = set.sessions[place].id;
                assert!(!self.superseded[at].contains(&id), "a session was revived");
            }
            let superseded = set.sessions.iter().filter(|s| s.superseded.is_some());
            self.superseded[at].extend(superseded.map(|session| session.id));
        }
    }

    /// From now on the network behaves. One round trip, and both are in one session;
    /// all that is missing has been said.
    fn finish(mut self) {
        let held = std::mem::take(&mut self.on_the_way);
        for _ in 0..2 {
            for from in 0..2 {
                self.send(from);
            }
            for message in std::mem::take(&mut self.on_the_way) {
                self.deliver(message);
                self.check_superseded();
            }
        }
        let sessions = self.pair.conversations.each_ref().map(|set| {
            let current = &set.sessions[set.current().unwrap()];
            assert!(current.is_answered());
            current.id
        });
        assert_eq!(sessions[0], sessions[1]);
        for from in 0..2 {
            let never_arrived = (0..self.sent[from])
                .filter(|n| !self.taken[from].contains(n) && !self.refused[from].contains(n))
                .count();
            assert_eq!(self.said[from], never_arrived as i64, "said of {from}");
        }
        // What the network held back opens as well, and changes nothing.
        for message in held {
            self.deliver(message);
            self.check_superseded();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn hostile_schedules_converge_and_hide_nothing(seed in any::<u64>(), steps in proptest::collection::vec(step(), 0..200)) {
        let mut world = World::new(seed);
        for step in steps {
            world.run(step);
        }
        world.finish();
    }
}
