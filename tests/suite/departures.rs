//! Peers that leave, and connections whose time is up: what they held is free soon, whatever they
//! were doing, and a peer that only stops sending is still answered.

use std::net::Shutdown;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, eventually, mid};

/// So many requests that a connection without a login, at ten per second, takes far longer for
/// them than any test.
fn far_too_much() -> Vec<u8> {
    b"ping\n".repeat(5_000)
}

#[test]
fn guests_that_left_while_slowed_down_are_soon_gone() {
    let server = Server::start();
    server.client().ok("ping", json!({}));
    eventually("the first guest is gone", || server.connections() == 0);
    let mut guests: Vec<_> = (0..30).map(|_| server.wire()).collect();
    for guest in &mut guests {
        guest.write(&[b"x".repeat(2_000), b"\n".to_vec(), far_too_much()].concat());
    }
    eventually("all are being answered", || server.connections() == 30);
    // Some leave with answers unread, which resets; some close in good order.
    for guest in guests.iter_mut().step_by(2) {
        for _ in 0..40 {
            guest.line().unwrap();
        }
    }
    drop(guests);
    eventually("they are gone", || server.connections() == 0);
}

#[test]
fn a_guests_time_is_up_also_while_it_is_slowed_down() {
    let server = Server::with(&["--login-time", "2"]);
    let mut guest = server.wire();
    guest.write(&far_too_much());
    let rest = guest.rest();
    let last = rest.lines().last().unwrap();
    assert!(last.starts_with("-ERR timed_out "), "{last}");
    assert!(rest.lines().count() < 1_000);
}

#[test]
fn a_guests_time_is_up_also_if_it_reads_nothing() {
    let server = Server::with(&["--login-time", "2"]);
    let mut guest = server.wire();
    // Far more than the kernel's buffers and a send queue hold.
    let _ended = guest.try_write(&b"?\n".repeat(30_000));
    eventually("it is gone", || server.connections() == 0);
}

#[cfg(feature = "tls")]
#[test]
fn a_guests_time_is_up_also_during_a_handshake() {
    let server = Server::with(&["--login-time", "1", "--handshake-time", "600"]);
    let mut guest = server.wire();
    guest.write(&[0x16, 3, 1, 2, 0, 1]);
    guest.rest();
}

#[test]
fn what_was_read_before_a_half_close_is_answered_in_order() {
    let server = Server::start();
    let mut guest = server.wire();
    // More than may come at once, so that the last ones wait.
    let requests: String = (0..60)
        .map(|id| format!("{{\"id\":{id},\"op\":\"ping\"}}\n"))
        .collect();
    guest.write(requests.as_bytes());
    guest.stream().shutdown(Shutdown::Write).unwrap();
    let ids: Vec<_> = guest
        .rest()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64())
        .collect();
    assert_eq!(ids, (0..60).map(Some).collect::<Vec<_>>());
}

#[test]
fn a_half_close_is_no_way_to_stay() {
    let server = Server::start();
    let mut guest = server.wire();
    guest.write(&far_too_much());
    guest.stream().shutdown(Shutdown::Write).unwrap();
    let answered = guest.rest().lines().count();
    assert!((50..1_000).contains(&answered), "{answered}");
}

#[test]
fn a_message_sent_before_a_half_close_is_answered() {
    let server = Server::start();
    server.register("bob");
    server.register("alice");
    for number in 0..10 {
        let mut alice = server.client();
        eventually("the session before is over", || {
            alice.login("alice").is_ok()
        });
        let message = json!({"id": 99, "op": "send", "to": "bob", "mid": mid(number), "text": "x"});
        alice.wire().write(format!("{message}\n").as_bytes());
        alice.wire().stream().shutdown(Shutdown::Write).unwrap();
        let rest = alice.wire().rest();
        assert!(rest.contains("\"id\":99,\"ok\""), "{rest:?}");
    }
}

#[test]
fn a_console_conversation_from_a_pipe_is_answered_to_its_end() {
    let server = Server::start();
    server.register("bob");
    server.console().register("carol");
    eventually("she is gone", || server.connections() == 0);
    let mut carol = server.wire();
    carol.write(b"login carol correct horse\r\nsend bob one\r\nsend bob two\r\nquit\r\n");
    carol.stream().shutdown(Shutdown::Write).unwrap();
    let rest = carol.rest();
    let answers: Vec<_> = rest
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    assert_eq!(answers.len(), 4, "{rest}");
    assert!(answers[1].starts_with("+OK stored"), "{rest}");
    assert!(answers[2].starts_with("+OK stored"), "{rest}");
    assert_eq!(answers[3], "+OK goodbye");
}

#[test]
fn a_member_that_vanished_while_slowed_down_can_log_in_again() {
    let server = Server::with(&["--message-rate", "5"]);
    server.register("bob");
    let mut alice = server.register("alice");
    for number in 0..400 {
        let message = json!({"to": "bob", "mid": mid(number), "text": "x"});
        alice.post("send", &message);
    }
    alice.answer(10).unwrap();
    drop(alice);
    let mut again = server.client();
    eventually("the session is over", || {
        std::thread::sleep(Duration::from_millis(100));
        again.login("alice").is_ok()
    });
}

#[test]
fn what_a_member_has_piled_up_is_not_worked_off_once_it_has_vanished() {
    let server = Server::start();
    let mut alice = server.register("alice");
    // Each of them waits for the disk.
    let mut pile: String = (0..20_000)
        .map(|id| {
            let presence = id % 2 == 1;
            format!(
                "{{\"id\":{},\"op\":\"settings\",\"presence\":{presence}}}\n",
                id + 100
            )
        })
        .collect();
    pile += "{\"id\":99,\"op\":\"settings\",\"listed\":false}\n";
    alice.wire().write(pile.as_bytes());
    alice.answer(100).unwrap();
    // With answers unread, that resets the connection.
    drop(alice);
    eventually("it is gone", || server.connections() == 0);
    let settings = server.login("alice").ok("settings", json!({}));
    assert_eq!(settings["listed"], true, "the last of them was worked off");
}
