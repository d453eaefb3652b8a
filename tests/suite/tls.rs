//! TLS on the port that speaks everything else, too: both languages under it, the
//! certificate and its renewal, and peers that never finish a handshake.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use secure_chat::transport::fingerprint::Fingerprint;
use secure_chat::transport::tls::Acceptor;
use serde_json::json;

use crate::harness::{
    Client, Console, Nonce, PATIENCE, Server, Wire, credentials, eventually, mid, plain,
    run_to_the_end,
};

fn register(server: &Server, name: &str) -> Client {
    let mut client = Client::new(server.wire_tls());
    client.register(name);
    client
}

#[test]
fn json_is_spoken_under_tls_and_with_those_in_the_open() {
    let server = Server::start();
    let mut alice = register(&server, "alice");
    let mut bob = server.register("bob");
    alice.send("bob", 1, "under TLS").unwrap();
    assert_eq!(bob.message().body, "under TLS");
    bob.send("alice", 2, "in the open").unwrap();
    assert_eq!(alice.message().body, "in the open");
}

#[test]
fn the_console_is_spoken_under_tls() {
    let server = Server::start();
    let mut carol = Console::new(server.wire_tls());
    carol.register("carol");
    assert_eq!(
        carol.type_line("send carol hello"),
        "+OK stored, not encrypted"
    );
}

#[test]
fn a_proof_names_the_certificate_that_its_connection_has_shown() {
    let server = Server::start();
    register(&server, "alice");
    let mut client = Client::new(server.wire_tls());
    let Nonce(nonce, shown) = client.nonce();
    assert_eq!(shown.len(), 32);
    for other in [vec![], vec![7; 32]] {
        let Nonce(nonce, _) = client.nonce();
        let proof = credentials()[0].prove_login("alice", &Nonce(nonce, other));
        let refused = client.ask("login", json!({"name": "alice", "proof": proof}));
        assert_eq!(refused.unwrap_err(), "wrong_login");
    }
    // Nor does a proof made here serve in the open.
    let mut open = server.client();
    let Nonce(open_nonce, _) = open.nonce();
    assert_ne!(nonce, open_nonce);
    let proof = credentials()[0].prove_login("alice", &Nonce(open_nonce, shown));
    let refused = open.ask("login", json!({"name": "alice", "proof": proof}));
    assert_eq!(refused.unwrap_err(), "wrong_login");
}

#[test]
fn an_http_request_under_tls_gets_one_refusal_too() {
    let server = Server::start();
    server.register("bob");
    let mut wire = server.wire_tls();
    wire.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nregister eve open-sesame-9000\r\n");
    let rest = wire.rest();
    assert_eq!(rest.lines().count(), 1, "{rest}");
    assert!(rest.starts_with("-ERR not_http"), "{rest}");
    let mut console = server.console();
    assert!(console.login("eve").starts_with("-ERR wrong_login"));
}

#[test]
fn a_handshake_that_is_never_finished_ends_in_time() {
    let server = Server::with(&["--handshake-time", "1"]);
    let mut wire = server.wire();
    // The beginning of a ClientHello of 512 bytes, and then silence.
    wire.write(&[0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
    assert!(!wire.rest().contains("-ERR"), "nothing a person could read");
    eventually("it is logged", || server.log().contains("timed_out"));
    register(&server, "alice");
}

#[test]
fn noise_after_the_first_byte_ends_at_once() {
    let server = Server::start();
    for seed in 0..20u8 {
        let mut wire = server.wire();
        let mut noise = vec![0x16];
        noise.extend((0..600).map(|at| (at as u8).wrapping_mul(seed | 1).wrapping_add(seed)));
        let _ = wire.try_write(&noise);
        let mut rest = Vec::new();
        // An alert, or a reset: bytes of ours may be unread.
        let _ = wire.stream().read_to_end(&mut rest);
        assert!(rest.len() < 64, "{rest:?}");
    }
    register(&server, "alice");
}

/// An address of this machine that is not its loopback.
fn own_address() -> Option<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").ok()?;
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].ends_with("host LOCAL"))
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse::<IpAddr>().ok())
        .find(|address| !address.is_loopback())
}

#[test]
fn from_other_machines_only_tls_is_taken() {
    let Some(address) = own_address() else {
        // Without a network there is no way to come from elsewhere.
        eprintln!("skipped: this machine has no address but its loopback");
        return;
    };
    let server = Server::with(&["--listen", "0.0.0.0:0"]);
    let elsewhere = SocketAddr::new(address, server.address().port());
    for line in [
        "help\r\n",
        "{\"id\":1,\"op\":\"ping\"}\n",
        "GET / HTTP/1.1\r\n",
    ] {
        let mut wire = Wire::connect(elsewhere);
        wire.write(line.as_bytes());
        let rest = wire.rest();
        assert_eq!(rest.lines().count(), 1, "{rest}");
        assert!(rest.contains("tls_required"), "{rest}");
    }
    let mut alice = Client::new(Wire::connect_tls(elsewhere));
    alice.register("alice");
    let generous = Server::with(&["--listen", "0.0.0.0:0", "--plaintext"]);
    let elsewhere = SocketAddr::new(address, generous.address().port());
    Client::new(Wire::connect(elsewhere)).register("alice");
}

