//! Sessions one after the other, each rule by itself: which one is sent in, what a new one
//! goes on from, how long an old one reads, and what the numbers across them show.

use super::pair::{ALICE, BOB, Pair, content, is_initial, said};
use super::*;
use crate::crypto::message::content::Payload;
use crate::crypto::ratchet::skipped::SKIPPED_LIFETIME_MS;
use crate::crypto::testing::TestRng;

/// The session that a side sends in.
fn current(pair: &Pair, at: usize) -> [u8; 16] {
    let set = &pair.conversations[at];
    set.sessions[set.current().unwrap()].id
}

fn origin_of(envelope: &[u8]) -> Origin {
    let header = Envelope::parse(envelope).unwrap().header;
    header.initial.unwrap().origin.unwrap()
}

#[test]
fn two_who_start_at_once_agree_after_one_round_trip() {
    for seed in 0..8 {
        let mut pair = Pair::new();
        pair.rng = TestRng::new(seed);
        pair.conversations[ALICE] = SessionSet::new(pair.devices[BOB].our.public());
        for from in [ALICE, BOB] {
            pair.start(from, Cause::First).unwrap();
        }
        let both = [ALICE, BOB].map(|from| pair.send(from, "first"));
        for (from, envelope) in both.iter().enumerate() {
            let opened = pair.receive(1 - from, envelope).unwrap();
            let started = Started {
                cause: Some(Cause::First),
                goes_on: false,
                is_outranked: false,
            };
            assert_eq!(opened.started, Some(started));
        }
        let both = [ALICE, BOB].map(|from| pair.send(from, "second"));
        for (from, envelope) in both.iter().enumerate() {
            pair.receive(1 - from, envelope).unwrap();
        }
        assert_eq!(current(&pair, ALICE), current(&pair, BOB));
        assert!(!is_initial(&pair.send(ALICE, "third")));
        pair.say(BOB, "fourth");
        assert_eq!(current(&pair, ALICE), current(&pair, BOB));
    }
}

/// Who stole the state of a session can write in it for 30 days, and gets nothing.
#[test]
fn a_superseded_session_only_reads_and_never_sends_again() {
    let mut pair = Pair::acquainted();
    let mut thief = pair.conversations[ALICE].clone();
    pair.start(ALICE, Cause::Linked).unwrap();
    for _ in 0..3 {
        pair.say(ALICE, "healed");
        pair.say(BOB, "healed");
    }
    let (our, context) = (pair.devices[ALICE].our.clone(), pair.context(ALICE));
    let mut rng = TestRng::new(99);
    let mut forge = || {
        let forged = thief.encrypt(&our, &context, &content("ok"), 0, &mut rng);
        forged.unwrap().envelope
    };
    let forged = pair.receive(BOB, &forge()).unwrap();
    assert!(forged.findings.twice, "the numbers tell on him");
    let answer = pair.send(BOB, "for alice");
    let mut thief = thief.clone();
    let device = &pair.devices[ALICE];
    let got = thief.decrypt(&our, device, &answer, &pair.context(BOB), 0);
    assert_eq!(got, Err(DecryptError::UnknownSession));
    assert_eq!(said(pair.receive(ALICE, &answer)), "for alice");
    // After 30 days he can't even write.
    pair.age_ms = MAX_SUPERSEDED_MS + 1;
    let mut rng = TestRng::new(98);
    let late = thief.encrypt(&our, &context, &content("ok"), 0, &mut rng);
    let late = late.unwrap().envelope;
    let refused = pair.receive(BOB, &late);
    assert_eq!(refused, Err(DecryptError::UnknownSession));
    pair.say(BOB, "expires it");
    assert_eq!(pair.conversations[BOB].sessions.len(), 1);
}

#[test]
fn what_was_on_the_way_in_a_superseded_session_opens() {
    let mut pair = Pair::acquainted();
    let late = pair.send(BOB, "late");
    pair.start(ALICE, Cause::Person).unwrap();
    pair.say(ALICE, "in the new one");
    assert_eq!(said(pair.receive(ALICE, &late)), "late");
    pair.age_ms = MAX_SUPERSEDED_MS;
    assert_eq!(current(&pair, ALICE), current(&pair, BOB));
}

