//! Several servers on one PostgreSQL, beside one server with a file and the bare relay, in turns.
//!
//! `cargo bench --features postgres --bench cluster` runs everything; `-- NAME…` only those scenarios, `-- --rounds N
//! --seconds S` longer or shorter. PostgreSQL syncs its log here, as it does for users. All processes share
//! the machine's cores, so more servers can't be faster: what is measured is what they cost.
//!
//! This is not a test: it asserts nothing about time. All scenarios do assert that messages come once and in
//! order.

// A benchmark that can't go on has nothing better to do than to stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../load/mod.rs"]
mod load;

use std::thread;
use std::time::Instant;

use harness::postgres::Cluster;
use load::loops::closed_loops;
use load::pair::Pair;
use load::peer::{Kind, Peer, Setup};
use load::settings::Settings;
use load::stats::Series;

/// Pairs at work at once.
const PAIRS: usize = 48;

/// The unanswered messages of a sender.
const WINDOW: usize = 64;

/// Messages that are stored for absent recipients.
const STORED: usize = 96_000;

/// Servers on one store.
#[derive(Clone, Copy)]
enum Store {
    /// One, with a file.
    File,
    /// So many, on one database.
    Database(usize),
}

/// A row of the table.
struct Row {
    name: &'static str,
    store: Option<Store>,
    /// Each recipient is at another server than its sender.
    across: bool,
}

const fn row(name: &'static str, store: Option<Store>, across: bool) -> Row {
    Row {
        name,
        store,
        across,
    }
}

const LIVE: &[Row] = &[
    row("bare relay", None, false),
    row("file, 1 server", Some(Store::File), false),
    row("database, 1 server", Some(Store::Database(1)), false),
    row(
        "database, 2 servers, pairs at one",
        Some(Store::Database(2)),
        false,
    ),
    row(
        "database, 2 servers, pairs across",
        Some(Store::Database(2)),
        true,
    ),
    row(
        "database, 4 servers, pairs at one",
        Some(Store::Database(4)),
        false,
    ),
    row(
        "database, 4 servers, pairs across",
        Some(Store::Database(4)),
        true,
    ),
];

const OFFLINE: &[Row] = &[
    row("file, 1 server", Some(Store::File), false),
    row("database, 1 server", Some(Store::Database(1)), false),
    row(
        "database, 2 servers, pairs at one",
        Some(Store::Database(2)),
        false,
    ),
    row(
        "database, 2 servers, pairs across",
        Some(Store::Database(2)),
        true,
    ),
    row(
        "database, 4 servers, pairs across",
        Some(Store::Database(4)),
        true,
    ),
];

/// Processes with what they need.
struct Stage {
    peers: Vec<Peer>,
    _database: Option<Cluster>,
}

impl Stage {
    fn start(store: Option<Store>) -> Self {
        let count = match store {
            None => return Self::alone(Peer::start(Kind::Bare)),
            Some(Store::File) => return Self::alone(Peer::start(Kind::Server)),
            Some(Store::Database(count)) => count,
        };
        let database = Cluster::start();
        let mut peers: Vec<Peer> = Vec::new();
        for number in 0..count {
            let setup = Setup::new(Kind::Server);
            let node = format!("node{number}");
            peers.push(
                setup
                    .on_database(&database.address, &node, peers.first())
                    .start(),
            );
        }
        Stage {
            peers,
            _database: Some(database),
        }
    }

    fn alone(peer: Peer) -> Self {
        Stage {
            peers: vec![peer],
            _database: None,
        }
    }

    fn pairs(&self, across: bool) -> Vec<Pair> {
        let count = self.peers.len();
        (0..PAIRS)
            .map(|number| {
                let from = &self.peers[number % count];
                let to = &self.peers[(number + usize::from(across)) % count];
                Pair::across(from, to, number)
            })
            .collect()
    }

    /// Ends the servers, and returns how many messages they have written, and in how many commits.
    fn written(self) -> (f64, f64) {
        let (mut messages, mut commits) = (0.0, 0.0);
        for peer in self.peers {
            let log = peer.stop();
            let words: Vec<&str> = log.split_whitespace().collect();
            let before = |word: &str| {
                let at = words.iter().position(|it| it.starts_with(word));
                at.map_or(0.0, |at| words[at - 1].parse().unwrap())
            };
            messages += before("written");
            commits += before("commits");
        }
        (messages, commits)
    }
}

fn live(settings: &Settings) {
    let mut rates = vec![Series::default(); LIVE.len()];
    let mut costs = rates.clone();
    for _ in 0..settings.rounds {
        for (place, row) in LIVE.iter().enumerate() {
            let stage = Stage::start(row.store);
            let mut pairs = stage.pairs(row.across);
            let (rate, cost) = closed_loops(&stage.peers, &mut pairs, WINDOW, settings.duration);
            rates[place].add(rate);
            costs[place].add(cost);
        }
    }
    for (place, row) in LIVE.iter().enumerate() {
        println!(
            "{}: {} msg/s, {} CPU s per million; of the relay {:.2}, of the file {:.2}",
            row.name,
            rates[place].show(0),
            costs[place].show(2),
            rates[place].median() / rates[0].median(),
            rates[place].median() / rates[1].median(),
        );
    }
}

fn offline(settings: &Settings) {
    let mut rates = vec![Series::default(); OFFLINE.len()];
    let (mut commits, mut sizes) = (rates.clone(), rates.clone());
    for _ in 0..settings.rounds {
        for (place, row) in OFFLINE.iter().enumerate() {
            let stage = Stage::start(row.store);
            let mut pairs = stage.pairs(row.across);
            for pair in &pairs {
                pair.recipient.vanish();
            }
            let start = Instant::now();
            thread::scope(|scope| {
                for pair in &mut pairs {
                    scope.spawn(|| pair.sender.send_all(STORED / PAIRS, WINDOW).unwrap());
                }
            });
            let seconds = start.elapsed().as_secs_f64();
            rates[place].add(STORED as f64 / seconds);
            drop(pairs);
            let (messages, count) = stage.written();
            commits[place].add(count / seconds);
            sizes[place].add(messages / count);
        }
    }
    for (place, row) in OFFLINE.iter().enumerate() {
        println!(
            "{}: {} msg/s, {} commits a second, {} messages a commit; of the file {:.2}",
            row.name,
            rates[place].show(0),
            commits[place].show(0),
            sizes[place].show(0),
            rates[place].median() / rates[0].median(),
        );
    }
}

fn main() {
    let Some(settings) = Settings::read(3, 2) else {
        return;
    };
    settings.check(&["live", "offline"]);
    // For the script that starts it. No other thread runs yet.
    assert!(
        std::env::var("POSTGRES_FSYNC").is_ok_and(|fsync| fsync == "on"),
        "set POSTGRES_FSYNC=on, or the database promises less than the server says"
    );
    for (name, run) in [("live", live as fn(&Settings)), ("offline", offline)] {
        if settings.wants(name) {
            println!("\n== {name}");
            run(&settings);
        }
    }
}
