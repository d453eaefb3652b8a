//! The load generator: the server's speed and memory, as ratios to two relays
//! measured in the same run.
//!
//! `cargo bench --bench delivery` runs everything; `-- NAME…` only those
//! scenarios, `-- --rounds N --seconds S` longer or shorter. Loopback only,
//! bounded in time and connections. Relay and server are processes of their own,
//! so that their CPU time and memory can be told from the load's.
//!
//! This is no test: it asserts nothing about time.

// A benchmark that can't go on has nothing better to do than to stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod account;
mod peer;
mod relay;
mod scenarios;
mod stats;
mod traffic;

use std::time::Duration;

/// What to run, for how long.
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) duration: Duration,
}

fn main() {
    let mut settings = Settings {
        rounds: 5,
        duration: Duration::from_secs(2),
    };
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .and_then(|text| text.parse::<f64>().ok())
                .expect("a number")
        };
        match argument.as_str() {
            "--bench" => {}
            "--relay" => return relay::run(&arguments.next().expect("bare or acked")),
            "--rounds" => settings.rounds = number() as usize,
            "--seconds" => settings.duration = Duration::from_secs_f64(number()),
            name => wanted.push(name.to_owned()),
        }
    }
    for (name, run) in scenarios::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n== {name}");
            run(&settings);
        }
    }
}