/// The keys that open a message of a linked session are not all long-lived ones.
#[test]
fn a_linked_session_does_not_open_with_long_lived_keys_alone() {
    let mut pair = Pair::acquainted();
    // The server withholds one-time prekeys: `start` gets none.
    pair.start(ALICE, Cause::Linked).unwrap();
    let envelope = pair.send(ALICE, "linked");
    // Bob's long-lived keys, with nothing of the conversation.
    let mut thief = SessionSet::new(pair.devices[ALICE].our.public());
    let device = &pair.devices[BOB];
    let got = thief.decrypt(&device.our, device, &envelope, &pair.context(ALICE), 0);
    assert_eq!(got, Err(DecryptError::UnknownLink));
    // An older state of the conversation neither, once it has moved on.
    let opened = pair.receive(BOB, &envelope).unwrap();
    assert_eq!(opened.started.unwrap().cause, Some(Cause::Linked));
    assert_eq!(said(Ok(opened)), "linked");
}

#[test]
fn a_link_is_of_the_last_step_that_both_have_and_older_ones_are_gone() {
    let mut pair = Pair::acquainted();
    let mut old = pair.conversations[BOB].clone();
    for _ in 0..2 {
        pair.say(ALICE, "on");
        pair.say(BOB, "and on");
    }
    let state = pair.conversations.clone();
    for starter in [ALICE, BOB] {
        pair.conversations = state.clone();
        // The latest of the other side's is on the way and not heard yet.
        let unheard = pair.send(1 - starter, "unheard");
        pair.start(starter, Cause::Linked).unwrap();
        let envelope = pair.send(starter, "linked");
        if starter == ALICE {
            let device = &pair.devices[BOB];
            let got = old.decrypt(&device.our, device, &envelope, &pair.context(ALICE), 0);
            assert_eq!(got, Err(DecryptError::UnknownLink), "a stolen state");
        }
        assert_eq!(said(pair.receive(1 - starter, &envelope)), "linked");
        assert_eq!(said(pair.receive(starter, &unheard)), "unheard");
        pair.say(1 - starter, "answer");
        assert_eq!(current(&pair, ALICE), current(&pair, BOB));
    }
    // Nothing was heard yet: there is nothing to go on from.
    let mut pair = Pair::new();
    assert_eq!(pair.start(ALICE, Cause::Linked), Err(EncryptError::NoLink));
}

#[test]
fn what_an_initial_envelope_says_of_its_session_is_signed() {
    let mut pair = Pair::acquainted();
    pair.start(ALICE, Cause::Person).unwrap();
    let envelope = pair.send(ALICE, "mine");
    let origin = origin_of(&envelope);
    assert!(origin.generation > 1 && origin.cause == Cause::Person);
    // Generation, cause, signature.
    for at in [170, 171, 200] {
        let mut forged = envelope.clone();
        forged[at] ^= 1;
        let refused = pair.receive(BOB, &forged);
        assert_eq!(refused, Err(DecryptError::NotAuthentic), "{at}");
        let our = pair.devices[BOB].our.clone();
        assert!(!pair.conversations[BOB].proves_cause(&our, &forged));
    }
    // Who has Bob's prekeys can compute the keys of a session in Alice's name, and not
    // sign for her.
    let mallory = IdentityKeys::generate(&mut pair.rng);
    let initial = Envelope::parse(&envelope).unwrap().header.initial.unwrap();
    let id = initial.session_id(&pair.devices[BOB].our.public());
    let forged = Origin::sign(&mallory, &id, 9, Cause::Person, [0; LINK_ID_LEN]);
    assert!(!forged.is_signed_by(&pair.devices[ALICE].our.public(), &id));
    pair.receive(BOB, &envelope).unwrap();
}

#[test]
fn a_cause_is_proven_once_also_where_the_session_can_not_be_opened() {
    let mut pair = Pair::acquainted();
    pair.start(ALICE, Cause::NewVault).unwrap();
    let lost = pair.send(ALICE, "its prekey is gone");
    let our = pair.devices[BOB].our.clone();
    let gone = SignedPrekeySecret::generate(&our, 2, &mut pair.rng);
    pair.devices[BOB].signed = gone;
    assert_eq!(
        pair.receive(BOB, &lost),
        Err(DecryptError::MissingSignedPrekey(1))
    );
    let mut relabelled = lost.clone();
    relabelled[3] ^= 1;
    let bob = &mut pair.conversations[BOB];
    assert!(!bob.proves_cause(&our, &relabelled));
    assert!(!bob.proves_cause(&our, b"garbage"));
    assert!(bob.proves_cause(&our, &lost));
    assert!(!bob.proves_cause(&our, &lost), "said once");
    pair.start(BOB, Cause::Answer).unwrap();
    let answer = pair.send(BOB, "then mine");
    assert_eq!(said(pair.receive(ALICE, &answer)), "then mine");
    pair.say(ALICE, "agreed");
    assert_eq!(current(&pair, ALICE), current(&pair, BOB));
}

