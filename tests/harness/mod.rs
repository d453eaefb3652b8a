//! What all tests share: the real server as a process of its own, and clients
//! that speak to it over real sockets.
//!
//! Nothing here sleeps for luck: whoever waits for something asks for it again
//! until [`PATIENCE`] is over, which is generous because test machines are slow.

mod client;
mod console;
#[cfg(feature = "tls")]
mod secured;
mod server;
mod traffic;
mod wire;

/// A disk that can lose its power, be full, or fail.
#[path = "../power_loss/disk.rs"]
mod disk;

use std::time::{Duration, Instant};

pub use client::{Client, Nonce, credentials, mid, plain};
pub use console::Console;
pub use disk::{Disk, Fault};
pub use server::{Server, run_to_the_end};
pub use traffic::{crash_under_load, random, register_everybody};
pub use wire::Wire;

/// How long something may take that must happen. Never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again and again until `condition` holds; panics with `what` if it never does.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
