//! Other identities in a contact's name: whatever they claim or prove, the
//! conversation with the pinned one goes on, and the person decides.

use super::evil::{Evil, garbage, publish};
use super::setups::{acquainted, they_talk, verified, verify};
use super::*;
use crate::client::view::{Mark, ViewEvent};

const TEN: u8 = 10;

fn is_still_verified(alice: &Somebody) {
    alice.run(Command::Contacts).unwrap();
    alice.sees("bob as verified", |event| match event {
        ViewEvent::Contact { verified: true, .. } => Some(()),
        _ => None,
    });
}

#[test]
fn a_claim_without_proof_changes_nothing() {
    let (server, mut alice, bob) = verified();
    server.push("alice", garbage(0xAB));
    alice.sees("garbage, marked", |event| match event {
        ViewEvent::Message { mark, .. } => (*mark != Mark::None).then_some(()),
        _ => None,
    });
    they_talk(&alice, &bob, "is it you");
    alice.log_out();
    server.push("alice", garbage(0xAC));
    alice.log_in();
    they_talk(&alice, &bob, "and now");
    let seen = alice.everything();
    let warned =
        |event: &&ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("changed"));
    assert_eq!(seen.iter().find(warned), None);
    is_still_verified(&alice);
    let refused = alice.run(Command::Accept(bob.name));
    assert!(refused.unwrap_err().contains("nothing to accept"));
}

#[test]
fn a_proven_claim_holds_its_own_messages_and_nothing_else() {
    let (server, mut alice, bob) = verified();
    let mut evil = Evil::new(TEN);
    evil.says_text(&server, "it is me, on a new phone");
    alice.sees_line("NOT the one you verified");
    alice.sees("the message, held", |event| match event {
        ViewEvent::Message { mark, .. } => (*mark == Mark::Held).then_some(()),
        _ => None,
    });
    alice.send("bob", "is it you?");
    assert_eq!(bob.reads("is it you?"), Mark::None);
    alice.log_out();
    alice.log_in();
    is_still_verified(&alice);
    alice.send("bob", "and now?");
    assert_eq!(bob.reads("and now?"), Mark::None);
    assert_eq!(evil.reads(&server), [""; 0]);
    // Bob himself is heard, and the offer is gone.
    bob.send("alice", "it is still me");
    assert_eq!(alice.reads("it is still me"), Mark::None);
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("bob is verified");
}

#[test]
fn a_rejected_identity_is_heard_of_no_more() {
    let (server, mut alice, bob) = verified();
    let mut evil = Evil::new(TEN);
    evil.says_text(&server, "it is me, on a new phone");
    alice.sees_line("bob's identity has changed");
    alice.run(Command::Reject(bob.name)).unwrap();
    alice.sees_line("1 message");
    alice.log_out();
    alice.log_in();
    evil.says_text(&server, "really");
    they_talk(&alice, &bob, "who was that");
    let refused = alice.run(Command::Accept(bob.name));
    assert!(refused.unwrap_err().contains("nothing to accept"));
    let seen = alice.everything();
    let held = |event: &ViewEvent| match event {
        ViewEvent::Line(_, line) => line.contains("has changed"),
        ViewEvent::Message { mark, .. } => *mark == Mark::Held,
        _ => false,
    };
    assert!(!seen.iter().any(held), "{seen:#?}");
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("bob is verified");
    let nothing = alice.run(Command::Reject(bob.name));
    assert!(nothing.unwrap_err().contains("nothing to reject"));
}

#[test]
fn a_published_change_holds_what_is_sent_until_the_pinned_one_is_back() {
    let (server, mut alice, bob) = verified();
    for round in 0..3u8 {
        let evil = Evil::new(TEN);
        let genuine = evil.publish_as(&server, &bob.name);
        alice.send("bob", &format!("one of {round}"));
        alice.sees_line("NOT the one you verified");
        alice.send("bob", &format!("two of {round}"));
        assert_eq!(messages(&bob.everything()), 0);
        if round == 1 {
            let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
            alice.session.take().unwrap().end();
            alice.log_in();
        }
        publish(&server, &bob.name, genuine);
        alice.send("bob", &format!("three of {round}"));
        for number in ["one", "two", "three"] {
            let text = format!("{number} of {round}");
            assert_eq!(bob.reads(&text), Mark::None);
        }
    }
    they_talk(&alice, &bob, "still you");
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("bob is verified");
}

