//! Conversations as they should go, each case by itself.

use std::cell::RefCell;

use super::pair::{ALICE, BOB, Pair, is_initial, said};
use super::*;
use crate::crypto::keys::IDENTITY_LEN;
use crate::crypto::message::content::Payload;
use crate::crypto::testing::{TestRng, array, bytes, number, text, vectors};

#[test]
fn a_whole_conversation_agrees_with_pycryptodome() {
    for case in vectors(include_str!("../../../../tests/vectors/conversation.json")) {
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
            pair.conversations[at] = SessionSet::new(pair.devices[1 - at].our.public());
        }
        let steps = case["steps"].as_array().unwrap();
        let script = [
            bytes(&case, "ephemeral"),
            bytes(&steps[0], "ratchet_private"),
        ]
        .concat();
        let mut rng = TestRng::reading(&script);
        let bundle = pair.devices[BOB].bundle(one_time_id);
        let now_ms = number(&case, "now_ms");
        pair.conversations[ALICE]
            .start(
                &pair.devices[ALICE].our,
                &bundle,
                Cause::First,
                now_ms,
                0,
                &mut rng,
            )
            .unwrap();
        assert!(rng.is_read());
        for (at, step) in steps.iter().enumerate() {
            let from = if text(step, "from") == "alice" {
                ALICE
            } else {
                BOB
            };
            let context = AssociatedData {
                message_id: array(step, "message_id"),
                ..pair.context(from)
            };
            let content = Content {
                sent_at_ms: number(step, "sent_at_ms"),
                body: Payload::Text(text(step, "text").to_owned()),
            };
            let drawn = ["instance", "ratchet_private"].map(|name| bytes(step, name));
            let mut rng = TestRng::reading(&drawn.concat());
            let our = &pair.devices[from].our;
            let sent = pair.conversations[from].encrypt(our, &context, &content, 0, &mut rng);
            assert_eq!(sent.unwrap().envelope, bytes(step, "envelope"));
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
                .map(|both| (both.missing(), both.kept_keys())),
            [(0, 0), (0, 0)]
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
        (
            opened.used_one_time,
            opened.started.is_some(),
            opened.findings.missing
        ),
        (Some(0), true, 1)
    );
    let opened = pair.receive(BOB, &first).unwrap();
    assert_eq!(
        (
            opened.used_one_time,
            opened.started.is_some(),
            opened.findings.missing
        ),
        (None, false, 0)
    );
    let answer = pair.send(BOB, "three");
    assert!(!is_initial(&answer) && is_initial(&pair.send(ALICE, "four")));
    assert_eq!(said(pair.receive(ALICE, &answer)), "three");
    assert!(!is_initial(&pair.send(ALICE, "five")));
}

#[test]
fn a_used_one_time_prekey_starts_no_second_session_and_none_is_needed() {
    let mut pair = Pair::new();
    let first = pair.send(ALICE, "one");
    let bundle = pair.devices[BOB].bundle(Some(0));
    pair.receive(BOB, &first).unwrap();
    let our = pair.devices[ALICE].our.clone();
    pair.conversations[ALICE]
        .start(&our, &bundle, Cause::Person, 1, 0, &mut pair.rng)
        .unwrap();
    let second = pair.send(ALICE, "two");
    assert_eq!(
        pair.receive(BOB, &second),
        Err(DecryptError::MissingOneTimePrekey(0))
    );
    pair.start(ALICE, Cause::Person).unwrap();
    let third = pair.send(ALICE, "three");
    let opened = pair.receive(BOB, &third).unwrap();
    assert_eq!(
        (opened.used_one_time, opened.started.is_some()),
        (None, true)
    );
}

#[test]
fn eight_sessions_are_kept_and_the_one_superseded_longest_ago_goes_first() {
    let mut pair = Pair::acquainted();
    let first = pair.conversations[ALICE].sessions[0].id;
    for started in 1..MAX_SESSIONS {
        pair.age_ms += 1;
        pair.start(ALICE, Cause::Person).unwrap();
        let sessions = &pair.conversations[ALICE].sessions;
        assert_eq!(sessions.len(), started + 1);
    }
    let answer = pair.send(BOB, "in the first session");
    pair.receive(ALICE, &answer).unwrap();
    let current = pair.conversations[ALICE].current().unwrap();
    let newest = pair.conversations[ALICE].sessions[current].id;
    pair.start(ALICE, Cause::Person).unwrap();
    let sessions = &pair.conversations[ALICE].sessions;
    assert_eq!(sessions.len(), MAX_SESSIONS);
    assert!(sessions.iter().all(|session| session.id != first));
    assert!(sessions.iter().any(|session| session.id == newest));
}

#[test]
fn texts_of_one_and_a_hundred_bytes_make_envelopes_of_one_size() {
    let mut pair = Pair::acquainted();
    let sizes = [1, 100, 128, 129, 16_384].map(|n| pair.send(ALICE, &"x".repeat(n)).len());
    assert_eq!(sizes, [266, 266, 266, 426, 20_586]);
    let mut pair = Pair::new();
    assert_eq!(pair.send(ALICE, &"x".repeat(16_384)).len(), 20_780);
}

#[test]
fn the_saved_form_comes_back_and_damage_never_panics() {
    let mut pair = Pair::acquainted();
    pair.send(ALICE, "lost");
    let envelope = pair.send(ALICE, "arrives");
    pair.receive(BOB, &envelope).unwrap();
    for conversation in &pair.conversations {
        let saved = conversation.to_bytes();
        let read = SessionSet::from_bytes(&saved).unwrap();
        assert_eq!(read.to_bytes(), saved);
        for length in 0..saved.len() {
            assert!(SessionSet::from_bytes(&saved[..length]).is_err());
        }
        assert!(SessionSet::from_bytes(&[&saved[..], &[0]].concat()).is_err());
        let mut damaged = saved.to_vec();
        for at in 0..damaged.len() {
            damaged[at] ^= 0xff;
            let _ = SessionSet::from_bytes(&damaged);
            damaged[at] ^= 0xff;
        }
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let theirs = IdentityKeys::from_bytes(&[1; 64]).public();
    let shown = format!("{:?}", SessionSet::new(theirs));
    assert_eq!(
        shown,
        format!("SessionSet {{ theirs: {theirs:?}, sessions: 0, .. }}")
    );
    assert_eq!(
        format!("{theirs:?}").len(),
        "PublicIdentity()".len() + 2 * IDENTITY_LEN
    );
}
