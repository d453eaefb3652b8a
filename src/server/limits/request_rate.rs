//! How fast one connection's requests are taken. A client that sends faster is not refused: its
//! connection is not read for a moment, and TCP makes the client wait.
//!
//! It belongs to one connection's thread, so it needs no lock.

use std::time::{Duration, Instant};

use super::token_bucket::{Rate, TokenBucket};

/// The burst after a login, in seconds' worth of requests: a client that was offline sends all
/// that it has kept at once.
const BURST_SECONDS: u32 = 4;

/// Requests per second before a login. After it, the operator sets the rate.
const RATE_BEFORE_LOGIN: u32 = 10;

/// The burst before a login: several attempts, as a person makes them.
const BURST_BEFORE_LOGIN: u32 = 50;

/// The request rate of one connection, which differs before and after a login.
#[derive(Debug)]
pub(crate) struct RequestRate {
    before_login: TokenBucket,
    after_login: TokenBucket,
    /// `None` is no limit.
    rate_after_login: Option<Rate>,
}

impl RequestRate {
    /// The rate of a new connection, which may send `messages` per second once it is logged in;
    /// zero is no limit.
    pub(crate) fn new(messages: u32, now: Instant) -> Self {
        let second = Duration::from_secs(1);
        RequestRate {
            before_login: TokenBucket::full(now),
            after_login: TokenBucket::full(now),
            rate_after_login: Rate::new(messages, second, messages.saturating_mul(BURST_SECONDS)),
        }
    }

    /// Counts a request, and returns how long the connection is not to be read after it.
    pub(crate) fn count(&mut self, logged_in: bool, now: Instant) -> Duration {
        let (bucket, rate) = match logged_in {
            true => (&mut self.after_login, self.rate_after_login),
            false => {
                let rate = Rate::new(
                    RATE_BEFORE_LOGIN,
                    Duration::from_secs(1),
                    BURST_BEFORE_LOGIN,
                );
                (&mut self.before_login, rate)
            }
        };
        match rate {
            // A wait without a limit is never refused.
            Some(rate) => bucket.take(rate, now, Duration::MAX).unwrap_or_default(),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long `count` requests take at least, if each pause is kept.
    fn time_for(request_rate: &mut RequestRate, logged_in: bool, count: u32) -> Duration {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..count {
            now += request_rate.count(logged_in, now);
        }
        now - start
    }

    #[test]
    fn past_the_burst_the_rate_holds_and_each_pause_is_short() {
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, true, 4000), Duration::ZERO);
        let now = Instant::now();
        assert!(request_rate.count(true, now) <= Duration::from_millis(1));
        let mut request_rate = RequestRate::new(1000, now);
        let time = time_for(&mut request_rate, true, 9000);
        assert_eq!(time.as_millis(), 5000);
    }

    #[test]
    fn before_a_login_it_is_slow_and_the_debt_ends_with_the_login() {
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, false, 50), Duration::ZERO);
        assert_eq!(time_for(&mut request_rate, true, 1), Duration::ZERO);
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, false, 100).as_millis(), 5000);
    }

    #[test]
    fn zero_is_no_limit_but_not_before_a_login() {
        let mut request_rate = RequestRate::new(0, Instant::now());
        assert_eq!(time_for(&mut request_rate, true, 100_000), Duration::ZERO);
        assert!(time_for(&mut request_rate, false, 100) > Duration::ZERO);
    }
}
