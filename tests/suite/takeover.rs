//! Servers of a database that end without warning: another takes over from one that was killed or stood
//! still, the database itself is killed, and a standby takes its place. Under load, and every message is accounted for.
//!
//! `cargo test` does each a few times; with `SECURE_CHAT_KILLS` as often as that says.

use std::fs;

use rustix::process::Signal;

use crate::harness::temporary_folder;
use crate::harness::{
    PATIENCE, Server, crash_under_load, postgres, postgres_pair, register_everybody,
};

/// Faults of each kind in a usual test run.
const FAULTS: u64 = 2;

fn faults() -> u64 {
    std::env::var("SECURE_CHAT_KILLS").map_or(FAULTS, |faults| faults.parse().unwrap())
}

fn flags(store: &str) -> [&str; 6] {
    let [messages, share] = ["--mailbox-messages", "--sender-share"];
    ["--store", store, messages, "100000000", share, "100"]
}

#[test]
fn a_server_takes_over_from_one_of_its_name_that_is_killed_or_stands_still() {
    let folder = temporary_folder();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let store = postgres::database(&first);
    let mut server = Server::on_file(&first, &flags(&store));
    register_everybody(&server);
    fs::create_dir(&second).unwrap();
    for name in ["tls-cert.pem", "tls-key.pem"] {
        fs::copy(first.join(name), second.join(name)).unwrap();
    }
    let mut folders = [second, first];
    let mut number = 0;
    let report = crash_under_load(&mut server, faults(), |server| {
        number += 1;
        let stands_still = number % 2 == 0;
        match stands_still {
            true => server.signal(Signal::STOP),
            false => server.kill(),
        }
        // It waits for the end of the other's lease.
        let next = Server::on_file(&folders[0], &flags(&store));
        folders.reverse();
        let mut before = std::mem::replace(server, next);
        if stands_still {
            before.signal(Signal::CONT);
            assert!(!before.wait(PATIENCE).success());
            assert!(before.log().contains("took this one for dead"));
        }
    });
    println!("takeovers: {report}");
    report.assert_kept();
}

#[test]
fn a_database_that_is_killed_costs_a_pause_and_no_message() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let mut cluster = postgres::Cluster::start();
    let mut server = Server::on_file(&data, &flags(&cluster.address));
    register_everybody(&server);
    let (faults, mut number) = (faults(), 0);
    let report = crash_under_load(&mut server, faults, |server| {
        number += 1;
        match number > faults {
            // The last one frees those who wait for mail.
            true => server.crash_and_restart(),
            false => cluster.kill_and_restart(),
        }
    });
    println!("kill -9 of PostgreSQL: {report}");
    report.assert_kept();
}

#[test]
fn a_standby_that_becomes_the_primary_has_every_message() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let mut pair = postgres_pair::Pair::start();
    let asks = ["--store-standbys", "1"];
    let mut server = Server::on_file(&data, &[&flags(&pair.address)[..], &asks].concat());
    register_everybody(&server);
    let (faults, mut number) = (faults(), 0);
    let report = crash_under_load(&mut server, faults, |server| {
        number += 1;
        match number > faults {
            // The last one frees those who wait for mail.
            true => server.crash_and_restart(),
            // Every other time the old primary stays up, and would go on without its standby.
            false => {
                pair.fail_over(number % 2 == 1);
                if number < faults {
                    pair.rebuild();
                }
            }
        }
    });
    println!("fail-overs: {report}");
    report.assert_kept();
    let log = server.log();
    assert!(log.contains("--store-standbys asks for 1"), "{log}");
}
