//! Random schedules between two devices, against a model that knows only this:
//! whatever was sent decrypts to itself the first time it arrives, never a
//! second time, in whichever order and whatever else was lost; and a refusal
//! changes nothing.

use proptest::prelude::*;

use super::pair::TestDevice;
use super::*;
use crate::crypto::message::content::Payload;
use crate::crypto::testing::TestRng;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// One side writes; without a session it starts one.
    Send(usize),
    /// One of the messages on the way arrives.
    Deliver(usize),
    /// One that has arrived comes again.
    Repeat(usize),
    /// One of the messages on the way is lost.
    Lose(usize),
    /// One side saves everything and starts anew from it.
    Restart(usize),
    /// One side starts another session.
    Start(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize).prop_map(Step::Send),
        7 => any::<usize>().prop_map(Step::Deliver),
        2 => any::<usize>().prop_map(Step::Repeat),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => (0..2_usize).prop_map(Step::Restart),
        1 => (0..2_usize).prop_map(Step::Start),
    ]
}

/// A message as the model knows it.
#[derive(Clone)]
struct Sent {
    from: usize,
    id: [u8; 16],
    content: Content,
    envelope: Vec<u8>,
}

struct World {
    rng: TestRng,
    devices: [TestDevice; 2],
    conversations: [SessionSet; 2],
    started: usize,
    sent: u64,
    on_the_way: Vec<Sent>,
    arrived: Vec<Sent>,
    lost: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = TestRng::new(seed);
        let devices = [
            TestDevice::new("alice", 3, &mut rng),
            TestDevice::new("bob", 3, &mut rng),
        ];
        let conversations = [1, 0].map(|other: usize| SessionSet::new(devices[other].our.public()));
        Self {
            rng,
            devices,
            conversations,
            started: 0,
            sent: 0,
            on_the_way: Vec::new(),
            arrived: Vec::new(),
            lost: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Send(from) => self.send(from),
            Step::Deliver(which) if !self.on_the_way.is_empty() => {
                let at = which % self.on_the_way.len();
                let sent = self.on_the_way.remove(at);
                self.deliver(sent);
            }
            Step::Repeat(which) if !self.arrived.is_empty() => {
                let sent = self.arrived[which % self.arrived.len()].clone();
                self.repeat(&sent);
            }
            Step::Lose(which) if !self.on_the_way.is_empty() => {
                let at = which % self.on_the_way.len();
                self.on_the_way.remove(at);
                self.lost += 1;
            }
            Step::Restart(at) => {
                let saved = self.conversations[at].to_bytes();
                self.conversations[at] = SessionSet::from_bytes(&saved).unwrap();
            }
            // Past the bound on sessions the model would have to know which
            // were dropped; two may arise below besides.
            Step::Start(from) if self.started + 2 < MAX_SESSIONS => self.start(from),
            _ => {}
        }
    }

    fn start(&mut self, from: usize) {
        // Each one-time prekey is handed out once, as the server does.
        let one_time = u32::try_from(self.started).ok();
        let bundle = self.devices[1 - from].bundle(one_time);
        let our = &self.devices[from].our;
        self.conversations[from]
            .start(our, &bundle, Cause::Person, 0, 0, &mut self.rng)
            .unwrap();
        self.started += 1;
    }

    fn send(&mut self, from: usize) {
        if !self.conversations[from].has_session() {
            self.start(from);
        }
        self.sent += 1;
        let id = u128::from(self.sent).to_be_bytes();
        let content = Content {
            sent_at_ms: self.sent,
            body: Payload::Text(format!("message {}", self.sent)),
        };
        let context = self.context(from, id);
        let our = &self.devices[from].our;
        let envelope = self.conversations[from]
            .encrypt(our, &context, &content, 0, &mut self.rng)
            .unwrap();
        self.on_the_way.push(Sent {
            from,
            id,
            content,
            envelope: envelope.envelope,
        });
    }

    fn deliver(&mut self, sent: Sent) {
        let opened = self.open(&sent).unwrap();
        assert_eq!(opened.content.as_ref(), Ok(&sent.content));
        self.devices[1 - sent.from].forget(&opened);
        self.arrived.push(sent);
    }

    fn repeat(&mut self, sent: &Sent) {
        let before = self.conversations[1 - sent.from].to_bytes();
        // Older than the retired keys that are remembered, it looks forged.
        let refused = self.open(sent).unwrap_err();
        assert!(matches!(
            refused,
            DecryptError::Replayed | DecryptError::NotAuthentic
        ));
        assert_eq!(self.conversations[1 - sent.from].to_bytes(), before);
    }

    fn open(&mut self, sent: &Sent) -> Result<Decrypted, DecryptError> {
        let context = self.context(sent.from, sent.id);
        let device = &self.devices[1 - sent.from];
        self.conversations[1 - sent.from].decrypt(&device.our, device, &sent.envelope, &context, 0)
    }

    fn context(&self, from: usize, message_id: [u8; 16]) -> AssociatedData<'static> {
        AssociatedData {
            message_id,
            sender: self.devices[from].name,
            recipient: self.devices[1 - from].name,
        }
    }

    /// Delivers the rest, latest first, and counts what is missing.
    fn finish(mut self) {
        while let Some(sent) = self.on_the_way.pop() {
            self.deliver(sent);
        }
        let missing: u64 = self.conversations.iter().map(SessionSet::missing).sum();
        assert!(
            missing <= self.lost as u64,
            "{missing} missing, {} lost",
            self.lost
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_decrypts_once(seed in any::<u64>(), steps in proptest::collection::vec(step(), 0..400)) {
        let mut world = World::new(seed);
        for step in steps {
            world.run(step);
        }
        world.finish();
    }
}
