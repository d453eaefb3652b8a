//! An attack by accounts that are logged in and have the server search a long mailbox: with `outcome` of
//! messages whose handles they do not name, and with messages that may have been sent before.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::load::account::{ask, register};
use super::load::pair::{Recipient, Sender};
use super::load::peer::Peer;
use super::raid::{Begun, Counts, Raid, Work};
use crate::harness::stream::Stream;

/// The mailbox, who filled it, and how.
const VICTIM: &str = "victim";
const SENDERS: usize = 4;
const EACH: usize = 12_500;
const WINDOW: usize = 100;

/// Who attacks, and how many messages each asks about at once.
const ATTACKERS: usize = 6;
const IDS: u64 = 1000;

/// How often the log is measured.
const LOOK: Duration = Duration::from_millis(20);

/// Stores the mail.
pub(crate) fn fill(peer: &Peer) {
    Recipient::new(peer, VICTIM, "").vanish();
    for number in 0..SENDERS {
        let mut sender = Sender::new(peer, &format!("filler{number}"), VICTIM);
        sender.send_all(EACH, WINDOW).unwrap();
    }
}

/// Attackers search as fast as they are answered.
pub(crate) fn storm(peer: &Peer) -> Begun {
    let log = peer.database_log();
    let mut works: Vec<Work> = vec![Box::new(move |stop| longest(&log, stop))];
    works.extend((0..ATTACKERS).map(|number| {
        let mut stream = register(peer.connect(), &format!("searcher{number}"));
        Box::new(move |stop: &AtomicBool| search(&mut stream, number, stop)) as Work
    }));
    Raid::of(works)
}

/// Asks what became of messages that never were, and sends one that may have been sent before.
fn search(stream: &mut Stream, attacker: usize, stop: &AtomicBool) -> Counts {
    let (mut searched, mut refused) = (0, 0);
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = |number: u64| format!("{attacker:08x}{round:016x}{number:08x}");
        let ids: Vec<String> = (0..IDS).map(id).collect();
        let asked = ask(stream, "outcome", json!({"to": VICTIM, "ids": ids}));
        let message = json!({"to": VICTIM, "mid": id(IDS), "envelope": "AAAA", "again": true});
        for answer in [asked, ask(stream, "send", message)] {
            match answer {
                Ok(_) => searched += 1,
                Err(error) => {
                    assert!(error.to_string().contains("SlowDown"), "{error}");
                    refused += 1;
                }
            }
        }
    }
    vec![(searched, "searches"), (refused, "refused")]
}

/// The longest that the database's log becomes.
fn longest(log: &Path, stop: &AtomicBool) -> Counts {
    let mut longest = 0;
    while !stop.load(Ordering::Relaxed) {
        longest = longest.max(std::fs::metadata(log).map_or(0, |log| log.len()));
        thread::sleep(LOOK);
    }
    vec![((longest >> 20) as usize, "MiB of log at most")]
}
