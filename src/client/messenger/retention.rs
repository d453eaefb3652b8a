//! Deletes, a slice at a time, what is older than the person keeps messages: once after the login,
//! and once a day on a long connection. What goes is decided in [`crate::client::vault`].

use std::time::{Duration, Instant};

use super::Messenger;
use super::browse::oldest_kept;
use crate::client::vault::Result;
use crate::clock;

/// How often the whole history is looked through.
const EVERY: Duration = Duration::from_secs(24 * 3600);

/// How far the look through the history is.
pub(super) struct Retention {
    /// The chunk of messages to go on from.
    from: i64,
    /// When to go on.
    due: Instant,
}

impl Retention {
    /// Looks through the history at once.
    pub(super) fn new(now: Instant) -> Self {
        Retention {
            from: i64::MIN,
            due: now,
        }
    }

    /// Notes that the whole history was looked through.
    pub(super) fn start_over(&mut self, now: Instant) {
        *self = Retention {
            from: i64::MIN,
            due: now + EVERY,
        };
    }
}

impl Messenger {
    /// Deletes old messages of one slice of the history, if it is time.
    pub(super) fn delete_expired(&mut self, now: Instant) -> Result<()> {
        if now < self.retention.due {
            return Ok(());
        }
        let Some(days) = self.vault.device()?.keep_days else {
            self.retention.start_over(now);
            return Ok(());
        };
        let from = self.retention.from;
        let expired = self
            .vault
            .expire(from, oldest_kept(days), clock::unix_ms())?;
        match expired.next {
            Some(next) => self.retention.from = next,
            None => self.retention.start_over(now),
        }
        Ok(())
    }
}
