//! How fast one connection's requests are taken. A client that sends faster is not refused: its
//! connection is not read for a moment, and TCP makes the client wait.
//!
//! What counts before a login belongs to the connection, what counts after it to the account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keyed_buckets::MAX_BUCKETS;
use super::token_bucket::{Rate, TokenBucket};
use crate::store::UserId;
use crate::sync::Mutex;

/// The burst after a login, in seconds' worth of requests: a client that was offline sends all
/// that it has kept at once.
const BURST_SECONDS: u32 = 4;

/// Requests per second before a login. After it, the operator sets the rate.
const RATE_BEFORE_LOGIN: u32 = 10;

/// The burst before a login: several attempts, as a person makes them.
const BURST_BEFORE_LOGIN: u32 = 50;

/// The bucket of an account, shared by the connections that it logs in on: a new login does not
/// fill it. Its lock is held for one step, alone.
pub(crate) type AccountBucket = Arc<Mutex<TokenBucket>>;

/// The request rate of one connection, which differs before and after a login.
#[derive(Debug)]
pub(crate) struct RequestRate {
    before_login: TokenBucket,
    /// The bucket of the account that is logged in.
    account: Option<AccountBucket>,
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
            account: None,
            rate_after_login: Rate::new(messages, second, messages.saturating_mul(BURST_SECONDS)),
        }
    }

    /// An account has logged in; its requests are taken from its bucket.
    pub(crate) fn log_in(&mut self, bucket: AccountBucket) {
        self.account = Some(bucket);
    }

    /// It has logged out.
    pub(crate) fn log_out(&mut self) {
        self.account = None;
    }

    /// Counts a request, and returns how long the connection is not to be read after it.
    pub(crate) fn count(&mut self, now: Instant) -> Duration {
        // A wait without a limit is never refused.
        let take = |bucket: &mut TokenBucket, rate| {
            bucket.take(rate, now, Duration::MAX).unwrap_or_default()
        };
        match (&self.account, self.rate_after_login) {
            (Some(_), None) => Duration::ZERO,
            (Some(bucket), Some(rate)) => take(&mut bucket.lock(), rate),
            (None, _) => {
                let second = Duration::from_secs(1);
                let rate = Rate::new(RATE_BEFORE_LOGIN, second, BURST_BEFORE_LOGIN);
                rate.map_or(Duration::ZERO, |rate| take(&mut self.before_login, rate))
            }
        }
    }
}

/// The buckets of accounts. Its memory is bounded: those of accounts that are logged in stay,
/// and of the others those that miss most.
#[derive(Debug, Default)]
pub(crate) struct AccountBuckets {
    /// An account that is not in it has a full bucket.
    buckets: HashMap<UserId, AccountBucket>,
}

impl AccountBuckets {
    /// The bucket of an account.
    pub(crate) fn of(&mut self, user: UserId, now: Instant) -> AccountBucket {
        if !self.buckets.contains_key(&user) && self.buckets.len() >= MAX_BUCKETS {
            self.forget(now);
        }
        let bucket = self.buckets.entry(user);
        Arc::clone(bucket.or_insert_with(|| Arc::new(Mutex::new(TokenBucket::full(now)))))
    }

    /// Removes the unused buckets that are full again, and in any case the eighth of the unused
    /// that misses least.
    fn forget(&mut self, now: Instant) {
        let unused = |bucket: &AccountBucket| Arc::strong_count(bucket) == 1;
        let buckets = self.buckets.values().filter(|bucket| unused(bucket));
        let mut ends: Vec<Instant> = buckets.map(|bucket| bucket.lock().full_at()).collect();
        let eighth = ends.len() / 8;
        if ends.is_empty() {
            return;
        }
        let (_, end, _) = ends.select_nth_unstable(eighth);
        let end = now.max(*end);
        self.buckets
            .retain(|_, bucket| !unused(bucket) || bucket.lock().full_at() > end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rate of `messages` a second, logged in.
    fn logged_in(messages: u32) -> RequestRate {
        let now = Instant::now();
        let mut request_rate = RequestRate::new(messages, now);
        request_rate.log_in(AccountBuckets::default().of(UserId(1), now));
        request_rate
    }

    /// How long `count` requests take at least, if each pause is kept.
    fn time_for(request_rate: &mut RequestRate, count: u32) -> Duration {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..count {
            now += request_rate.count(now);
        }
        now - start
    }

    #[test]
    fn past_the_burst_the_rate_holds_and_each_pause_is_short() {
        let mut request_rate = logged_in(1000);
        assert_eq!(time_for(&mut request_rate, 4000), Duration::ZERO);
        assert!(request_rate.count(Instant::now()) <= Duration::from_millis(1));
        let time = time_for(&mut logged_in(1000), 9000);
        assert_eq!(time.as_millis(), 5000);
    }

    #[test]
    fn before_a_login_it_is_slow_and_the_debt_ends_with_the_login() {
        let now = Instant::now();
        let mut request_rate = RequestRate::new(1000, now);
        assert_eq!(time_for(&mut request_rate, 50), Duration::ZERO);
        request_rate.log_in(AccountBuckets::default().of(UserId(1), now));
        assert_eq!(time_for(&mut request_rate, 1), Duration::ZERO);
        let mut request_rate = RequestRate::new(1000, Instant::now());
        assert_eq!(time_for(&mut request_rate, 100).as_millis(), 5000);
    }

    #[test]
    fn zero_is_no_limit_but_not_before_a_login() {
        assert_eq!(time_for(&mut logged_in(0), 100_000), Duration::ZERO);
        let mut request_rate = RequestRate::new(0, Instant::now());
        assert!(time_for(&mut request_rate, 100) > Duration::ZERO);
    }

    #[test]
    fn a_new_login_does_not_fill_an_accounts_bucket() {
        let now = Instant::now();
        let mut buckets = AccountBuckets::default();
        let mut connection = RequestRate::new(1000, now);
        connection.log_in(buckets.of(UserId(1), now));
        for _ in 0..4000 {
            connection.count(now);
        }
        let mut next = RequestRate::new(1000, now);
        next.log_in(buckets.of(UserId(1), now));
        assert_eq!(next.count(now).as_millis(), 1);
        let mut other = RequestRate::new(1000, now);
        other.log_in(buckets.of(UserId(2), now));
        assert_eq!(other.count(now), Duration::ZERO);
    }

    #[test]
    fn its_memory_is_bounded_and_those_in_use_stay() {
        let now = Instant::now();
        let rate = Rate::new(1, Duration::from_secs(60), 1).unwrap();
        let mut buckets = AccountBuckets::default();
        let in_use = buckets.of(UserId(0), now);
        for user in 1..30_000 {
            let bucket = buckets.of(UserId(user), now);
            let _taken = bucket.lock().take(rate, now, Duration::MAX);
        }
        assert!(buckets.buckets.len() <= MAX_BUCKETS);
        assert!(Arc::ptr_eq(&in_use, &buckets.of(UserId(0), now)));
    }
}
