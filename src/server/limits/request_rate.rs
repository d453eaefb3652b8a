//! How fast one connection's requests are taken. Past it nothing is refused: the
//! connection is not read for a moment, and TCP passes that on to the client.
//!
//! It belongs to one connection's thread, so asking it takes no lock.

use std::time::{Duration, Instant};

use super::token_bucket::{Bucket, Rate};

/// How long a second's worth may be saved up: a client that was away sends its
/// whole outbox at once.
const SAVED: u32 = 4;

/// Requests a second before a login; afterwards the operator says.
const GUEST_RATE: u32 = 10;

/// Requests at once before a login: several attempts, as a person makes them.
const GUEST_BURST: u32 = 50;

/// See the module.
#[derive(Debug)]
pub struct Pace {
    guest: Bucket,
    member: Bucket,
    member_rate: Option<Rate>,
}

impl Pace {
    /// For a new connection, with what a logged-in one may send each second;
    /// zero is no limit.
    pub fn new(messages: u32, now: Instant) -> Self {
        let second = Duration::from_secs(1);
        Pace {
            guest: Bucket::full(now),
            member: Bucket::full(now),
            member_rate: Rate::new(messages, second, messages.saturating_mul(SAVED)),
        }
    }

    /// Takes a request's place, and says how long the connection is not to be
    /// read then.
    pub fn take(&mut self, logged_in: bool, now: Instant) -> Duration {
        let (bucket, rate) = match logged_in {
            true => (&mut self.member, self.member_rate),
            false => {
                let rate = Rate::new(GUEST_RATE, Duration::from_secs(1), GUEST_BURST);
                (&mut self.guest, rate)
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
    fn time_for(pace: &mut Pace, logged_in: bool, count: u32) -> Duration {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..count {
            now += pace.take(logged_in, now);
        }
        now - start
    }

    #[test]
    fn past_the_burst_the_rate_holds_and_each_pause_is_short() {
        let mut pace = Pace::new(1000, Instant::now());
        assert_eq!(time_for(&mut pace, true, 4000), Duration::ZERO);
        let now = Instant::now();
        assert!(pace.take(true, now) <= Duration::from_millis(1));
        let mut pace = Pace::new(1000, now);
        let time = time_for(&mut pace, true, 9000);
        assert_eq!(time.as_millis(), 5000);
    }

    #[test]
    fn guests_are_slow_and_their_debt_ends_with_the_login() {
        let mut pace = Pace::new(1000, Instant::now());
        assert_eq!(time_for(&mut pace, false, 50), Duration::ZERO);
        assert_eq!(time_for(&mut pace, true, 1), Duration::ZERO);
        let mut pace = Pace::new(1000, Instant::now());
        assert_eq!(time_for(&mut pace, false, 100).as_millis(), 5000);
    }

    #[test]
    fn zero_is_no_limit_but_not_for_guests() {
        let mut pace = Pace::new(0, Instant::now());
        assert_eq!(time_for(&mut pace, true, 100_000), Duration::ZERO);
        assert!(time_for(&mut pace, false, 100) > Duration::ZERO);
    }
}
