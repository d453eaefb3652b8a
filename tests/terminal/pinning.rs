//! How the client knows its server: the question at first contact, what it
//! remembers, and that a man in the middle gets nothing at all.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use secure_chat::transport::buffer::{ReadBuffer, ReadOutcome};
use secure_chat::transport::channel::Channel;
use secure_chat::transport::fingerprint::Fingerprint;
use secure_chat::transport::socket::Socket;
use secure_chat::transport::tls::Acceptor;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::seat::*;
use crate::harness::{process, temporary_folder};

/// The exit code for a server that is not the right one.
const UNTRUSTED: Option<i32> = Some(6);

/// A client without a terminal, as a script runs it.
fn script(home: &TempDir, server: &str, more: &[&str]) -> Output {
    crate::harness::write_secret(&home.path().join("password"), PASSWORD);
    // The system's roots, on machines that have none, too: one that nobody knows.
    let roots = home.path().join("roots");
    std::fs::create_dir_all(&roots).unwrap();
    Acceptor::open(&roots, None).unwrap();
    process::command(env!("CARGO_BIN_EXE_client"))
        .args(["--server", server, "--data"])
        .arg(home.path().join("data"))
        .arg("--password-file")
        .arg(home.path().join("password"))
        .args(["--user", "alice"])
        .args(more)
        .env("SSL_CERT_FILE", roots.join("tls-cert.pem"))
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Makes the client know a certificate of the server, which nobody has the key of.
fn pin(home: &TempDir, place: &str) {
    let data = home.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let line = format!("{place} {}\n", Fingerprint([0x5a; 32]));
    std::fs::write(data.join("known_servers"), line).unwrap();
}

fn fingerprint(server: &Server) -> Fingerprint {
    let rest = server.for_clients.strip_prefix("chat://").unwrap();
    rest.split_once('@').unwrap().0.parse().unwrap()
}

/// Somebody with a certificate of their own where the server should be, who notes
/// every byte that a client says under TLS.
struct Middle {
    address: SocketAddr,
    fingerprint: Fingerprint,
    heard: Receiver<Vec<u8>>,
    _folder: TempDir,
}

impl Middle {
    fn between() -> Self {
        Middle::answering(|_| b"{}\n".to_vec())
    }

    /// One who answers whatever is said with what is made of the certificate.
    fn answering(answer: impl FnOnce(&Acceptor) -> Vec<u8>) -> Self {
        let folder = temporary_folder();
        let acceptor = Acceptor::open(folder.path(), None).unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let fingerprint = acceptor.fingerprint();
        let (sender, heard) = channel();
        let answer = answer(&acceptor);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = sender.send(listen(stream.unwrap(), &acceptor, &answer));
            }
        });
        Middle {
            address,
            fingerprint,
            heard,
            _folder: folder,
        }
    }

    /// What one client has said, once it is gone.
    fn heard(&self) -> Vec<u8> {
        self.heard.recv_timeout(PATIENCE).expect("a client came")
    }
}

fn listen(stream: TcpStream, acceptor: &Acceptor, answer: &[u8]) -> Vec<u8> {
    let channel = Channel::new(Socket::new(stream).unwrap());
    channel.socket().set_read_timeout(Some(PATIENCE)).unwrap();
    channel.begin_tls(acceptor.accept().unwrap().0);
    let (mut raw, mut heard, mut space) = (ReadBuffer::default(), Vec::new(), [0; 4096]);
    loop {
        match channel.read(&mut raw, &mut space) {
            Ok(ReadOutcome::Bytes(count)) => {
                heard.extend(&space[..count]);
                let _ = channel.write_all(answer, Duration::from_secs(1));
            }
            Ok(ReadOutcome::TlsOnly) => {}
            Ok(ReadOutcome::End) | Err(_) => return heard,
        }
        let _ = channel.write_all(&[], Duration::from_secs(1));
    }
}

