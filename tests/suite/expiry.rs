//! Mail that waits longer than the operator keeps it: removed bit by bit, told to both sides, and
//! nothing else with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, mid, plain, temporary_folder};

const KEEP: [&str; 2] = ["--keep-mail", "2"];

/// Lets three days pass for some mail, as if the server had been down for them.
fn age(data: &Path, which: &str) {
    let database = rusqlite::Connection::open(data.join("chat.db")).unwrap();
    let older = format!("UPDATE mail SET at = at - 3 * 86400000 WHERE {which}");
    assert!(database.execute(&older, []).unwrap() > 0, "{which}");
}

/// The numbers of the texts that wait.
fn waiting(data: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(data.join("chat.db")).unwrap();
    let mut texts = database
        .prepare("SELECT CAST(body AS TEXT) FROM mail WHERE kind = 1 ORDER BY recipient, number")
        .unwrap();
    let rows = texts.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// Waits until what somebody has acknowledged is gone from the disk, too: a kill would bring it back.
fn nothing_waits_for(data: &Path, name: &str) {
    let database = rusqlite::Connection::open(data.join("chat.db")).unwrap();
    let count =
        "SELECT count(*) FROM mail WHERE recipient = (SELECT id FROM users WHERE name = ?1)";
    let left = || -> i64 { database.query_row(count, [name], |row| row.get(0)).unwrap() };
    eventually("nothing waits", || left() == 0);
}

fn member(server: &Server, name: &str) {
    server.register(name).ok("logout", json!({}));
}

/// Acknowledges a notice, and returns it without what differs from time to time.
fn notice(client: &mut Client) -> Value {
    let mut event = client.event();
    assert_eq!(event["event"], "notice", "{event}");
    let id = event["mid"].as_str().unwrap().to_owned();
    assert_eq!(client.ack("*", &[id]), (1, 0));
    event.as_object_mut().unwrap().retain(|key, _| {
        let varies = ["event", "mid", "at"];
        !varies.contains(&key.as_str())
    });
    event
}

#[test]
fn what_waited_too_long_is_removed_and_both_sides_are_told() {
    let mut server = Server::start();
    let data = server.data();
    for name in ["bob", "carol"] {
        member(&server, name);
    }
    let mut alice = server.register("alice");
    let send = |alice: &mut Client, to: &str, number: u64| {
        let sent = alice.send(to, number, &format!("{to} {number}")).unwrap();
        sent["handle"].clone()
    };
    let mut handles: Vec<Value> = (1..=3).map(|n| send(&mut alice, "bob", n)).collect();
    send(&mut alice, "carol", 4);
    server.kill();
    age(&data, "CAST(body AS TEXT) IN ('bob 1', 'bob 2')");
    let mut server = Server::on(&data, &KEEP);
    eventually("the two are gone", || {
        waiting(&data) == ["bob 3", "carol 4"]
    });

    // The sender is told at the login, and asks as often as it likes.
    let mut alice = server.login("alice");
    let expired = json!({"notice": "expired", "to": "bob", "ids": [mid(1), mid(2)]});
    assert_eq!(notice(&mut alice), expired);
    alice.no_event();
    handles[1] = Value::Null;
    for handles in [json!(handles), json!([])] {
        let ask = json!({"to": "bob", "ids": [mid(1), mid(2), mid(3), mid(9)], "handles": handles});
        let outcome = json!({"waiting": [mid(3)], "expired": [mid(1), mid(2)]});
        assert_eq!(alice.ok("outcome", ask), outcome);
    }
    // Sent again for want of an answer, it is not taken for a new one; sent anew, it is.
    let mut again = plain("bob", 1, "bob 1");
    again["again"] = json!(true);
    assert_eq!(alice.ask("send", again), Err("expired".to_owned()));
    assert_eq!(alice.send("bob", 5, "bob 5").unwrap()["state"], "stored");
    nothing_waits_for(&data, "alice");
    server.kill();

    // What expires next adds to what the recipient is told, in the place of what is gone.
    age(&data, "CAST(body AS TEXT) = 'bob 3'");
    server = Server::on(&data, &KEEP);
    eventually("one more is gone", || {
        waiting(&data) == ["bob 5", "carol 4"]
    });
    let mut bob = server.login("bob");
    let from = json!([{"name": "alice", "count": 3}]);
    assert_eq!(
        notice(&mut bob),
        json!({"notice": "missed", "from": from, "count": 3})
    );
    assert_eq!(bob.message().body, "bob 5");
    let mut alice = server.login("alice");
    let expired = json!({"notice": "expired", "to": "bob", "ids": [mid(3)]});
    assert_eq!(notice(&mut alice), expired);

    // A notice that nobody has fetched outlives any age, and is told once.
    alice.ok("logout", json!({}));
    nothing_waits_for(&data, "alice");
    server.kill();
    age(&data, "kind = 1");
    let server = Server::on(&data, &KEEP);
    eventually("all is gone", || waiting(&data).is_empty());
    let mut carol = server.login("carol");
    let from = json!([{"name": "alice", "count": 1}]);
    assert_eq!(
        notice(&mut carol),
        json!({"notice": "missed", "from": from, "count": 1})
    );
    carol.no_event();
}

#[test]
fn who_hides_or_blocks_is_not_given_away_by_what_expires() {
    let mut server = Server::start();
    let data = server.data();
    for name in ["open", "hidden", "blocking"] {
        member(&server, name);
    }
    server
        .login("hidden")
        .ok("settings", json!({"presence": false}));
    let mut alice = server.register("alice");
    for (number, to) in [(1, "open"), (2, "hidden"), (3, "blocking")] {
        alice.send(to, number, to).unwrap();
    }
    let mut blocking = server.login("blocking");
    blocking.ok("block", json!({"name": "alice"}));
    blocking.ok("logout", json!({}));
    server.kill();
    age(&data, "kind = 1");
    let server = Server::on(&data, &KEEP);
    eventually("all is gone", || waiting(&data).is_empty());

    let mut alice = server.login("alice");
    let expired = json!({"notice": "expired", "to": "open", "ids": [mid(1)]});
    assert_eq!(notice(&mut alice), expired);
    alice.no_event();
    for (number, to) in [(2, "hidden"), (3, "blocking")] {
        let ask = json!({"to": to, "ids": [mid(number), mid(99)]});
        let waits = json!({"waiting": [mid(number), mid(99)]});
        assert_eq!(
            alice.ok("outcome", ask),
            waits,
            "as of one that waits, or was read"
        );
        let mut again = plain(to, number, to);
        again["again"] = json!(true);
        assert_eq!(alice.ok("send", again)["state"], "stored", "{to}");
    }
    // Nothing of it is in what the server shows people of themselves.
    let rows = alice.ok("personal_data", json!({}))["rows"].to_string();
    assert!(
        !rows.contains("hidden") && !rows.contains("blocking"),
        "{rows}"
    );

    // Who shows their presence from here on lets it be seen.
    alice.ok("logout", json!({}));
    let mut hidden = server.login("hidden");
    hidden.ok("settings", json!({"presence": true}));
    let mut alice = server.login("alice");
    let expired = json!({"notice": "expired", "to": "hidden", "ids": [mid(2)]});
    assert_eq!(notice(&mut alice), expired);
}

#[test]
fn a_sender_who_is_online_is_told_at_once_and_an_owner_who_is_online_loses_nothing() {
    let folder = temporary_folder();
    let file = folder.path().join("server.conf");
    fs::write(&file, "").unwrap();
    let mut server = Server::with(&["--config", file.to_str().unwrap()]);
    let data = server.data();
    for name in ["bob", "carol"] {
        member(&server, name);
    }
    let mut alice = server.register("alice");
    let envelope = json!({"to": "carol", "mid": mid(2), "envelope": "AAAA"});
    alice.send("bob", 1, "bob 1").unwrap();
    alice.ok("send", envelope);
    server.kill();
    age(&data, "kind < 2");
    server.start_again();
    let mut alice = server.login("alice");
    // Her connection remembers the mailbox, which does not keep it in use.
    alice.send("bob", 3, "bob 3").unwrap();
    // The console can't read the envelope, which waits for carol's client.
    let mut carol = server.console();
    carol.login("carol");
    fs::write(&file, "keep-mail = 2\n").unwrap();
    server.signal(Signal::HUP);
    let expired = json!({"notice": "expired", "to": "bob", "ids": [mid(1)]});
    assert_eq!(notice(&mut alice), expired);
    eventually("it is logged", || {
        server
            .log()
            .contains("longer than --keep-mail says and were removed: 1")
    });
    let ask = json!({"to": "carol", "ids": [mid(2)]});
    assert_eq!(alice.ok("outcome", ask), json!({"waiting": [mid(2)]}));
    alice.send("bob", 4, "bob 4").unwrap();
    let mut bob = server.login("bob");
    assert_eq!(notice(&mut bob)["count"], 1);
    assert_eq!(bob.message().body, "bob 3");
    assert_eq!(bob.message().body, "bob 4");
}

#[test]
fn kills_while_mail_expires_take_nothing_that_was_not_due_and_hide_nothing_that_was() {
    const DUE: u64 = 900;
    const KILLS: u64 = 5;
    let mut server = Server::start();
    let data = server.data();
    let people: Vec<String> = (0..4).map(|number| format!("bob{number}")).collect();
    let mut alice = server.register("alice");
    for (place, name) in (0..).zip(&people) {
        member(&server, name);
        let begin = place * 1000;
        let text = |number: u64| (number, format!("due {number}"));
        alice.send_all(name, (begin..begin + DUE).map(text));
        let text = |number: u64| (number, format!("young {number}"));
        alice.send_all(name, (begin + DUE..begin + 1000).map(text));
    }
    server.kill();
    age(&data, "CAST(body AS TEXT) LIKE 'due %'");
    let mut before = waiting(&data).len();
    assert_eq!(before, 4000);
    let mut server = Server::on(&data, &KEEP);
    for kill in 0..KILLS {
        // A part takes 200 ms: the kill falls into one, or between two.
        eventually("some are gone", || waiting(&data).len() < before);
        std::thread::sleep(Duration::from_millis(kill * 37));
        server.kill();
        before = waiting(&data).len();
        server = Server::on(&data, &KEEP);
    }
    eventually("all that is due is gone", || {
        waiting(&data).iter().all(|text| !text.starts_with("due "))
    });
    assert_eq!(waiting(&data).len(), 400);
    let mut alice = server.login("alice");
    let mut told = BTreeSet::new();
    while told.len() < 4 * DUE as usize {
        let notice = notice(&mut alice);
        assert_eq!(notice["notice"], "expired");
        let ids = notice["ids"].as_array().unwrap();
        told.extend(ids.iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    alice.no_event();
    for (place, name) in (0..).zip(&people) {
        let begin = place * 1000;
        let ids: Vec<String> = (begin..begin + 1000).map(mid).collect();
        let outcome = alice.ok("outcome", json!({"to": name, "ids": ids}));
        let (due, young) = ids.split_at(DUE as usize);
        assert_eq!(outcome, json!({"waiting": young, "expired": due}));
        assert!(due.iter().all(|id| told.contains(id)));
        let mut bob = server.login(name);
        let from = json!([{"name": "alice", "count": DUE}]);
        assert_eq!(
            notice(&mut bob),
            json!({"notice": "missed", "from": from, "count": DUE})
        );
        for number in begin + DUE..begin + 1000 {
            assert_eq!(bob.message().body, format!("young {number}"));
        }
        bob.no_event();
    }
}
