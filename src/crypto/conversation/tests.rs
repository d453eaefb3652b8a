//! Conversations between two devices, each case by itself.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::crypto::content::Body;
use crate::crypto::keys::{IDENTITY_LEN, PrekeyBundle};
use crate::crypto::skipped::{MAX_SKIPPED, SKIPPED_LIFETIME_MS};
use crate::crypto::testing::{TestRng, array, bytes, low_order_points, number, text, vectors};

/// One account's device: its identity and its prekeys.
pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) our: IdentityKeys,
    signed: SignedPrekeySecret,
    one_time: RefCell<HashMap<u32, OneTimePrekeySecret>>,
}

impl Prekeys for Device {
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret> {
        (self.signed.public().id == id).then(|| self.signed.clone())
    }

    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret> {
        self.one_time.borrow().get(&id).cloned()
    }
}

impl Device {
    pub(super) fn new(name: &'static str, one_time: u32, rng: &mut TestRng) -> Self {
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

    pub(super) fn bundle(&self, one_time: Option<u32>) -> VerifiedBundle {
        let one_time = one_time.and_then(|id| self.one_time(id));
        PrekeyBundle {
            identity: self.our.public(),
            signed_prekey: self.signed.public(),
            one_time: one_time.map(|secret| secret.public()),
        }
        .verify()
        .unwrap()
    }

    pub(super) fn forget(&self, opened: &Opened) {
        if let Some(id) = opened.used_one_time {
            self.one_time.borrow_mut().remove(&id);
        }
    }
}

/// Alice, who has started a session, and Bob, who has heard nothing yet.
struct Pair {
    rng: TestRng,
    devices: [Device; 2],
    conversations: [Conversation; 2],
}

const ALICE: usize = 0;
const BOB: usize = 1;
const ID: [u8; 16] = [7; 16];

impl Pair {
    fn new() -> Self {
        let mut rng = TestRng::new(1);
        let devices = [
            Device::new("alice", 5, &mut rng),
            Device::new("bob", 5, &mut rng),
        ];
        let mut conversations = [
            Conversation::new(devices[BOB].our.public()),
            Conversation::new(devices[ALICE].our.public()),
        ];
        let bundle = devices[BOB].bundle(Some(0));
        conversations[ALICE]
            .start(&devices[ALICE].our, &bundle, &mut rng)
            .unwrap();
        Self {
            rng,
            devices,
            conversations,
        }
    }

    /// Alice and Bob after one message each way.
    fn acquainted() -> Self {
        let mut pair = Self::new();
        for from in [ALICE, BOB] {
            let envelope = pair.send(from, "hello");
            pair.receive(1 - from, &envelope).unwrap();
        }
        pair
    }

    fn context(&self, from: usize) -> Context<'static> {
        Context {
            message_id: ID,
            sender: self.devices[from].name,
            recipient: self.devices[1 - from].name,
        }
    }

    fn send(&mut self, from: usize, text: &str) -> Vec<u8> {
        let context = self.context(from);
        let our = &self.devices[from].our;
        self.conversations[from]
            .encrypt(our, &context, &content(text), &mut self.rng)
            .unwrap()
    }

    fn receive(&mut self, at: usize, envelope: &[u8]) -> Result<Opened, DecryptError> {
        self.receive_as(at, envelope, &self.context(1 - at), 0)
    }

    /// Receives, checks that a failure changed nothing, and uses up prekeys.
    fn receive_as(
        &mut self,
        at: usize,
        envelope: &[u8],
        context: &Context<'_>,
        now_ms: u64,
    ) -> Result<Opened, DecryptError> {
        let device = &self.devices[at];
        let conversation = &mut self.conversations[at];
        let before = conversation.to_bytes();
        let result = conversation.decrypt(&device.our, device, envelope, context, now_ms);
        match &result {
            Ok(opened) => device.forget(opened),
            Err(_) => assert_eq!(conversation.to_bytes(), before),
        }
        result
    }
}

fn content(text: &str) -> Content {
    Content {
        sent_at_ms: 1,
        body: Body::Text(text.to_owned()),
    }
}

fn said(result: Result<Opened, DecryptError>) -> String {
    match result.unwrap().content.unwrap().body {
        Body::Text(text) => text,
        other => panic!("not a text: {other:?}"),
    }
}

fn is_initial(envelope: &[u8]) -> bool {
    claimed_identity(envelope).unwrap().is_some()
}

