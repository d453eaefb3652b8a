//! A server that was stopped, as a suspended machine is: what its clients have said meanwhile
//! lies in the sockets, and it reads that before it judges who was silent.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Server, eventually};

#[test]
fn those_who_spoke_while_the_server_was_stopped_stay() {
    let server = Server::with(&["--ping-after", "2", "--idle-limit", "4"]);
    let mut clients: Vec<_> = ["alice", "bob", "carol"]
        .map(|name| server.register(name))
        .into();
    server.signal(Signal::STOP);
    for client in &mut clients {
        client.post("settings", &json!({}));
    }
    std::thread::sleep(Duration::from_secs(6));
    server.signal(Signal::CONT);
    for client in &mut clients {
        client.ok("ping", json!({}));
    }
    assert!(!server.log().contains("timed_out"), "{}", server.log());
}

#[test]
fn a_guest_who_logs_in_while_the_server_is_stopped_gets_in() {
    let server = Server::with(&["--login-time", "2"]);
    server.register("alice").ok("logout", json!({}));
    let mut guest = server.client();
    let nonce = guest.nonce();
    server.signal(Signal::STOP);
    let id = guest.post(
        "login",
        &crate::harness::credentials()[0].login("alice", &nonce),
    );
    std::thread::sleep(Duration::from_secs(4));
    server.signal(Signal::CONT);
    guest.answer(id).expect("it came in time");
}

#[test]
fn those_who_are_silent_after_it_are_dropped_as_ever() {
    let server = Server::with(&["--ping-after", "1", "--idle-limit", "2"]);
    let mut silent = server.register("alice");
    server.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(4));
    server.signal(Signal::CONT);
    let said: Vec<String> = std::iter::from_fn(|| silent.next_event())
        .map(|said| said.to_string())
        .collect();
    assert!(said.iter().any(|line| line.contains("ping")), "{said:?}");
    assert!(said.last().unwrap().contains("timed_out"), "{said:?}");
    eventually("it is gone", || server.connections() == 0);
}