#[test]
fn from_other_machines_the_console_needs_permission() {
    let Some(address) = own_address() else {
        eprintln!("skipped: this machine has no address but its loopback");
        return;
    };
    let console = |flags: &[&str], tls: bool| {
        let server = Server::with(&[&["--listen", "0.0.0.0:0"], flags].concat());
        let elsewhere = SocketAddr::new(address, server.address().port());
        let mut wire = match tls {
            true => Wire::connect_tls(elsewhere),
            false => Wire::connect(elsewhere),
        };
        wire.write(b"quit\r\n");
        // JSON is taken all the same.
        Client::new(Wire::connect_tls(elsewhere)).ok("ping", json!({}));
        // This machine's own console always is.
        assert_eq!(server.console().type_line("ping"), "+OK");
        wire.line().unwrap()
    };
    let from = address.to_string();
    let (refused, taken) = ("-ERR use_json ", "+OK goodbye");
    assert!(console(&[], true).starts_with(refused));
    assert!(console(&["--plaintext"], false).starts_with(refused));
    assert!(console(&["--console-from", "198.51.100.0/24"], true).starts_with(refused));
    let other = ["--console-from", "198.51.100.0/24,fd00::/8", "--plaintext"];
    assert!(console(&other, false).starts_with(refused));
    assert_eq!(console(&["--console-from", &from], true), taken);
    assert_eq!(
        console(&["--console-from", &from, "--plaintext"], false),
        taken
    );
    // Without --plaintext, nothing is taken in the clear.
    assert!(console(&["--console-from", &from], false).starts_with("-ERR tls_required "));
}

#[test]
fn neither_of_two_peers_reads_and_nothing_is_stuck_or_lost() {
    const MESSAGES: u64 = 1500;
    let server = Server::start();
    let text = "x".repeat(12_000);
    let mut ends = Vec::new();
    for name in ["alice", "bob"] {
        ends.push(register(&server, name));
    }
    let ends: Vec<_> = ends
        .into_iter()
        .zip([("alice", "bob"), ("bob", "alice")])
        .map(|(mut client, (me, other))| {
            let text = text.clone();
            thread::spawn(move || {
                // 18 MiB each way, more than the kernel and the server hold, before
                // the first byte is read.
                let posted: Vec<_> = (0..MESSAGES)
                    .map(|number| client.post("send", &plain(other, number, &text)))
                    .collect();
                for id in posted {
                    client
                        .answer(id)
                        .unwrap_or_else(|code| panic!("{me}: {code}"));
                }
                let mut number = 0;
                while number < MESSAGES {
                    let event = client.event();
                    if event["event"] == "message" {
                        assert_eq!(event["mid"], mid(number), "{me}");
                        client.ack(other, &[mid(number)]);
                        number += 1;
                    }
                }
            })
        })
        .collect();
    for end in ends {
        end.join().unwrap();
    }
}

/// A fresh certificate and key in a folder of their own.
fn certificate(folder: &Path) -> Fingerprint {
    Acceptor::open(folder, None).unwrap().unwrap().fingerprint()
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_nobody_is_dropped() {
    let own = crate::harness::temporary_folder();
    let (cert, key) = (
        own.path().join("tls-cert.pem"),
        own.path().join("tls-key.pem"),
    );
    let first = certificate(own.path());
    let flags = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let server = Server::with(&flags);
    let mut alice = register(&server, "alice");
    assert_eq!(alice.wire().certificate(), first.0);

    std::fs::write(&cert, "not a certificate").unwrap();
    server.signal(Signal::HUP);
    eventually("it is refused", || server.log().contains("stays as it was"));
    assert_eq!(server.wire_tls().certificate(), first.0);

    std::fs::remove_file(&cert).unwrap();
    let second = certificate(own.path());
    assert_ne!(first, second);
    server.signal(Signal::HUP);
    eventually("it is taken", || {
        server.wire_tls().certificate() == second.0
    });
    // Who was there goes on, and may still prove what its connection has shown.
    alice.send("alice", 1, "still here").unwrap();
    alice.ok("logout", json!({}));
    alice.login("alice").unwrap();
    assert!(!server.data().join("tls-key.pem").exists());
}

#[test]
fn a_certificate_without_its_key_is_no_start() {
    let own = crate::harness::temporary_folder();
    let data = own.path().join("data");
    let missing = own.path().join("missing.pem");
    let (data, missing) = (data.to_str().unwrap(), missing.to_str().unwrap());
    let (status, said) = run_to_the_end(&[
        "--listen",
        "127.0.0.1:0",
        "--data",
        data,
        "--tls-cert",
        missing,
        "--tls-key",
        missing,
    ]);
    assert!(!status.success());
    assert!(
        said.contains("missing.pem") && said.contains("PEM"),
        "{said}"
    );
    let (status, said) = run_to_the_end(&["--data", data, "--tls-cert", missing]);
    assert_eq!(status.code(), Some(2), "{said}");
}

#[test]
fn tls_closes_with_a_word() {
    let server = Server::start();
    let mut wire = server.wire_tls();
    wire.write(b"quit\r\n");
    // Reading to the end fails if the end is not TLS's own.
    assert_eq!(wire.rest(), "+OK goodbye\r\n");
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[0x16]).unwrap();
    drop(stream);
    register(&server, "alice");
}
