//! Messages that are sent again, and the question what became of others: exact whatever the sender
//! knows of their places, and bounded whatever it asks.

use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, mid, plain, postgres};

/// More than a mailbox remembers of decided ids, so that only the store knows the first ones.
const FORGOTTEN: u64 = 200;

/// Sends messages one after the other, and returns their handles.
fn send(client: &mut Client, numbers: std::ops::Range<u64>) -> Vec<Value> {
    let one = |number| client.ok("send", plain("bob", number, &format!("text {number}")));
    numbers.map(one).map(|ok| ok["handle"].clone()).collect()
}

/// Sends a message once more. With `after`, only what came later is searched.
fn again(client: &mut Client, number: u64, after: &Value) -> Result<Value, String> {
    let mut fields = plain("bob", number, &format!("text {number}"));
    fields["again"] = json!(true);
    fields["after"] = after.clone();
    client.ask("send", fields)
}

fn waiting(client: &mut Client, numbers: std::ops::Range<u64>, handles: &[Value]) -> usize {
    let ids: Vec<String> = numbers.map(mid).collect();
    let fields = json!({"to": "bob", "ids": ids, "handles": handles});
    let outcome = client.ok("outcome", fields);
    outcome["waiting"].as_array().unwrap().len()
}

/// A server with alice and with bob, who is away.
fn start() -> (Server, Client) {
    let server = Server::start();
    server.register("bob").ok("logout", json!({}));
    let alice = server.register("alice");
    (server, alice)
}

#[test]
fn a_first_copy_is_found_with_a_handle_and_without() {
    let (mut server, mut alice) = start();
    let handles = send(&mut alice, 0..FORGOTTEN);
    for restart in [false, true] {
        if restart {
            // The handles stay valid, and nothing is left in memory.
            server.crash_and_restart();
            alice = server.login("alice");
        }
        for number in (1..FORGOTTEN).step_by(7) {
            let before = &handles[number as usize - 1];
            for after in [before, &handles[0], &Value::Null] {
                let found = again(&mut alice, number, after).unwrap();
                assert_eq!(found["state"], "stored");
                assert_eq!(found["handle"], handles[number as usize]);
            }
        }
        let stored = again(&mut alice, 0, &Value::Null).unwrap();
        assert_eq!(stored["handle"], handles[0]);
    }
    assert_eq!(server.mail_on_disk(), FORGOTTEN as i64);
    // One that is new, however it is called.
    again(&mut alice, FORGOTTEN, &handles[0]).unwrap();
    assert_eq!(server.mail_on_disk(), FORGOTTEN as i64 + 1);
    let mut fields = plain("bob", 3, "another text");
    fields["again"] = json!(true);
    assert_eq!(alice.ask("send", fields).unwrap_err(), "id_conflict");
}

#[test]
fn a_handle_that_was_not_given_for_this_says_nothing() {
    let (server, mut alice) = start();
    server.register("carol").ok("logout", json!({}));
    let handles = send(&mut alice, 0..FORGOTTEN);
    let for_carol = alice.ok("send", plain("carol", 0, "hello"))["handle"].clone();
    let mut mallory = server.register("mallory");
    let of_mallory = send(&mut mallory, 0..FORGOTTEN).pop().unwrap();
    // The last ones would hide every first copy if they were taken for alice's to bob.
    let forged = json!("AAAAAAAAAAAAAAAAAAAAAA==");
    for wrong in [for_carol, of_mallory, forged] {
        let found = again(&mut alice, 3, &wrong).unwrap();
        assert_eq!(found["handle"], handles[3]);
        assert_eq!(waiting(&mut alice, 3..4, &[wrong]), 1);
    }
    assert_eq!(server.mail_on_disk(), 2 * FORGOTTEN as i64 + 1);
    // A handle finds the message that it was given for, and no other.
    assert_eq!(waiting(&mut alice, 5..6, &handles[6..7]), 0);
    assert_eq!(
        alice
            .ask(
                "send",
                json!({"to": "bob", "mid": mid(9), "text": "x", "after": "AAAA"})
            )
            .unwrap_err(),
        "bad_request"
    );
}

