//! The promise: what a sender was told is accepted is stored, arrives in order,
//! and stays until it is acknowledged by the one it is for.

use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, mid, plain};

/// Texts that carry their number.
fn numbered(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (u64, String)> {
    numbers.map(|number| (number, format!("text {number}")))
}

/// Reads messages and asserts that they are these.
fn expect(client: &mut Client, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let message = client.message();
        assert_eq!(message.mid, mid(number));
        assert_eq!(message.body, format!("text {number}"));
    }
}

fn mids(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(mid).collect()
}

#[test]
fn accepted_mail_survives_a_kill_and_arrives_in_order() {
    let mut server = Server::start();
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    alice.send_all("bob", numbered(0..100));
    server.crash_and_restart();
    let mut alice = server.login("alice");
    alice.send_all("bob", numbered(100..200));
    server.crash_and_restart();

    let mut bob = server.client();
    assert_eq!(bob.login("bob").unwrap()["plain"], 200);
    expect(&mut bob, 0..200);
    bob.no_event();
}

#[test]
fn mail_for_somebody_online_who_never_acks_survives_too() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    alice.send_all("bob", numbered(0..50));
    expect(&mut bob, 0..50);
    server.crash_and_restart();
    let mut bob = server.login("bob");
    expect(&mut bob, 0..50);
}

#[test]
fn an_ack_survives_a_kill_once_it_was_committed() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    alice.send_all("bob", numbered(0..10));
    expect(&mut bob, 0..10);
    assert_eq!(bob.ack("alice", &mids(0..7)), (7, 0));
    // An ack is answered before it is on disk, since a crash only repeats what
    // the vault knows.
    eventually("the deletion is on disk", || server.mail_on_disk() == 3);
    server.crash_and_restart();
    let mut bob = server.login("bob");
    expect(&mut bob, 7..10);
}

#[test]
fn what_is_not_acked_can_be_fetched_again() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    bob.ok("logout", json!({}));
    alice.send_all("bob", numbered(0..5));
    bob.login("bob").unwrap();
    expect(&mut bob, 0..5);
    for _ in 0..2 {
        let fetched = bob.ok("fetch", json!({}));
        assert_eq!(fetched, json!({"sent": 5, "waiting": 0}));
        expect(&mut bob, 0..5);
    }
    assert_eq!(bob.ack("alice", &mids([0, 1])), (2, 0));
    assert_eq!(bob.ok("fetch", json!({}))["sent"], 3);
    expect(&mut bob, 2..5);
    bob.ok("logout", json!({}));
    assert_eq!(bob.login("bob").unwrap()["plain"], 3);
    expect(&mut bob, 2..5);
    assert_eq!(bob.ack("alice", &mids(2..5)), (3, 0));
    assert_eq!(bob.ok("fetch", json!({})), json!({"sent": 0, "waiting": 0}));
    bob.no_event();
}

#[test]
fn acks_count_only_what_is_theirs_and_pending() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let mut carol = server.register("carol");
    alice.send_all("bob", numbered(0..6));
    expect(&mut bob, 0..6);

    // Somebody else's message, a wrong sender, an id nobody used, the server's.
    assert_eq!(carol.ack("alice", &mids(0..6)), (0, 6));
    assert_eq!(alice.ack("alice", &mids(0..6)), (0, 6));
    assert_eq!(bob.ack("carol", &mids(0..6)), (0, 6));
    assert_eq!(bob.ack("alice", &mids([99])), (0, 1));
    assert_eq!(bob.ack("*", &mids(0..6)), (0, 6));
    assert_eq!(bob.ack("alice", &[]), (0, 0));
    assert_eq!(bob.ok("fetch", json!({}))["sent"], 6, "all still pending");
    expect(&mut bob, 0..6);

    // In any order, with repetitions in one request and across requests.
    assert_eq!(bob.ack("alice", &mids([4, 1, 4, 99])), (2, 2));
    assert_eq!(bob.ack("alice", &mids([1, 5])), (1, 1));
    assert_eq!(bob.ok("fetch", json!({}))["sent"], 3);
    expect(&mut bob, [0, 2, 3]);
    let too_many = mids(0..1001);
    let refused = bob.ask("ack", json!({"from": "alice", "ids": too_many}));
    assert_eq!(refused, Err("too_large".to_owned()));
    bob.ok("logout", json!({}));
    bob.login("bob").unwrap();
    expect(&mut bob, [0, 2, 3]);
}

