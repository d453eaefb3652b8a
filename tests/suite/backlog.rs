//! More mail than a window holds, quotas, scripts that fetch.

use std::ops::Range;

use serde_json::{Value, json};

use crate::harness::{Client, Server, mid};

/// More than two windows of 2,048 messages.
const MANY: u64 = 5_000;

/// Messages of one ack: many short ones, or as many long ones as fit in a window.
const LOT: usize = 50;

/// A server on which `count` messages from alice wait for bob, who is offline.
fn with_backlog(server: &Server, count: u64) -> Client {
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    alice.send_all("bob", (0..count).map(|number| (number, "text".to_owned())));
    alice
}

/// Reads messages in order and acknowledges them in lots, well within a window.
fn take(client: &mut Client, numbers: Range<u64>) {
    let mut lot = Vec::new();
    for number in numbers.clone() {
        let message = client.message();
        assert_eq!(message.mid, mid(number));
        lot.push(message.mid);
        if lot.len() == LOT || number + 1 == numbers.end {
            let count = lot.len() as u64;
            assert_eq!(client.ack("alice", &std::mem::take(&mut lot)), (count, 0));
        }
    }
}

#[test]
fn a_long_backlog_is_delivered_in_order_while_others_work() {
    let server = Server::start();
    let mut alice = with_backlog(&server, MANY);
    let mut bob = server.client();
    assert_eq!(bob.login("bob").unwrap()["plain"], MANY);

    // The window is bounded: without an ack no more than that comes.
    for number in 0..2048 {
        assert_eq!(bob.message().mid, mid(number));
    }
    bob.no_event();
    // One ack, and one more comes.
    assert_eq!(bob.ack("alice", &[mid(0)]), (1, 0));
    assert_eq!(bob.message().mid, mid(2048));
    bob.no_event();

    // Messages that come meanwhile follow those.
    alice.send("bob", MANY, "text").unwrap();
    let mids: Vec<String> = (1..1001).map(mid).collect();
    assert_eq!(bob.ack("alice", &mids), (1000, 0));
    for number in 2049..3049 {
        assert_eq!(bob.message().mid, mid(number));
    }
    // Interrupted in the middle, and resumed from the first unacked.
    let mut bob = server.client();
    let welcome = bob.login_with("bob", json!({"take_over": true}));
    assert_eq!(welcome.unwrap()["plain"], MANY + 1 - 1001);
    take(&mut bob, 1001..MANY + 1);
    bob.no_event();
    assert_eq!(bob.ok("fetch", json!({})), json!({"sent": 0, "waiting": 0}));
}

#[test]
fn a_backlog_of_long_messages_is_bounded_in_bytes() {
    let server = Server::start();
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    let text = "x".repeat(16 * 1024);
    alice.send_all("bob", (0..200).map(|number| (number, text.clone())));
    let mut bob = server.login("bob");
    take(&mut bob, 0..200);
}

#[test]
fn a_script_fetches_as_many_as_it_asks_for() {
    let server = Server::start();
    let mut alice = with_backlog(&server, 10);
    let mut script = server.client();
    let welcome = script.login_with("bob", json!({"receive": false, "presence": false}));
    assert_eq!(welcome.unwrap()["plain"], 10);
    script.no_event();
    let fetch = |script: &mut Client, limit: u64, expected: Range<u64>, waiting: u64| {
        let id = script.post("fetch", &json!({"limit": limit}));
        for number in expected.clone() {
            assert_eq!(script.message().mid, mid(number));
        }
        let sent = expected.end - expected.start;
        let answer = script.answer(id);
        assert_eq!(answer, Ok(json!({"sent": sent, "waiting": waiting})));
    };
    fetch(&mut script, 3, 0..3, 7);
    // What comes while nobody fetches is not pushed.
    alice.send("bob", 10, "text").unwrap();
    script.no_event();
    fetch(&mut script, 3, 0..3, 8);
    assert_eq!(script.ack("alice", &[mid(0), mid(1), mid(2)]), (3, 0));
    script.no_event();
    fetch(&mut script, 0, 0..0, 8);
    fetch(&mut script, 100, 3..11, 0);
    // A script that says goodbye without acks has taken nothing.
    script.ok("logout", json!({}));
    script.login_with("bob", json!({"receive": false})).unwrap();
    fetch(&mut script, 500, 3..11, 0);
}

