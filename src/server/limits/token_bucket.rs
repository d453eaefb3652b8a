//! A token bucket: it permits a burst, then a steady rate.
//!
//! It stores one instant, at which the bucket will be full again (the "generic cell rate
//! algorithm", ITU-T I.371), so that a check costs a comparison and no timer has to refill it. It
//! reads no clock: the caller passes the present moment.

use std::time::{Duration, Instant};

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The time in which one token comes back.
    interval: Duration,
    /// How many tokens a full bucket holds.
    burst: u32,
}

impl Rate {
    /// `count` tokens in each `period`, and `burst` at once. `None` for a count of zero, which
    /// means in all limits that there is none.
    pub(crate) fn new(count: u32, period: Duration, burst: u32) -> Option<Self> {
        let interval = period.checked_div(count)?;
        Some(Rate { interval, burst })
    }

    /// The rate of so many takers together.
    pub(crate) fn times(self, takers: u32) -> Self {
        Rate {
            interval: self.interval / takers.max(1),
            burst: self.burst.saturating_mul(takers),
        }
    }
}

/// A bucket of tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBucket {
    /// When it will be full, or the moment at which it became full.
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn full(now: Instant) -> Self {
        TokenBucket { full_at: now }
    }

    /// Takes one token, if there will be one within `max_wait`. Returns how long the taker has to
    /// wait for it: zero while there are tokens.
    ///
    /// # Errors
    /// Nothing was taken; after the time returned, it can be.
    pub(crate) fn take(
        &mut self,
        rate: Rate,
        now: Instant,
        max_wait: Duration,
    ) -> Result<Duration, Duration> {
        let full_at = self.full_at.max(now) + rate.interval;
        let wait = full_at
            .saturating_duration_since(now)
            .saturating_sub(rate.interval.saturating_mul(rate.burst));
        if wait > max_wait {
            return Err(wait - max_wait);
        }
        self.full_at = full_at;
        Ok(wait)
    }

    /// Takes `count` tokens if there is at least one. It may take more than there are: then no
    /// more can be taken until they have come back.
    ///
    /// # Errors
    /// There is none; after the time returned, there will be.
    pub(crate) fn spend(&mut self, rate: Rate, now: Instant, count: u32) -> Result<(), Duration> {
        self.take(rate, now, Duration::ZERO)?;
        self.full_at += rate.interval.saturating_mul(count.saturating_sub(1));
        Ok(())
    }

    /// How many tokens are missing from a full bucket.
    pub(crate) fn missing(&self, rate: Rate, now: Instant) -> u32 {
        let missing = self.full_at.saturating_duration_since(now);
        let count = missing.as_nanos().div_ceil(rate.interval.as_nanos().max(1));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// When it will be full, or the moment at which it became full.
    pub(crate) fn full_at(&self) -> Instant {
        self.full_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_burst_then_one_an_interval() {
        let rate = Rate::new(2, seconds(60), 5).unwrap();
        let start = Instant::now();
        let mut bucket = TokenBucket::full(start);
        for _ in 0..5 {
            assert_eq!(bucket.take(rate, start, NONE), Ok(NONE));
        }
        assert_eq!(bucket.missing(rate, start), 5);
        assert_eq!(bucket.take(rate, start, NONE), Err(seconds(30)));
        let later = start + seconds(29);
        assert_eq!(bucket.take(rate, later, NONE), Err(seconds(1)));
        let later = start + seconds(30);
        assert_eq!(bucket.take(rate, later, NONE), Ok(NONE));
        assert_eq!(bucket.take(rate, later, NONE), Err(seconds(30)));
        // It never holds more than a burst, however long nobody takes.
        let later = start + seconds(100_000);
        assert_eq!(bucket.missing(rate, later), 0);
        for _ in 0..5 {
            assert_eq!(bucket.take(rate, later, NONE), Ok(NONE));
        }
        assert!(bucket.take(rate, later, NONE).is_err());
    }

    #[test]
    fn each_that_may_wait_waits_a_little_longer() {
        let rate = Rate::new(10, seconds(1), 1).unwrap();
        let start = Instant::now();
        let mut bucket = TokenBucket::full(start);
        let tenth = Duration::from_millis(100);
        for waits in 0..=3 {
            assert_eq!(bucket.take(rate, start, tenth * 3), Ok(tenth * waits));
        }
        // Refusing takes nothing.
        for _ in 0..2 {
            assert_eq!(bucket.take(rate, start, tenth * 3), Err(tenth));
        }
        assert_eq!(bucket.take(rate, start + tenth * 4, NONE), Ok(NONE));
    }

    #[test]
    fn no_count_is_no_limit_and_the_smallest_interval_no_fault() {
        assert_eq!(Rate::new(0, seconds(1), 1), None);
        let rate = Rate::new(u32::MAX, seconds(1), u32::MAX).unwrap();
        let start = Instant::now();
        let mut bucket = TokenBucket::full(start);
        assert_eq!(bucket.take(rate, start, NONE), Ok(NONE));
        assert_eq!(bucket.missing(rate, start), 0);
    }
}
