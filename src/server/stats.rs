//! What the server counts while it runs, for the last line of its log.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one server.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Messages taken into a mailbox.
    pub taken: Counter,
    /// Messages acknowledged by their recipients.
    pub acknowledged: Counter,
    /// Messages written to disk. Those acknowledged early enough never are.
    pub stored: Counter,
    /// Transactions that wrote them.
    pub commits: Counter,
    /// Connections accepted.
    pub connections: Counter,
}
