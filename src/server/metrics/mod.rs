//! What an operator sees of a running server in numbers.
//!
//! | file | what |
//! | --- | --- |
//! | here | gathering the numbers |
//! | `prometheus` | the numbers as Prometheus reads them |
//! | `status` | the numbers as a person reads them |
//! | `http` | the small web server that Prometheus fetches them from |
//!
//! Gathering takes each lock for a moment, one at a time, and asks the store nothing: its time does
//! not grow with the mail that waits.

pub(crate) mod http;
mod prometheus;
mod status;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::data_folder;
use super::delivery::OpenMailboxes;
use super::log;
use super::net::registry::Connections;
use super::shared::Shared;
use crate::clock;
use crate::store::sqlite;
use crate::transport::tls::Acceptor;

/// Gathers the numbers of a running server.
pub(crate) struct Observer {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    started: Instant,
}

/// The numbers of one moment. Those that only grow are in [`Stats`](super::stats::Stats).
#[derive(Debug)]
struct Gauges {
    uptime: Duration,
    connections: usize,
    sessions: usize,
    mailboxes: OpenMailboxes,
    /// Bytes of the database's file, and of the log beside it; `None` with a database elsewhere.
    database_bytes: Option<u64>,
    database_log_bytes: Option<u64>,
    /// What the database promises less, if the store is one that others set up.
    store_weaknesses: Option<usize>,
    /// Threads of the process, where the system tells.
    threads: Option<u64>,
    writer_waiting: usize,
    passwords_waiting: usize,
    log_waiting_bytes: usize,
    log_dropped: u64,
    /// When the certificate ends, in seconds since 1970.
    certificate_end: Option<i64>,
    /// Other servers may use the store, too.
    shares_store: bool,
}

impl Observer {
    /// Observes a server that starts at this moment.
    pub(crate) fn new(shared: Arc<Shared>, connections: Arc<Connections>) -> Self {
        Observer {
            shared,
            connections,
            started: clock::now(),
        }
    }

    fn gauges(&self) -> Gauges {
        let shared = &self.shared;
        let config = shared.config();
        let file = config.store.is_none();
        let database = file.then(|| data_folder::database(&config.data));
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
        Gauges {
            uptime: clock::now().saturating_duration_since(self.started),
            connections: self.connections.count(),
            sessions: shared.sessions.count(),
            mailboxes: shared.delivery.open_mailboxes(),
            database_bytes: database.as_ref().map(size),
            database_log_bytes: database.as_ref().map(|path| size(&sqlite::wal_path(path))),
            store_weaknesses: (!file).then(|| shared.store.weaknesses().len()),
            threads: threads(),
            writer_waiting: shared.writer.waiting(),
            passwords_waiting: shared.kdf_queue.waiting(),
            log_waiting_bytes: log::waiting_bytes(),
            log_dropped: log::dropped(),
            certificate_end: shared.tls.as_deref().and_then(Acceptor::certificate_end),
            shares_store: shared.store.run().is_some(),
        }
    }
}

/// How many threads the process has. Only Linux says so in a file.
fn threads() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod testing {
    use super::*;

    pub(super) fn gauges() -> Gauges {
        Gauges {
            uptime: Duration::from_secs(3 * 86_400 + 7_260),
            connections: 14,
            sessions: 12,
            mailboxes: OpenMailboxes {
                count: 3,
                messages: 1_234,
                bytes: 5 * 1024 * 1024,
                most_messages: 1_000,
                most_bytes: 4 * 1024 * 1024,
            },
            database_bytes: Some(12 * 1024 * 1024),
            database_log_bytes: Some(2048),
            store_weaknesses: Some(1),
            threads: Some(21),
            writer_waiting: 2,
            passwords_waiting: 1,
            log_waiting_bytes: 99,
            log_dropped: 7,
            certificate_end: Some(1_930_089_600),
            shares_store: true,
        }
    }
}
