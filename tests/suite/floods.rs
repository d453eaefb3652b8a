//! Too much of everything: bytes without a line, lines without a reader,
//! connections, descriptors. Memory stays bounded and others are served.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Server, Wire, eventually};

/// What a server may grow by, in KiB, under any flood here: far above what the
/// allocator keeps for itself, far below what the flood would need unbounded.
const ROOM_KIB: u64 = 64 * 1024;

#[test]
fn a_hundred_megabytes_without_a_newline_are_not_kept() {
    let server = Server::start();
    let before = server.resident_kib();
    for first in [b'{', b'x'] {
        let mut wire = server.wire();
        let block = vec![first; 1 << 20];
        let mut sent = 0;
        while sent < 100 && wire.try_write(&block).is_ok() {
            sent += 1;
        }
        assert!(sent < 100, "the connection ends long before");
        assert!(server.resident_kib() < before + ROOM_KIB);
        let end = wire.rest();
        assert!(end.is_empty() || end.contains("line_too_long"), "{end}");
    }
    // Nothing follows it, so the answer is certainly read.
    for first in ["{", "x"] {
        let mut wire = server.wire();
        wire.write(first.repeat(64 * 1024).as_bytes());
        assert!(wire.rest().contains("line_too_long"));
    }
    server.register("alice");
}

#[test]
fn a_line_may_come_a_byte_at_a_time() {
    let server = Server::start();
    let mut dribbler = server.wire();
    let line = format!(
        "{{\"op\":\"ping\",\"id\":1,\"x\":\"{}\"}}\n",
        "y".repeat(5000)
    );
    for byte in line.as_bytes() {
        dribbler.write(&[*byte]);
    }
    assert_eq!(dribbler.line().unwrap(), "{\"id\":1,\"ok\":{}}");
    // Half a line must not keep anybody waiting.
    dribbler.write(b"{\"op\":\"pi");
    server.register("alice");
    dribbler.write(b"ng\",\"id\":2}\n");
    assert_eq!(dribbler.line().unwrap(), "{\"id\":2,\"ok\":{}}");
}

#[test]
fn answers_that_nobody_reads_are_bounded_whatever_they_were_asked_with() {
    let server = Server::start();
    let before = server.resident_kib();
    // Two bytes ask for a page of help: 64 KiB of them for 40 MiB. A long line
    // comes first, so that the server reads that many at once.
    let mut flooders: Vec<Wire> = (0..8).map(|_| server.wire()).collect();
    for flooder in &mut flooders {
        flooder.write(&[b' '; 60_000]);
        flooder.stream().set_nonblocking(true).unwrap();
        let mut lines = b"\n".to_vec();
        lines.extend_from_slice(&b"?\n".repeat(100_000));
        // As much as the server and the kernels between take.
        for _ in 0..20 {
            if flooder.stream().write(&lines).is_err() {
                break;
            }
        }
    }
    let mut other = server.register("alice");
    for _ in 0..200 {
        other.ok("ping", json!({}));
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < ROOM_KIB, "{grown} KiB");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn beyond_the_limit_connections_are_refused_in_words() {
    let server = Server::with(&["--max-clients", "40"]);
    let mut inside = server.register("alice");
    let mut wires: Vec<Wire> = (0..60).map(|_| server.wire()).collect();
    let mut served = Vec::new();
    let mut refused = 0;
    for mut wire in wires.drain(..) {
        let _ = wire.try_write(b"ping\r\n");
        let line = wire.line().expect("an answer or a refusal");
        if line.starts_with("-ERR server_full ") {
            refused += 1;
            assert_eq!(wire.line(), None);
        } else {
            assert!(line.starts_with("-ERR") || line == "+OK", "{line}");
            served.push(wire);
        }
    }
    assert_eq!((served.len(), refused), (39, 21));
    inside.ok("ping", json!({}));
    for wire in &mut served {
        wire.write(b"ping\r\n");
        assert_eq!(wire.line().unwrap(), "+OK");
    }
    // Room again when some have gone.
    drop(served);
    eventually("there is room again", || {
        let mut wire = server.wire();
        let _ = wire.try_write(b"ping\r\n");
        wire.line().is_some_and(|line| line == "+OK")
    });
}

#[test]
fn without_descriptors_the_server_neither_spins_nor_dies() {
    let mut server = Server::start();
    server.limit_descriptors(64);
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let wires: Vec<Wire> = (0..150).map(|_| server.wire()).collect();
    eventually("the server is out of descriptors", || {
        server
            .log()
            .contains("connections can't be accepted for now")
    });
    // For as long as this takes it does next to nothing.
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let used = server.cpu_ticks() - before;
    assert!(used < 100, "it spins: {used} hundredths of a second in two");
    // Those who are in are served, the database included.
    let sent = alice.post("send", &crate::harness::plain("bob", 1, "still here"));
    assert_eq!(bob.message().body, "still here");
    alice.answer(sent).unwrap();

    drop(wires);
    eventually("newcomers are served again", || {
        let mut wire = server.wire();
        wire.try_write(b"ping\r\n").is_ok() && wire.line().as_deref() == Some("+OK")
    });
    assert!(server.is_alive());
    server.register("carol");
}

#[test]
fn under_low_limits_it_says_what_it_serves_and_keeps_what_it_needs() {
    // So many clients that the limit cannot be raised to it, not even by root.
    let server = Server::after("ulimit -n 64", &["--max-clients", "100000000"]);
    let said = "only 64 files may be open, which is enough for 24 connections";
    eventually("it says so", || server.log().contains(said));
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let guests: Vec<Wire> = (0..22).map(|_| server.wire()).collect();
    let mut late = server.wire();
    assert!(late.rest().contains("server_full"));
    // The database has the descriptors that it needs.
    let found = alice.ok("search", serde_json::json!({"text": "bob"}));
    assert_eq!(found["users"].as_array().unwrap().len(), 1);
    alice.send("bob", 1, "still here").unwrap();
    assert_eq!(bob.message().body, "still here");
    assert!(!server.log().contains("can't be accepted"));
    drop(guests);
}

#[test]
fn guests_make_room_when_the_server_is_full() {
    let server = Server::with(&["--max-clients", "4"]);
    let mut alice = server.register("alice");
    let mut guests: Vec<Wire> = (0..3).map(|_| server.wire()).collect();
    eventually("all are there", || server.connections() == 4);
    let mut early = server.wire();
    assert!(early.rest().contains("server_full"), "they have just come");
    // Who came first goes first, once it had its time; who is logged in stays.
    eventually("a newcomer gets in", || {
        let mut newcomer = server.wire();
        newcomer.try_write(b"ping\r\n").is_ok() && newcomer.line().as_deref() == Some("+OK")
    });
    let said = guests[0].rest();
    assert!(said.contains("others need the place"), "{said}");
    alice.ok("ping", serde_json::json!({}));
}