#[test]
fn a_fetch_is_bounded_however_much_it_asks_for() {
    let server = Server::start();
    with_backlog(&server, 1200);
    let mut script = server.client();
    let wishes = json!({"receive": false});
    script.login_with("bob", wishes).unwrap();
    let asked = json!({"limit": u64::MAX});
    let id = script.post("fetch", &asked);
    for number in 0..500 {
        assert_eq!(script.message().mid, mid(number));
    }
    assert_eq!(script.answer(id), Ok(json!({"sent": 500, "waiting": 700})));
    script.no_event();
}

#[test]
fn a_full_mailbox_turns_away_and_tells_its_owner() {
    let mut server = Server::with(&["--mailbox-messages", "10", "--sender-share", "50"]);
    server.register("bob").ok("logout", json!({}));
    let (mut alice, mut carol) = (server.register("alice"), server.register("carol"));
    let mut dave = server.register("dave");
    let full = || Err::<Value, _>("mailbox_full".to_owned());
    for number in 0..5 {
        alice.send("bob", number, "text").unwrap();
    }
    // Alice's share is half of it; others are not hindered by her.
    assert_eq!(alice.send("bob", 5, "text"), full());
    for number in 0..4 {
        carol.send("bob", number, "text").unwrap();
    }
    assert_eq!(
        dave.send("bob", 0, "text"),
        full(),
        "a notice has a place too"
    );
    assert_eq!(alice.send("bob", 6, "text"), full());

    // Notices are mail: they survive, arrive behind what was before them, are
    // acked like mail, and together count everybody who was turned away.
    server.crash_and_restart();
    let mut bob = server.client();
    let welcome = bob.login("bob").unwrap();
    assert_eq!(welcome["plain"], 9);
    let mut turned_away = 0;
    let mut names = std::collections::BTreeSet::new();
    let mut notices = Vec::new();
    let mut messages = 0;
    let mut pending = bob.ok("fetch", json!({}))["sent"].as_u64().unwrap();
    assert_eq!(pending, 9 + welcome["notices"].as_u64().unwrap());
    while pending > 0 {
        let event = bob.event();
        if event["event"] == "message" {
            messages += 1;
        } else {
            assert_eq!(event["notice"], "turned_away", "{event}");
            turned_away += event["count"].as_u64().unwrap();
            for name in event["names"].as_array().unwrap() {
                names.insert(name.as_str().unwrap().to_owned());
            }
            notices.push(event["mid"].as_str().unwrap().to_owned());
        }
        pending -= 1;
    }
    assert!(messages >= 9 && turned_away >= 1 && names.contains("alice"));
    notices.dedup();
    let acked = bob.ack("*", &notices);
    assert!(acked.0 >= 1, "{acked:?}");
    bob.ok("logout", json!({}));
    assert_eq!(bob.login("bob").unwrap()["notices"], 0);

    // There is room again, for those who had none.
    let mut dave = server.login("dave");
    dave.send("bob", 1, "text").unwrap();
}

#[test]
fn a_mailbox_is_bounded_in_bytes_too() {
    let server = Server::with(&["--mailbox-mib", "1", "--sender-share", "100"]);
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    let text = "x".repeat(16 * 1024);
    for number in 0..64 {
        alice.send("bob", number, &text).unwrap();
    }
    let full = Err("mailbox_full".to_owned());
    assert_eq!(alice.send("bob", 64, &text), full);
    let mut bob = server.login("bob");
    take(&mut bob, 0..64);
    alice.send("bob", 65, &text).unwrap();
}
