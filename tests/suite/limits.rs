//! What one address, account or connection may ask for, and that nobody else
//! notices when it asks for more. How fast things come back is tested where the
//! limits are, with made-up times; here, that each is in its place.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use secure_chat::crypto::keys::{IdentityKeys, SignedPrekeySecret};
use secure_chat::crypto::os_rng;
use serde_json::{Value, json};

use crate::harness::{Client, Server, Wire, eventually, mid, plain};

fn refused(result: Result<Value, String>, code: &str) {
    assert_eq!(result.map(drop), Err(code.to_owned()));
}

/// Publishes keys with this many one-time prekeys.
fn publish(client: &mut Client, one_time: u8) {
    let keys = IdentityKeys::generate(&mut os_rng());
    let signed = SignedPrekeySecret::generate(&keys, 1, &mut os_rng()).public();
    let identity = keys.public().to_bytes();
    let one_time: Vec<Value> = (0..one_time)
        .map(|id| json!({"id": id, "key": BASE64.encode(&[id + 9; 32])}))
        .collect();
    let fields = json!({
        "identity": {"signing": BASE64.encode(&identity[..32]), "dh": BASE64.encode(&identity[32..])},
        "signed_prekey": {"id": 1, "key": BASE64.encode(&signed.key),
                          "signature": BASE64.encode(&signed.signature)},
        "one_time": one_time,
    });
    client.ok("publish", fields);
}

#[test]
fn an_address_has_no_more_connections_than_permitted() {
    let server = Server::with(&["--limit-loopback", "--max-clients-per-address", "5"]);
    let greeted = |wire: &mut Wire| {
        let _ = wire.try_write(b"ping\r\n");
        wire.line().expect("an answer or a refusal")
    };
    let mut inside: Vec<Wire> = (0..5).map(|_| server.wire()).collect();
    for wire in &mut inside {
        assert_eq!(greeted(wire), "+OK");
    }
    for _ in 0..3 {
        let mut outside = server.wire();
        let line = outside.line().unwrap();
        assert!(
            line.starts_with("-ERR server_full your address has as many "),
            "{line}"
        );
        assert_eq!(outside.line(), None);
    }
    for wire in &mut inside {
        assert_eq!(greeted(wire), "+OK");
    }
    // One goes, one may come.
    inside.pop();
    eventually("there is room again", || {
        let mut wire = server.wire();
        greeted(&mut wire) == "+OK"
    });
    let told = || server.log().matches("127.0.0.1 has 5 connections").count();
    eventually("the refusals are logged", || told() > 0);
    assert_eq!(told(), 1, "one line for all of them");
}

#[test]
fn who_sends_too_fast_is_slowed_not_refused() {
    const RATE: u64 = 200;
    const BURST: u64 = 4 * RATE;
    let server = Server::with(&["--message-rate", "200"]);
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let start = Instant::now();
    alice.send_all("bob", (0..BURST + RATE).map(|n| (n, n.to_string())));
    // The last ones had to wait: never less than what the rate says.
    assert!(start.elapsed() > Duration::from_millis(900));
    for number in 0..BURST + RATE {
        assert_eq!(bob.message().body, number.to_string());
    }
    let told = || server.log().matches("asks faster than it may").count();
    eventually("it is logged", || told() > 0);
    assert_eq!(told(), 1);
    // It goes on as usual.
    alice.send("bob", 10_000, "done").unwrap();
}

#[test]
fn acknowledging_is_never_slowed() {
    let server = Server::with(&["--message-rate", "10"]);
    let mut bob = server.register("bob");
    for _ in 0..500 {
        bob.ack("alice", &[crate::harness::mid(1)]);
    }
    assert!(!server.log().contains("asks faster"));
}

#[test]
fn a_stranger_who_talks_without_end_is_slowed() {
    let server = Server::with(&["--message-rate", "0"]);
    let mut stranger = server.wire();
    stranger.write("ping\n".repeat(60).as_bytes());
    for _ in 0..60 {
        assert_eq!(stranger.line().as_deref(), Some("+OK"));
    }
    eventually("it is logged", || {
        server.log().contains("asks faster than it may")
    });
    // Without a limit on messages, a logged-in client is not.
    let mut alice = server.register("alice");
    for _ in 0..2000 {
        alice.ok("ping", json!({}));
    }
    assert_eq!(server.log().matches("asks faster").count(), 1);
}

