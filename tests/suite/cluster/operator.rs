//! An operator's commands at one server, about people at the other.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Pair, pair};
use crate::harness::{eventually, process};

/// Runs a command at the first server; what it prints.
fn command(servers: &Pair, arguments: &[&str]) -> String {
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    let output = command
        .args(arguments)
        .arg("--data")
        .arg(servers.first.data())
        .args(["--store", &servers.store])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn names(servers: &Pair) -> Vec<String> {
    let listed = command(servers, &["sessions", "list", "--json"]);
    let rows = listed
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).unwrap());
    let mut names: Vec<_> = rows
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn commands_at_one_server_reach_the_people_at_the_other() {
    let servers = pair(&[]);
    let (_alice, mut bob) = servers.alice_and_bob();
    assert_eq!(names(&servers), ["alice", "bob"]);
    eventually("both are seen online", || {
        let listed = command(&servers, &["user", "list", "--json"]);
        listed.matches(r#""online":true"#).count() == 2
    });
    let known = command(&servers, &["what-we-know", "bob", "--json"]);
    for table in ["homes", "sessions"] {
        let named = format!(r#""table":"{table}""#);
        assert_eq!(known.matches(&named).count(), 1, "{table}: {known}");
    }
    command(&servers, &["announce", "soon"]);
    let event = bob.event();
    assert_eq!(
        (&event["notice"], &event["text"]),
        (&json!("announcement"), &json!("soon"))
    );
    command(&servers, &["sessions", "close", "bob"]);
    assert_eq!(bob.event()["error"]["code"], "session_ended");
    assert_eq!(bob.next_event(), None);
    eventually("it is told", || names(&servers) == ["alice"]);

    let mut bob = servers.second.login("bob");
    command(&servers, &["user", "disable", "bob"]);
    assert_eq!(
        bob.event()["notice"],
        "announcement",
        "it was not acknowledged"
    );
    assert_eq!(bob.event()["error"]["code"], "account_disabled");
    assert_eq!(bob.next_event(), None);
    let mut bob = servers.second.client();
    assert_eq!(bob.login("bob"), Err("account_disabled".to_owned()));
    command(&servers, &["user", "enable", "bob"]);
    bob.login("bob").unwrap();
    command(&servers, &["user", "remove", "bob"]);
    let mut alice = servers.second.client();
    alice
        .login_with("alice", json!({"take_over": true}))
        .unwrap();
    let gone = alice.send("bob", 1, "are you there?");
    assert_eq!(gone, Err("unknown_user".to_owned()));
}
