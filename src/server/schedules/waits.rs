//! Scenarios in which what is waited for does not come, and time runs out: silent clients, clients
//! that ask too fast, no thread to be had, a disk that stands still. Together with the others
//! they let every timeout of the delivery code fire.

use std::sync::Arc;
use std::time::Duration;

use super::explorer::explore;
use super::robots::{Sending, receiver, sender, start};
use super::stage::{Stage, stored};
use super::{ALICE, BOB, CAROL, DAVE, conclude};
use crate::sync;

/// Guests who never log in, clients that fall silent for ever, and one that is only quiet.
#[test]
fn silence() {
    explore("silence", || {
        let patient = sync::choose(2) == 0;
        if patient {
            sync::set_patience(Duration::ZERO);
        }
        let stage = Stage::with(|config| {
            config.login_time = Duration::from_secs(60);
            config.ping_after = Duration::from_secs(60);
            config.idle_limit = Duration::from_secs(150);
        });
        let mut guest = stage.connect(CAROL, 4096).unwrap();
        guest.fetch();
        let mut frozen = stage.connect(DAVE, 4096).unwrap();
        frozen.log_in();
        let listening = Arc::clone(&stage);
        let quiet = start("quiet", move || {
            while let Some(mut client) = listening.connect(BOB, 4096) {
                client.log_in();
                while let Some(line) = client.line() {
                    client.take(&line, true);
                }
                let gone = listening.seen().closing;
                assert!(gone || !patient, "it has answered, and was sent away");
            }
        });
        // Both are sent away, and read until then.
        while guest.line().is_some() {}
        sync::sleep(Duration::from_secs(200));
        while frozen.line().is_some() {}
        let senders = vec![sender(&stage, Sending::small(ALICE, &[BOB], 2))];
        conclude(&stage, senders);
        drop(quiet);
    });
}

/// A sender that sends faster than it may is read more slowly, also one that leaves meanwhile.
#[test]
fn paced() {
    explore("paced", || {
        let stage = Stage::with(|config| config.limits.messages_per_second = 2);
        receiver(&stage, BOB, 4096, usize::MAX);
        let breaking = Sending {
            breaks_after: (sync::choose(2) == 0).then_some(9),
            ..Sending::small(ALICE, &[BOB], 12)
        };
        let senders = vec![
            sender(&stage, breaking),
            sender(&stage, Sending::small(CAROL, &[BOB], 2)),
        ];
        conclude(&stage, senders);
    });
}

/// The system has no thread to give for a while.
#[test]
fn no_threads() {
    explore("no_threads", || {
        let stage = Stage::new();
        for sequence in 1..=4 {
            stage.disk.add_message(BOB, stored(DAVE, sequence, 1000));
        }
        receiver(&stage, BOB, 600, 200);
        let mut quiet = stage.connect(CAROL, 4096).unwrap();
        quiet.log_in();
        // Its connection moves to a thread that only waits.
        sync::sleep(Duration::from_secs(6));
        sync::fail_starts([1, 3, 150][sync::choose(3)]);
        quiet.send(BOB, 1, 3, false);
        while let Some(line) = quiet.line()
            && line["id"] != 101
        {}
        let senders = vec![sender(&stage, Sending::small(ALICE, &[BOB], 3))];
        conclude(&stage, senders);
    });
}

/// The disk takes seconds for each commit, and the server is told to stop: it waits for the
/// writer, but not for ever.
#[test]
fn slow_end() {
    explore("slow_end", || {
        let stage = Stage::new();
        receiver(&stage, BOB, 4096, usize::MAX);
        sender(&stage, Sending::small(ALICE, &[BOB, CAROL], 2));
        let accepted = sync::choose(3);
        stage.wait_until(|seen| seen.accepted.len() >= accepted);
        stage
            .disk
            .stall(Duration::from_secs([1, 4, 9][sync::choose(3)]));
        stage.conclude();
    });
}
