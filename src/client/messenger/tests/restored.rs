//! A server that was restored from a backup has lost what it had accepted since.

use super::renewals::drop_next;
use super::setups::acquainted;
use super::*;
use crate::client::messenger::command::SettingsChange;
use crate::client::view::ViewEvent;
use crate::protocol::ByteArray;

fn is_from_alice(event: &ViewEvent) -> bool {
    matches!(
        event,
        ViewEvent::Message {
            outgoing: false,
            ..
        }
    )
}

#[test]
fn what_no_receipt_covers_is_sent_again_once_for_each_restore() {
    let (server, mut alice, mut bob) = acquainted();
    let receipts = |on| Command::Settings(SettingsChange::Receipts(on));
    bob.run(receipts(true)).unwrap();
    alice.send("bob", "confirmed");
    bob.reads("confirmed");
    alice.sees_state("received");
    bob.run(receipts(false)).unwrap();
    alice.send("bob", "read and not confirmed");
    bob.reads("read and not confirmed");
    bob.log_out();
    alice.send("bob", "lost");
    let answers = || Command::AwaitAnswers(Duration::from_secs(5));
    alice.run(answers()).unwrap();
    alice.log_out();
    let restore = |epoch| {
        let mut world = server.world.lock().unwrap();
        world.epoch = Some(ByteArray([epoch; 16]));
        for account in world.accounts.values_mut() {
            account.mailbox.clear();
        }
        world.sends.clear();
    };
    restore(1);
    alice.log_in();
    // With the first one, which bob confirmed not either.
    alice.sees_line("3 messages of yours, which no client has confirmed, are sent again");
    alice.run(answers()).unwrap();
    assert_eq!(server.world.lock().unwrap().sends.len(), 3);
    bob.log_in();
    bob.sees("the lost one", |event| match event {
        ViewEvent::Message { text, .. } if text == "lost" => Some(()),
        _ => None,
    });
    bob.run(receipts(true)).unwrap();
    alice.send("bob", "and on");
    bob.reads("and on");
    let shown = bob.everything();
    assert!(!shown.iter().any(is_from_alice), "shown twice: {shown:?}");
    alice.sees_state("received");
    // The same restore is no news.
    alice.log_out();
    server.world.lock().unwrap().sends.clear();
    alice.log_in();
    alice.run(answers()).unwrap();
    assert!(server.world.lock().unwrap().sends.is_empty());
    // Each message goes twice at most, whatever a server claims.
    bob.log_out();
    for epoch in 2..5 {
        alice.log_out();
        restore(epoch);
        alice.log_in();
        alice.run(answers()).unwrap();
        let again = server.world.lock().unwrap().sends.len();
        assert_eq!(again, if epoch == 2 { 3 } else { 0 }, "{epoch}");
    }
}

#[test]
fn what_was_read_and_deleted_stays_away_when_it_is_sent_again() {
    let (server, mut alice, bob) = acquainted();
    bob.run(Command::Settings(SettingsChange::Receipts(false)))
        .unwrap();
    alice.send("bob", "read and deleted");
    bob.reads("read and deleted");
    bob.run(Command::DeleteAll("alice".parse().unwrap()))
        .unwrap();
    alice.log_out();
    server.world.lock().unwrap().epoch = Some(ByteArray([1; 16]));
    alice.log_in();
    alice.sees_line("sent again");
    alice.send("bob", "and on");
    bob.reads("and on");
    assert!(!bob.everything().iter().any(is_from_alice));
}

#[test]
fn what_comes_again_is_not_missing_and_what_does_not_is() {
    // Bob is there when the server is restored, or was away; what alice wrote without a server comes first.
    for bob_is_there in [true, false] {
        let (server, mut alice, mut bob) = acquainted();
        bob.log_out();
        let answers = || Command::AwaitAnswers(Duration::from_secs(5));
        for text in ["lost", "lost, too"] {
            alice.send("bob", text);
        }
        alice.run(answers()).unwrap();
        alice.log_out();
        {
            let mut world = server.world.lock().unwrap();
            world.epoch = Some(ByteArray([1; 16]));
            for account in world.accounts.values_mut() {
                account.mailbox.clear();
            }
        }
        if bob_is_there {
            bob.log_in();
        }
        alice.log_in();
        alice.sees_line("sent again");
        alice.run(answers()).unwrap();
        if !bob_is_there {
            bob.log_in();
        }
        let reads = |bob: &Somebody, wanted: &str| {
            bob.sees(wanted, |event| match event {
                ViewEvent::Line(_, line) if line.contains("not arrived") => panic!("{line}"),
                ViewEvent::Message { text, .. } if text == wanted => Some(()),
                _ => None,
            });
        };
        alice.send("bob", "and on");
        for text in ["lost", "lost, too", "and on"] {
            reads(&bob, text);
        }
        let is_gap = |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("not arrived"));
        assert!(!bob.everything().iter().any(is_gap));
        // What the server drops is missing all the same.
        drop_next(&server, &alice, "dropped");
        alice.send("bob", "after it");
        bob.sees_line("1 message from alice has not arrived");
        bob.log_out();
    }
}