#[test]
fn a_whole_conversation_agrees_with_pycryptodome() {
    for case in vectors(include_str!("../../../tests/vectors/conversation.json")) {
        let mut pair = Pair::new();
        for (device, name) in pair.devices.iter_mut().zip(["alice", "bob"]) {
            device.our = IdentityKeys::from_bytes(&array(&case, name));
        }
        let bob = &mut pair.devices[BOB];
        bob.signed = SignedPrekeySecret::from_bytes(&bytes(&case, "signed_prekey")).unwrap();
        let one_time = OneTimePrekeySecret::from_bytes(&bytes(&case, "one_time_prekey")).ok();
        let one_time_id = one_time.as_ref().map(|secret| secret.public().id);
        bob.one_time = RefCell::new(one_time.into_iter().map(|s| (s.public().id, s)).collect());
        let mut late = Vec::new();
        for at in [ALICE, BOB] {
            pair.conversations[at] = Conversation::new(pair.devices[1 - at].our.public());
        }
        let steps = case["steps"].as_array().unwrap();
        let script = [
            bytes(&case, "ephemeral"),
            bytes(&steps[0], "ratchet_private"),
        ]
        .concat();
        let mut rng = TestRng::reading(&script);
        let bundle = pair.devices[BOB].bundle(one_time_id);
        pair.conversations[ALICE]
            .start(&pair.devices[ALICE].our, &bundle, &mut rng)
            .unwrap();
        assert!(rng.is_read());
        for (at, step) in steps.iter().enumerate() {
            let from = if text(step, "from") == "alice" {
                ALICE
            } else {
                BOB
            };
            let context = Context {
                message_id: array(step, "message_id"),
                ..pair.context(from)
            };
            let content = Content {
                sent_at_ms: number(step, "sent_at_ms"),
                body: Body::Text(text(step, "text").to_owned()),
            };
            let mut rng = TestRng::reading(&bytes(step, "ratchet_private"));
            let our = &pair.devices[from].our;
            let envelope = pair.conversations[from].encrypt(our, &context, &content, &mut rng);
            assert_eq!(envelope.unwrap(), bytes(step, "envelope"));
            // Every third message is kept back until the end.
            if at % 3 == 1 {
                late.push((from, context, content, bytes(step, "envelope")));
                continue;
            }
            let opened = pair.receive_as(1 - from, &bytes(step, "envelope"), &context, 0);
            assert_eq!(opened.unwrap().content, Ok(content));
        }
        for (from, context, content, envelope) in late {
            let opened = pair.receive_as(1 - from, &envelope, &context, 0);
            assert_eq!(opened.unwrap().content, Ok(content));
        }
        assert_eq!(
            pair.conversations
                .map(|conversation| conversation.missing()),
            [0, 0]
        );
    }
}

#[test]
fn the_initial_header_is_sent_until_an_answer_has_been_decrypted() {
    let mut pair = Pair::new();
    let first = pair.send(ALICE, "one");
    let second = pair.send(ALICE, "two");
    assert!(is_initial(&first) && is_initial(&second));
    assert_eq!(
        claimed_identity(&first),
        Ok(Some(pair.devices[ALICE].our.public()))
    );
    let opened = pair.receive(BOB, &second).unwrap();
    assert_eq!(
        (opened.used_one_time, opened.started_session, opened.missing),
        (Some(0), true, 1)
    );
    let opened = pair.receive(BOB, &first).unwrap();
    assert_eq!(
        (opened.used_one_time, opened.started_session, opened.missing),
        (None, false, 0)
    );
    let answer = pair.send(BOB, "three");
    assert!(!is_initial(&answer) && is_initial(&pair.send(ALICE, "four")));
    assert_eq!(said(pair.receive(ALICE, &answer)), "three");
    assert!(!is_initial(&pair.send(ALICE, "five")));
}

#[test]
fn replays_are_refused_whichever_chain_they_are_from() {
    let mut pair = Pair::new();
    let mut seen = Vec::new();
    for turn in 0..6 {
        let from = turn % 2;
        for _ in 0..2 {
            let envelope = pair.send(from, "again");
            pair.receive(1 - from, &envelope).unwrap();
            seen.push((1 - from, envelope));
        }
        for (at, envelope) in &seen {
            assert_eq!(pair.receive(*at, envelope), Err(DecryptError::Replayed));
        }
    }
    assert_eq!(pair.conversations[BOB].sessions.len(), 1);
}

