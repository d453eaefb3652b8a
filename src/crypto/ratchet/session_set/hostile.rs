//! What a hostile server or a broken network does to a conversation. Every
//! refusal here is also checked to have changed nothing.

use proptest::prelude::*;

use super::pair::{ALICE, BOB, Pair, content, said};
use super::*;
use crate::crypto::ratchet::skipped::{MAX_SKIPPED, SKIPPED_LIFETIME_MS};
use crate::crypto::testing::{TestRng, low_order_points};

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
fn the_context_must_be_the_same_on_both_sides() {
    let mut pair = Pair::acquainted();
    let envelope = pair.send(ALICE, "for bob");
    let right = pair.context(ALICE);
    let wrong = [
        AssociatedData {
            message_id: [8; 16],
            ..right
        },
        AssociatedData {
            sender: "mallory",
            ..right
        },
        AssociatedData {
            recipient: "carol",
            ..right
        },
        AssociatedData {
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
    pair.conversations[BOB] = SessionSet::new(stranger.public());
    let mismatch = Err(DecryptError::IdentityMismatch { claimed });
    assert_eq!(pair.receive(BOB, &envelope), mismatch);
    let bundle = pair.devices[ALICE].bundle(None);
    let our = pair.devices[BOB].our.clone();
    let conversation = &mut pair.conversations[BOB];
    let started = conversation.start(&our, &bundle, Cause::First, 1, 0, &mut pair.rng);
    assert_eq!(
        started,
        Err(EncryptError::IdentityMismatch { offered: claimed })
    );
    pair.conversations[BOB] = SessionSet::new(claimed);
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
    pair.conversations[BOB] = SessionSet::new(pair.devices[ALICE].our.public());
    assert_eq!(
        pair.receive(BOB, &ordinary),
        Err(DecryptError::UnknownSession)
    );
    let context = pair.context(BOB);
    let our = &pair.devices[BOB].our;
    let nothing = pair.conversations[BOB].encrypt(our, &context, &content("x"), 0, &mut pair.rng);
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
        let id = initial.session_id(&pair.devices[BOB].our.public());
        let (alice, no_link) = (&pair.devices[ALICE].our, [0; LINK_ID_LEN]);
        let origin = Origin::sign(alice, &id, 2, Cause::First, no_link);
        forged[2..18].copy_from_slice(&id);
        forged[122..154].copy_from_slice(&point);
        forged[163..252].copy_from_slice(&encode_secret(|put| origin.write(put)));
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
        (
            opened.findings.missing,
            pair.conversations[BOB].missing(),
            pair.conversations[BOB].kept_keys()
        ),
        (1_000, 1_000, 1_000)
    );
    assert_eq!(said(pair.receive(BOB, &sent[1_001])), "1001");
    assert_eq!(said(pair.receive(BOB, &sent[0])), "0");
}

#[test]
fn the_bound_counts_the_old_chain_and_the_new_one_together() {
    let mut pair = Pair::acquainted();
    let begin = pair.send(ALICE, "begins the old chain");
    pair.receive(BOB, &begin).unwrap();
    for _ in 0..600 {
        pair.send(ALICE, "lost");
    }
    let turn = pair.send(BOB, "your turn");
    pair.receive(ALICE, &turn).unwrap();
    let sent: Vec<_> = (0..402).map(|_| pair.send(ALICE, "new chain")).collect();
    let too_far = Err(DecryptError::TooFarAhead { skipped: 1_001 });
    assert_eq!(pair.receive(BOB, &sent[401]), too_far);
    let opened = pair.receive(BOB, &sent[400]).unwrap();
    assert_eq!(opened.findings.missing, 1_000);
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
    assert_eq!(pair.conversations[BOB].kept_keys(), MAX_SKIPPED);
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
fn authenticated_nonsense_moves_the_session_on_and_is_reported() {
    let mut pair = Pair::acquainted();
    let context = pair.context(ALICE);
    let conversation = &mut pair.conversations[ALICE];
    let ad = context.associated_data(
        VERSION,
        &pair.devices[ALICE].our.public(),
        &conversation.theirs,
    );
    let session = &mut conversation.sessions[0];
    let next = session.ratchet.next_to_send(&mut pair.rng).unwrap();
    let header = Header {
        version: VERSION,
        session_id: session.id,
        ratchet: next.header,
        initial: None,
    }
    .to_bytes();
    let envelope = [
        header.clone(),
        next.keys.encrypt(&ad, &header, b"not padded"),
    ]
    .concat();
    let opened = pair.receive(BOB, &envelope).unwrap();
    assert_eq!(opened.content, Err(ContentError::Malformed));
    assert_eq!(pair.receive(BOB, &envelope), Err(DecryptError::Replayed));
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
