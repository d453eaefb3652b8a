//! When the vault's write-ahead log is emptied: what was replaced in the vault leaves the disk
//! within a minute, also while nothing happens. How is the vault's business.

use std::time::{Duration, Instant};

use super::Messenger;
use crate::client::view::ViewEvent;
use crate::clock;

/// How long the log may keep what was replaced. With the longest wait for an answer of the
/// server, during which nothing else is done, it stays below a minute.
const EMPTY_AFTER: Duration = Duration::from_secs(20);

/// What is in the log.
pub(super) struct LogUpkeep {
    /// The vault's count of changes when the log was empty.
    changes: u64,
    /// When that was, or was tried.
    emptied_at: Instant,
    /// The person knows that it fails.
    warned: bool,
}

impl LogUpkeep {
    /// Of a vault that was just opened. What it did since then is emptied with the first change.
    pub(super) fn new(now: Instant) -> Self {
        LogUpkeep {
            changes: 0,
            emptied_at: now,
            warned: false,
        }
    }
}

impl Messenger {
    /// Empties the log if that is due.
    pub(super) fn empty_log_in_time(&mut self) {
        if clock::now().saturating_duration_since(self.log.emptied_at) >= EMPTY_AFTER {
            self.empty_log();
        }
    }

    /// Empties the log if there is something in it.
    pub(super) fn empty_log(&mut self) {
        let changes = self.vault.changes();
        self.log.emptied_at = clock::now();
        if changes == self.log.changes {
            return;
        }
        match self.vault.empty_log() {
            Ok(true) => {
                self.log.changes = changes;
                self.log.warned = false;
            }
            // Another program reads the file; the next attempt may succeed.
            Ok(false) => {}
            Err(error) if !self.log.warned => {
                self.log.warned = true;
                self.say(ViewEvent::warning(format!(
                    "old keys could not be wiped from the vault, which is tried again: {error}"
                )));
            }
            Err(_) => {}
        }
    }
}
