//! Hidden is hidden: who hides when they are online, and who blocks somebody, can't be told from a
//! recipient who is away and whose mail stays.

use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, mid, plain};

/// Everything that a sender can see of a recipient: what they show, what a message becomes, what its
/// repetitions and its outcome say, and the news that came meanwhile.
fn seen(sender: &mut Client, to: &str) -> Vec<Value> {
    let ask = |sender: &mut Client, op: &str, fields: Value| match sender.ask(op, fields) {
        Ok(mut ok) => {
            // These differ from message to message, for everybody.
            if let Some(ok) = ok.as_object_mut() {
                ok.retain(|key, _| key != "at" && key != "handle" && key != "name");
            }
            ok
        }
        Err(code) => json!(code),
    };
    let message = |number, text: &str, again| {
        let mut fields = plain(to, number, text);
        fields["again"] = json!(again);
        fields
    };
    let mut all = vec![
        ask(sender, "status", json!({"name": to})),
        ask(sender, "send", message(1, "one", false)),
        ask(sender, "send", message(2, "two", false)),
        ask(sender, "send", message(1, "one", false)),
        ask(sender, "send", message(1, "another", false)),
        ask(sender, "send", message(1, "one", true)),
    ];
    // Past what the server remembers of ids.
    for number in 100..240 {
        all.push(ask(sender, "send", message(number, "more", false)));
    }
    all.push(ask(sender, "send", message(1, "one", true)));
    all.push(ask(sender, "send", message(1, "another", true)));
    all.push(ask(sender, "send", message(500, "new", true)));
    let ids: Vec<String> = [1, 2, 100, 239, 500, 9999].map(mid).into();
    all.push(ask(sender, "outcome", json!({"to": to, "ids": ids})));
    all.push(ask(sender, "search", json!({"text": to}))["users"][0]["online"].clone());
    all.push(ask(sender, "search", json!({"text": to}))["users"][0]["last_seen"].clone());
    all.push(ask(sender, "status", json!({"name": to})));
    sender.no_event();
    all
}

/// Takes and acknowledges all that comes, until `quiet` messages have come.
fn read_all(client: &mut Client, from: &str, count: usize) {
    for _ in 0..count {
        let message = client.message();
        client.ack(from, &[message.mid]);
    }
}

#[test]
fn blocking_hiding_and_reading_look_alike() {
    let server = Server::start();
    let mut senders = ["s0", "s1", "s2", "s3", "s4"].map(|name| server.register(name));
    // Hides, and is away.
    let mut away = server.register("away");
    away.ok("settings", json!({"presence": false}));
    away.ok("logout", json!({}));
    // Hides, is there, and acknowledges at once.
    let mut reads = server.register("reads");
    reads.ok("settings", json!({"presence": false}));
    // Shows itself to others, is there, and blocks.
    let mut blocks = server.register("blocks");
    blocks.ok("block", json!({"name": "s2"}));
    // The same, away.
    let mut gone = server.register("gone");
    gone.ok("block", json!({"name": "s3"}));
    gone.ok("logout", json!({}));

    let first = seen(&mut senders[0], "away");
    let reader = std::thread::spawn(move || {
        // 143 are sent and taken; the repetition and the other body of one that was forgotten are
        // new to the server, and the vault would know them.
        read_all(&mut reads, "s1", 143);
        reads
    });
    let second = seen(&mut senders[1], "reads");
    drop(reader.join().unwrap());
    assert_eq!(first, second, "reading shows");
    assert_eq!(first, seen(&mut senders[2], "blocks"), "a block shows");
    blocks.no_event();
    assert_eq!(first, seen(&mut senders[3], "gone"), "a block shows");
    let mut gone = server.login("gone");
    gone.no_event();
    // Others see what is shown, and oneself sees oneself.
    let status = senders[4].ok("status", json!({"name": "blocks"}));
    assert_eq!(status["online"], true);
    let status = gone.ok("status", json!({"name": "gone"}));
    assert_eq!(status["online"], true);
}

