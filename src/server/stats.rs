//! What the server counts while it runs: for the log at its end, and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Messages taken into a mailbox.
    pub taken: Counter,
    /// Messages acknowledged by their recipients.
    pub acknowledged: Counter,
    /// Messages written to disk; `acknowledged` beyond it were never written.
    pub stored: Counter,
    /// Transactions.
    pub commits: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused because there were too many, in all or from one address.
    pub refused: Counter,
}