#[test]
fn what_was_held_goes_at_the_next_login_if_the_pinned_identity_is_back() {
    let (server, mut alice, bob) = acquainted();
    let evil = Evil::new(TEN);
    let genuine = evil.publish_as(&server, &bob.name);
    alice.send("bob", "held");
    alice.sees_line("messages to bob wait here");
    let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
    alice.session.take().unwrap().end();
    publish(&server, &bob.name, genuine);
    alice.log_in();
    assert_eq!(bob.reads("held"), Mark::None);
}

#[test]
fn a_rejected_identity_that_stays_published_can_be_looked_at_again() {
    let (server, alice, bob) = verified();
    let mut evil = Evil::new(TEN);
    evil.publish_as(&server, &bob.name);
    alice.send("bob", "for the old bob");
    alice.sees_line("NOT the one you verified");
    alice.run(Command::Reject(bob.name)).unwrap();
    alice.send("bob", "for whom");
    alice.sees_line("you rejected");
    assert_eq!(evil.reads(&server), [""; 0]);
    // It was a mistake: the way back is a decision of its own.
    let asked = alice.run(Command::Accept(bob.name));
    assert!(asked.unwrap_err().contains("you rejected it before"));
    alice.run(Command::Accept(bob.name)).unwrap();
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .ok();
    assert_eq!(evil.reads(&server), ["for whom"]);
}

#[test]
fn many_identities_in_turn_hold_up_nobody_and_are_bounded() {
    let (server, alice, bob) = verified();
    for number in 0..200u8 {
        Evil::new(number).says_text(&server, "me");
        if number % 50 == 0 {
            they_talk(&alice, &bob, &format!("round {number}"));
        }
    }
    let mut evil = Evil::new(200);
    evil.says_text(&server, "me, too");
    they_talk(&alice, &bob, "at the end");
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("bob is verified");
}

#[test]
fn how_much_is_held_has_a_bound() {
    let (server, mut alice, bob) = acquainted();
    let mut evil = Evil::new(1);
    let text = "x".repeat(16_000);
    for _ in 0..100 {
        evil.says_text(&server, &text);
    }
    they_talk(&alice, &bob, "behind the flood");
    alice.log_out();
    let vault = alice.vault();
    let contact = vault.contact(&bob.name).unwrap().id;
    let bytes: usize = vault
        .held(contact)
        .unwrap()
        .iter()
        .map(|(_, message)| match &message.body {
            Body::Envelope(envelope) => envelope.0.len(),
            Body::Plain(text) => text.len(),
        })
        .sum();
    assert!(bytes > 100_000 && bytes <= 2 << 20, "{bytes}");
}

#[test]
fn trust_first_use_always_and_never_differ_as_they_say() {
    for trust in [Trust::FirstUse, Trust::Always, Trust::Never] {
        let (server, mut alice, bob) = acquainted();
        alice.log_out();
        alice.trust = trust;
        alice.log_in();
        server.push("alice", garbage(0xAB));
        they_talk(&alice, &bob, "with garbage");
        let mut evil = Evil::new(TEN);
        evil.says_text(&server, "a new phone");
        if trust == Trust::Always {
            alice.sees_line("was accepted, as --trust always says");
            assert_eq!(alice.reads("a new phone"), Mark::None);
        } else {
            alice.sees_line("bob's identity has changed");
            they_talk(&alice, &bob, "with a claim");
        }
    }
}

