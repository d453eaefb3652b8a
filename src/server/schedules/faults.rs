//! Scenarios for single lines whose loss no other scenario shows.

use std::sync::Arc;
use std::time::Duration;

use super::explorer::explore;
use super::robots::{Sending, fetcher, receiver, sender, start};
use super::stage::{Stage, stored};
use super::{ALICE, BOB, CAROL, DAVE, conclude};
use crate::sync;

/// Nobody acknowledges, and nothing but time has the last messages written.
#[test]
fn written_in_time() {
    explore("written_in_time", || {
        let stage = Stage::new();
        let mut silent = stage.connect(BOB, 4096).unwrap();
        assert!(silent.log_in());
        let reader = start("silent", move || {
            while let Some(line) = silent.line() {
                silent.take(&line, false);
            }
        });
        // One after the other, each when the writer has nothing to do.
        for (from, count) in [(ALICE, 1), (CAROL, 2)] {
            sender(&stage, Sending::small(from, &[BOB], count))
                .join()
                .unwrap();
        }
        conclude(&stage, Vec::new());
        drop(reader);
    });
}

/// A recipient asks for its mail again and again, while threads that write to it push what it is
/// behind with.
#[test]
fn fetching() {
    explore("fetching", || {
        let stage = Stage::new();
        for sequence in 1..=6 {
            stage.disk.add_message(BOB, stored(DAVE, sequence, 1500));
        }
        fetcher(&stage, BOB, 2000);
        let big = Sending {
            size: 1500,
            ..Sending::small(ALICE, &[BOB], 3)
        };
        let senders = vec![
            sender(&stage, big),
            sender(&stage, Sending::small(CAROL, &[BOB], 2)),
        ];
        conclude(&stage, senders);
    });
}

/// A recipient hides its presence and shows it again, so that messages which must be written at
/// once come after some that need not; and the server is killed.
#[test]
fn hiding() {
    explore("hiding", || {
        let stage = Stage::new();
        let hiding = Arc::clone(&stage);
        let recipient = start("hiding", move || {
            while let Some(mut client) = hiding.connect(BOB, 4096) {
                if !client.log_in() {
                    continue;
                }
                let mut shown = sync::choose(2) == 0;
                while client.set_presence(shown) {
                    shown = !shown;
                    let Some(line) = client.line() else {
                        break;
                    };
                    client.take(&line, sync::choose(2) == 0);
                }
            }
        });
        let senders = vec![
            sender(&stage, Sending::small(ALICE, &[BOB], 4)),
            sender(&stage, Sending::small(CAROL, &[BOB], 2)),
        ];
        let accepted = sync::choose(5);
        stage.wait_until(|seen| seen.accepted.len() >= accepted);
        stage.crash();
        conclude(&stage, senders);
        drop(recipient);
    });
}

/// An account is taken over while requests of its earlier session lie unread: of those only the
/// one under way may still be done, which the recipient sees by the order.
#[test]
fn displaced() {
    explore("displaced", || {
        let stage = Stage::new();
        receiver(&stage, BOB, 4096, usize::MAX);
        let mut first = stage.connect(ALICE, 4096).unwrap();
        assert!(first.log_in());
        let old = start("old", move || {
            first.send_all(BOB, 1..=6);
            while first.line().is_some() {}
        });
        let mut second = stage.connect(ALICE, 4096).unwrap();
        assert!(second.log_in());
        assert!(second.send(BOB, 101, 3, false));
        let mut answered = false;
        while !answered {
            let line = second.line().unwrap();
            answered = line["id"] == 201;
        }
        old.join().unwrap();
        stage.wait_until(|seen| seen.vault.contains(&(ALICE, BOB, 101)));
        stage.end();
        let seen = stage.seen();
        let order = seen.shown.iter().map(|(_, _, sequence)| *sequence);
        let late = order.skip_while(|sequence| *sequence != 101).skip(1);
        assert!(
            late.count() <= 1,
            "a session that was replaced goes on sending"
        );
    });
}

/// A sender reads no answer before it has sent all: the server reads on as soon as requests are
/// answered, whether or not their answers can be written.
#[test]
fn unread_answers() {
    explore("unread_answers", || {
        sync::set_patience(Duration::from_millis(10));
        let stage = Stage::new();
        receiver(&stage, BOB, 4096, usize::MAX);
        let mut client = stage.connect(ALICE, 800).unwrap();
        assert!(client.log_in());
        for sequence in 1..=40 {
            assert!(client.send(BOB, sequence, 3, false), "it is read no more");
        }
        let mut answered = 0;
        while answered < 40 {
            let line = client.line().unwrap();
            answered += usize::from(line["ok"].is_object());
        }
        conclude(&stage, Vec::new());
    });
}
