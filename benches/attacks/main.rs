//! The server under attack, while people chat: how their chat fares before, during
//! and after each attack, and whether the server is as before when it is over.
//!
//! `cargo bench --bench attacks` runs every attack; `-- NAME…` only those, `--
//! --rounds N --seconds S` more often or longer, `-- --tls` against people who chat
//! over TLS. Every attack is bounded in connections and time, and aims at a server
//! of its own on loopback. Attackers come from another loopback address than the
//! people, so that limits per address can tell them apart.
//!
//! This is not a test: it asserts nothing about time. It does assert that the chat's messages
//! come once and in order.

// A benchmark that can't go on has nothing better to do than to stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../load/mod.rs"]
mod load;

mod connections;
mod raid;
mod readers;
mod searches;
mod stage;
mod table;

use load::peer::Kind;
use load::settings::Settings;
use stage::Attack;
use table::Table;

/// The attacks by name. Each runs against a server of its own.
const ATTACKS: &[Attack] = &[
    Attack {
        name: "nothing",
        descriptors: None,
        prepare: stage::nothing,
        begin: connections::nothing,
    },
    Attack {
        name: "slowloris",
        descriptors: None,
        prepare: stage::nothing,
        begin: connections::slowloris,
    },
    Attack {
        name: "connect-flood",
        descriptors: None,
        prepare: stage::nothing,
        begin: connections::connect_flood,
    },
    Attack {
        name: "half-open-tls",
        descriptors: None,
        prepare: stage::nothing,
        begin: connections::half_open_tls,
    },
    Attack {
        name: "tls-garbage",
        descriptors: None,
        prepare: stage::nothing,
        begin: connections::tls_garbage,
    },
    Attack {
        name: "stuck-readers",
        descriptors: None,
        prepare: stage::nothing,
        begin: readers::stuck,
    },
    Attack {
        name: "frozen-peers",
        descriptors: None,
        prepare: stage::nothing,
        begin: readers::frozen,
    },
    Attack {
        name: "search-storm",
        descriptors: None,
        prepare: searches::fill,
        begin: searches::storm,
    },
    Attack {
        name: "descriptors",
        descriptors: Some(128),
        prepare: stage::nothing,
        begin: connections::descriptors,
    },
];

fn main() {
    let Some(settings) = Settings::read(3, 10) else {
        return;
    };
    settings.check(&ATTACKS.iter().map(|attack| attack.name).collect::<Vec<_>>());
    let kind = match settings.tls {
        true => Kind::ServerTls,
        false => Kind::Server,
    };
    secure_chat::transport::socket::raise_descriptor_limit(8000);
    let mut table = Table::default();
    for _ in 0..settings.rounds {
        for attack in ATTACKS {
            if settings.wants(attack.name) {
                table.add(attack.name, stage::run(attack, kind, settings.duration));
            }
        }
    }
    table.print();
    if !table.is_fine() {
        std::process::exit(1);
    }
}
