//! What tests and benches share: the real programs as processes of their own, and
//! connections and clients that speak to the server over real sockets.
//!
//! | file | holds |
//! | --- | --- |
//! | `process` | how a process is started, ended and looked at |
//! | `server` | the server, its folder and its log |
//! | `client_process` | the real client on pipes |
//! | `stream`, `secured` | a connection, in clear or under TLS |
//! | `wire` | a connection as lines of text |
//! | `account` | passwords, and the proofs and requests made of them |
//! | `client`, `console` | a JSON client and a person at telnet, on a wire |
//! | `traffic` | load under which a server is killed, and the account of each message |
//! | `disk` | a disk that can lose its power, be full, or fail |
//! | `postgres` | the database server on which the suite is run a second time |
//!
//! Nothing here sleeps for luck: code that waits for something asks for it again
//! until [`PATIENCE`] is over, which is generous because test machines are slow.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test program and bench uses a part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is how a test fails"
)]

pub mod account;
mod client;
mod client_process;
mod console;
pub mod postgres;
pub mod postgres_pair;
pub mod process;
#[cfg(feature = "tls")]
mod secured;
mod server;
pub mod stream;
mod traffic;
mod wire;

#[path = "../power_loss/disk.rs"]
pub mod disk;

use std::fs;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

pub use account::{Nonce, credentials};
pub use client::{Client, mid, plain};
pub use client_process::{CLIENT_PASSWORD, ClientProcess};
pub use console::Console;
pub use disk::{Disk, Fault};
pub use server::{Server, run_to_the_end};
pub use traffic::{Dice, crash_under_load, random, register_everybody};
pub use wire::Wire;

/// How long something may take that must happen. Never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A folder that is removed at its end, or, if the tests are cut off before, when
/// tests are run again: its name says which process has made it.
pub fn temporary_folder() -> tempfile::TempDir {
    static SWEPT: Once = Once::new();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    SWEPT.call_once(|| {
        for entry in fs::read_dir(all).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let maker = name
                .strip_prefix("test-")
                .and_then(|rest| rest.split_once('-'));
            if maker.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
                // Another run may remove it at the same time.
                let path = entry.path();
                let _gone = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
    });
    let prefix = format!("test-{}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(all)
        .unwrap()
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, secret).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Asks again and again until `condition` holds; panics with `what` if it never does.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