#[test]
fn who_starts_anew_is_followed_and_an_earlier_start_that_comes_late_is_only_read() {
    let mut pair = Pair::acquainted();
    pair.start(ALICE, Cause::Person).unwrap();
    let early = pair.send(ALICE, "early");
    pair.start(ALICE, Cause::Person).unwrap();
    let opened = pair.say(ALICE, "late");
    let started = opened.started.unwrap();
    assert!(started.goes_on && !started.is_outranked);
    let opened = pair.receive(BOB, &early).unwrap();
    assert!(opened.started.unwrap().is_outranked);
    assert_eq!(said(Ok(opened)), "early");
    assert_eq!(current(&pair, ALICE), current(&pair, BOB));
}

/// The session that outranks it is superseded already, and the other side has dropped the
/// link that the late one would give.
#[test]
fn a_session_that_comes_late_gives_no_link() {
    let mut pair = Pair::new();
    pair.conversations[BOB] = SessionSet::new(pair.devices[ALICE].our.public());
    pair.start(ALICE, Cause::First).unwrap();
    let late = pair.send(ALICE, "late");
    pair.start(ALICE, Cause::Person).unwrap();
    pair.say(ALICE, "on");
    let answer = pair.send(BOB, "answer");
    pair.start(BOB, Cause::Linked).unwrap();
    let opened = pair.receive(BOB, &late).unwrap();
    assert!(opened.started.unwrap().is_outranked);
    pair.receive(ALICE, &answer).unwrap();
    pair.start(BOB, Cause::Linked).unwrap();
    pair.say(BOB, "linked");
    pair.say(ALICE, "understood");
    assert_eq!(current(&pair, ALICE), current(&pair, BOB));
}

#[test]
fn numbers_go_through_all_sessions() {
    let mut pair = Pair::acquainted();
    pair.send(ALICE, "dropped before the session that was forced");
    pair.start(ALICE, Cause::Linked).unwrap();
    assert_eq!(pair.say(ALICE, "in it").findings.missing, 1);
    // An import has no count to go on with, and says so.
    pair.conversations[ALICE] = SessionSet::new(pair.devices[BOB].our.public());
    pair.start(ALICE, Cause::NewVault).unwrap();
    assert!(pair.say(ALICE, "from a new vault").findings.counts_anew);
    // A vault that went back repeats numbers until it is noticed, and counts anew then.
    let old = pair.conversations[ALICE].clone();
    pair.say(ALICE, "a later state");
    pair.conversations[ALICE] = old;
    pair.start(ALICE, Cause::Person).unwrap();
    assert!(pair.say(ALICE, "rolled back, unnoticed").findings.twice);
    pair.start(ALICE, Cause::RolledBack).unwrap();
    let findings = pair.say(ALICE, "noticed").findings;
    assert!(findings.counts_anew && !findings.twice);
}

#[test]
fn a_message_that_never_went_out_is_not_missing() {
    let mut pair = Pair::acquainted();
    let refused = pair.encrypt(ALICE, &content("refused"));
    pair.conversations[ALICE].void(&refused.number.unwrap());
    assert_eq!(pair.say(ALICE, "next").findings, Findings::default());
    // The server said so, and delivers it all the same.
    let forged = pair.receive(BOB, &refused.envelope).unwrap();
    assert!(forged.findings.void);
    // It is said until it must have been heard, also when the session changes meanwhile.
    pair.start(ALICE, Cause::Linked).unwrap();
    let voids = |pair: &Pair| {
        let mut sent = pair.conversations[ALICE].sent.clone();
        sent.position(true, &mut TestRng::new(1)).voids.len()
    };
    pair.say(ALICE, "in the new session");
    assert_eq!(voids(&pair), 1);
    pair.say(BOB, "answers a chain in which all say it");
    assert_eq!(voids(&pair), 0);
}

#[test]
fn a_receipt_that_does_not_arrive_is_not_missed() {
    let mut pair = Pair::acquainted();
    let receipt = Content {
        sent_at_ms: 1,
        body: Payload::Receipt(vec![[1; 16]]),
    };
    let lost = pair.encrypt(BOB, &receipt);
    assert_eq!(lost.number, None);
    let next = pair.say(BOB, "next");
    assert_eq!(next.findings, Findings::default());
    assert!(pair.receive(ALICE, &lost.envelope).is_ok());
}

