//! Two people talk, from the first hello to the last logout, in JSON. The same
//! at telnet is in `console`.

use serde_json::{Value, json};

use crate::harness::{Server, eventually, mid, plain};

#[test]
fn a_whole_conversation() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.client(), server.client());
    let welcome = alice.register("Alice");
    assert_eq!(welcome["name"], "alice", "names are folded");
    assert_eq!(welcome["logins"], 1);
    assert_eq!(welcome["identity"], Value::Null);
    bob.register("bob");

    let found = alice.ok("search", json!({"text": "BO"}));
    let bob_online = json!({"name": "bob", "online": true, "last_seen": null});
    assert_eq!(found, json!({"users": [bob_online], "more": false}));
    assert_eq!(alice.ok("status", json!({"name": "bob"})), bob_online);

    // Online: the answer may come first or the acknowledgement; a receipt
    // follows exactly when the answer said no more than stored.
    let sent = alice.post("send", &plain("bob", 1, "hello, bob"));
    let message = bob.message();
    assert_eq!((&*message.from, &*message.body), ("alice", "hello, bob"));
    assert_eq!(message.mid, mid(1));
    assert_eq!(bob.ack("alice", &[mid(1)]), (1, 0));
    match alice.answer(sent).unwrap()["state"].as_str() {
        Some("delivered") => alice.no_event(),
        Some("stored") => assert_eq!(alice.event(), receipt(1)),
        other => panic!("{other:?}"),
    }

    // Offline: stored, waiting, delivered upon login on the same connection.
    bob.ok("logout", json!({}));
    assert_eq!(bob.ask("fetch", json!({})), Err("not_logged_in".to_owned()));
    assert_eq!(
        alice.send("bob", 2, "are you there?").unwrap()["state"],
        "stored"
    );
    eventually("bob's end of session is written down", || {
        let status = alice.ok("status", json!({"name": "bob"}));
        status["online"] == false && status["last_seen"].is_u64()
    });
    let asked = json!({"to": "bob", "ids": [mid(1), mid(2), mid(3)]});
    let waiting = alice.ok("outcome", asked.clone());
    assert_eq!(waiting, json!({"waiting": [mid(2)]}));
    let welcome = bob.login("bob").unwrap();
    assert_eq!(
        (&welcome["plain"], &welcome["envelopes"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(welcome["logins"], 2);
    assert_eq!(bob.message().body, "are you there?");
    assert_eq!(bob.ack("alice", &[mid(2)]), (1, 0));
    assert_eq!(alice.event(), receipt(2));
    assert_eq!(alice.ok("outcome", asked), json!({"waiting": []}));

    assert_eq!(alice.ok("ping", json!({})), json!({}));
    assert_eq!(
        alice.send("nobody", 4, "x"),
        Err("unknown_user".to_owned()),
        "a name that nobody has"
    );
    alice.no_event();
    bob.no_event();
}

#[test]
fn an_envelope_arrives_byte_for_byte() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let bytes: Vec<u8> = (0..24 * 1024).map(|i| (i * 31 % 251) as u8).collect();
    let envelope = data_encoding::BASE64.encode(&bytes);
    let fields = json!({"to": "bob", "mid": mid(1), "envelope": envelope});
    let sent = alice.post("send", &fields);
    assert_eq!(bob.message().body, envelope);
    bob.ack("alice", &[mid(1)]);
    alice.answer(sent).unwrap();
}

#[test]
fn text_of_every_script_arrives_unchanged() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let text = "tab\t quote\" back\\ newline\n nul\0 \u{1b}[2J \u{202e} 世界 👩‍👩‍👧";
    alice.send("bob", 1, text).unwrap();
    assert_eq!(bob.message().body, text);
}

#[test]
fn one_may_write_to_oneself() {
    let server = Server::start();
    let mut alice = server.register("alice");
    let sent = alice.post("send", &plain("alice", 1, "note to self"));
    assert_eq!(alice.message().body, "note to self");
    assert_eq!(alice.ack("alice", &[mid(1)]), (1, 0));
    alice.answer(sent).unwrap();
}

#[test]
fn requests_in_flight_are_answered_by_id_and_silence_without_one() {
    let server = Server::start();
    let mut alice = server.register("alice");
    let wire = alice.wire();
    // No id: a success stays unsaid, a failure does not.
    wire.write(b"{\"op\":\"ping\"}\n{\"op\":\"status\",\"name\":\"nobody\"}\n");
    wire.write(b"{\"id\":18446744073709551615,\"op\":\"ping\",\"unknown\":[{}]}\n");
    let failure = alice.event();
    assert_eq!(failure["id"], Value::Null);
    assert_eq!(failure["error"]["code"], "unknown_user");
    assert_eq!(alice.answer(u64::MAX), Ok(json!({})));
}

fn receipt(number: u64) -> Value {
    json!({"event": "delivered", "to": "bob", "ids": [mid(number)]})
}
