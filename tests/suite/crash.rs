//! Kill -9 under load, again and again: every message is accounted for.
//!
//! `cargo test` kills a few times; `scripts/crash.sh` as often as it is told.

use std::time::Instant;

use crate::harness::{Server, crash_under_load, register_everybody};

/// Kills in a usual test run.
const KILLS: u64 = 5;

#[test]
fn every_accepted_message_is_delivered_once_and_in_order() {
    let kills = std::env::var("SECURE_CHAT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let began = Instant::now();
    let mut server = Server::with(&["--mailbox-messages", "100000000", "--sender-share", "100"]);
    register_everybody(&server);
    let report = crash_under_load(&mut server, kills, Server::crash_and_restart);
    println!("kill -9, {} s: {report}", began.elapsed().as_secs());
    report.assert_kept();
}
