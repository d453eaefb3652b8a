//! Until when a server may act for the users of its store. Who gives it that right, and how long it lasts,
//! is the store's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// The right of a server to answer, to push and to acknowledge.
///
/// It is asked at the last moment before bytes leave. A server that stood still beyond its end writes
/// nothing, whatever it was about to do, and goes on once the right is renewed.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// Its end, by [`clock::since_boot_ms`]; `None` if it has none.
    until: Option<Arc<AtomicU64>>,
}

impl Lease {
    /// The right of the only server that there can be.
    pub(crate) fn for_ever() -> Self {
        Lease { until: None }
    }

    /// One that has ended, to be extended.
    #[cfg(feature = "postgres")]
    pub(super) fn ended() -> Self {
        Lease {
            until: Some(Arc::new(AtomicU64::new(0))),
        }
    }

    /// One that a test ends and extends.
    #[cfg(test)]
    pub(crate) fn until(end: &Arc<AtomicU64>) -> Self {
        Lease {
            until: Some(Arc::clone(end)),
        }
    }

    /// Lets it last until that moment.
    #[cfg(feature = "postgres")]
    pub(super) fn extend(&self, until: u64) {
        if let Some(end) = &self.until {
            end.store(until, Ordering::Release);
        }
    }

    /// For how long it has not held; `None` while it does.
    pub(crate) fn lapsed(&self) -> Option<Duration> {
        let until = self.until.as_ref()?.load(Ordering::Acquire);
        let lapsed = clock::since_boot_ms().checked_sub(until)?;
        Some(Duration::from_millis(lapsed))
    }

    /// Whether it holds at this moment.
    pub(crate) fn holds(&self) -> bool {
        match &self.until {
            None => true,
            Some(until) => clock::since_boot_ms() < until.load(Ordering::Acquire),
        }
    }
}
