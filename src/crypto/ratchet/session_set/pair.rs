//! Two devices and their conversations, for the tests beside this file.

use std::cell::RefCell;
use std::collections::HashMap;

use super::*;
use crate::crypto::keys::PrekeyBundle;
use crate::crypto::message::content::Payload;
use crate::crypto::testing::TestRng;

/// One account's device: its identity and its prekeys.
pub(crate) struct TestDevice {
    pub(crate) name: &'static str,
    pub(crate) our: IdentityKeys,
    pub(crate) signed: SignedPrekeySecret,
    pub(crate) one_time: RefCell<HashMap<u32, OneTimePrekeySecret>>,
}

impl Prekeys for TestDevice {
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret> {
        (self.signed.public().id == id).then(|| self.signed.clone())
    }

    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret> {
        self.one_time.borrow().get(&id).cloned()
    }
}

impl TestDevice {
    pub(crate) fn new(name: &'static str, one_time: u32, rng: &mut TestRng) -> Self {
        let our = IdentityKeys::generate(rng);
        let signed = SignedPrekeySecret::generate(&our, 1, rng);
        let one_time = (0..one_time).map(|id| (id, OneTimePrekeySecret::generate(id, rng)));
        Self {
            name,
            one_time: RefCell::new(one_time.collect()),
            signed,
            our,
        }
    }

    pub(crate) fn bundle(&self, one_time: Option<u32>) -> VerifiedBundle {
        let one_time = one_time.and_then(|id| self.one_time(id));
        PrekeyBundle {
            identity: self.our.public(),
            signed_prekey: self.signed.public(),
            one_time: one_time.map(|secret| secret.public()),
        }
        .verify()
        .unwrap()
    }

    pub(crate) fn forget(&self, opened: &Decrypted) {
        if let Some(id) = opened.used_one_time {
            self.one_time.borrow_mut().remove(&id);
        }
    }
}

/// Alice, who has started a session, and Bob, who has heard nothing yet.
pub(crate) struct Pair {
    pub(crate) rng: TestRng,
    pub(crate) devices: [TestDevice; 2],
    pub(crate) conversations: [SessionSet; 2],
    pub(crate) age_ms: u64,
}

pub(crate) const ALICE: usize = 0;
pub(crate) const BOB: usize = 1;
pub(crate) const ID: [u8; 16] = [7; 16];

impl Pair {
    pub(crate) fn new() -> Self {
        let mut rng = TestRng::new(1);
        let devices = [
            TestDevice::new("alice", 5, &mut rng),
            TestDevice::new("bob", 5, &mut rng),
        ];
        let mut conversations = [
            SessionSet::new(devices[BOB].our.public()),
            SessionSet::new(devices[ALICE].our.public()),
        ];
        let bundle = devices[BOB].bundle(Some(0));
        conversations[ALICE]
            .start(&devices[ALICE].our, &bundle, Cause::First, 1, 0, &mut rng)
            .unwrap();
        Self {
            rng,
            devices,
            conversations,
            age_ms: 0,
        }
    }

    /// Alice and Bob after one message each way.
    pub(crate) fn acquainted() -> Self {
        let mut pair = Self::new();
        for from in [ALICE, BOB] {
            let envelope = pair.send(from, "hello");
            pair.receive(1 - from, &envelope).unwrap();
        }
        pair
    }

    pub(crate) fn context(&self, from: usize) -> AssociatedData<'static> {
        AssociatedData {
            message_id: ID,
            sender: self.devices[from].name,
            recipient: self.devices[1 - from].name,
        }
    }

    /// One side starts another session.
    pub(crate) fn start(&mut self, from: usize, cause: Cause) -> Result<(), EncryptError> {
        let bundle = self.devices[1 - from].bundle(None);
        let our = &self.devices[from].our;
        self.conversations[from].start(our, &bundle, cause, 1, self.age_ms, &mut self.rng)
    }

    pub(crate) fn send(&mut self, from: usize, text: &str) -> Vec<u8> {
        self.encrypt(from, &content(text)).envelope
    }

    pub(crate) fn encrypt(&mut self, from: usize, content: &Content) -> Encrypted {
        let context = self.context(from);
        let our = &self.devices[from].our;
        self.conversations[from]
            .encrypt(our, &context, content, self.age_ms, &mut self.rng)
            .unwrap()
    }

    /// One message from one side to the other, which opens.
    pub(crate) fn say(&mut self, from: usize, text: &str) -> Decrypted {
        let envelope = self.send(from, text);
        let opened = self.receive(1 - from, &envelope).unwrap();
        assert_eq!(opened.content.as_ref(), Ok(&content(text)));
        opened
    }

    pub(crate) fn receive(
        &mut self,
        at: usize,
        envelope: &[u8],
    ) -> Result<Decrypted, DecryptError> {
        self.receive_as(at, envelope, &self.context(1 - at), self.age_ms)
    }

    /// Receives, checks that a failure changed nothing, and uses up prekeys.
    pub(crate) fn receive_as(
        &mut self,
        at: usize,
        envelope: &[u8],
        context: &AssociatedData<'_>,
        age_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let device = &self.devices[at];
        let conversation = &mut self.conversations[at];
        let before = conversation.to_bytes();
        let result = conversation.decrypt(&device.our, device, envelope, context, age_ms);
        match &result {
            Ok(opened) => device.forget(opened),
            Err(_) => assert_eq!(conversation.to_bytes(), before),
        }
        result
    }
}

pub(crate) fn content(text: &str) -> Content {
    Content {
        sent_at_ms: 1,
        body: Payload::Text(text.to_owned()),
    }
}

pub(crate) fn said(result: Result<Decrypted, DecryptError>) -> String {
    match result.unwrap().content.unwrap().body {
        Payload::Text(text) => text,
        other => panic!("not a text: {other:?}"),
    }
}

pub(crate) fn is_initial(envelope: &[u8]) -> bool {
    claimed_identity(envelope).unwrap().is_some()
}
