//! How many connections the system's limits on files and threads leave room for. Refusing those
//! past it keeps what the server itself needs: a member who is in is served, whoever waits outside.

use std::fmt;

use crate::transport::socket;

/// Descriptors besides those of connections: the database's, which are at most 16, the folder's,
/// the listener, those for logging and signals, and some for connections that are being refused.
const OWN_DESCRIPTORS: u64 = 40;

/// Threads besides those of connections: main, those of the table in docs/ARCHITECTURE.md, and some
/// for peers that read slowly.
const OWN_THREADS: u64 = 24;

/// A limit of the system that leaves room for fewer connections than the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    /// What is short.
    resource: Resource,
    /// How many of it there may be.
    limit: u64,
    /// For how many connections that is enough.
    pub places: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Files,
    Threads,
}

/// Raises the limits as far as the system lets, and says which one is the tightest if it leaves
/// room for fewer than `wanted` connections.
pub(super) fn raise_limits(wanted: usize) -> Option<Shortage> {
    let connections = wanted as u64;
    let files = socket::raise_descriptor_limit(connections.saturating_add(OWN_DESCRIPTORS));
    let threads = socket::raise_thread_limit(connections.saturating_add(OWN_THREADS));
    shortage(wanted, files, threads)
}

fn shortage(wanted: usize, files: u64, threads: u64) -> Option<Shortage> {
    let of = |resource, limit: u64, own| Shortage {
        resource,
        limit,
        places: usize::try_from(limit.saturating_sub(own)).unwrap_or(usize::MAX),
    };
    let all = [
        of(Resource::Files, files, OWN_DESCRIPTORS),
        of(Resource::Threads, threads, OWN_THREADS),
    ];
    let tightest = all.into_iter().min_by_key(|shortage| shortage.places);
    tightest.filter(|tightest| tightest.places < wanted)
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { limit, places, .. } = self;
        match self.resource {
            Resource::Files => write!(
                f,
                "only {limit} files may be open, which is enough for {places} connections; raise \
                 'ulimit -n'"
            ),
            Resource::Threads => write!(
                f,
                "the server's user may have only {limit} threads, all programs together, which is \
                 enough for {places} connections at most; raise 'ulimit -u'"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts() {
        let places = |files, threads| shortage(100, files, threads).map(|it| it.places);
        assert_eq!(places(140, 124), None);
        assert_eq!(places(139, 124), Some(99));
        assert_eq!(places(u64::MAX, 123), Some(99));
        assert_eq!(places(100, 64), Some(40));
        assert_eq!(places(10, 10), Some(0));
        let sentence = shortage(100, 64, u64::MAX).unwrap().to_string();
        assert!(sentence.contains("only 64 files") && sentence.contains("24 connections"));
    }
}