#[test]
fn nothing_of_a_blocked_sender_stays_or_comes_after_a_crash() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    bob.ok("block", json!({"name": "alice"}));
    alice.send_all("bob", (0..300).map(|number| (number, "no".to_owned())));
    assert_eq!(server.mail_on_disk(), 0);
    server.crash_and_restart();
    let mut bob = server.client();
    assert_eq!(bob.login("bob").unwrap()["plain"], 0);
    bob.ok("unblock", json!({"name": "alice"}));
    let mut alice = server.login("alice");
    alice.send("bob", 1000, "yes").unwrap();
    assert_eq!(bob.message().body, "yes");
    bob.no_event();
}

#[test]
fn a_hidden_readers_receipts_wait_until_they_show_themselves() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    // Accepted while bob shows himself, acknowledged while he does not.
    bob.ok("logout", json!({}));
    let handle = alice.send("bob", 1, "one").unwrap()["handle"].clone();
    bob.login("bob").unwrap();
    bob.message();
    bob.ok("settings", json!({"presence": false}));
    bob.ack("alice", &[mid(1)]);
    eventually("the deletion is on disk", || server.mail_on_disk() == 0);
    alice.no_event();
    let ask = json!({"to": "bob", "ids": [mid(1)], "handles": [handle]});
    assert_eq!(alice.ok("outcome", ask)["waiting"], json!([mid(1)]));
    // A repetition that the store knows gets the place of the first copy.
    let stored = alice.send("bob", 2, "two").unwrap();
    assert_eq!(stored["state"], "stored");
    bob.ok("settings", json!({"presence": true}));
    bob.message();
    bob.ack("alice", &[mid(2)]);
    assert_eq!(
        alice.event(),
        json!({"event": "delivered", "to": "bob", "ids": [mid(2)]})
    );
    assert_eq!(alice.send("bob", 3, "three").unwrap()["state"], "stored");
}

#[test]
fn a_first_copy_keeps_its_place_while_its_recipient_hides() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    bob.ok("settings", json!({"presence": false}));
    bob.ok("logout", json!({}));
    let first = alice.send("bob", 1, "one").unwrap();
    server.crash_and_restart();
    let mut alice = server.login("alice");
    let mut fields = plain("bob", 1, "one");
    fields["again"] = json!(true);
    let second = alice.ok("send", fields);
    assert_eq!(second["handle"], first["handle"], "it has one place");
    assert!(
        second["at"].as_u64() > first["at"].as_u64(),
        "that it was there shows"
    );
    assert_eq!(server.mail_on_disk(), 1);
    let mut bob = server.login("bob");
    assert_eq!(bob.message().body, "one");
    bob.no_event();
}

#[test]
fn names_that_cannot_be_found_are_asked_for_at_a_pace() {
    let server = Server::with(&["--search-rate", "10"]);
    server
        .register("hermit")
        .ok("settings", json!({"listed": false}));
    server.register("bob");
    let mut alice = server.register("alice");
    for op in ["status", "keys", "block", "unblock", "outcome", "send"] {
        let name = format!("nobody-{op}");
        let fields = json!({"name": name, "to": name, "ids": [], "mid": mid(1), "text": "psst"});
        assert_eq!(alice.ask(op, fields).unwrap_err(), "unknown_user", "{op}");
    }
    // One who can be found costs nothing, nor does oneself.
    for _ in 0..20 {
        alice.ok("status", json!({"name": "bob"}));
        alice.ok("status", json!({"name": "alice"}));
    }
    // One who is not listed counts like one who is not there.
    for _ in 0..2 {
        alice.ok("status", json!({"name": "hermit"}));
        alice.ask("status", json!({"name": "nobody"})).unwrap_err();
    }
    // From here on every name gets the same answer, after a new login, too.
    let mut elsewhere = server.client();
    let options = json!({"take_over": true});
    elsewhere.login_with("alice", options).unwrap();
    for name in ["hermit", "nobody", "bob"] {
        let refused = elsewhere.ask("status", json!({"name": name}));
        assert_eq!(refused.unwrap_err(), "slow_down", "{name}");
    }
    server.login("bob").ok("status", json!({"name": "alice"}));
}
