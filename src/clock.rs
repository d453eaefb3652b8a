//! The one place that reads time.
//!
//! Code that decides by time takes it as a value, so that tests can choose it, and only the code
//! around it calls here. `Instant` serves for waiting and limits, since it never goes back.
//! Milliseconds since 1970 are what is stored, sent and shown.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The present moment, for measuring and waiting.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = crate::sync::virtual_now() {
        return now;
    }
    Instant::now()
}

/// Milliseconds since 1970 (UTC) by the system's clock; 0 if that is set to an earlier time.
pub(crate) fn unix_ms() -> u64 {
    #[cfg(test)]
    if let Some(elapsed) = crate::sync::virtual_elapsed() {
        return 1_700_000_000_000 + elapsed.as_millis() as u64;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
