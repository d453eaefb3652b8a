//! Two devices that have talked, always the same two: what the fuzzer's bytes are
//! held against.

use std::convert::Infallible;
use std::sync::LazyLock;

use rand::rand_core::{TryCryptoRng, TryRng};
use secure_chat::crypto::keys::{
    IdentityKeys, OneTimePrekeySecret, PrekeyBundle, SignedPrekeySecret,
};
use secure_chat::crypto::message::associated_data::AssociatedData;
use secure_chat::crypto::message::content::{Content, Payload};
use secure_chat::crypto::ratchet::origin::Cause;
use secure_chat::crypto::ratchet::session_set::{Prekeys, SessionSet};

/// Bytes that repeat themselves from run to run: a multiplicative generator
/// after Steele and Vigna (SplitMix64), good enough to make distinct keys.
#[derive(Clone)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Infallible> {
        for chunk in place.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Numbers {}

/// An account's device: its identity, one signed prekey, two one-time prekeys.
pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) keys: IdentityKeys,
    pub(super) signed: SignedPrekeySecret,
    pub(super) one_time: [OneTimePrekeySecret; 2],
}

impl Prekeys for Device {
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret> {
        (self.signed.public().id == id).then(|| self.signed.clone())
    }

    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret> {
        let mut all = self.one_time.iter();
        all.find(|prekey| prekey.public().id == id).cloned()
    }
}

impl Device {
    fn new(name: &'static str, numbers: &mut Numbers) -> Self {
        let keys = IdentityKeys::generate(numbers);
        Device {
            name,
            signed: SignedPrekeySecret::generate(&keys, 1, numbers),
            one_time: [0, 1].map(|id| OneTimePrekeySecret::generate(id, numbers)),
            keys,
        }
    }

    pub(super) fn bundle(&self) -> PrekeyBundle {
        PrekeyBundle {
            identity: self.keys.public(),
            signed_prekey: self.signed.public(),
            one_time: Some(self.one_time[0].public()),
        }
    }
}

pub(super) const MESSAGE_ID: [u8; 16] = [7; 16];
pub(super) const WORDS: &str = "genuine";
pub(super) const NOW: u64 = 1_700_000_000_000;

pub(super) fn context(from: &Device, to: &Device) -> AssociatedData<'static> {
    AssociatedData {
        message_id: MESSAGE_ID,
        sender: from.name,
        recipient: to.name,
    }
}

pub(super) fn words() -> Content {
    Content {
        sent_at_ms: NOW,
        body: Payload::Text(WORDS.to_owned()),
    }
}

/// Two devices, the states in which bob may be, and what alice really sent.
pub(super) struct Scene {
    pub(super) alice: Device,
    pub(super) bob: Device,
    /// Bob's side: nothing heard yet, in the middle, with kept keys.
    pub(super) states: Vec<SessionSet>,
    /// Envelopes that are alice's, each for at least one of the states.
    pub(super) genuine: Vec<Vec<u8>>,
}

pub(super) static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let mut numbers = Numbers(1);
    let alice = Device::new("alice", &mut numbers);
    let bob = Device::new("bob", &mut numbers);
    let mut hers = SessionSet::new(bob.keys.public());
    let mut his = SessionSet::new(alice.keys.public());
    let bundle = bob.bundle().verify().unwrap();
    hers.start(&alice.keys, &bundle, Cause::First, NOW, NOW, &mut numbers)
        .unwrap();

    let mut states = vec![his.clone()];
    let mut genuine = Vec::new();
    let mut say = |hers: &mut SessionSet| {
        let out = context(&alice, &bob);
        let sent = hers.encrypt(&alice.keys, &out, &words(), NOW, &mut numbers);
        sent.unwrap().envelope
    };
    genuine.push(say(&mut hers));
    his.decrypt(&bob.keys, &bob, &genuine[0], &context(&alice, &bob), NOW)
        .unwrap();
    let mut numbers_of_bob = Numbers(2);
    let back = context(&bob, &alice);
    let reply = his
        .encrypt(&bob.keys, &back, &words(), NOW, &mut numbers_of_bob)
        .unwrap()
        .envelope;
    hers.decrypt(&alice.keys, &alice, &reply, &back, NOW)
        .unwrap();
    states.push(his.clone());
    for _ in 0..4 {
        genuine.push(say(&mut hers));
    }
    his.decrypt(&bob.keys, &bob, &genuine[3], &context(&alice, &bob), NOW)
        .unwrap();
    states.push(his);
    Scene {
        alice,
        bob,
        states,
        genuine,
    }
});
