//! What the benches share: the processes they measure, the connections and pairs
//! that load them, and the statistics. It knows no scenario.
//!
//! Loopback only (one case adds a virtual cable inside this machine), bounded in
//! time and count, and every child process ends with the value that holds it.

#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod account;
pub(crate) mod flood;
pub(crate) mod hold;
pub(crate) mod loops;
pub(crate) mod pair;
pub(crate) mod peer;
pub(crate) mod probe;
pub(crate) mod relay;
pub(crate) mod settings;
pub(crate) mod stats;
