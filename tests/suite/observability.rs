//! What the log says, in both formats, and what the metrics count.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, eventually, plain, temporary_folder};

/// The events of a JSON log of this kind.
fn events(log: &str, kind: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    lines.filter(|event| event["event"] == kind).collect()
}

/// Fetches the metrics' page, once it is served.
fn scrape(server: &Server) -> String {
    let mut address = String::new();
    eventually("the metrics are served", || {
        let log = server.log();
        let found = log.split("http://").nth(1);
        address = found
            .and_then(|rest| rest.split("/metrics").next())
            .unwrap_or_default()
            .to_owned();
        !address.is_empty()
    });
    request(&address, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
}

fn request(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn value(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("secure_chat_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {page}"))
        .parse()
        .unwrap()
}

#[test]
fn the_log_gives_a_reason_for_every_end_and_every_refusal() {
    let flags = ["--log", "json", "--log-level", "debug", "--login-time", "1"];
    let server = Server::with(&flags);
    let mut alice = server.register("alice");
    assert!(server.client().ask("login", json!({})).is_err());
    assert_eq!(
        alice.ask("status", json!({"name": "nobody"})),
        Err("unknown_user".into())
    );
    let mut console = server.console();
    let taken = console.type_line("register alice correct-horse-battery");
    assert!(taken.starts_with("-ERR name_taken"), "{taken}");
    let wrong = console.type_line("login alice staple-horse-battery");
    assert!(wrong.starts_with("-ERR wrong_login"), "{wrong}");
    assert_eq!(console.type_line("quit"), "+OK goodbye");
    let silent = server.wire();
    let second = {
        let mut client = server.client();
        client
            .login_with("alice", json!({"take_over": true}))
            .unwrap();
        client
    };
    drop(second);
    let reasons = |kind| {
        let mut reasons: Vec<_> = events(&server.log(), kind)
            .iter()
            .map(|event| event["reason"].as_str().unwrap_or_default().to_owned())
            .collect();
        reasons.sort();
        reasons.dedup();
        reasons
    };
    eventually("all ends are logged", || {
        let reasons = reasons("left");
        ["closed", "quit", "replaced", "timed_out"]
            .iter()
            .all(|reason| reasons.iter().any(|found| found == reason))
    });
    drop(silent);
    assert_eq!(reasons("registration_refused"), ["name_taken"]);
    assert!(reasons("request_refused").contains(&"unknown_user".to_owned()));
    assert_eq!(events(&server.log(), "login_failed").len(), 1);
    let login = &events(&server.log(), "login")[0];
    assert_eq!(
        (&login["user"], &login["level"]),
        (&json!("alice"), &json!("info"))
    );
    for secret in ["correct-horse-battery", "staple-horse-battery"] {
        assert!(!server.log().contains(secret));
    }
}

#[test]
fn a_log_file_is_opened_again_and_nothing_is_lost_between() {
    let folder = temporary_folder();
    let path = folder.path().join("log");
    let aside = folder.path().join("log.1");
    let server = Server::with(&["--log-file", path.to_str().unwrap(), "--log", "json"]);
    server.register("alice");
    let has = |path, part: &str| fs::read_to_string(path).is_ok_and(|log| log.contains(part));
    eventually("alice is logged", || has(&path, "logged in as alice"));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::rename(&path, &aside).unwrap();
    server.register("bob");
    eventually("bob is logged", || has(&aside, "logged in as bob"));
    server.signal(Signal::HUP);
    eventually("there is a new file", || path.exists());
    server.register("carol");
    eventually("carol is logged", || has(&path, "logged in as carol"));
    assert!(!has(&aside, "carol"));
    assert_eq!(server.log(), "", "nothing goes to standard error");
}

#[test]
fn metrics_count_what_happens() {
    let server = Server::with(&["--metrics", "127.0.0.1:0"]);
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    alice.ok("send", plain("bob", 1, "hello"));
    let message = bob.message();
    bob.ok("ack", json!({"from": message.from, "ids": [message.mid]}));
    server.register("carol").ok("logout", json!({}));
    alice.ok("send", plain("carol", 2, "later"));
    assert!(alice.ask("send", plain("nobody", 3, "x")).is_err());
    assert!(server.client().login("bob").is_err());
    let page = scrape(&server);
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(value(&page, "sessions") >= 2.0);
    for (name, expected) in [
        ("messages_accepted_total", 2.0),
        ("messages_delivered_total", 1.0),
        ("logins_total", 3.0),
        ("refused_total{reason=\"unknown_user\"}", 1.0),
        ("refused_total{reason=\"already_online\"}", 1.0),
    ] {
        assert_eq!(value(&page, name), expected, "{name}");
    }
    let written = value(&page, "messages_stored_total") + value(&page, "writes_elided_total");
    assert_eq!(written, 2.0);
    assert!(value(&page, "commit_duration_seconds_count") > 0.0);
    assert!(value(&page, "largest_mailbox_messages") >= 1.0);
    #[cfg(feature = "tls")]
    assert!(value(&page, "certificate_not_after_timestamp_seconds") > 1.7e9);
    for private in ["alice", "bob", "carol"] {
        assert!(!page.contains(private), "{private}");
    }
}

#[test]
fn a_peer_that_says_nothing_does_not_keep_the_metrics_from_others() {
    let server = Server::with(&["--metrics", "127.0.0.1:0"]);
    let first = scrape(&server);
    assert!(first.contains("secure_chat_build_info"), "{first}");
    let log = server.log();
    let address = log.split("http://").nth(1).unwrap();
    let address = address.split("/metrics").next().unwrap();
    let _silent = TcpStream::connect(address).unwrap();
    let _half = request(address, "GET / HTTP/1.1\r\n\r\n");
    assert!(scrape(&server).contains("secure_chat_build_info"));
    let mut long = TcpStream::connect(address).unwrap();
    long.set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // It is cut off, so writing may fail.
    let _cut = long.write_all(&vec![b'x'; 4 * 1024 * 1024]);
    assert!(scrape(&server).contains("secure_chat_build_info"));
}

#[test]
fn a_metrics_address_that_is_taken_is_a_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let (status, said) = crate::harness::run_to_the_end(&[
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
        "--metrics",
        &address,
    ]);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("metrics can't be served at"), "{said}");
    let (status, said) = crate::harness::run_to_the_end(&[
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
        "--log-file",
        "/nowhere/at/all",
    ]);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("choose another with --log-file"), "{said}");
}

