//! How fast one connection's requests are taken. Past it nothing is refused: the
//! connection is not read for a moment, and TCP passes that on to the client.
//!
//! It belongs to one connection's thread, so asking it takes no lock.

use std::time::{Duration, Instant};

use super::token_bucket::{Rate, TokenBucket};

/// How long a second's worth may be saved up: a client that was away sends its
/// whole outbox at once.
const SAVED: u32 = 4;

/// Requests a second before a login; afterwards the operator says.
const GUEST_RATE: u32 = 10;

/// Requests at once before a login: several attempts, as a person makes them.
const GUEST_BURST: u32 = 50;

/// See the module.
#[derive(Debug)]
pub(crate) struct RequestRate {
    guard: TokenBucket,
    member: TokenBucket,
    member_rate: Option<Rate>,
}

impl RequestRate {
    /// For a new connection, with what a logged-in one may send each second;
    /// zero is no limit.
    pub(crate) fn new(messages: u32, now: Instant) -> Self {
        let second = Duration::from_secs(1);
        RequestRate {
            guard: TokenBucket::full(now),
            member: TokenBucket::full(now),
            member_rate: Rate::new(messages, second, messages.saturating_mul(SAVED)),
        }
    }

    /// Takes a request's place, and says how long the connection is not to be
    /// read then.
    pub(crate) fn take(&mut self, logged_in: bool, now: Instant) -> Duration {
        let (bucket, rate) = match logged_in {
            true => (&mut self.member, self.member_rate),
            false => {
                let rate = Rate::new(GUEST_RATE, Duration::from_secs(1), GUEST_BURST);
                (&mut self.guard, rate)
            }
        };
        match rate {
            // With patience for anything it is never refused.
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
            now += request_rate.take(logged_in, now);
        }
        now - start
    }

    #[test]
    fn past_the_burst_the_rate_holds_and_each_pause_is_short() {
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, true, 4000), Duration::ZERO);
        let now = Instant::now();
        assert!(request_rate.take(true, now) <= Duration::from_millis(1));
        let mut request_rate = RequestRate::new(1000, now);
        let time = time_for(&mut request_rate, true, 9000);
        assert_eq!(time.as_millis(), 5000);
    }

    #[test]
    fn guests_are_slow_and_their_debt_ends_with_the_login() {
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, false, 50), Duration::ZERO);
        assert_eq!(time_for(&mut request_rate, true, 1), Duration::ZERO);
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, false, 100).as_millis(), 5000);
    }

    #[test]
    fn zero_is_no_limit_but_not_for_guests() {
        let mut request_rate = RequestRate::new(0, Instant::now());
        assert_eq!(time_for(&mut request_rate, true, 100_000), Duration::ZERO);
        assert!(time_for(&mut request_rate, false, 100) > Duration::ZERO);
    }
}