#[test]
fn receipts_name_what_was_delivered_later() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    bob.ok("logout", json!({}));
    alice.send_all("bob", numbered(0..4));
    let mut carol = server.register("carol");
    carol.send("bob", 77, "text 77").unwrap();
    bob.login("bob").unwrap();
    expect(&mut bob, [0, 1, 2, 3, 77]);
    assert_eq!(bob.ack("alice", &mids([2, 0])), (2, 0));
    let receipt = |ids: Vec<String>| json!({"event": "delivered", "to": "bob", "ids": ids});
    assert_eq!(alice.event(), receipt(mids([2, 0])));
    carol.no_event();
    assert_eq!(bob.ack("carol", &mids([77])), (1, 0));
    assert_eq!(carol.event(), receipt(mids([77])));
    alice.no_event();
    let outcome = alice.ok("outcome", json!({"to": "bob", "ids": mids(0..5)}));
    assert_eq!(outcome, json!({"waiting": mids([1, 3])}));
    // Ids are the sender's own: carol's 77 is nothing that alice sent.
    let outcome = alice.ok("outcome", json!({"to": "bob", "ids": mids([77])}));
    assert_eq!(outcome, json!({"waiting": []}));
}

#[test]
fn an_id_used_twice_means_the_same_message_or_is_refused() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let mut carol = server.register("carol");
    bob.ok("logout", json!({}));

    // Both copies at once: the second shares the first one's outcome.
    let twice = [1, 2].map(|_| alice.post("send", &plain("bob", 1, "text 1")));
    let answers = twice.map(|id| alice.answer(id).unwrap());
    assert_eq!(answers[0], answers[1]);
    assert_eq!(alice.send("bob", 1, "text 1"), Ok(answers[0].clone()));
    assert_eq!(alice.send("bob", 1, "text one"), conflict());
    let as_envelope = json!({"to": "bob", "mid": mid(1), "envelope": "dGV4dCAx"});
    assert_eq!(alice.ask("send", as_envelope), conflict());
    // Ids are scoped to sender and recipient.
    carol.send("bob", 1, "text 1").unwrap();
    alice.send("carol", 1, "other").unwrap();

    // Memory is gone: with `again` the store is searched.
    server.crash_and_restart();
    let mut alice = server.login("alice");
    assert_eq!(
        alice.ask("send", again(1, "text 1")),
        Ok(answers[0].clone())
    );
    assert_eq!(alice.ask("send", again(1, "text one")), conflict());
    alice.ask("send", again(2, "text 2")).unwrap();
    let mut bob = server.client();
    assert_eq!(bob.login("bob").unwrap()["plain"], 3);
    let arrived = [0; 3].map(|_| bob.message());
    let senders = arrived.each_ref().map(|message| &*message.from);
    assert_eq!(senders, ["alice", "carol", "alice"]);
    bob.ack("alice", &mids([1, 2]));

    // Acknowledged and still remembered: accepted before, so not delivered again.
    let known = alice.ask("send", again(1, "text 1")).unwrap();
    assert_eq!(known["at"], answers[0]["at"]);
    assert_eq!(alice.ask("send", again(1, "text one")), conflict());
    bob.no_event();
}

#[test]
fn a_resend_while_the_first_copy_is_pushed_is_not_pushed_again() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    for number in 0..50 {
        let first = alice.post("send", &plain("bob", number, "text"));
        let second = alice.post("send", &again(number, "text"));
        assert_eq!(bob.message().mid, mid(number));
        bob.ack("alice", &mids([number]));
        let states = [first, second].map(|id| alice.answer(id).unwrap()["at"].clone());
        assert_eq!(states[0], states[1]);
    }
    bob.no_event();
}

#[test]
fn mail_of_several_senders_keeps_the_order_of_each() {
    let server = Server::start();
    let mut bob = server.register("bob");
    std::thread::scope(|scope| {
        for sender in ["alice", "carol", "dave"] {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.register(sender);
                client.send_all("bob", numbered(0..300));
            });
        }
        let mut next = std::collections::HashMap::new();
        for count in 0..900u32 {
            let message = bob.message();
            let expected = next.entry(message.from.clone()).or_insert(0);
            assert_eq!(message.mid, mid(*expected), "from {}", message.from);
            *expected += 1;
            // Some are acked at once, some late, so that some reach the disk.
            if count % 3 != 0 {
                bob.ack(&message.from, &[message.mid]);
            }
        }
    });
}

fn again(number: u64, text: &str) -> Value {
    let mut fields = plain("bob", number, text);
    fields["again"] = json!(true);
    fields
}

fn conflict() -> Result<Value, String> {
    Err("id_conflict".to_owned())
}