#[test]
fn numbers_do_not_come_again_when_a_mailbox_was_empty() {
    let (mut server, mut alice) = start();
    let mut last = send(&mut alice, 0..5).pop().unwrap();
    for round in 1..4 {
        let mut bob = server.login("bob");
        let mids: Vec<String> = (0..5).map(|_| bob.message().mid).collect();
        bob.ack("alice", &mids);
        eventually("the deletion is on disk", || server.mail_on_disk() == 0);
        server.crash_and_restart();
        // The answers to these are lost. There are fewer of them than before, so that numbers
        // that began anew would lie below the handle.
        alice = server.login("alice");
        let numbers = round * 1000..round * 1000 + 3;
        let handles = send(&mut alice, numbers.clone());
        server.crash_and_restart();
        alice = server.login("alice");
        for (number, handle) in numbers.zip(&handles) {
            assert_eq!(again(&mut alice, number, &last).unwrap()["handle"], *handle);
        }
        assert_eq!(server.mail_on_disk(), 3);
        last = handles[2].clone();
        send(&mut alice, round * 1000 + 3..round * 1000 + 5);
    }
}

#[test]
fn outcome_tells_what_waits_with_handles_and_without() {
    let (mut server, mut alice) = start();
    let handles = send(&mut alice, 0..FORGOTTEN);
    let mut bob = server.login("bob");
    let mids: Vec<String> = (0..50).map(|_| bob.message().mid).collect();
    bob.ack("alice", &mids);
    // Its answer shows that what was acknowledged before it is known.
    bob.ok("ping", json!({}));
    for restart in [false, true] {
        if restart {
            eventually("the deletion is on disk", || server.mail_on_disk() == 150);
            server.crash_and_restart();
            alice = server.login("alice");
        }
        assert_eq!(waiting(&mut alice, 0..FORGOTTEN, &handles), 150);
        assert_eq!(waiting(&mut alice, 0..FORGOTTEN, &handles[..60]), 150);
        assert_eq!(waiting(&mut alice, 0..FORGOTTEN, &[]), 150);
    }
}

#[test]
fn searching_without_handles_has_a_budget() {
    let (mut server, mut alice) = start();
    send(&mut alice, 0..FORGOTTEN);
    server.kill();
    // A mailbox of the usual largest size, which somebody else has filled.
    let (random, zeros) = match postgres::is_used() {
        true => (
            "uuid_send(gen_random_uuid())",
            "decode(repeat('00', 10), 'hex')",
        ),
        false => ("randomblob(16)", "zeroblob(10)"),
    };
    server.tamper(&format!(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 99000)
         INSERT INTO mail SELECT recipient, number + n, 99, {random}, 0, 0, {zeros} FROM c,
             (SELECT recipient, number FROM mail ORDER BY number DESC LIMIT 1) AS last"
    ));
    server.start_again();
    let mut alice = server.login("alice");
    let ids = json!([mid(999_999)]);
    let ask = |alice: &mut Client| alice.ask("outcome", json!({"to": "bob", "ids": ids.clone()}));
    let asked = (0..20).map(|_| ask(&mut alice)).take_while(Result::is_ok);
    let asked = asked.count();
    assert!((1..5).contains(&asked), "{asked}");
    assert_eq!(ask(&mut alice).unwrap_err(), "slow_down");
    let resent = again(&mut alice, 888_888, &Value::Null);
    assert_eq!(resent.unwrap_err(), "slow_down");
    // Others are not concerned, and neither is what is sent for the first time.
    alice.ok("send", plain("bob", 777_777, "new"));
    let mut carol = server.register("carol");
    carol.ok("send", plain("bob", 1, "hello"));
    assert_eq!(ask(&mut carol).unwrap()["waiting"], json!([]));
}
