//! What an accepted identity gets: what nobody ever got. All else waits for the
//! person's word about the very identity that asks.

use super::evil::Evil;
use super::setups::{acquainted, verify};
use super::*;
use crate::client::view::Mark;

const TEN: u8 = 10;

/// Forty messages that bob has, and that evil asks for.
fn with_history() -> (Double, Somebody, Somebody, Evil, Vec<String>) {
    let (server, alice, bob) = acquainted();
    let secrets: Vec<String> = (0..40).map(|n| format!("delivered {n}")).collect();
    for secret in &secrets {
        alice.send("bob", secret);
        bob.reads(secret);
    }
    bob.send("alice", "got them all");
    alice.reads("got them all");
    let mut evil = Evil::new(TEN);
    evil.publish_as(&server, &bob.name);
    evil.asks_for_all(&server);
    alice.sees_line("bob's identity has changed");
    (server, alice, bob, evil, secrets)
}

fn settled(alice: &Somebody) {
    // What is held for a decision is no reason to wait.
    let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(20)));
}

#[test]
fn accepting_a_change_discloses_nothing_that_anybody_has() {
    let (server, mut alice, bob, mut evil, _) = with_history();
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.sees_line("41 messages");
    settled(&alice);
    assert_eq!(evil.reads(&server), [""; 0]);
    evil.asks_for_all(&server);
    alice.log_out();
    alice.log_in();
    settled(&alice);
    evil.asks_for_all(&server);
    alice.send("bob", "for the accepted one");
    settled(&alice);
    assert_eq!(evil.reads(&server), ["for the accepted one"]);
}

#[test]
fn the_word_about_the_number_sends_again_and_says_how_much() {
    let (server, alice, bob, mut evil, _) = with_history();
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("41 messages");
    alice.run(Command::Verify(bob.name, true)).unwrap();
    alice.sees_in_all("could not decrypt ", 41);
    settled(&alice);
    assert_eq!(evil.reads(&server).len(), 41);
}

#[test]
fn what_is_asked_for_can_be_declined() {
    let (server, alice, bob, mut evil, _) = with_history();
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.sees_line("41 messages");
    alice.run(Command::Reject(bob.name)).unwrap();
    verify(&alice);
    alice.sees_line("bob is verified");
    settled(&alice);
    assert_eq!(evil.reads(&server), [""; 0]);
}

#[test]
fn what_one_identity_asked_for_opens_for_no_other() {
    let (server, alice, bob, mut first, _) = with_history();
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.sees_line("41 messages");
    let mut second = Evil::new(100);
    second.publish_as(&server, &bob.name);
    second.says_text(&server, "another phone");
    alice.sees_line("bob's identity has changed");
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("NEW identity");
    alice.run(Command::Verify(bob.name, true)).unwrap();
    assert_eq!(alice.reads("another phone"), Mark::None);
    settled(&alice);
    assert_eq!(second.reads(&server), [""; 0]);
    assert_eq!(first.reads(&server), [""; 0]);
}

#[test]
fn what_trust_always_took_opens_nothing_later() {
    let (server, mut alice, bob) = acquainted();
    alice.log_out();
    alice.trust = Trust::Always;
    alice.log_in();
    let mut evil = Evil::new(TEN);
    evil.publish_as(&server, &bob.name);
    evil.asks_for_all(&server);
    alice.sees_line("with --trust always that is never done by itself");
    settled(&alice);
    alice.session.take().unwrap().end();
    alice.trust = Trust::FirstUse;
    alice.log_in();
    settled(&alice);
    evil.asks_for_all(&server);
    alice.sees_line("/verify bob yes");
    settled(&alice);
    assert_eq!(evil.reads(&server), [""; 0]);
    let mut second = Evil::new(100);
    second.publish_as(&server, &bob.name);
    second.says_text(&server, "another phone");
    alice.sees_line("bob's identity has changed");
    alice.run(Command::Accept(bob.name)).unwrap();
    settled(&alice);
    verify(&alice);
    settled(&alice);
    assert_eq!(evil.reads(&server), [""; 0]);
    assert_eq!(second.reads(&server), [""; 0]);
}

#[test]
fn a_server_that_keeps_back_its_answers_gets_no_text_for_it() {
    let (server, alice, mut bob) = acquainted();
    bob.log_out();
    server.world.lock().unwrap().drop_answers = true;
    alice.send("bob", "bob may have this");
    alice.sees_line("connection lost");
    let mut evil = Evil::new(TEN);
    evil.publish_as(&server, &bob.name);
    server.world.lock().unwrap().drop_answers = false;
    alice.sees_line("connected again");
    alice.sees_line("bob's identity has changed");
    alice.send("bob", "nobody has this");
    alice.run(Command::Accept(bob.name)).unwrap();
    alice.sees_line("1 message");
    settled(&alice);
    assert_eq!(evil.reads(&server), ["nobody has this"]);
    // The word about the number lets it go.
    verify(&alice);
    settled(&alice);
    assert_eq!(evil.reads(&server), ["bob may have this"]);
}

#[test]
fn within_one_identity_asking_again_needs_nobody() {
    let (_server, alice, mut bob) = acquainted();
    bob.log_out();
    alice.send("bob", "into the void");
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    let mut vault = bob.vault();
    let contact = vault.contact(&alice.name).unwrap().id;
    vault
        .transact(|vault| vault.forget_conversation(contact))
        .unwrap();
    drop(vault);
    bob.log_in();
    bob.reads_again("into the void");
}

#[test]
fn looking_at_the_number_says_how_much_a_new_identity_asks_for() {
    let (server, alice, bob, mut evil, _) = with_history();
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.sees_line("NEW identity");
    alice.sees_line("41 messages");
    alice.run(Command::Verify(bob.name, true)).unwrap();
    alice.sees_in_all("could not decrypt ", 41);
    settled(&alice);
    assert_eq!(evil.reads(&server).len(), 41);
}
