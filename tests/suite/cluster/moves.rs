//! A login brings its mailbox to the server where it is made: one session an account, and each message once
//! and in order, wherever its recipient goes.

use std::collections::BTreeMap;

use serde_json::json;

use super::pair;
use crate::harness::{Client, mid, plain};

#[test]
fn an_account_has_one_session_at_all_servers_together() {
    let servers = pair(&[]);
    let mut bob = servers.second.client();
    let secret = bob.register("bob")["session"].clone();
    let mut other = servers.first.client();
    assert_eq!(other.login("bob"), Err("already_online".to_owned()));
    let guess = json!({"replaces": "AAAAAAAAAAAAAAAAAAAAAA=="});
    let refused = other.login_with("bob", guess);
    assert_eq!(refused, Err("already_online".to_owned()));
    bob.no_event();
    other
        .login_with("bob", json!({"replaces": secret}))
        .unwrap();
    assert_eq!(bob.event(), json!({"event": "replaced"}));
    assert_eq!(bob.next_event(), None);
    let mut third = servers.second.client();
    assert_eq!(third.login("bob"), Err("already_online".to_owned()));
    third.login_with("bob", json!({"take_over": true})).unwrap();
    assert_eq!(other.event(), json!({"event": "replaced"}));
    third.ok("logout", json!({}));
    servers.first.login("bob");
}

#[test]
fn mail_follows_its_recipient_once_and_in_order() {
    const MOVES: usize = 6;
    const EACH: u64 = 60;
    let servers = pair(&[]);
    let mut senders = [
        ("alice", servers.first.register("alice")),
        ("carol", servers.second.register("carol")),
    ];
    let mut bob = servers.second.register("bob");
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for turn in 0..MOVES as u64 {
        let mut posted = Vec::new();
        for (_, sender) in &mut senders {
            for number in turn * EACH..(turn + 1) * EACH {
                posted.push(sender.post("send", &plain("bob", number, &format!("{number}"))));
            }
        }
        for _ in 0..EACH / 2 {
            take(&mut bob, &mut seen);
        }
        let server = [&servers.first, &servers.second][turn as usize % 2];
        let mut next = server.client();
        next.login_with("bob", json!({"take_over": true})).unwrap();
        bob = next;
        let mut posted = posted.into_iter();
        for (_, sender) in &mut senders {
            for id in posted.by_ref().take(EACH as usize) {
                sender.answer(id).expect("accepted");
            }
        }
    }
    let all = 2 * EACH * MOVES as u64;
    while seen.values().map(Vec::len).sum::<usize>() < all as usize {
        take(&mut bob, &mut seen);
    }
    bob.no_event();
    let expected: Vec<u64> = (0..EACH * MOVES as u64).collect();
    for (name, _) in senders {
        assert_eq!(seen[name], expected, "from {name}");
    }
}

/// Takes one message, and acknowledges it. One that a session before this has taken is not counted again.
fn take(bob: &mut Client, seen: &mut BTreeMap<String, Vec<u64>>) {
    let message = bob.message();
    bob.ack(&message.from, std::slice::from_ref(&message.mid));
    let number: u64 = message.body.parse().unwrap();
    assert_eq!(message.mid, mid(number));
    let of_sender = seen.entry(message.from).or_default();
    if !of_sender.contains(&number) {
        of_sender.push(number);
    }
}

/// Where somebody is found is believed for 200 ms; what goes astray for that is passed on.
#[test]
fn a_receipt_follows_its_sender_to_another_server() {
    let servers = pair(&[]);
    let third = servers.third();
    let (mut alice, mut bob) = servers.alice_and_bob();
    let receipt = |number: u64| json!({"event": "delivered", "to": "bob", "ids": [mid(number)]});
    let send = |alice: &mut Client, bob: &mut Client, numbers: [u64; 2]| {
        for number in numbers {
            alice.send("bob", number, "hello").unwrap();
            assert_eq!(bob.message().body, "hello");
        }
    };
    send(&mut alice, &mut bob, [1, 2]);
    // From one of two other servers to the third.
    let mut next = third.client();
    assert_eq!(bob.ack("alice", &[mid(1)]), (1, 0));
    assert_eq!(alice.event(), receipt(1));
    next.login_with("alice", json!({"take_over": true}))
        .unwrap();
    assert_eq!(bob.ack("alice", &[mid(2)]), (1, 0));
    assert_eq!(next.event(), receipt(2));
    // From the recipient's own server, where they were away.
    let mut alice = servers.second.client();
    alice
        .login_with("alice", json!({"take_over": true}))
        .unwrap();
    send(&mut alice, &mut bob, [3, 4]);
    alice.ok("logout", json!({}));
    let mut next = third.client();
    assert_eq!(bob.ack("alice", &[mid(3)]), (1, 0));
    next.login("alice").unwrap();
    assert_eq!(bob.ack("alice", &[mid(4)]), (1, 0));
    assert_eq!(next.event(), receipt(4));
}