#[test]
fn the_first_contact_is_a_question_and_the_answer_is_remembered() {
    let server = Server::start();
    let shown = fingerprint(&server).groups();
    let data = server.folder.path().join("alice").display().to_string();
    let arguments = ["--server", &server.address, "--data", &data].map(str::to_owned);
    let ask = |answer: &str| {
        let seat = Seat::take(&arguments, &[]);
        seat.prompt("> ");
        seat.enter("1");
        seat.prompt("Name: ");
        seat.enter("alice");
        seat.prompt("y/N> ");
        let screen = seat
            .screen()
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ");
        assert!(screen.contains(&shown), "{screen}");
        seat.enter(answer);
        seat
    };
    // Anything but a yes is a no, also the Enter key pressed in haste.
    let hasty = ask("");
    hasty.sees("nothing was sent");
    drop(hasty);
    let careful = ask("y");
    careful.secret("New password (at least 8 characters): ", PASSWORD);
    careful.secret("The same password again: ", PASSWORD);
    careful.sees("account alice created");
    careful.enter("/quit");
    assert!(careful.ends().success());
    // From now on there is nothing to ask.
    let again = Seat::take(&arguments, &[]);
    again.prompt("> ");
    again.enter("2");
    again.prompt("Name: ");
    again.enter("alice");
    again.secret("Password for alice: ", PASSWORD);
    again.prompt("alice> ");
}

/// What a client says and how it ends that meets somebody who answers with a line. `pinned`
/// says that the client knows a certificate of that server.
fn answered_with(line: &'static str, pinned: bool, more: &[&str]) -> (Option<i32>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, line.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Kept until the client has left, so that nothing is lost to a reset.
        let _all = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let home = temporary_folder();
    if pinned {
        pin(&home, &place);
    }
    let output = script(&home, &place, more);
    answering.join().unwrap();
    (output.status.code(), said(&output))
}

#[test]
fn a_server_that_turns_a_connection_away_is_understood() {
    const NO_CONNECTION: Option<i32> = Some(4);
    let full = "-ERR server_full as many as it takes\r\n";
    let tls_only = "{\"error\":{\"code\":\"tls_required\",\"message\":\"TLS only\"}}\n";
    for (line, more, expected) in [
        (
            full,
            &[][..],
            "the server says \"as many as it takes\", without TLS",
        ),
        (
            full,
            &["--tls", "off"],
            "the server says \"as many as it takes\"",
        ),
        (tls_only, &["--tls", "off"], "Leave out --tls off"),
        (
            "-ERR tls_required TLS only\r\n",
            &["--tls", "off"],
            "Leave out --tls off",
        ),
    ] {
        let (code, said) = answered_with(line, false, more);
        assert_eq!(code, NO_CONNECTION, "{line}: {said}");
        assert!(said.contains(expected), "{line}: {said}");
    }
    // What has no code is nobody's refusal, and ends within bounds.
    let (code, said) = answered_with("-ERR something else\r\n", false, &[]);
    assert_eq!(code, NO_CONNECTION, "{said}");
    assert!(said.contains("not with TLS as it should"), "{said}");
}