#[test]
fn a_used_one_time_prekey_starts_no_second_session_and_none_is_needed() {
    let mut pair = Pair::new();
    let first = pair.send(ALICE, "one");
    let bundle = pair.devices[BOB].bundle(Some(0));
    pair.receive(BOB, &first).unwrap();
    let our = pair.devices[ALICE].our.clone();
    pair.conversations[ALICE]
        .start(&our, &bundle, &mut pair.rng)
        .unwrap();
    let second = pair.send(ALICE, "two");
    assert_eq!(
        pair.receive(BOB, &second),
        Err(DecryptError::MissingOneTimePrekey(0))
    );
    let bundle = pair.devices[BOB].bundle(None);
    pair.conversations[ALICE]
        .start(&our, &bundle, &mut pair.rng)
        .unwrap();
    let third = pair.send(ALICE, "three");
    let opened = pair.receive(BOB, &third).unwrap();
    assert_eq!((opened.used_one_time, opened.started_session), (None, true));
}

#[test]
fn the_context_must_be_the_same_on_both_sides() {
    let mut pair = Pair::acquainted();
    let envelope = pair.send(ALICE, "for bob");
    let right = pair.context(ALICE);
    let wrong = [
        Context {
            message_id: [8; 16],
            ..right
        },
        Context {
            sender: "mallory",
            ..right
        },
        Context {
            recipient: "carol",
            ..right
        },
        Context {
            sender: "alic",
            recipient: "ebob",
            ..right
        },
    ];
    for context in wrong {
        let result = pair.receive_as(BOB, &envelope, &context, 0);
        assert_eq!(result, Err(DecryptError::NotAuthentic));
    }
    // Another identity of the recipient: the same session, read by a device
    // whose Ed25519 key is not the one the sender meant.
    let mut other = pair.devices[BOB].our.to_bytes();
    other[0] ^= 1;
    let other = IdentityKeys::from_bytes(&other);
    let device = &pair.devices[BOB];
    let result = pair.conversations[BOB].decrypt(&other, device, &envelope, &right, 0);
    assert_eq!(result, Err(DecryptError::NotAuthentic));
    assert_eq!(said(pair.receive(BOB, &envelope)), "for bob");
}

#[test]
fn identities_other_than_the_pinned_and_our_own_are_named() {
    let mut pair = Pair::new();
    let envelope = pair.send(ALICE, "hello");
    let claimed = pair.devices[ALICE].our.public();
    let stranger = IdentityKeys::generate(&mut pair.rng);
    pair.conversations[BOB] = Conversation::new(stranger.public());
    let mismatch = Err(DecryptError::IdentityMismatch { claimed });
    assert_eq!(pair.receive(BOB, &envelope), mismatch);
    let bundle = pair.devices[ALICE].bundle(None);
    let our = pair.devices[BOB].our.clone();
    let started = pair.conversations[BOB].start(&our, &bundle, &mut pair.rng);
    assert_eq!(
        started,
        Err(EncryptError::IdentityMismatch { offered: claimed })
    );
    pair.conversations[BOB] = Conversation::new(claimed);
    let bob = std::mem::replace(&mut pair.devices[BOB].our, stranger);
    assert_eq!(
        pair.receive(BOB, &envelope),
        Err(DecryptError::NotOurIdentity)
    );
    pair.devices[BOB].our = bob;
    assert_eq!(said(pair.receive(BOB, &envelope)), "hello");
}

#[test]
fn unknown_sessions_and_prekeys_are_named() {
    let mut pair = Pair::acquainted();
    let ordinary = pair.send(ALICE, "hello");
    pair.conversations[BOB] = Conversation::new(pair.devices[ALICE].our.public());
    assert_eq!(
        pair.receive(BOB, &ordinary),
        Err(DecryptError::UnknownSession)
    );
    let context = pair.context(BOB);
    let our = &pair.devices[BOB].our;
    let nothing = pair.conversations[BOB].encrypt(our, &context, &content("x"), &mut pair.rng);
    assert_eq!(nothing, Err(EncryptError::NoSession));
    let mut pair = Pair::new();
    let initial = pair.send(ALICE, "hello");
    let our = pair.devices[BOB].our.clone();
    pair.devices[BOB].signed = SignedPrekeySecret::generate(&our, 2, &mut pair.rng);
    assert_eq!(
        pair.receive(BOB, &initial),
        Err(DecryptError::MissingSignedPrekey(1))
    );
    let version = Err(DecryptError::Envelope(EnvelopeError::UnknownVersion(9)));
    assert_eq!(pair.receive(BOB, &[9; 200]), version);
}

