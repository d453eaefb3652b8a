//! People at two servers: they find each other, write, block, and fill a mailbox.

use serde_json::json;

use super::{found, pair};
use crate::harness::{mid, plain};

#[test]
fn people_find_and_write_each_other_across_servers() {
    let servers = pair(&[]);
    let (mut alice, mut bob) = servers.alice_and_bob();
    servers.sees(&mut alice, "bob", true);
    assert_eq!(found(&mut alice, "bob"), [("bob".to_owned(), true)]);
    assert_eq!(found(&mut bob, "ali"), [("alice".to_owned(), true)]);
    let unknown = alice.send("ghost", 9, "hello?");
    assert_eq!(unknown, Err("unknown_user".to_owned()));

    let id = alice.post("send", &plain("bob", 1, "hello from the first"));
    let message = bob.message();
    assert_eq!(
        (message.from.as_str(), message.body.as_str()),
        ("alice", "hello from the first")
    );
    assert_eq!(bob.ack("alice", &[mid(1)]), (1, 0));
    let accepted = alice.answer(id).unwrap();
    assert!(accepted["handle"].is_string(), "{accepted}");
    // Delivered before it was stored, or told afterwards.
    if accepted["state"] == "stored" {
        let told = json!({"event": "delivered", "to": "bob", "ids": [mid(1)]});
        assert_eq!(alice.event(), told);
    }
    bob.post("send", &plain("alice", 1, "hello from the second"));
    assert_eq!(alice.message().body, "hello from the second");
    assert_eq!(alice.ack("bob", &[mid(1)]), (1, 0));
}

#[test]
fn what_waits_is_told_delivered_and_asked_for_across_servers() {
    let servers = pair(&[]);
    let (mut alice, mut bob) = servers.alice_and_bob();
    let handle = alice.send("bob", 1, "first").unwrap()["handle"].clone();
    let second = alice.send("bob", 2, "second").unwrap();
    assert_eq!(second["state"], "stored", "bob has not acknowledged it");
    let ask = json!({"to": "bob", "ids": [mid(1), mid(2), mid(3)], "handles": [handle, null]});
    let waiting = alice.ok("outcome", ask.clone());
    assert_eq!(waiting["waiting"], json!([mid(1), mid(2)]));
    assert_eq!(bob.message().body, "first");
    assert_eq!(bob.message().body, "second");
    assert_eq!(bob.ack("alice", &[mid(1)]), (1, 0));
    assert_eq!(
        alice.event(),
        json!({"event": "delivered", "to": "bob", "ids": [mid(1)]})
    );
    assert_eq!(alice.ok("outcome", ask)["waiting"], json!([mid(2)]));
    // Sent again, it is the same message.
    let mut again = plain("bob", 2, "second");
    again["again"] = json!(true);
    assert_eq!(alice.ok("send", again)["handle"], second["handle"]);
    let mut other = plain("bob", 2, "another text");
    other["again"] = json!(true);
    assert_eq!(alice.ask("send", other), Err("id_conflict".to_owned()));
    bob.no_event();
}

#[test]
fn a_block_and_settings_hold_for_those_at_the_other_server() {
    let servers = pair(&[]);
    let (mut alice, mut bob) = servers.alice_and_bob();
    servers.sees(&mut alice, "bob", true);
    bob.ok("block", json!({"name": "alice"}));
    let accepted = alice.send("bob", 1, "can you hear me?").unwrap();
    assert_eq!(accepted["state"], "stored", "it looks like any other");
    bob.no_event();
    servers.sees(&mut alice, "bob", false);
    bob.ok("unblock", json!({"name": "alice"}));
    alice.post("send", &plain("bob", 2, "and now?"));
    assert_eq!(bob.message().body, "and now?");
    bob.ok(
        "settings",
        json!({"refuse_unencrypted": true, "presence": false}),
    );
    let refused = alice.send("bob", 3, "psst");
    assert_eq!(refused, Err("unencrypted_refused".to_owned()));
    servers.sees(&mut alice, "bob", false);
    assert_eq!(found(&mut alice, "bob"), [("bob".to_owned(), false)]);
}

#[test]
fn a_mailbox_is_full_for_those_at_both_servers() {
    let servers = pair(&["--mailbox-messages", "4", "--sender-share", "50"]);
    let (mut alice, mut bob) = servers.alice_and_bob();
    let mut carol = servers.second.register("carol");
    let full = Err("mailbox_full".to_owned());
    for number in 0..2 {
        alice.send("bob", number, "from afar").unwrap();
        carol.send("bob", number, "from here").unwrap();
    }
    assert_eq!(alice.send("bob", 2, "one too many"), full);
    assert_eq!(carol.send("bob", 2, "one too many"), full);
    let mut seen = 0;
    while seen < 2 {
        let message = bob.message();
        if message.from == "alice" {
            assert_eq!(bob.ack("alice", &[message.mid]), (1, 0));
            seen += 1;
        }
    }
    alice.send("bob", 3, "there is room again").unwrap();
    // An acknowledged message does not come again with the next login, at whichever server.
    drop(bob);
    let mut bob = servers.first.client();
    let welcome = bob.login_with("bob", json!({"take_over": true})).unwrap();
    assert_eq!(welcome["plain"], 3);
}
