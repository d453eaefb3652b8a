//! Servers, PostgreSQL and the network between them fail under load, and what every client has seen
//! is judged afterwards. A test program of its own, because it is slow; `scripts/cluster-faults.sh`
//! does more of each.
//!
//! People ([`person`]) use the servers as clients do and have all they do and see written down
//! ([`history`]). Meanwhile something is broken ([`faults`]). When all is whole again and all mail
//! fetched, the [`checker`] reads the history, and nothing else, and says what is wrong with it.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub)]

mod harness;

#[path = "cluster/balancer.rs"]
mod balancer;
#[path = "cluster/checker.rs"]
mod checker;
#[path = "cluster/cut_off.rs"]
mod cut_off;
#[path = "cluster/database.rs"]
mod database;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/ghost.rs"]
mod ghost;
#[path = "cluster/history.rs"]
mod history;
#[path = "cluster/network.rs"]
mod network;
#[path = "cluster/nodes.rs"]
mod nodes;
#[path = "cluster/person.rs"]
mod person;
#[path = "cluster/play.rs"]
mod play;
#[path = "cluster/proxy.rs"]
mod proxy;
#[path = "cluster/session.rs"]
mod session;
#[path = "cluster/vault.rs"]
mod vault;
#[path = "cluster/world.rs"]
mod world;
#[path = "cluster/wrong_histories.rs"]
mod wrong_histories;
