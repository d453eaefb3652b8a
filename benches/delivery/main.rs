//! The load generator: the server's speed and memory, as ratios to two relays
//! measured in the same run.
//!
//! `cargo bench --bench delivery` runs everything; `-- NAME…` only those
//! scenarios, `-- --rounds N --seconds S` longer or shorter, `-- --tls` the server
//! under TLS beside the one in clear. Relay and server are processes of their
//! own, so that their CPU time and memory can be told from the load's. What is
//! compared takes turns in every round, so that a slow minute of the machine hits
//! all of it alike; figures are medians of the rounds, with the least and the most.
//!
//! This is not a test: it asserts nothing about time. All scenarios do assert that messages come
//! once and in order.

// A benchmark that can't go on has nothing better to do than to stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../load/mod.rs"]
mod load;

mod backlog;
mod cable;
mod clients;
mod connections;
mod isolation;
mod latency;
mod offline;
mod proxy;
mod throughput;

use load::settings::Settings;

type Scenario = (&'static str, fn(&Settings));

/// The scenarios by name.
const SCENARIOS: &[Scenario] = &[
    ("throughput-64", |settings| throughput::run(settings, 64)),
    ("throughput-1", |settings| throughput::run(settings, 1)),
    ("late-acks", throughput::late_acks),
    ("latency", latency::beside_relays),
    ("latency-10000", latency::beside_idle),
    ("isolation", isolation::run),
    ("idle-memory", connections::idle_memory),
    ("connections", connections::under_traffic),
    ("offline", offline::run),
    ("backlog", backlog::run),
    ("clients", clients::run),
];

fn main() {
    let Some(settings) = Settings::read(5, 2) else {
        return;
    };
    settings.check(&SCENARIOS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, run) in SCENARIOS {
        if settings.wants(name) {
            println!("\n== {name}");
            run(&settings);
        }
    }
}
