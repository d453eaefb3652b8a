//! The delivery of messages as it runs, under schedules that a seed decides: the real
//! connections, mailboxes, send queues, writer and shutdown, on sockets, a clock and a disk in
//! memory. docs/CONTRIBUTING.md says how to run a scenario, repeat a seed and add a scenario.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the scenarios |
//! | `explorer` | runs a scenario under many schedules |
//! | `stage` | the server, its doors, and what must hold at the end |
//! | `robots` | clients that send and receive by themselves |
//! | `client` | one client's connection |
//! | `disk` | the store |
//! | `waits` | scenarios in which what is waited for does not come, and time runs out |
//! | `leaving` | scenarios in which a mailbox leaves the server's memory amid its traffic |
//! | `timeouts` | the waits that have to run out in some schedule |
//! | `faults` | scenarios for single lines whose loss no other one shows |
//!
//! A thread that waits for ever fails its schedule: either nothing can run any more, or its
//! client is sent a ping, which no honest wait lasts long enough for.

mod client;
mod disk;
mod explorer;
mod faults;
mod leaving;
mod robots;
mod stage;
mod timeouts;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use self::explorer::explore;
use self::robots::{Sending, receiver, rival, sender, start};
use self::stage::{Stage, stored};
use crate::clock;
use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::limits::kdf_queue::KdfQueue;
use crate::sync;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;
const ERIN: usize = 4;

/// Waits until the senders are done and all that was accepted is shown, then ends the server.
fn conclude(stage: &Stage, senders: Vec<sync::JoinHandle<()>>) {
    for sender in senders {
        sender.join().unwrap();
    }
    stage.wait_until(|seen| seen.accepted.iter().all(|m| seen.shown.contains(m)));
    stage.conclude();
}

/// Two senders and a recipient who is there.
#[test]
fn live() {
    explore("live", || {
        let stage = Stage::new();
        receiver(&stage, BOB, 4096, usize::MAX);
        let senders = vec![
            sender(&stage, Sending::small(ALICE, &[BOB], 4)),
            sender(&stage, Sending::small(CAROL, &[BOB], 3)),
        ];
        conclude(&stage, senders);
    });
}

/// A recipient who reads slowly drains what waits while more comes.
#[test]
fn backlog() {
    explore("backlog", || {
        let stage = Stage::new();
        for sequence in 1..=7 {
            stage.disk.add_message(BOB, stored(DAVE, sequence, 3));
        }
        receiver(&stage, BOB, 300, 90);
        let senders = vec![sender(&stage, Sending::small(ALICE, &[BOB], 4))];
        for sender in senders {
            sender.join().unwrap();
        }
        stage.wait_until(|seen| seen.shown.len() >= 11);
        stage.conclude();
    });
}

/// More waits than a send queue takes: pushes find no room, and go on once there is some.
#[test]
fn starved() {
    explore("starved", || {
        let stage = Stage::new();
        for sequence in 1..=17 {
            stage.disk.add_message(BOB, stored(DAVE, sequence, 16_000));
        }
        receiver(&stage, BOB, 100_000, usize::MAX);
        let big = Sending {
            size: 16_000,
            capacity: 40_000,
            ..Sending::small(ALICE, &[BOB], 2)
        };
        sender(&stage, big).join().unwrap();
        stage.wait_until(|seen| seen.shown.len() >= 19);
        stage.conclude();
    });
}

/// Two clients of one account take it from each other while it gets mail.
#[test]
fn take_over() {
    explore("take_over", || {
        let stage = Stage::new();
        let rivals = [rival(&stage, BOB, 2), rival(&stage, BOB, 2)];
        let senders = vec![sender(&stage, Sending::small(ALICE, &[BOB], 3))];
        for rival in rivals {
            rival.join().unwrap();
        }
        receiver(&stage, BOB, 4096, usize::MAX);
        conclude(&stage, senders);
    });
}

/// Recipients come and go, and mailboxes that nobody uses leave the memory.
#[test]
fn eviction() {
    explore("eviction", || {
        let stage = Stage::new();
        let senders = vec![
            sender(&stage, Sending::small(ALICE, &[BOB, CAROL, ERIN], 2)),
            sender(&stage, Sending::small(DAVE, &[CAROL, BOB], 2)),
        ];
        for user in [BOB, CAROL] {
            rival(&stage, user, 2).join().unwrap();
        }
        for user in [BOB, CAROL, ERIN] {
            receiver(&stage, user, 4096, usize::MAX);
        }
        conclude(&stage, senders);
    });
}

/// The disk is slow, and refuses some commits.
#[test]
fn failing_disk() {
    explore("failing_disk", || {
        let stage = Stage::new();
        let senders = vec![
            sender(&stage, Sending::small(ALICE, &[BOB], 4)),
            sender(&stage, Sending::small(CAROL, &[BOB], 2)),
        ];
        stage.disk.stall(Duration::from_millis(3));
        stage.disk.fail(1 + sync::choose(3) as u32);
        receiver(&stage, BOB, 4096, usize::MAX);
        conclude(&stage, senders);
    });
}

