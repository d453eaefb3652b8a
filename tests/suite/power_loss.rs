//! Power cuts under load: what was not synced is thrown away, and every message is
//! accounted for as after a kill. `tests/power_loss` is the disk.
//!
//! `cargo test` cuts a few times; `scripts/power-loss.sh` as often as it is told.

use std::time::{Duration, Instant};

use crate::harness::{Fault, PATIENCE, Server, crash_under_load, random, register_everybody};

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
