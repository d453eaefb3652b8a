//! A power cut while the log is folded into the database, which is when SQLite
//! writes over what was safe before.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, Server, plain, random};

/// Room enough for whatever is sent here, and no pause for its sender.
const ROOMY: [&str; 8] = [
    "--mailbox-messages",
    "100000000",
    "--mailbox-mib",
    "100000",
    "--message-rate",
    "0",
    "--sender-share",
    "100",
];

/// Cuts that have to meet the folding of the log; each takes 64 MB of mail.
const FOLDINGS: u64 = 1;

#[test]
fn a_cut_while_the_log_is_folded_into_the_database_loses_nothing() {
    let wanted = std::env::var("SECURE_CHAT_FOLDINGS").map_or(FOLDINGS, |n| n.parse().unwrap());
    let mut server = Server::on_disk(random(), &ROOMY);
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