#[test]
fn a_known_server_that_stops_speaking_tls_is_suspicious() {
    for line in [
        "-ERR something else\r\n",
        "* Secure Chat console.\r\n",
        "-ERR bad_request TLS is off today, use --tls off\r\n",
        "\x15\x03\x03\x00\x02\x02\x28",
    ] {
        let (code, said) = answered_with(line, true, &[]);
        assert_eq!(code, UNTRUSTED, "{line:?}: {said}");
        assert!(
            said.contains("Somebody may be between you"),
            "{line:?}: {said}"
        );
        assert!(!said.contains("--tls off"), "{line:?}: {said}");
    }
    // Silence may be a fault, too; both are said.
    let (code, said) = answered_with("", true, &[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("somebody may be between you"), "{said}");
    // A full server says so before TLS begins, and proves nothing by it.
    let (code, said) = answered_with("-ERR server_full come back later\r\n", true, &[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("nothing proves who says it"), "{said}");
}

#[test]
fn a_pin_is_not_talked_away() {
    let server = Server::start();
    let port = server.address.parse::<SocketAddr>().unwrap().port();
    let home = temporary_folder();
    let digits = fingerprint(&server).to_string();
    let output = script(&home, &server.address, &["--fingerprint", &digits]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for host in [
        "127.0.0.1",
        "localhost",
        "LocalHost.",
        "127.1",
        "0x7f.1",
        "[::1]",
    ] {
        for place in [format!("{host}:{port}"), format!("chat://{host}:+0{port}")] {
            let output = script(&home, &place, &["--tls", "off"]);
            let said = said(&output);
            assert_eq!(output.status.code(), UNTRUSTED, "{place}: {said}");
            assert!(said.contains("nothing was sent"), "{place}: {said}");
            assert!(
                said.contains("was reached with TLS before"),
                "{place}: {said}"
            );
        }
    }
    // The environment's word counts no more than the option's.
    let output = process::command(env!("CARGO_BIN_EXE_client"))
        .args(["--server", &server.address, "--user", "alice", "--data"])
        .arg(home.path().join("data"))
        .env("SECURE_CHAT_TLS", "off")
        .env("SECURE_CHAT_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), UNTRUSTED, "{}", said(&output));
    // In each spelling the server is known, and nobody is asked for its fingerprint.
    for host in ["localhost", "LOCALHOST", "127.1"] {
        let output = script(&home, &format!("{host}:0{port}"), &[]);
        assert_eq!(output.status.code(), Some(3), "{host}: {}", said(&output));
    }
}

#[test]
fn a_server_that_the_systems_roots_vouched_for_is_not_spoken_to_without_tls() {
    let home = temporary_folder();
    // `script` takes the certificate that is there as the system's only root.
    let roots = home.path().join("roots");
    std::fs::create_dir(&roots).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (roots.join("tls-cert.pem"), roots.join("tls-key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = [&cert, &key].map(|file| file.display().to_string());
    let server = Server::start_with(&["--tls-cert", &files[0], "--tls-key", &files[1]]);
    let port = server.address.parse::<SocketAddr>().unwrap().port();
    let place = format!("localhost:{port}");
    let output = script(&home, &place, &["--tls", "system-roots"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for place in [&place, &server.address] {
        let output = script(&home, place, &["--tls", "off"]);
        let said = said(&output);
        assert_eq!(output.status.code(), UNTRUSTED, "{said}");
        assert!(said.contains("was reached with TLS before"), "{said}");
    }
    // That the roots know it is no pin.
    let output = script(&home, &place, &[]);
    assert_eq!(output.status.code(), UNTRUSTED, "{}", said(&output));
}

#[test]
fn an_address_that_is_none_is_refused_with_a_sentence() {
    let home = temporary_folder();
    for place in ["[ho]st:8080", "host:", "a b:80", "::1:8080"] {
        let output = script(&home, place, &["--tls", "off"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{place}: {said}");
        assert!(said.contains("write it as HOST:PORT"), "{place}: {said}");
    }
}

#[test]
fn a_script_is_never_asked_and_trusts_nobody_unknown() {
    let server = Server::start();
    let home = temporary_folder();
    let output = script(&home, &server.address, &[]);
    assert_eq!(output.status.code(), UNTRUSTED);
    let said = said(&output);
    assert!(said.contains(&fingerprint(&server).groups()), "{said}");
    assert!(said.contains("--fingerprint"), "{said}");
    // With the fingerprint it gets as far as the server's answer, and remembers.
    let digits = fingerprint(&server).to_string();
    let output = script(&home, &server.address, &["--fingerprint", &digits]);
    assert_eq!(
        output.status.code(),
        Some(3),
        "nobody is called alice there"
    );
    let output = script(&home, &server.address, &[]);
    assert_eq!(output.status.code(), Some(3));
}

/// The only thing that a client says to a server with another certificate than the one it knows: which one
/// that is.
fn greeting(known: Fingerprint) -> String {
    let known = data_encoding::BASE64.encode(&known.0);
    format!("{{\"id\":1,\"op\":\"hello\",\"version\":1,\"certificate\":\"{known}\"}}\n")
}

#[test]
fn a_man_in_the_middle_hears_which_certificate_is_missing_and_nothing_else() {
    let middle = Middle::between();
    let place = middle.address.to_string();
    let home = temporary_folder();
    let data = home.path().join("data");
    let right = Fingerprint([0x5a; 32]);
    pin(&home, &place);
    // Known before, named, or in the address: each time it must be that one.
    let address = format!("chat://{right}@{place}");
    let digits = right.to_string();
    let ways: [(&str, &[&str]); 3] = [
        (&place, &[]),
        (&place, &["--fingerprint", &digits]),
        (&address, &[]),
    ];
    for (server, more) in ways {
        let output = script(&home, server, more);
        let said = said(&output);
        assert_eq!(output.status.code(), UNTRUSTED, "{said}");
        for expected in [right.groups(), middle.fingerprint.groups()] {
            assert!(said.contains(&expected), "{said}");
        }
        let heard = String::from_utf8(middle.heard()).unwrap();
        assert_eq!(heard, greeting(right));
    }
    // On a terminal there is nothing to press either.
    let arguments = ["--server", &place, "--data", &data.display().to_string()].map(str::to_owned);
    let seat = Seat::take(&arguments, &[]);
    seat.prompt("> ");
    seat.enter("2");
    seat.prompt("Name: ");
    seat.enter("alice");
    seat.sees("ANOTHER CERTIFICATE");
    seat.prompt("> ");
    assert_eq!(middle.heard(), greeting(right).as_bytes());
    // The way out: the operator's word for the new one, digit by digit.
    let digits = middle.fingerprint.to_string();
    script(&home, &place, &["--fingerprint", &digits]);
    assert!(middle.heard().starts_with(b"{"));
}

/// The greeting of a server, with these announcements in it.
fn greeting_with(successions: Vec<Value>) -> Vec<u8> {
    let greeting = json!({
        "server": "secure-chat", "version": 1, "oldest": 1, "max_line": 65536,
        "nonce": data_encoding::BASE64.encode(&[0; 32]), "successions": successions,
    });
    format!("{}\n", json!({"id": 1, "ok": greeting})).into_bytes()
}

#[test]
fn whatever_somebody_in_the_middle_answers_proves_nothing() {
    let others = temporary_folder();
    let other = Acceptor::open(others.path(), None).unwrap().unwrap();
    let right = Fingerprint([0x5a; 32]);
    let word = |of: &Acceptor, next: Fingerprint| {
        serde_json::to_value(of.announce(next, 1).unwrap()).unwrap()
    };
    type Answer<'a> = Box<dyn FnOnce(&Acceptor) -> Vec<u8> + 'a>;
    let answers: [Answer<'_>; 8] = [
        Box::new(|_| b"no JSON\n".to_vec()),
        Box::new(|_| greeting_with(Vec::new())),
        // Its own word for itself, another server's, and a circle.
        Box::new(|own| greeting_with(vec![word(own, own.fingerprint())])),
        Box::new(|own| greeting_with(vec![word(&other, own.fingerprint())])),
        Box::new(|own| greeting_with(vec![word(own, right), word(own, own.fingerprint())])),
        // More than anybody reads.
        Box::new(|own| greeting_with(vec![word(own, right); 100])),
        Box::new(|own| greeting_with(vec![word(own, right); 1000])),
        // Something behind the answer.
        Box::new(|_| [greeting_with(Vec::new()), b"x\n".to_vec()].concat()),
    ];
    for answer in answers {
        let middle = Middle::answering(answer);
        let (place, home) = (middle.address.to_string(), temporary_folder());
        pin(&home, &place);
        let output = script(&home, &place, &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), UNTRUSTED, "{said}");
        assert!(said.contains("ANOTHER CERTIFICATE"), "{said}");
        assert_eq!(middle.heard(), greeting(right).as_bytes());
    }
}

#[test]
fn the_systems_roots_do_not_vouch_for_a_certificate_that_the_server_made() {
    let middle = Middle::between();
    let home = temporary_folder();
    let place = format!("localhost:{}", middle.address.port());
    let output = script(&home, &place, &["--tls", "system-roots"]);
    let said = said(&output);
    assert_eq!(output.status.code(), UNTRUSTED, "{said}");
    assert_eq!(middle.heard(), b"");
}

#[test]
fn a_server_without_tls_is_not_spoken_to_unless_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = [0; 1];
        std::io::Read::read_exact(&mut stream, &mut heard).unwrap();
        std::io::Write::write_all(&mut stream, b"-ERR no TLS here\r\n").unwrap();
        heard[0]
    });
    let home = temporary_folder();
    let output = script(&home, &place, &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("not with TLS as it should"), "{said}");
    assert!(!said.contains("--tls off"), "{said}");
    assert_eq!(
        server.join().unwrap(),
        0x16,
        "a handshake, and nothing else"
    );
}
