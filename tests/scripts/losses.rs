//! Connections that are lost while a command waits for its answer, and what its exit code says.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::Place;
use crate::beside::Running;

/// Stands between a client and the server, and cuts the connection instead of passing on a request
/// of a certain kind. Its threads end with the test's process.
struct Gateway {
    address: SocketAddr,
    cuts_at: Arc<Mutex<Option<&'static str>>>,
}

impl Gateway {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = Gateway {
            address: listener.local_addr().unwrap(),
            cuts_at: Arc::default(),
        };
        let cuts_at = Arc::clone(&gateway.cuts_at);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let cuts_at = Arc::clone(&cuts_at);
                thread::spawn(move || relay(client, server, &cuts_at));
            }
        });
        gateway
    }

    /// Cuts at this operation from here on.
    fn cut_at(&self, op: &'static str) {
        *self.cuts_at.lock().unwrap() = Some(op);
    }
}

fn relay(client: TcpStream, server: SocketAddr, cuts_at: &Mutex<Option<&'static str>>) {
    let server = TcpStream::connect(server).unwrap();
    let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ended = copy(&mut answers, &mut to_client);
        let _gone = to_client.shutdown(Shutdown::Both);
    });
    let mut requests = BufReader::new(client);
    let mut line = Vec::new();
    while matches!(requests.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        let is_cut = |op: &str| text.contains(&format!("\"op\":\"{op}\""));
        if cuts_at.lock().unwrap().is_some_and(is_cut) {
            break;
        }
        if (&server).write_all(&line).is_err() {
            break;
        }
        line.clear();
    }
    let _gone = requests.get_ref().shutdown(Shutdown::Both);
    let _gone = server.shutdown(Shutdown::Both);
}

#[test]
fn a_lost_connection_is_no_refusal_and_a_kept_message_is_no_loss() {
    let place = Place::with(&["bob"]);
    let gateway = Gateway::to(place.server.address());
    let through = gateway.address.to_string();
    let run =
        |arguments: &[&str]| place.run("alice", &[arguments, &["--server", &through]].concat(), "");
    let made = run(&["register", "alice", "--recovery-file", "alice.code"]);
    assert_eq!(made.code, 0, "{made:?}");
    for (op, arguments) in [
        ("status", &["status", "bob"][..]),
        ("search", &["search", "bo"]),
        ("fetch", &["fetch"]),
        ("fetch", &["unread"]),
        ("keys", &["verify", "bob"]),
    ] {
        gateway.cut_at(op);
        let lost = run(arguments);
        assert_eq!(lost.code, 4, "{arguments:?} {lost:?}");
        assert_eq!(lost.out, "", "{arguments:?} {lost:?}");
        assert!(lost.err.contains("connection"), "{arguments:?} {lost:?}");
    }
    gateway.cut_at("send");
    let kept = run(&["send", "bob", "precious", "--timeout", "2", "--json"]);
    assert_eq!(kept.code, 9, "{kept:?}");
    assert_eq!(kept.json()[0]["state"], "waiting");
    assert!(kept.err.contains("goes out at the next login"), "{kept:?}");
    gateway.cut_at("nothing");
    assert_eq!(run(&["unread"]).code, 0);
    let got = place.json("bob", &["fetch"], "");
    assert_eq!(got.last().unwrap()["text"], "precious");
}

#[test]
fn send_tries_to_connect_until_its_time_is_over() {
    let mut place = Place::with(&["bob"]);
    let gateway = Gateway::to(place.server.address());
    let through = gateway.address.to_string();
    let made = place.run(
        "alice",
        &[
            "register",
            "alice",
            "--recovery-file",
            "alice.code",
            "--server",
            &through,
        ],
        "",
    );
    assert_eq!(made.code, 0, "{made:?}");
    gateway.cut_at("hello");
    let mut client = place.client("alice");
    client.args([
        "--server",
        &through,
        "send",
        "bob",
        "at last",
        "--timeout",
        "60",
    ]);
    let mut send = Running::start(&mut client);
    send.sees("trying again for 60 s");
    gateway.cut_at("nothing");
    assert_eq!(send.quits(), 0, "{:?}", send.seen);
    let got = place.json("bob", &["fetch"], "");
    assert_eq!(got.last().unwrap()["text"], "at last");
    place.server.kill();
    let vain = place.run("bob", &["send", "alice", "in vain", "--timeout", "1"], "");
    assert_eq!((vain.code, vain.out.as_str()), (4, ""), "{vain:?}");
    assert!(vain.err.contains("trying again for 1 s"), "{vain:?}");
}
