//! Power cuts under load: what was not synced is thrown away, and every message is
//! accounted for as after a kill. `tests/power_loss` is the disk.
//!
//! `cargo test` cuts a few times; `scripts/power-loss.sh` as often as it is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Client, Fault, PATIENCE, Server, crash_under_load, plain, random, register_everybody,
};

/// Cuts in a usual test run.
const CUTS: u64 = 4;

/// Nobody is refused for want of room.
const ROOMY: [&str; 4] = ["--mailbox-messages", "100000000", "--sender-share", "100"];

#[test]
fn every_accepted_message_survives_power_cuts() {
    let cuts = std::env::var("SECURE_CHAT_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let deadline = Instant::now() + PATIENCE;
    // A few cuts may by chance all meet a quiet disk, and show nothing then.
    while !survives(cuts) {
        assert!(Instant::now() < deadline, "no cut met anything unsynced");
    }
}

/// Cuts the power so often, and accounts for every message; whether any cut met
/// something that was not synced.
fn survives(cuts: u64) -> bool {
    let (began, seed) = (Instant::now(), random());
    println!("seed {seed}");
    let mut server = Server::on_disk(seed, &ROOMY);
    register_everybody(&server);
    let report = crash_under_load(&mut server, cuts, Server::lose_power_and_restart);
    let damage = server.disk().damage();
    let seconds = began.elapsed().as_secs();
    println!("power cuts, {seconds} s: {report}\n{damage:?}");
    report.assert_kept();
    damage.unsynced > 0
}

#[test]
fn without_syncs_the_same_cuts_lose_messages() {
    let mut server = Server::on_disk(random(), &ROOMY);
    register_everybody(&server);
    server.disk().begin(Fault::NoSync);
    let report = crash_under_load(&mut server, 2, |server| {
        server.kill();
        server.disk_mut().cut_to_the_synced();
        server.start_again();
    });
    println!("syncs ignored: {report}");
    assert!(report.lost > 0, "{report}");
}

#[test]
fn what_a_new_server_was_told_survives_a_cut() {
    let mut server = Server::on_disk(random(), &[]);
    server.register("alice");
    server.kill();
    server.disk_mut().cut_to_the_synced();
    server.start_again();
    server.login("alice");
}

#[test]
fn a_server_cut_while_it_starts_starts_again() {
    let mut server = Server::on_disk(random(), &[]);
    for attempt in 0..20 {
        // The first start, over and over, and then one with something to recover.
        if attempt < 10 {
            server.kill();
            server.disk_mut().wipe();
        } else if attempt == 10 {
            server.start_again();
            server.register("alice");
        }
        server.lose_power_while_starting(Duration::from_micros(random() % 30_000));
    }
    server.start_again();
    server.login("alice");
}

/// Cuts that have to meet the folding of the log; each takes 64 MB of mail.
const FOLDINGS: u64 = 1;

#[test]
fn a_cut_while_the_log_is_folded_into_the_database_loses_nothing() {
    let wanted = std::env::var("SECURE_CHAT_FOLDINGS").map_or(FOLDINGS, |n| n.parse().unwrap());
    // 64 MB go to one mailbox, as fast as they can.
    let more = ["--mailbox-mib", "100000", "--message-rate", "0"];
    let flags = [&ROOMY[..], &more].concat();
    let mut server = Server::on_disk(random(), &flags);
    server.register("bob").ok("logout", json!({}));
    server.register("alice").ok("logout", json!({}));
    let mut sent = 0;
    let mut total = 0;
    let deadline = Instant::now() + PATIENCE * (wanted as u32);
    while server.disk().damage().checkpoints < wanted {
        assert!(Instant::now() < deadline, "no cut meets it");
        let accepted = std::thread::scope(|scope| {
            let alice = server.login("alice");
            let flood = scope.spawn(|| flood(alice, &mut sent));
            let database = server.data().join("chat.db");
            let size = || std::fs::metadata(&database).unwrap().len();
            let before = size();
            while size() == before && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.kill();
            flood.join().unwrap()
        });
        server.disk_mut().cut();
        server.start_again();
        total += accepted.len();
        drain(server.client(), &accepted);
    }
    let damage = server.disk().damage();
    println!("{total} messages, none lost, none twice, order kept\n{damage:?}");
}

/// Sends long messages, numbered from `next` on, until the server dies. Returns
/// the numbers of those that were accepted.
fn flood(mut client: Client, next: &mut u64) -> Vec<u64> {
    let mut accepted = Vec::new();
    let mut waiting = 0;
    loop {
        while waiting < 64 {
            let mut line = plain("bob", *next, &format!("{next} {}", "x".repeat(12_000)));
            line["op"] = json!("send");
            line["id"] = json!(*next);
            *next += 1;
            waiting += 1;
            // A dead server is noticed by the read that follows.
            let _ = client.wire().try_write(format!("{line}\n").as_bytes());
        }
        let Some(line) = client.wire().line() else {
            return accepted;
        };
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["ok"].is_object(), "{line}");
        accepted.push(line["id"].as_u64().unwrap());
        waiting -= 1;
    }
}

/// Takes all that waits: each accepted message is there, once and in order. What
/// had no answer may be there, too.
fn drain(mut client: Client, accepted: &[u64]) {
    let waiting = client.login("bob").unwrap()["plain"].as_u64().unwrap();
    let mut accepted = accepted.iter().peekable();
    let mut last = None;
    for _ in 0..waiting {
        let message = client.message();
        let number: u64 = message.body.split(' ').next().unwrap().parse().unwrap();
        assert!(last < Some(number), "{number} came after {last:?}");
        last = Some(number);
        if accepted.next_if(|next| **next == number).is_none() {
            let next = accepted.peek();
            assert!(next.is_none_or(|next| **next > number), "{next:?} is lost");
        }
        client.ack("alice", &[message.mid]);
    }
    assert_eq!(accepted.next(), None, "accepted and not delivered");
}