/// kill -9, twice.
#[test]
fn crash() {
    explore("crash", crash_amid_traffic);
}

fn crash_amid_traffic() {
    let stage = Stage::new();
    receiver(&stage, BOB, 4096, usize::MAX);
    let senders = vec![
        sender(&stage, Sending::small(ALICE, &[BOB], 3)),
        sender(&stage, Sending::small(CAROL, &[BOB], 3)),
    ];
    let crashing = Arc::clone(&stage);
    let crashes = start("crashes", move || {
        for _ in 0..2 {
            let accepted = sync::choose(5);
            crashing.wait_until(|seen| {
                seen.accepted.len() + seen.refused.len() >= accepted || seen.closing
            });
            crashing.crash();
        }
    });
    crashes.join().unwrap();
    conclude(&stage, senders);
}

/// The server is told to stop in the midst of traffic, perhaps with a disk that is full.
#[test]
fn shutdown() {
    explore("shutdown", || {
        let stage = Stage::new();
        receiver(&stage, BOB, 4096, usize::MAX);
        sender(&stage, Sending::small(ALICE, &[BOB, CAROL], 3));
        sender(&stage, Sending::small(DAVE, &[BOB], 3));
        let accepted = sync::choose(5);
        stage.wait_until(|seen| seen.accepted.len() >= accepted);
        stage.disk.fail([0, 0, 1, 9][sync::choose(4)]);
        stage.conclude();
    });
}

/// Senders lose their connection, or close their half of it.
#[test]
fn departures() {
    explore("departures", || {
        let stage = Stage::new();
        receiver(&stage, BOB, 4096, usize::MAX);
        let breaking = Sending {
            breaks_after: Some(1 + sync::choose(2)),
            ..Sending::small(ALICE, &[BOB], 4)
        };
        let closing = Sending {
            half_closes: true,
            ..Sending::small(CAROL, &[BOB], 3)
        };
        let senders = vec![sender(&stage, breaking), sender(&stage, closing)];
        conclude(&stage, senders);
    });
}

/// A recipient stops reading, and is given up; the mail is there for its next connection.
#[test]
fn stalled() {
    explore("stalled", || {
        let stage = Stage::new();
        for sequence in 1..=6 {
            stage.disk.add_message(BOB, stored(DAVE, sequence, 2000));
        }
        let mut frozen = stage.connect(BOB, 3000).unwrap();
        assert!(frozen.log_in());
        // Longer than any peer may stall.
        sync::sleep(Duration::from_secs(60));
        while let Some(line) = frozen.line() {
            frozen.take(&line, false);
        }
        receiver(&stage, BOB, 4096, usize::MAX);
        conclude(
            &stage,
            vec![sender(&stage, Sending::small(ALICE, &[BOB], 2))],
        );
    });
}

/// Console logins wait for a slot; some give up, and some hold it for longer than others wait.
#[test]
fn kdf_queue() {
    explore("kdf_queue", || {
        let queue = Arc::new(KdfQueue::new(0));
        let threads: Vec<_> = (0..5)
            .map(|last: u8| {
                let queue = Arc::clone(&queue);
                let (hold, gives_up) = (sync::choose(3), sync::choose(4) == 0);
                start("console", move || {
                    let from = Some(IpPrefix::of([192, 0, 2, last].into()));
                    let slot = queue.acquire(from, clock::now(), &|_| gives_up);
                    if slot.is_ok() {
                        sync::sleep(Duration::from_millis([1, 300, 11_000][hold]));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(
            queue.acquire(None, clock::now(), &|_| true).is_ok(),
            "a slot was not given back"
        );
    });
}

/// A recipient takes its mail and acknowledges nothing, but asks for all of it again and again:
/// its senders are answered once their messages are on the disk.
#[test]
fn unacknowledged() {
    explore("unacknowledged", || {
        let stage = Stage::new();
        for sequence in 1..=7 {
            stage.disk.add_message(BOB, stored(DAVE, sequence, 3));
        }
        let reading = Arc::clone(&stage);
        let reader = start("silent", move || {
            // Where the clock runs ahead of the client, its connection may end before it has all.
            while let Some(mut silent) = reading.connect(BOB, 4096) {
                if !silent.log_in() {
                    continue;
                }
                silent.fetch();
                while let Some(line) = silent.line() {
                    silent.take(&line, false);
                    if sync::choose(16) == 0 {
                        silent.fetch();
                    }
                }
            }
        });
        let senders = vec![sender(&stage, Sending::small(ALICE, &[BOB], 3))];
        conclude(&stage, senders);
        drop(reader);
    });
}