#[test]
fn searching_has_a_rate_for_each_account() {
    let server = Server::with(&["--search-rate", "2"]);
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let search = || json!({"text": "al"});
    alice.ok("search", search());
    alice.ok("search", search());
    refused(alice.ask("search", search()), "slow_down");
    // Logging in again is no way round it.
    alice.ok("logout", json!({}));
    alice.login("alice").unwrap();
    refused(alice.ask("search", search()), "slow_down");
    alice.ok("status", json!({"name": "bob"}));
    bob.ok("search", search());
}

#[test]
fn nobody_takes_all_of_somebodys_one_time_prekeys() {
    let server = Server::with(&["--key-rate", "8"]);
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let mut carol = server.register("carol");
    publish(&mut alice, 20);
    let keys = || json!({"name": "alice"});
    for attempt in 0..8 {
        let bundle = bob.ok("keys", keys());
        assert!(bundle["signed_prekey"]["key"].is_string());
        match attempt {
            0..5 => assert_eq!(bundle["one_time"]["id"], attempt),
            _ => assert!(bundle["one_time"].is_null(), "{bundle}"),
        }
    }
    refused(bob.ask("keys", keys()), "slow_down");
    let next = carol.ok("keys", keys());
    assert_eq!(next["one_time"]["id"], 5, "the stock is there for others");
}

#[test]
fn an_address_makes_a_limited_number_of_accounts_per_hour() {
    let server = Server::with(&["--limit-loopback", "--registration-rate", "3"]);
    let mut alice = server.register("alice");
    // What fails for another reason does not count.
    let mut late = server.client();
    let fields = late.registration("alice");
    refused(late.ask("register", fields), "name_taken");
    server.register("bob");
    server.console().register("carol");
    let fields = late.registration("dave");
    refused(late.ask("register", fields), "slow_down");
    let answer = server.console().type_line("register erin correct horse");
    assert!(
        answer.starts_with("-ERR slow_down too many accounts "),
        "{answer}"
    );
    // Those who are here are as welcome as before.
    alice.ok("logout", json!({}));
    alice.login("alice").unwrap();
}

#[test]
fn a_name_is_looked_up_under_the_limit_of_registrations() {
    let server = Server::with(&["--limit-loopback", "--registration-rate", "2"]);
    let available = |name: &str| json!({"name": name});
    let mut alice = server.client();
    alice.ok("available", available("alice"));
    // The registration that follows counts no more.
    alice.ok("available", available("alice"));
    alice.register("alice");
    refused(
        alice.ask("available", available("bob")),
        "already_logged_in",
    );
    let mut late = server.client();
    refused(late.ask("available", available("alice")), "name_taken");
    late.ok("available", available("bob"));
    refused(late.ask("available", available("carol")), "slow_down");
    late.register("bob");
    let closed = Server::with(&["--registration", "false"]);
    refused(
        closed.client().ask("available", available("bob")),
        "registration_closed",
    );
}

#[test]
fn the_server_derives_only_so_many_keys_for_one_address() {
    let server = Server::with(&["--limit-loopback", "--console-login-rate", "3"]);
    let mut alice = server.register("alice");
    let mut console = server.console();
    console.register("bob");
    console.type_line("logout");
    for _ in 0..2 {
        let answer = console.type_line("login bob something else");
        assert!(answer.starts_with("-ERR wrong_login "), "{answer}");
    }
    let answer = console.login("bob");
    assert!(answer.starts_with("-ERR slow_down "), "{answer}");
    // A client derives its own.
    alice.ok("logout", json!({}));
    alice.login("alice").unwrap();
}