#[test]
fn kept_keys_are_erased_when_they_expire_whatever_one_does() {
    let mut pair = Pair::acquainted();
    let lost = pair.send(ALICE, "lost");
    pair.say(ALICE, "next");
    let days = SKIPPED_LIFETIME_MS + 1;
    let opens = |set: &SessionSet, pair: &Pair| {
        let mut thief = SessionSet::from_bytes(&set.to_bytes()).unwrap();
        let device = &pair.devices[BOB];
        thief
            .decrypt(&device.our, device, &lost, &pair.context(ALICE), 0)
            .is_ok()
    };
    assert!(opens(&pair.conversations[BOB], &pair));
    let state = pair.conversations[BOB].clone();
    pair.age_ms = days;
    pair.send(BOB, "a monologue");
    assert!(!opens(&pair.conversations[BOB], &pair), "sending");
    let mut waiting = state;
    waiting.expire(days);
    assert!(!opens(&waiting, &pair), "doing nothing");
}

/// A vault of before version 2: its sessions read, and a new one is due.
#[test]
fn sessions_of_version_1_read_and_are_not_sent_in() {
    let mut pair = Pair::acquainted();
    let old_form = |set: &SessionSet| {
        let mut bytes = vec![1];
        bytes.extend_from_slice(set.theirs.as_bytes());
        bytes.push(set.sessions.len() as u8);
        for session in &set.sessions {
            bytes.extend_from_slice(&session.id);
            bytes.push(0);
            session
                .ratchet
                .write(&mut |part| bytes.extend_from_slice(part));
        }
        SessionSet::from_bytes(&bytes).unwrap()
    };
    // What an older client sends in such a session.
    let mut old = old_form(&pair.conversations[ALICE]);
    pair.conversations[BOB] = old_form(&pair.conversations[BOB]);
    let waiting = {
        let plaintext = content("waits at the upgrade").encode().unwrap();
        let padded = padding::pad(&plaintext).unwrap();
        let our = pair.devices[ALICE].our.public();
        let ad = pair
            .context(ALICE)
            .associated_data(OLD_VERSION, &our, &old.theirs);
        let session = &mut old.sessions[0];
        let next = session.ratchet.next_to_send(&mut pair.rng).unwrap();
        let header = Header {
            version: OLD_VERSION,
            session_id: session.id,
            ratchet: next.header,
            initial: None,
        }
        .to_bytes();
        [header.clone(), next.keys.encrypt(&ad, &header, &padded)].concat()
    };
    assert!(pair.conversations[BOB].is_outdated() && !pair.conversations[BOB].has_session());
    assert_eq!(said(pair.receive(BOB, &waiting)), "waits at the upgrade");
    pair.start(BOB, Cause::Upgrade).unwrap();
    pair.conversations[ALICE] = old;
    let started = pair.say(BOB, "in version 2").started.unwrap();
    assert!(started.goes_on && started.cause == Some(Cause::Upgrade));
    pair.say(ALICE, "in it, too");
    assert_eq!(current(&pair, ALICE), current(&pair, BOB));
    pair.age_ms = MAX_SUPERSEDED_MS * 2;
    pair.say(ALICE, "later");
    assert_eq!(pair.conversations[BOB].sessions.len(), 1);
}

/// Bob imports his vault, which knows nothing of alice's count. Whichever of the two starts the
/// next session, nothing of hers counts as missing that he had on the other machine.
#[test]
fn an_import_makes_no_gap_of_what_came_before() {
    for (starter, cause) in [
        (BOB, Cause::NewVault),
        (ALICE, Cause::Person),
        (ALICE, Cause::Answer),
    ] {
        let mut pair = Pair::acquainted();
        for _ in 0..7 {
            pair.say(ALICE, "before");
        }
        pair.conversations[BOB] = SessionSet::new(pair.devices[ALICE].our.public());
        if starter == ALICE {
            pair.conversations[BOB].lose_count();
        }
        pair.start(starter, cause).unwrap();
        if starter == BOB {
            pair.start(BOB, Cause::Person).unwrap();
            pair.say(BOB, "anew");
        }
        let late = pair.send(ALICE, "late");
        let first = pair.say(ALICE, "first here").findings;
        let lost = Findings {
            count_is_lost: true,
            ..Findings::default()
        };
        assert_eq!(first, lost, "{starter} {cause:?}");
        let late = pair.receive(BOB, &late).unwrap();
        assert_eq!(late.findings, Findings::default(), "{starter} {cause:?}");
        let _dropped = pair.send(ALICE, "dropped");
        assert_eq!(pair.say(ALICE, "next").findings.missing, 1);
    }
    // Of a stranger the first message of all is known to be number 0.
    let mut pair = Pair::new();
    let _dropped = pair.send(ALICE, "dropped");
    assert_eq!(pair.say(ALICE, "next").findings.missing, 1);
}
