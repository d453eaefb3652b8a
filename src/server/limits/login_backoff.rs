//! How long the answer to a wrong login is held back.
//!
//! Nobody is ever locked out: a right proof is answered at once, whatever others tried before.
//! The answer to a wrong one waits, and waits longer the more wrong logins came lately on the same
//! connection, from the same address or for the same account. A connection that waits counts
//! among those that its address may have open, which bounds guessing in parallel.

use std::hash::Hash;
use std::time::{Duration, Instant};

use super::ip_prefix::{IpPrefix, NETWORKS_OF_SITE};
use super::keyed_buckets::KeyedBuckets;
use super::token_bucket::Rate;
use crate::protocol::name::UserName;

/// The delay of the first wrong login; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// How often the delay doubles at most, which makes it 8 s.
const MAX_DOUBLINGS: u32 = 5;

/// Wrong logins from one address that do not count, since many people can share it.
const FREE_FROM_ADDRESS: u32 = 10;

/// The time in which one wrong login is forgotten.
pub(crate) const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The most wrong logins that are remembered of an account or an address, so that an attack
/// does not slow its victims for long after its end.
pub(crate) const MAX_REMEMBERED: u32 = 30;

/// The wrong logins that are remembered, by address, and by account where the store does not count those.
#[derive(Debug, Default)]
pub(crate) struct LoginBackoff {
    addresses: KeyedBuckets<IpPrefix>,
    accounts: KeyedBuckets<UserName>,
}

impl LoginBackoff {
    /// Counts a wrong login for an account, which need not exist, and returns how many are remembered.
    pub(crate) fn count_guess(&mut self, account: UserName, now: Instant) -> u32 {
        count(&mut self.accounts, account, now, 1)
    }

    /// Counts a wrong login by its address, and says how long its answer is to be held back.
    /// `of_account` is how many are remembered of its account, and `in_a_row` how many failed on this
    /// connection, this one included in both; `from` is `None` for an address that is not counted.
    pub(crate) fn delay(
        &mut self,
        of_account: u32,
        from: Option<IpPrefix>,
        in_a_row: u32,
        now: Instant,
    ) -> Duration {
        let of_address = from.map_or(0, |from| count(&mut self.addresses, from, now, 1));
        let site = from.and_then(IpPrefix::site);
        let of_site = site.map_or(0, |site| {
            count(&mut self.addresses, site, now, NETWORKS_OF_SITE) / NETWORKS_OF_SITE
        });
        let worst = of_account
            .max(of_address.max(of_site).saturating_sub(FREE_FROM_ADDRESS))
            .max(in_a_row);
        FIRST_DELAY * 2u32.pow(worst.saturating_sub(1).min(MAX_DOUBLINGS))
    }
}

/// Adds one to the wrong logins that are remembered of `key`, which stands for so many
/// `addresses`, and returns their number.
fn count<K: Copy + Eq + Hash>(
    buckets: &mut KeyedBuckets<K>,
    key: K,
    now: Instant,
    addresses: u32,
) -> u32 {
    let Some(rate) = Rate::new(1, FORGIVEN_AFTER, MAX_REMEMBERED) else {
        return 0;
    };
    let rate = rate.times(addresses);
    // When the most are remembered, nothing is added.
    let _remembered = buckets.take(key, rate, now, Duration::ZERO);
    buckets.missing(&key, rate, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn network(text: &str) -> Option<IpPrefix> {
        Some(IpPrefix::of(text.parse().unwrap()))
    }

    impl LoginBackoff {
        /// The delay of a wrong login that is counted here alone.
        fn wrong(
            &mut self,
            account: UserName,
            from: Option<IpPrefix>,
            in_a_row: u32,
            now: Instant,
        ) -> Duration {
            let of_account = self.count_guess(account, now);
            self.delay(of_account, from, in_a_row, now)
        }
    }

    fn millis(delay: Duration) -> u128 {
        delay.as_millis()
    }

    #[test]
    fn guessing_at_one_account_gets_slower_from_wherever() {
        let mut login_backoff = LoginBackoff::default();
        let now = Instant::now();
        let delays: Vec<u128> = (1..=8)
            .map(|last| {
                let from = network(&format!("192.0.2.{last}"));
                millis(login_backoff.wrong(name("alice"), from, 1, now))
            })
            .collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        let other = login_backoff.wrong(name("bob"), network("192.0.2.9"), 1, now);
        assert_eq!(millis(other), 250, "others are not slowed");
    }

    #[test]
    fn guessing_from_one_address_gets_slower_whatever_the_account() {
        let mut login_backoff = LoginBackoff::default();
        let now = Instant::now();
        let mut guess =
            |n: u32, from| millis(login_backoff.wrong(name(&format!("u{n}")), from, 1, now));
        let delays: Vec<u128> = (0..16).map(|n| guess(n, network("2001:db8::1"))).collect();
        assert_eq!(delays[..11], [250; 11]);
        assert_eq!(delays[11..], [500, 1000, 2000, 4000, 8000]);
        assert_eq!(guess(100, network("2001:db8::2")), 8000, "the same /64");
        assert_eq!(guess(101, network("2001:db8:0:1::1")), 250);
        assert_eq!(guess(102, None), 250, "not counted by address");
    }

    #[test]
    fn guessing_from_the_networks_of_one_site_gets_slower_later() {
        let mut login_backoff = LoginBackoff::default();
        let now = Instant::now();
        let mut guess = |n: u32, address: String| {
            millis(login_backoff.wrong(name(&format!("u{n}")), network(&address), 1, now))
        };
        let delays: Vec<u128> = (0..128)
            .map(|n| guess(n, format!("2001:db8:1:{n:x}::1")))
            .collect();
        assert_eq!(delays[..94], [250; 94]);
        assert_eq!(delays[127], 8000);
        assert_eq!(guess(200, "2001:db8:2::1".to_owned()), 250);
    }

    #[test]
    fn in_a_row_on_one_connection_counts_too() {
        let mut login_backoff = LoginBackoff::default();
        let now = Instant::now();
        let third = login_backoff.wrong(name("alice"), None, 3, now);
        assert_eq!(millis(third), 1000);
    }

    #[test]
    fn all_is_forgiven_in_time_even_a_long_attack() {
        let mut login_backoff = LoginBackoff::default();
        let start = Instant::now();
        for _ in 0..100_000 {
            login_backoff.wrong(name("alice"), network("192.0.2.1"), 1, start);
        }
        let later = start + Duration::from_secs(60 * 27);
        let delay = login_backoff.wrong(name("alice"), network("192.0.2.2"), 1, later);
        assert_eq!(millis(delay), 2000, "three remembered, and this one");
        let later = later + Duration::from_secs(60 * 40);
        let delay = login_backoff.wrong(name("alice"), network("192.0.2.1"), 1, later);
        assert_eq!(millis(delay), 250);
    }
}