#[test]
fn trust_never_takes_no_first_identity_that_is_not_proven() {
    let server = Double::start();
    let mut alice = Somebody::new(&server, "alice");
    alice.trust = Trust::Never;
    let account = alice
        .login_flow()
        .register(alice.name, &mut answers(PASSWORD))
        .unwrap();
    alice.start(account);
    let bob = Somebody::registered(&server, "bob");
    server.push("alice", garbage(0xAB));
    alice.sees("garbage", |event| {
        matches!(
            event,
            ViewEvent::Message {
                mark: Mark::Undecryptable(_),
                ..
            }
        )
        .then_some(())
    });
    assert!(alice.run(Command::Accept(bob.name)).is_err());
    bob.send("alice", "the first words");
    alice.sees_line("new identities are not trusted");
    verify(&alice);
    assert_eq!(alice.reads("the first words"), Mark::None);
}

/// Alice under `--trust never`, and bob, whose first message she has rejected.
fn rejected() -> (Double, Somebody, Somebody) {
    let server = Double::start();
    let mut alice = Somebody::new(&server, "alice");
    alice.trust = Trust::Never;
    let alice = alice.register();
    let bob = Somebody::registered(&server, "bob");
    bob.send("alice", "may I?");
    alice.sees("a message of somebody new", |event| match event {
        ViewEvent::Message { mark, .. } => (*mark == Mark::HeldNew).then_some(()),
        _ => None,
    });
    // Each receipt is waited for, so that the next one is that of the next message.
    bob.sees_state("delivered");
    alice.run(Command::Reject(bob.name)).unwrap();
    alice.sees_line("bob's identity is rejected; 1 message that came under it is dropped");
    bob.send("alice", "please");
    bob.sees_state("delivered");
    (server, alice, bob)
}

#[test]
fn what_comes_under_a_rejected_identity_is_counted_without_a_word() {
    let (_server, alice, bob) = rejected();
    let _ = alice.everything();
    bob.send("alice", "and again");
    bob.sees_state("delivered");
    let counted = |event: &ViewEvent| {
        matches!(
            event,
            ViewEvent::Contact {
                unread: 0,
                dropped: 2,
                ..
            }
        )
    };
    let shown = alice.everything();
    assert!(shown.iter().any(counted), "{shown:#?}");
    assert_eq!(messages(&shown), 0);
    assert!(alice.texts("bob").is_empty());
}

#[test]
fn a_rejected_identity_is_taken_back_by_accept_and_by_verify() {
    let (_server, alice, bob) = rejected();
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.sees_line("which you had rejected, is accepted");
    super::setups::they_talk(&alice, &bob, "accepted");

    let (_server, alice, bob) = rejected();
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("it stays rejected unless you confirm its number");
    bob.send("alice", "still nothing");
    bob.sees_state("delivered");
    alice.run(Command::Verify(bob.name, true)).unwrap();
    alice.sees_line("bob is verified");
    super::setups::they_talk(&alice, &bob, "verified");
    assert!(alice.texts("bob").iter().all(Option::is_some));
}

#[test]
fn a_word_of_the_pinned_identity_ends_the_hold_once_it_is_published_again() {
    let (server, alice, bob) = verified();
    let evil = Evil::new(TEN);
    let genuine = evil.publish_as(&server, &bob.name);
    alice.send("bob", "held");
    alice.sees_line("messages to bob wait here");
    bob.send("alice", "not yet");
    assert_eq!(alice.reads("not yet"), Mark::None);
    assert_eq!(messages(&bob.everything()), 0);
    publish(&server, &bob.name, genuine);
    bob.send("alice", "it is me");
    assert_eq!(alice.reads("it is me"), Mark::None);
    assert_eq!(bob.reads("held"), Mark::None);
    let refused = alice.run(Command::Accept(bob.name));
    assert!(refused.unwrap_err().contains("nothing to accept"));
}

#[test]
fn what_the_server_refused_under_trust_always_is_said_and_waits() {
    let (server, mut alice, bob) = acquainted();
    alice.log_out();
    alice.trust = Trust::Always;
    alice.log_in();
    let mut evil = Evil::new(TEN);
    evil.publish_as(&server, &bob.name);
    alice.send("bob", "encrypted for bob");
    alice.sees_line("/verify bob yes sends it");
    alice.send("bob", "for whoever it is");
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .ok();
    assert_eq!(evil.reads(&server), ["for whoever it is"]);
}
