//! One login per account, and what becomes of dead ones.

use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, mid, plain};

#[test]
fn a_second_login_is_refused_and_changes_nothing() {
    let server = Server::start();
    let mut first = server.register("alice");
    let mut second = server.client();
    assert_eq!(second.login("alice"), Err("already_online".to_owned()));
    assert_eq!(second.ask("search", json!({"text": "al"})), not_logged_in());
    let while_logged_in = first.login("alice");
    assert_eq!(while_logged_in, Err("already_logged_in".to_owned()));
    first.no_event();
    first.ok("logout", json!({}));
    assert!(second.login("alice").is_ok(), "free after the logout");
}

#[test]
fn a_take_over_ends_the_first_session() {
    let server = Server::start();
    let mut bob = server.register("bob");
    let mut first = server.register("alice");
    bob.post("send", &plain("alice", 1, "to whom?"));
    assert_eq!(first.message().body, "to whom?");

    let mut second = server.client();
    let welcome = second.login_with("alice", json!({"take_over": true}));
    assert_eq!(welcome.unwrap()["plain"], 1);
    assert_eq!(second.message().body, "to whom?", "it was not acked");
    assert_eq!(first.event(), json!({"event": "replaced"}));
    assert_eq!(first.next_event(), None);

    // The end of the first does not remove the second.
    drop(first);
    assert_eq!(second.ack("bob", &[mid(1)]), (1, 0));
    let status = bob.ok("status", json!({"name": "alice"}));
    assert_eq!(status["online"], true);
    let mut third = server.client();
    assert_eq!(third.login("alice"), Err("already_online".to_owned()));
}

#[test]
fn requests_of_a_replaced_session_are_refused() {
    let server = Server::start();
    let mut bob = server.register("bob");
    let mut first = server.register("alice");
    bob.post("send", &plain("alice", 1, "once"));
    first.message();
    let mut second = server.client();
    second
        .login_with("alice", json!({"take_over": true}))
        .unwrap();
    // Whatever of this the server still reads must not count as alice's: the
    // message would be acked for a session that never showed it.
    let late = json!({"id": 900, "op": "ack", "from": "bob", "ids": [mid(1)]});
    let send = json!({"id": 901, "op": "send", "to": "bob", "mid": mid(7), "text": "late"});
    let _ = first
        .wire()
        .try_write(format!("{late}\n{send}\n").as_bytes());
    let mut answers = Vec::new();
    while let Some(line) = first.wire().line() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["ok"].is_null() || line["id"] == 1, "{line}");
        answers.push(line);
    }
    assert!(answers.iter().any(|line| line["event"] == "replaced"));
    assert_eq!(second.message().body, "once");
    assert_eq!(
        second.ack("bob", &[mid(1)]),
        (1, 0),
        "still pending until now"
    );
    bob.ok("ping", json!({}));
}

#[test]
fn a_client_resumes_its_own_session_by_its_secret() {
    let server = Server::start();
    let mut first = server.client();
    let secret = first.register("alice")["session"].clone();
    let mut second = server.client();
    let guess = json!({"replaces": "AAAAAAAAAAAAAAAAAAAAAA=="});
    let refused = second.login_with("alice", guess);
    assert_eq!(refused, Err("already_online".to_owned()));
    first.no_event();
    let welcome = second.login_with("alice", json!({"replaces": secret}));
    assert_ne!(welcome.unwrap()["session"], secret, "each has its own");
    assert_eq!(first.event(), json!({"event": "replaced"}));
    // The old secret opens nothing any more.
    let mut third = server.client();
    let refused = third.login_with("alice", json!({"replaces": secret}));
    assert_eq!(refused, Err("already_online".to_owned()));
}

#[test]
fn a_killed_clients_session_is_free() {
    // No ping and no idle limit may be needed for it: they are far away.
    let server = Server::with(&["--ping-after", "1000", "--idle-limit", "2000"]);
    server.register("alice"); // Dropped at once, as a killed process's is.
    let mut again = server.client();
    eventually("the session is free", || again.login("alice").is_ok());
}

#[test]
fn a_silent_peer_is_asked_then_dropped() {
    let server = Server::with(&["--ping-after", "1", "--idle-limit", "3"]);
    let mut frozen = server.register("alice");
    assert_eq!(frozen.event(), json!({"event": "ping"}));
    let end = frozen.event();
    assert_eq!(end["error"]["code"], "timed_out");
    assert_eq!(frozen.next_event(), None);
    let mut again = server.client();
    eventually("the session is free", || again.login("alice").is_ok());

    // A client that answers stays connected, however long it lasts.
    for _ in 0..4 {
        assert_eq!(again.event(), json!({"event": "ping"}));
        again.ok("ping", json!({}));
    }
}

#[test]
fn nobody_may_stay_without_logging_in() {
    let server = Server::with(&["--login-time", "1"]);
    let mut silent = server.wire();
    assert!(silent.rest().starts_with("-ERR timed_out "));
    let mut alice = server.register("alice");
    alice.ok("logout", json!({}));
    assert_eq!(alice.event()["error"]["code"], "timed_out");
    assert_eq!(alice.next_event(), None);
}

#[test]
fn a_late_end_spares_the_successor() {
    let server = Server::start();
    let mut observer = server.register("observer");
    let mut current = server.register("alice");
    // Many generations; each dies after its successor has begun.
    for _ in 0..20 {
        let mut next = server.client();
        next.login_with("alice", json!({"take_over": true}))
            .unwrap();
        drop(current);
        current = next;
    }
    eventually("the old connections have ended", || {
        server.log().matches("alice left").count() == 20
    });
    let status = observer.ok("status", json!({"name": "alice"}));
    assert_eq!(status["online"], true);
    observer.post("send", &plain("alice", 1, "still there"));
    assert_eq!(current.message().body, "still there");
}

#[test]
fn a_script_leaves_no_trace_of_presence() {
    let server = Server::start();
    let mut observer = server.register("observer");
    server.register("bot").ok("logout", json!({}));
    let seen = |observer: &mut Client| observer.ok("status", json!({"name": "bot"}));
    eventually("the first session is written down", || {
        seen(&mut observer)["last_seen"].is_u64()
    });
    let before = seen(&mut observer);
    let mut bot = server.client();
    bot.login_with("bot", json!({"presence": false})).unwrap();
    assert_eq!(seen(&mut observer), before, "neither online");
    bot.ok("logout", json!({}));
    // A change behind it in the writer's queue: were one written, it were now.
    observer.ok("settings", json!({"listed": false}));
    assert_eq!(seen(&mut observer), before, "nor last seen");
}

/// The server asks only after a silence that makes a connection change its thread
/// for a small one; what follows makes it change back, again and again.
#[test]
fn a_connection_is_the_same_after_every_silence() {
    let server = Server::with(&["--ping-after", "6", "--idle-limit", "30"]);
    let mut alice = server.register("alice");
    let mut bob = server.register("bob");
    for round in 0..2 {
        for silent in [&mut alice, &mut bob] {
            assert_eq!(silent.event()["event"], "ping");
        }
        // One is pushed to while it waits, the other speaks first.
        bob.ok("ping", json!({}));
        bob.send("alice", round, "did you sleep?").unwrap();
        assert_eq!(alice.message().mid, mid(round));
        assert_eq!(alice.ack("bob", &[mid(round)]), (1, 0));
        assert_eq!(bob.event()["event"], "delivered");
    }
    drop(alice);
    eventually("the end is seen in a small thread, too", || {
        server.log().contains("alice left")
    });
}

fn not_logged_in() -> Result<Value, String> {
    Err("not_logged_in".to_owned())
}