#[test]
fn low_order_points_are_refused_at_every_ratchet_step() {
    for point in low_order_points() {
        // The first step of the responder, then one of each side.
        let mut pair = Pair::new();
        for turn in 0..4 {
            let (from, at) = (turn % 2, 1 - turn % 2);
            let envelope = pair.send(from, "hello");
            let mut forged = envelope.clone();
            forged[18..50].copy_from_slice(&point);
            assert_eq!(
                pair.receive(at, &forged),
                Err(DecryptError::WeakKey),
                "turn {turn}"
            );
            pair.receive(at, &envelope).unwrap();
        }
        // In the initial header: the ephemeral key, under the session id that
        // belongs to it.
        let mut pair = Pair::new();
        let mut forged = pair.send(ALICE, "hello");
        let initial = Envelope::parse(&forged).unwrap().header.initial.unwrap();
        let initial = InitialHeader {
            ephemeral: point,
            ..initial
        };
        forged[2..18].copy_from_slice(&initial.session_id(&pair.devices[BOB].our.public()));
        forged[122..154].copy_from_slice(&point);
        assert_eq!(pair.receive(BOB, &forged), Err(DecryptError::WeakKey));
    }
}

#[test]
fn a_new_ratchet_key_before_our_own_was_shown_is_a_forgery() {
    let mut pair = Pair::new();
    let first = pair.send(ALICE, "hello");
    pair.receive(BOB, &first).unwrap();
    let mut forged = pair.send(ALICE, "again");
    forged[18..50].copy_from_slice(&[9; 32]);
    assert_eq!(pair.receive(BOB, &forged), Err(DecryptError::NotAuthentic));
}

#[test]
fn a_thousand_messages_may_be_jumped_over_and_not_one_more() {
    let mut pair = Pair::acquainted();
    let sent: Vec<_> = (0..1_002)
        .map(|n| pair.send(ALICE, &n.to_string()))
        .collect();
    let too_far = Err(DecryptError::TooFarAhead { skipped: 1_001 });
    assert_eq!(pair.receive(BOB, &sent[1_001]), too_far);
    let opened = pair.receive(BOB, &sent[1_000]).unwrap();
    assert_eq!(
        (opened.missing, pair.conversations[BOB].missing()),
        (1_000, 1_000)
    );
    assert_eq!(said(pair.receive(BOB, &sent[1_001])), "1001");
    assert_eq!(said(pair.receive(BOB, &sent[0])), "0");
}

#[test]
fn the_bound_counts_the_old_chain_and_the_new_one_together() {
    let mut pair = Pair::acquainted();
    for _ in 0..600 {
        pair.send(ALICE, "lost");
    }
    let turn = pair.send(BOB, "your turn");
    pair.receive(ALICE, &turn).unwrap();
    let sent: Vec<_> = (0..402).map(|_| pair.send(ALICE, "new chain")).collect();
    let too_far = Err(DecryptError::TooFarAhead { skipped: 1_001 });
    assert_eq!(pair.receive(BOB, &sent[401]), too_far);
    assert_eq!(pair.receive(BOB, &sent[400]).unwrap().missing, 1_000);
}

#[test]
fn of_the_kept_keys_the_oldest_make_room() {
    let mut pair = Pair::acquainted();
    let first = pair.send(ALICE, "first");
    for _ in 0..3 {
        for _ in 0..999 {
            pair.send(ALICE, "lost");
        }
        let envelope = pair.send(ALICE, "arrives");
        pair.receive(BOB, &envelope).unwrap();
    }
    assert_eq!(pair.conversations[BOB].missing(), MAX_SKIPPED);
    assert_eq!(pair.receive(BOB, &first), Err(DecryptError::Replayed));
}

#[test]
fn kept_keys_expire() {
    let mut pair = Pair::acquainted();
    let context = pair.context(ALICE);
    let [first, second, third] = ["first", "second", "third"].map(|text| pair.send(ALICE, text));
    pair.receive_as(BOB, &third, &context, 1_000).unwrap();
    let last = 1_000 + SKIPPED_LIFETIME_MS;
    assert_eq!(
        said(pair.receive_as(BOB, &second, &context, last)),
        "second"
    );
    let expired = pair.receive_as(BOB, &first, &context, last + 1);
    assert_eq!(expired, Err(DecryptError::Replayed));
}

