//! What people decide about themselves and others, end to end: blocks, being
//! listed, presence, unencrypted mail, and hearing of those whom a full mailbox
//! turned away. At the console and in the client; JSON alone is in `accounts` and
//! `backlog`.

use std::path::Path;

use serde_json::json;

use crate::harness::{ClientProcess, Console, Server};

/// A mailbox of four messages, of which one sender may fill two.
const SMALL: [&str; 4] = ["--mailbox-messages", "4", "--sender-share", "50"];

#[test]
fn a_person_at_the_console_decides() {
    let server = Server::start();
    let (mut alice, mut carol) = (server.console(), server.console());
    alice.register("alice");
    carol.register("carol");
    assert_eq!(carol.exchange("search al").1, "+OK 1 found");
    assert_eq!(carol.type_line("status alice"), "+OK alice is online");

    let all_off = "+OK listed off, presence off, refuse-unencrypted on, 0 blocked";
    alice.type_line("settings listed off");
    alice.type_line("settings presence off");
    assert_eq!(alice.type_line("settings refuse-unencrypted on"), all_off);
    assert_eq!(carol.type_line("search al"), "+OK 0 found");
    assert_eq!(carol.type_line("status alice"), "+OK alice is offline");
    let refused = carol.type_line("send alice psst");
    assert!(
        refused.starts_with("-ERR unencrypted_refused "),
        "{refused}"
    );

    alice.type_line("settings refuse-unencrypted off");
    let blocked = alice.type_line("block carol");
    assert!(blocked.ends_with(", 1 blocked"), "{blocked}");
    let stored = "+OK stored, not encrypted";
    assert_eq!(carol.type_line("send alice psst"), stored);
    assert_eq!(alice.type_line("ack"), "+OK 0 marked as read");
    let unblocked = alice.type_line("unblock carol");
    assert!(unblocked.ends_with(", 0 blocked"), "{unblocked}");
    carol.type_line("send alice at last");
    assert!(alice.line().ends_with("from carol: at last"));
    let ghost = alice.type_line("block ghost");
    assert!(ghost.starts_with("-ERR unknown_user "), "{ghost}");
}

/// Alice sends bob more than her share of his mailbox.
fn crowd(server: &Server) {
    let mut alice = server.register("alice");
    for number in 0..2 {
        alice.send("bob", number, "text").unwrap();
    }
    for number in 2..4 {
        let refused = alice.send("bob", number, "text");
        assert_eq!(refused, Err("mailbox_full".to_owned()));
    }
}

#[test]
fn who_was_turned_away_is_told_at_the_console_at_the_next_login() {
    let server = Server::with(&SMALL);
    let mut bob = server.console();
    bob.register("bob");
    bob.type_line("logout");
    crowd(&server);
    assert_eq!(bob.login("bob"), "+OK you are bob");
    let told = until(&mut bob, "turned away because your mailbox was full");
    assert!(told.ends_with("from: alice"), "{told}");
}

fn until(person: &mut Console, part: &str) -> String {
    loop {
        let line = person.line();
        if line.contains(part) {
            return line;
        }
    }
}

/// Runs the client with these lines typed into it, to a good end; all that it says.
fn script(server: &Server, home: &Path, lines: &str) -> String {
    let (code, said) = run(server, home, lines);
    assert_eq!(code, Some(0), "{said}");
    said
}

/// Runs the client with these lines typed into it; its exit code, and what it says.
fn run(server: &Server, home: &Path, lines: &str) -> (Option<i32>, String) {
    let mut client = ClientProcess::start(server.address(), &home.join("data"), &[]);
    lines.lines().for_each(|line| client.types(line));
    let code = client.ends();
    (code, client.shown.join("\n"))
}

#[test]
fn who_finds_the_server_full_is_told_by_the_client() {
    let server = Server::with(&["--limit-loopback", "--max-clients-per-address", "1"]);
    let home = crate::harness::temporary_folder();
    let _alice = server.register("alice");
    let (code, said) = run(&server, home.path(), "/register bob\n/quit\n");
    assert_eq!(code, Some(4), "{said}");
    let sentence = "the server says \"your address has as many connections as one may have, 1;";
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn a_person_with_the_client_decides() {
    let server = Server::start();
    let home = crate::harness::temporary_folder();
    let (mut alice, mut carol) = (server.register("alice"), server.register("carol"));
    let said = script(
        &server,
        home.path(),
        "/register bob\n/block alice\n/settings listed off\n/settings presence off\n\
         /settings refuse-unencrypted on\n/settings\n/quit\n",
    );
    for part in ["alice is blocked", "blocked: alice"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for setting in ["listed off", "presence off", "refuse-unencrypted on"] {
        let (name, value) = setting.split_once(' ').unwrap();
        let line = said.lines().rfind(|line| line.starts_with(name)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(value), "{said}");
    }
    let found = carol.ok("search", json!({"text": "bob"}));
    assert_eq!(found["users"], json!([]));
    let status = carol.ok("status", json!({"name": "bob"}));
    assert_eq!(status["last_seen"], json!(null));
    let refused = carol.send("bob", 1, "psst");
    assert_eq!(refused, Err("unencrypted_refused".to_owned()));
    let envelope = json!({"to": "bob", "mid": crate::harness::mid(1), "envelope": "AQID"});
    assert_eq!(alice.ok("send", envelope)["state"], "stored");

    let said = script(
        &server,
        home.path(),
        "/login bob\n/fetch\n/unblock alice\n/settings refuse-unencrypted off\n/quit\n",
    );
    assert!(said.contains("no missed messages"), "dropped: {said}");
    assert!(said.contains("alice is not blocked"), "{said}");
    assert!(!said.contains("blocked: alice"), "{said}");
    alice.send("bob", 2, "at last").unwrap();
    carol.send("bob", 2, "me too").unwrap();
    let said = script(
        &server,
        home.path(),
        "/login bob\n/fetch\n/contacts\n/quit\n",
    );
    for part in [
        "alice [UNENCRYPTED]: at last",
        "carol [UNENCRYPTED]: me too",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn who_was_turned_away_is_told_by_the_client_once() {
    let server = Server::with(&SMALL);
    let home = crate::harness::temporary_folder();
    script(&server, home.path(), "/register bob\n/quit\n");
    crowd(&server);
    // The second refusal may have come after the first was written down.
    let logins = (0..2).map(|_| {
        script(
            &server,
            home.path(),
            "/login bob\n/fetch\n/contacts\n/quit\n",
        )
    });
    let said: String = logins.collect();
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("the server turned away"))
        .collect();
    assert!(!told.is_empty(), "{said}");
    assert!(
        told.iter()
            .all(|line| line.contains("from alice; ask them to send again"))
    );
    let count = |line: &&str| match line.contains("turned away 2 messages") {
        true => 2,
        false => 1,
    };
    assert_eq!(told.iter().map(count).sum::<u32>(), 2, "{said}");
    let said = script(
        &server,
        home.path(),
        "/login bob\n/fetch\n/contacts\n/quit\n",
    );
    assert!(!said.contains("turned away"), "{said}");
}
