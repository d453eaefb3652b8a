//! SIGTERM, and what nothing depends on: it drains, it ends in time, and what
//! was accepted is there afterwards, as after a kill.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, Wire, eventually, mid, plain};

#[test]
fn an_idle_server_says_goodbye() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start();
        let (mut alice, mut person) = (server.register("alice"), server.console());
        person.type_line("ping");
        server.signal(signal);
        assert_eq!(alice.event(), json!({"event": "shutting_down"}));
        assert_eq!(alice.next_event(), None);
        let goodbye = "* the server shuts down; what was accepted is safe";
        assert_eq!(person.line(), goodbye);
        assert_eq!(person.wire().rest(), "");
        assert!(server.wait(PATIENCE).success());
        assert!(server.log().contains("ended: "));
    }
}

#[test]
fn a_loaded_server_ends_in_time_and_loses_nothing() {
    let mut server = Server::start();
    server.register("bob").ok("logout", json!({}));
    let carol = server.register("carol");
    let enough = AtomicBool::new(false);
    let address = server.address();
    let accepted: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let senders = [0, 1, 2, 3].map(|sender| {
            let mut client = server.register(&format!("sender{sender}"));
            let enough = &enough;
            scope.spawn(move || {
                let mut accepted = Vec::new();
                // Without a window: more is always under way than answered.
                for number in 0..2000 {
                    let to = ["bob", "carol"][number as usize % 2];
                    let mut line = plain(to, number, "under load");
                    line["op"] = json!("send");
                    line["id"] = json!(number);
                    if client
                        .wire()
                        .try_write(format!("{line}\n").as_bytes())
                        .is_err()
                    {
                        break;
                    }
                    enough.store(number > 500, Ordering::Release);
                }
                while let Some(line) = client.wire().line() {
                    let line: Value = serde_json::from_str(&line).unwrap();
                    if line["ok"]["state"].is_string() {
                        accepted.push(line["id"].as_u64().unwrap());
                    }
                }
                accepted
            })
        });
        eventually("the load is on", || enough.load(Ordering::Acquire));
        server.signal(Signal::TERM);
        // The limit is the promise, not a measurement: it has no allowance for
        // slow machines, since waiting for clients is bounded by the clock.
        let status = server.wait(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0));
        senders.map(|sender| sender.join().unwrap()).into()
    });
    assert!(Wire::try_connect(address).is_err(), "nobody listens");
    drop(carol);
    server.start_again();
    for recipient in ["bob", "carol"] {
        let mut client = server.client();
        let waiting = client.login(recipient).unwrap()["plain"].as_u64().unwrap();
        let mut arrived = std::collections::HashSet::new();
        for _ in 0..waiting {
            let message = client.message();
            assert!(arrived.insert((message.from.clone(), message.mid.clone())));
            assert_eq!(client.ack(&message.from, &[message.mid]), (1, 0));
        }
        for (sender, accepted) in accepted.iter().enumerate() {
            let sender = format!("sender{sender}");
            for number in accepted {
                if ["bob", "carol"][*number as usize % 2] == recipient {
                    let message = (sender.clone(), mid(*number));
                    assert!(arrived.contains(&message), "{message:?}");
                }
            }
        }
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_certificate_that_cannot_be_read_holds_up_no_end() {
    let mut server = Server::start();
    let certificate = server.data().join("tls-cert.pem");
    std::fs::remove_file(&certificate).unwrap();
    // Opening it waits for a writer, as a dead network disk waits for its server.
    let made = std::process::Command::new("mkfifo")
        .arg(&certificate)
        .status();
    assert!(made.unwrap().success());
    // Signals of one kind that come together count as one.
    eventually("one is told that an earlier one goes on", || {
        server.signal(Signal::HUP);
        server.log().contains("still being read")
    });
    server.register("alice");
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = Server::start();
        // A peer that takes nothing keeps an orderly end waiting for seconds.
        let mut stuck = server.client();
        stuck.register("stuck");
        // Each fetch pushes all of them again: far more than the kernel holds.
        for number in 0..150 {
            stuck.post("send", &plain("stuck", number, &"x".repeat(10_000)));
            stuck.wire().write(b"{\"op\":\"fetch\",\"id\":1}\n");
        }
        server.signal(signal);
        eventually("the first signal is seen", || {
            server.log().contains("shutting down")
        });
        server.signal(signal);
        // The status of an orderly end is 0.
        assert_eq!(server.wait(PATIENCE).code(), Some(code));
    }
}