#[test]
fn wrong_logins_lock_nobody_out() {
    let server = Server::with(&["--limit-loopback"]);
    let mut alice = server.register("alice");
    let mut guessers: Vec<(Client, u64)> = (0..40u8)
        .map(|guess| {
            let mut client = server.client();
            client.nonce();
            let proof = BASE64.encode(&[guess; 64]);
            let posted = client.post("login", &json!({"name": "alice", "proof": proof}));
            (client, posted)
        })
        .collect();
    eventually("they are counted", || {
        server.log().matches("failed to log in").count() > 0
    });
    // A logged-in user stays so, and can log in again while they wait, even from the
    // same address.
    alice.ok("ping", json!({}));
    alice.ok("logout", json!({}));
    alice.login("alice").unwrap();
    let mut second = server.client();
    second
        .login_with("alice", json!({"take_over": true}))
        .unwrap();
    for (client, posted) in &mut guessers {
        refused(client.answer(*posted), "wrong_login");
    }
    second.ok("ping", json!({}));
}

#[test]
fn the_operators_page_names_every_limit_of_the_help() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_server"))
        .arg("options")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let page = include_str!("../../docs/OPERATIONS.md");
    let (_, limits) = help.split_once("\nLimits:\n").expect("a heading");
    let flags: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|line| line.split([' ', '=']).next())
        .collect();
    assert!(flags.len() >= 15, "{flags:?}");
    for flag in flags {
        assert!(page.contains(&format!("`--{flag}`")), "--{flag}");
        let twin = flag.to_uppercase().replace('-', "_");
        assert!(help.contains(&format!("SECURE_CHAT_{twin}=")), "{flag}");
    }
}

#[test]
fn rates_out_of_range_are_explained() {
    for flag in ["--message-rate", "--search-rate", "--key-rate"] {
        let (status, text) = crate::harness::run_to_the_end(&[flag, "2000000"]);
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(text.contains(flag) && text.contains("1000000"), "{text}");
    }
}

#[test]
fn a_new_login_does_not_renew_an_accounts_rate() {
    let server = Server::with(&["--message-rate", "10"]);
    let mut alice = server.register("alice");
    // Four seconds' worth at once.
    for _ in 0..40 {
        alice.post("ping", &json!({}));
    }
    alice.ok("logout", json!({}));
    let mut again = server.login("alice");
    let started = Instant::now();
    for _ in 0..10 {
        again.ok("ping", json!({}));
    }
    // A second's worth takes nearly a second; with a full bucket, no time.
    assert!(started.elapsed() > Duration::from_millis(500));
}

#[test]
fn every_line_that_is_answered_costs_a_stranger() {
    let server = Server::start();
    let lines: [&[u8]; 4] = [b"?\n", b"\n", b"help\n", b"send bob\nping\n"];
    for line in lines {
        let mut guest = server.wire();
        // A burst is free; behind it ten a second.
        guest.write(&line.repeat(90));
        guest.write(b"quit\n");
        let started = Instant::now();
        let rest = guest.rest();
        assert!(rest.contains("goodbye"), "{rest}");
        assert!(started.elapsed() > Duration::from_secs(2), "{line:?}");
    }
    // The same in JSON, where a request that is only too large may come as often as any.
    let mut guest = server.wire();
    let text = "a".repeat(16_385);
    let mid = mid(1);
    let line = format!(
        "{{\"id\":1,\"op\":\"send\",\"to\":\"b\",\"mid\":\"{mid}\",\"text\":\"{text}\"}}\n"
    );
    guest.write(line.repeat(80).as_bytes());
    let started = Instant::now();
    for _ in 0..80 {
        assert!(guest.line().unwrap().contains("too_large"));
    }
    assert!(started.elapsed() > Duration::from_secs(2));
}

#[test]
fn what_is_ready_does_not_wait_for_the_rest_of_a_slowed_batch() {
    let server = Server::with(&["--message-rate", "1"]);
    let mut bob = server.register("bob");
    let mut alice = server.register("alice");
    // All in one write: four seconds' worth at once, then one a second.
    let mut lines = String::new();
    for id in 1..=12 {
        let message = plain("bob", id, "x");
        let mut line = json!({"id": 100 + id, "op": "send"});
        let object = message.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(object);
        lines += &format!("{line}\n");
    }
    alice.wire().write(lines.as_bytes());
    bob.message();
    alice.answer(101).unwrap();
    let started = Instant::now();
    alice.answer(112).unwrap();
    assert!(
        started.elapsed() > Duration::from_secs(4),
        "they came together"
    );
}