#[test]
fn eight_sessions_are_kept_the_one_used_last_first() {
    let mut pair = Pair::acquainted();
    let kept = pair.conversations[ALICE].sessions[0].id;
    let our = pair.devices[ALICE].our.clone();
    for _ in 0..MAX_SESSIONS - 1 {
        let bundle = pair.devices[BOB].bundle(None);
        pair.conversations[ALICE]
            .start(&our, &bundle, &mut pair.rng)
            .unwrap();
    }
    let answer = pair.send(BOB, "in the first session");
    pair.receive(ALICE, &answer).unwrap();
    assert_eq!(pair.conversations[ALICE].sessions[0].id, kept);
    for _ in 0..3 {
        let bundle = pair.devices[BOB].bundle(None);
        pair.conversations[ALICE]
            .start(&our, &bundle, &mut pair.rng)
            .unwrap();
    }
    let sessions = &pair.conversations[ALICE].sessions;
    assert_eq!(sessions.len(), MAX_SESSIONS);
    assert_eq!(sessions[3].id, kept);
}

#[test]
fn texts_of_one_and_a_hundred_bytes_make_envelopes_of_one_size() {
    let mut pair = Pair::acquainted();
    let sizes = [1, 100, 150, 151, 16_384].map(|n| pair.send(ALICE, &"x".repeat(n)).len());
    assert_eq!(sizes, [266, 266, 266, 426, 20_586]);
    let mut pair = Pair::new();
    assert_eq!(pair.send(ALICE, &"x".repeat(16_384)).len(), 20_691);
}

#[test]
fn authenticated_nonsense_moves_the_session_on_and_is_reported() {
    let mut pair = Pair::acquainted();
    let context = pair.context(ALICE);
    let conversation = &mut pair.conversations[ALICE];
    let ad = context.associated_data(&pair.devices[ALICE].our.public(), &conversation.theirs);
    let session = &mut conversation.sessions[0];
    let (ratchet, keys) = session.ratchet.next_to_send(&mut pair.rng).unwrap();
    let header = Header {
        session_id: session.id,
        ratchet,
        initial: None,
    }
    .to_bytes();
    let envelope = [header.clone(), keys.encrypt(&ad, &header, b"not padded")].concat();
    let opened = pair.receive(BOB, &envelope).unwrap();
    assert_eq!(opened.content, Err(ContentError::Malformed));
    assert_eq!(pair.receive(BOB, &envelope), Err(DecryptError::Replayed));
}

#[test]
fn the_saved_form_comes_back_and_damage_never_panics() {
    let mut pair = Pair::acquainted();
    pair.send(ALICE, "lost");
    let envelope = pair.send(ALICE, "arrives");
    pair.receive(BOB, &envelope).unwrap();
    for conversation in &pair.conversations {
        let saved = conversation.to_bytes();
        let read = Conversation::from_bytes(&saved).unwrap();
        assert_eq!(read.to_bytes(), saved);
        for length in 0..saved.len() {
            assert!(Conversation::from_bytes(&saved[..length]).is_err());
        }
        assert!(Conversation::from_bytes(&[&saved[..], &[0]].concat()).is_err());
        let mut damaged = saved.to_vec();
        for at in 0..damaged.len() {
            damaged[at] ^= 0xff;
            let _ = Conversation::from_bytes(&damaged);
            damaged[at] ^= 0xff;
        }
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let theirs = IdentityKeys::from_bytes(&[1; 64]).public();
    let shown = format!("{:?}", Conversation::new(theirs));
    assert_eq!(
        shown,
        format!("Conversation {{ theirs: {theirs:?}, sessions: 0 }}")
    );
    assert_eq!(
        format!("{theirs:?}").len(),
        "Identity()".len() + 2 * IDENTITY_LEN
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_flipped_bit_or_cut_fails_and_changes_nothing(seed in any::<u64>()) {
        for mut pair in [Pair::new(), Pair::acquainted()] {
            pair.rng = TestRng::new(seed);
            pair.send(ALICE, "lost");
            let envelope = pair.send(ALICE, "whole");
            for bit in (seed as usize % 3..envelope.len() * 8).step_by(3) {
                let mut changed = envelope.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(pair.receive(BOB, &changed).is_err());
            }
            for length in (0..envelope.len()).step_by(7) {
                prop_assert!(pair.receive(BOB, &envelope[..length]).is_err());
            }
            prop_assert_eq!(said(pair.receive(BOB, &envelope)), "whole");
        }
    }
}