#[test]
fn addresses_are_logged_in_full_shortened_or_not_at_all() {
    for (how, expected) in [
        ("full", "127.0.0.1:"),
        ("network", "127.0.0.0/24 logged in as bob"),
        ("none", "- logged in as bob"),
    ] {
        let server = Server::with(&["--log-addresses", how]);
        server.register("bob");
        eventually("it left", || server.log().contains("bob left"));
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains(" #"));
        let lines: Vec<&str> = lines.collect();
        assert!(lines.iter().any(|line| line.contains(expected)), "{log}");
        let shown = lines.iter().any(|line| line.contains("127.0.0.1"));
        assert_eq!(shown, how == "full", "{log}");
    }
}

#[test]
fn when_somebody_was_last_seen_is_forgotten() {
    let mut server = Server::start();
    let data = server.data();
    for name in ["bob", "carol"] {
        server.register(name).ok("logout", json!({}));
    }
    let last_seen = |server: &Server, name: &str| {
        server.look(&format!(
            "SELECT last_seen FROM users WHERE name = '{name}'"
        ))
    };
    eventually("it is written", || {
        last_seen(&server, "bob").is_some() && last_seen(&server, "carol").is_some()
    });
    server.kill();
    let long_ago = "UPDATE users SET last_seen = last_seen - 3 * 86400000 WHERE name = 'bob'";
    server.tamper(long_ago);
    let server = Server::on(&data, &["--keep-last-seen", "2"]);
    eventually("it is forgotten", || last_seen(&server, "bob").is_none());
    assert!(last_seen(&server, "carol").is_some());
}
