//! A token bucket for each of many keys: addresses, accounts, pairs of accounts.
//!
//! Its memory is bounded. When the table is full, the buckets that miss least are forgotten, so
//! an attacker with many addresses can push out those who took little, but not those who took
//! more than each of these addresses.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::ip_prefix::{IpPrefix, NETWORKS_OF_SITE};
use super::token_bucket::{Rate, TokenBucket};

/// The most buckets in one table: some hundred KiB.
pub(crate) const MAX_BUCKETS: usize = 10_000;

/// A table of token buckets.
#[derive(Debug)]
pub(crate) struct KeyedBuckets<K> {
    /// A key that is not in it has a full bucket.
    buckets: HashMap<K, TokenBucket>,
    most: usize,
}

impl<K> Default for KeyedBuckets<K> {
    fn default() -> Self {
        KeyedBuckets {
            buckets: HashMap::new(),
            most: MAX_BUCKETS,
        }
    }
}

impl<K: Copy + Eq + Hash> KeyedBuckets<K> {
    /// Takes one token from a key's bucket, as [`TokenBucket::take`] does.
    ///
    /// # Errors
    /// Nothing was taken; after the time returned, it can be.
    pub(crate) fn take(
        &mut self,
        key: K,
        rate: Rate,
        now: Instant,
        max_wait: Duration,
    ) -> Result<Duration, Duration> {
        self.bucket(key, now).take(rate, now, max_wait)
    }

    /// Takes several tokens from a key's bucket, as [`TokenBucket::spend`] does.
    ///
    /// # Errors
    /// Nothing was taken; after the time returned, it can be.
    pub(crate) fn spend(
        &mut self,
        key: K,
        rate: Rate,
        now: Instant,
        count: u32,
    ) -> Result<(), Duration> {
        self.bucket(key, now).spend(rate, now, count)
    }

    fn bucket(&mut self, key: K, now: Instant) -> &mut TokenBucket {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.most {
            self.forget(now);
        }
        let bucket = self.buckets.entry(key);
        bucket.or_insert_with(|| TokenBucket::full(now))
    }

    /// How many tokens are missing from a key's bucket.
    pub(crate) fn missing(&self, key: &K, rate: Rate, now: Instant) -> u32 {
        let bucket = self.buckets.get(key);
        bucket.map_or(0, |bucket| bucket.missing(rate, now))
    }

    /// Removes all buckets that are full again, and in any case the eighth that misses least, so
    /// that this work is seldom needed.
    fn forget(&mut self, now: Instant) {
        let mut ends: Vec<Instant> = self.buckets.values().map(TokenBucket::full_at).collect();
        let eighth = ends.len() / 8;
        let (_, end, _) = ends.select_nth_unstable(eighth);
        let end = now.max(*end);
        self.buckets.retain(|_, bucket| bucket.full_at() > end);
    }
}

impl KeyedBuckets<IpPrefix> {
    /// Takes one token of an address and, in IPv6, one of the site that it belongs to, whose bucket
    /// holds those of several networks.
    ///
    /// # Errors
    /// One of them has none; after the time returned, it has.
    pub(crate) fn take_of_address(
        &mut self,
        from: IpPrefix,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        // In this order, an address that is refused takes nothing from its neighbours.
        self.take(from, rate, now, Duration::ZERO)?;
        if let Some(site) = from.site() {
            self.take(site, rate.times(NETWORKS_OF_SITE), now, Duration::ZERO)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_others_does_not_make_it_forget_who_took_most() {
        let rate = Rate::new(1, Duration::from_secs(60), 3).unwrap();
        let start = Instant::now();
        let mut table = KeyedBuckets {
            most: 100,
            ..KeyedBuckets::default()
        };
        let mut take = |key: u32| table.take(key, rate, start, Duration::ZERO).is_ok();
        assert_eq!(
            [take(0), take(0), take(0), take(0)],
            [true, true, true, false]
        );
        for key in 1..1000 {
            assert!(take(key));
            assert!(!take(0), "forgotten after {key} others");
        }
        assert!(table.buckets.len() <= 100);
        // In time all buckets are full again, and the table is emptied when it needs room.
        let later = start + Duration::from_secs(3600);
        for key in 2000..2101 {
            table.take(key, rate, later, Duration::ZERO).unwrap();
        }
        assert!(table.buckets.len() <= 101);
        assert_eq!(table.missing(&0, rate, later), 0);
    }

    #[test]
    fn a_site_has_some_networks_worth_and_no_network_takes_it_all() {
        let network = |number: u32| {
            let address = format!("2001:db8:1:{number:x}::1");
            IpPrefix::of(address.parse().unwrap())
        };
        let rate = Rate::new(10, Duration::from_secs(60), 10).unwrap();
        let now = Instant::now();
        let mut table = KeyedBuckets::default();
        let mut take = |number| table.take_of_address(network(number), rate, now).is_ok();
        assert_eq!((0..1000).filter(|_| take(0)).count(), 10);
        assert_eq!((1..1000).filter(|number| take(*number)).count(), 70);
        let elsewhere = IpPrefix::of("2001:db8:2::1".parse().unwrap());
        assert!(table.take_of_address(elsewhere, rate, now).is_ok());
    }

    #[test]
    fn each_has_its_own() {
        let rate = Rate::new(1, Duration::from_secs(60), 1).unwrap();
        let now = Instant::now();
        let mut table = KeyedBuckets::default();
        assert!(table.take('a', rate, now, Duration::ZERO).is_ok());
        assert!(table.take('b', rate, now, Duration::ZERO).is_ok());
        assert!(table.take('a', rate, now, Duration::ZERO).is_err());
        assert_eq!(table.missing(&'c', rate, now), 0);
    }
}
