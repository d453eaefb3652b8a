//! When the vault's keys grow older, and when the signed prekey is replaced.
//!
//! A login makes them older by a day at most, and only once all that waited on the server
//! has arrived: its keys are not erased before. On a long connection they grow older
//! with the monotonic clock. How much time passes, and what is erased, is the vault's
//! ([`crate::client::vault`]).

use std::time::{Duration, Instant};

use super::Messenger;
use crate::client::vault::Result;
use crate::clock;

/// The most that a login adds.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often time passes on a long connection, and how long after a login what the
/// server said to be waiting is waited for.
const HOUR: Duration = Duration::from_secs(3600);

/// How far this process has let time pass.
pub(super) struct Aging {
    /// A login that has not been counted.
    login: bool,
    /// How many messages waited at that login and have not arrived.
    waiting: u64,
    /// When the login was, or when time passed the last time.
    since: Instant,
}

impl Aging {
    pub(super) fn new(now: Instant) -> Self {
        Aging {
            login: false,
            waiting: 0,
            since: now,
        }
    }

    /// Notes a login, and how many messages wait on the server.
    pub(super) fn logged_in(&mut self, waiting: u64, now: Instant) {
        (self.login, self.waiting, self.since) = (true, waiting, now);
    }

    /// Notes that messages arrived.
    pub(super) fn arrived(&mut self, count: usize) {
        self.waiting = self.waiting.saturating_sub(count as u64);
    }

    /// How much time may pass, if it is time.
    fn due(&self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.since);
        match (self.login, self.waiting) {
            (true, 0) => Some(DAY),
            (true, _) if passed >= HOUR => Some(DAY),
            (false, _) if passed >= HOUR => Some(passed),
            _ => None,
        }
    }
}

impl Messenger {
    /// Lets the keys grow older if it is time, and replaces the signed prekey after a week.
    pub(super) fn grow_older(&mut self, now: Instant) -> Result<()> {
        if self.server.connection.is_none() {
            return Ok(());
        }
        let Some(most) = self.aging.due(now) else {
            return Ok(());
        };
        self.save_progress()?;
        self.me.age = self.vault.grow_older(clock::unix_ms(), most)?;
        self.aging = Aging::new(now);
        self.rotate_prekeys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_counts_when_what_waited_has_arrived() {
        let start = clock::now();
        let mut aging = Aging::new(start);
        assert_eq!(aging.due(start), None);
        aging.logged_in(2, start);
        aging.arrived(1);
        assert_eq!(aging.due(start), None, "one message is still to come");
        aging.arrived(1);
        assert_eq!(aging.due(start), Some(DAY));
        aging.logged_in(u64::MAX, start);
        assert_eq!(aging.due(start + HOUR / 2), None);
        assert_eq!(aging.due(start + HOUR), Some(DAY), "the server lied");
        let aging = Aging::new(start);
        assert_eq!(aging.due(start + HOUR / 2), None);
        assert_eq!(aging.due(start + HOUR * 2), Some(HOUR * 2));
    }
}
