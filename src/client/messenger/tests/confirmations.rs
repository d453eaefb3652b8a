//! Receipts from one client to the other: what they prove, to whom they go, and that nobody
//! can make one up, hide a message behind one, or miss one.

use super::retries::texts;
use super::*;
use crate::protocol::request::ChangeSettings;

/// Somebody whose client sends receipts, as all do.
fn confirming(server: &Double, name: &str) -> Somebody {
    let mut somebody = Somebody::new(server, name);
    somebody.receipts = true;
    somebody.register()
}

/// Alice and bob, who have written to each other.
fn acquainted(server: &Double) -> (Somebody, Somebody) {
    let [alice, bob] = ["alice", "bob"].map(|name| confirming(server, name));
    alice.send("bob", "good morning");
    bob.reads("good morning");
    bob.send("alice", "good evening");
    alice.reads("good evening");
    bob.sees_state("received");
    (alice, bob)
}

fn sends(server: &Double) -> usize {
    server.world.lock().unwrap().sends.len()
}

/// What the latest message's `/info` says.
fn info(who: &Somebody) -> String {
    let _ = who.everything();
    who.run(Command::Info(None)).unwrap();
    let lines = who.everything().into_iter().map(|event| match event {
        ViewEvent::Line(_, line) => line,
        ViewEvent::Message { state, .. } => format!("[{state}]"),
        other => format!("{other:?}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn received(shows: &[ViewEvent]) -> bool {
    let received = |event: &ViewEvent| {
        matches!(
            event,
            ViewEvent::Receipt {
                state: "received",
                ..
            }
        )
    };
    shows.iter().any(received)
}

#[test]
fn a_receipt_proves_what_the_server_only_claims() {
    let server = Double::start();
    let (alice, bob) = acquainted(&server);
    alice.send("bob", "one");
    bob.reads("one");
    alice.sees_state("received");
    let said = info(&alice);
    assert!(said.contains("[received]"), "{said}");
    assert!(
        said.contains("as the other side's client has proven"),
        "{said}"
    );
    // The server's word that comes late takes nothing back.
    let mid = server
        .world
        .lock()
        .unwrap()
        .sends
        .iter()
        .rev()
        .nth(1)
        .unwrap()
        .0;
    let delivered = Event::Delivered {
        to: bob.name,
        ids: vec![mid],
    };
    server.tell("alice", &delivered);
    assert!(info(&alice).contains("[received]"));
    // A receipt is no message on either side, and confirmed by nobody.
    let shows = bob.everything();
    assert_eq!(messages(&shows), 0, "{shows:?}");
    let before = sends(&server);
    assert_eq!(
        alice.texts("bob"),
        texts(&["good morning", "good evening", "one"])
    );
    assert_eq!(
        bob.texts("alice"),
        texts(&["good morning", "good evening", "one"])
    );
    assert_eq!(sends(&server), before);
}

#[test]
fn nobody_gets_a_receipt_who_was_never_written_to() {
    let server = Double::start();
    let [alice, bob] = ["alice", "bob"].map(|name| confirming(&server, name));
    alice.send("bob", "who is there?");
    bob.reads("who is there?");
    alice.sees_state("delivered");
    assert!(!received(&bob.everything()));
    assert_eq!(sends(&server), 1, "only the message itself");
    assert!(!received(&alice.everything()));
    assert!(info(&alice).contains("as the server says"));
}

#[test]
fn receipts_are_off_by_a_setting_and_while_presence_is_hidden() {
    let presence = |on| {
        SettingsChange::Account(ChangeSettings {
            presence: Some(on),
            ..ChangeSettings::default()
        })
    };
    let server = Double::start();
    let (alice, mut bob) = acquainted(&server);
    let goes = |alice: &Somebody, bob: &Somebody, text: &str| {
        let before = sends(&server);
        alice.send("bob", text);
        bob.reads(text);
        // What was sent before the question has come before the answer.
        bob.is_connected();
        sends(&server) - before == 2
    };
    assert!(goes(&alice, &bob, "a"));
    for (off, on) in [
        (
            SettingsChange::Receipts(false),
            SettingsChange::Receipts(true),
        ),
        // The double claims that presence is on: it is the person's word that counts.
        (presence(false), presence(true)),
    ] {
        bob.run(Command::Settings(off)).unwrap();
        bob.sees_line("receipts off");
        assert!(!goes(&alice, &bob, "b"));
        bob.log_out();
        bob.log_in();
        assert!(!goes(&alice, &bob, "c"), "the vault remembers it");
        bob.run(Command::Settings(on)).unwrap();
        assert!(goes(&alice, &bob, "d"));
    }
}

#[test]
fn a_receipt_that_is_dropped_or_played_back_proves_nothing() {
    let server = Double::start();
    let (mut alice, mut bob) = acquainted(&server);
    alice.send("bob", "one");
    bob.reads("one");
    alice.sees_state("received");
    let (_, replayed, _) = server.world.lock().unwrap().sends.last().unwrap().clone();
    // The next receipt waits for alice, and is lost there.
    bob.log_out();
    alice.send("bob", "two");
    alice.log_out();
    bob.log_in();
    bob.reads("two");
    bob.is_connected();
    server
        .world
        .lock()
        .unwrap()
        .accounts
        .get_mut(&alice.name)
        .unwrap()
        .mailbox
        .clear();
    bob.send("alice", "three");
    alice.log_in();
    alice.reads("three");
    server.push(
        "alice",
        Incoming {
            from: bob.name,
            mid: MessageId([9; 16]),
            at: 5,
            body: Body::Envelope(Blob(replayed.into())),
        },
    );
    assert!(matches!(alice.reads(""), Mark::Undecryptable(_)));
    let shows = alice.everything();
    assert!(!received(&shows), "{shows:?}");
    let gap = |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("not arrived"));
    assert!(!shows.iter().any(gap), "{shows:?}");
    let states: Vec<_> = {
        alice.run(Command::History(Some(bob.name))).unwrap();
        let state = |event| match event {
            ViewEvent::Message { text, state, .. } if text == "two" => Some(state),
            _ => None,
        };
        alice.everything().into_iter().filter_map(state).collect()
    };
    assert!(
        states == ["stored"] || states == ["delivered"],
        "{states:?}"
    );
}

#[test]
fn what_arrives_together_is_confirmed_together() {
    let server = Double::start();
    let (alice, mut bob) = acquainted(&server);
    bob.log_out();
    for number in 0..20 {
        alice.send("bob", &format!("missed {number}"));
    }
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    let before = sends(&server);
    bob.log_in();
    bob.reads("missed 19");
    let mut confirmed = 0;
    while confirmed < 20 {
        confirmed += alice.sees("receipts", |event| match event {
            ViewEvent::Receipt {
                state: "received",
                count,
                ..
            } => Some(*count),
            _ => None,
        });
    }
    assert_eq!(confirmed, 20);
    assert!(sends(&server) - before < 20, "not one receipt a message");
}
