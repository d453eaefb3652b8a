//! Peers that stop reading, for the others' sake: everybody else goes on, memory
//! stays bounded, and a peer that reads again gets everything in order.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, mid, plain, process};

/// Messages for a stuck one: with this text far more than the kernel's buffers,
/// a window and a send queue hold together.
const MANY: u64 = 1200;

/// The same, and twice what the server may grow by.
const TOO_MANY: u64 = 6000;

/// What the server may grow by meanwhile, in KiB.
const ROOM_KIB: u64 = 36 * 1024;

fn text(number: u64) -> String {
    format!("{number} {}", "x".repeat(12_000))
}

/// Talks back and forth, each message acked before the next.
fn chat(alice: &mut Client, bob: &mut Client, from: &str, to: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let sent = alice.post("send", &plain(to, number, "hello"));
        let message = bob.message();
        assert_eq!(message.mid, mid(number));
        assert_eq!(bob.ack(from, &[message.mid]), (1, 0));
        alice.answer(sent).unwrap();
    }
}

#[test]
fn a_recipient_that_does_not_read_slows_nobody_and_misses_nothing() {
    let server = Server::start();
    let mut stuck = server.register("stuck");
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let mut sender = server.register("sender");
    let before = server.resident_kib();
    for lot in 0..TOO_MANY / 200 {
        let numbers = lot * 200..(lot + 1) * 200;
        sender.send_all("stuck", numbers.map(|number| (number, text(number))));
        let a_few = lot * 10..(lot + 1) * 10;
        chat(&mut alice, &mut bob, "alice", "bob", a_few);
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < ROOM_KIB, "{grown} KiB");
    }
    let mut next = 0;
    while next < TOO_MANY {
        let Some(event) = stuck.next_event() else {
            // On a slow machine this takes so long that the server has given it
            // up. As its client would, it comes back, and loses nothing.
            stuck = server.client();
            let wishes = json!({"take_over": true});
            stuck.login_with("stuck", wishes).unwrap();
            continue;
        };
        if event["event"] == "message" {
            if event["mid"] == mid(next) {
                assert_eq!(event["text"], text(next));
                next += 1;
            } else {
                let known = (0..next).any(|number| event["mid"] == mid(number));
                assert!(known, "{} instead of {next}", event["mid"]);
            }
            let ack = json!({"op": "ack", "from": "sender", "ids": [event["mid"]]});
            // If that fails, the next read tells.
            let _ = stuck.wire().try_write(format!("{ack}\n").as_bytes());
        }
    }
    stuck.no_event();
}

/// A process that copies its socket into a file, until it is stopped.
struct Peer {
    child: Child,
}

impl Peer {
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

#[test]
fn a_frozen_process_slows_nobody_and_misses_nothing() {
    let server = Server::start();
    let folder = crate::harness::temporary_folder();
    let arrived = folder.path().join("arrived");
    let mut frozen = server.register("frozen");
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let mut sender = server.register("sender");
    let socket = frozen.wire().stream().try_clone().unwrap();
    let peer = Peer {
        child: process::spawn(
            Command::new("cat")
                .stdin(Stdio::from(OwnedFd::from(socket)))
                .stdout(fs::File::create(&arrived).unwrap()),
        )
        .unwrap(),
    };
    peer.signal(Signal::STOP);
    sender.send_all("frozen", (0..MANY).map(|number| (number, text(number))));
    chat(&mut alice, &mut bob, "alice", "bob", 0..100);
    peer.signal(Signal::CONT);

    // It goes on where it was; acks go over the same connection.
    let mut file = fs::File::open(&arrived).unwrap();
    let mut content = Vec::new();
    let mut next = 0;
    eventually("all has arrived", || {
        file.read_to_end(&mut content).unwrap();
        let whole = content.iter().rposition(|byte| *byte == b'\n');
        let lines: Vec<u8> = content.drain(..whole.map_or(0, |end| end + 1)).collect();
        let mut new = Vec::new();
        for line in lines.split(|byte| *byte == b'\n') {
            let event: Value = serde_json::from_slice(line).unwrap_or_default();
            if event["event"] == "message" {
                assert_eq!(event["mid"], mid(next));
                new.push(mid(next));
                next += 1;
            }
        }
        for lot in new.chunks(500) {
            let ack = json!({"op": "ack", "from": "sender", "ids": lot});
            frozen.wire().write(format!("{ack}\n").as_bytes());
        }
        next == MANY
    });
}

#[test]
fn a_sender_that_reads_no_answers_is_not_read_either() {
    let server = Server::start();
    let mut deaf = server.register("deaf");
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let before = server.resident_kib();
    deaf.wire().stream().set_nonblocking(true).unwrap();
    // It asks for far more than it takes, until even the kernels are full.
    let request = b"{\"op\":\"search\",\"text\":\"al\",\"id\":1}\n".repeat(1000);
    for round in 0..200 {
        let _ = std::io::Write::write(&mut deaf.wire().stream(), &request);
        chat(&mut alice, &mut bob, "alice", "bob", round..round + 1);
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < ROOM_KIB, "{grown} KiB");
}
