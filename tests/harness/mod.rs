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

use std::fs;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

pub use client::{Client, Nonce, credentials, mid, plain};
pub use console::Console;
pub use disk::{Disk, Fault};
pub use server::{Server, run_to_the_end};
pub use traffic::{crash_under_load, random, register_everybody};
pub use wire::Wire;

/// How long something may take that must happen. Never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A folder that is removed at its end, or, if the tests are cut off before, when
/// tests are run again: its name says whose it is.
pub fn temporary_folder() -> tempfile::TempDir {
    static SWEPT: Once = Once::new();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    SWEPT.call_once(|| {
        for folder in fs::read_dir(all).unwrap().flatten() {
            let name = folder.file_name().to_string_lossy().into_owned();
            let owner = name
                .strip_prefix("test-")
                .and_then(|rest| rest.split_once('-'));
            if owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
                // Another run may remove it at the same time.
                let _gone = fs::remove_dir_all(folder.path());
            }
        }
    });
    let prefix = format!("test-{}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(all)
        .unwrap()
}

/// Asks again and again until `condition` holds; panics with `what` if it never does.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
