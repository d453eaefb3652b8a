//! The waiting line for key derivations: who is served next. First come, first served; the
//! line is short, and no address gets all of it.
//!
//! This is the order only. [`KdfQueue`](super::KdfQueue) holds the lock and does the waiting.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::limits::keyed_buckets::KeyedBuckets;
use crate::server::limits::token_bucket::Rate;

/// How many may wait: as many as one slot serves in the time that each may wait.
const MAX_WAITING: usize = 16;

/// How many of one address may wait or be served at the same time.
const MAX_FROM_ADDRESS: usize = 4;

/// How many of one IPv6 site.
const MAX_FROM_SITE: usize = 8;

/// Those who wait for a slot, and how many slots are free.
#[derive(Debug)]
pub(super) struct WaitingLine {
    free_slots: usize,
    waiting: VecDeque<Ticket>,
    last_number: u64,
    /// How many of each address, and of each IPv6 site, wait or are served. One without any has
    /// no entry.
    per_address: HashMap<IpPrefix, usize>,
    /// How often each address has asked lately.
    rates: KeyedBuckets<IpPrefix>,
}

/// A place in the line, and then a slot. Give it back with [`WaitingLine::leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    from: Option<IpPrefix>,
}

/// Why there is no place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait as may wait.
    LineFull,
    /// As many of this address wait or are served as may.
    TooManyFromAddress,
    /// This address has asked too often; it may ask again after this time.
    TooOften(Duration),
}

impl WaitingLine {
    /// An empty line for this many slots.
    pub(super) fn new(slots: usize) -> Self {
        WaitingLine {
            free_slots: slots,
            waiting: VecDeque::new(),
            last_number: 0,
            per_address: HashMap::new(),
            rates: KeyedBuckets::default(),
        }
    }

    /// Joins the line. An address that is `None` is not counted.
    ///
    /// # Errors
    /// There is no place in it.
    pub(super) fn join(
        &mut self,
        from: Option<IpPrefix>,
        rate: Option<Rate>,
        now: Instant,
    ) -> Result<Ticket, Refused> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(Refused::LineFull);
        }
        if let Some(from) = from {
            let present = |who| self.per_address.get(&who).copied().unwrap_or_default();
            let of_site = from.site().map_or(0, present);
            if present(from) >= MAX_FROM_ADDRESS || of_site >= MAX_FROM_SITE {
                return Err(Refused::TooManyFromAddress);
            }
            if let Some(rate) = rate {
                let taken = self.rates.take_of_address(from, rate, now);
                taken.map_err(Refused::TooOften)?;
            }
            for who in both(from) {
                *self.per_address.entry(who).or_default() += 1;
            }
        }
        self.last_number += 1;
        let ticket = Ticket {
            number: self.last_number,
            from,
        };
        self.waiting.push_back(ticket);
        Ok(ticket)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a slot for this ticket if it is first in the line and a slot is free. Says whether
    /// it has taken one.
    pub(super) fn take_slot(&mut self, ticket: Ticket) -> bool {
        if self.free_slots == 0 || self.waiting.front() != Some(&ticket) {
            return false;
        }
        self.waiting.pop_front();
        self.free_slots -= 1;
        true
    }

    /// Gives back the ticket's slot, or its place in the line if it has no slot yet.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        match self.waiting.iter().position(|other| *other == ticket) {
            Some(place) => drop(self.waiting.remove(place)),
            None => self.free_slots += 1,
        }
        for who in ticket.from.into_iter().flat_map(both) {
            if let Some(present) = self.per_address.get_mut(&who) {
                *present -= 1;
                if *present == 0 {
                    self.per_address.remove(&who);
                }
            }
        }
    }
}

/// An address and the IPv6 site that it belongs to.
fn both(from: IpPrefix) -> impl Iterator<Item = IpPrefix> {
    std::iter::once(from).chain(from.site())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> Option<IpPrefix> {
        Some(IpPrefix::of([192, 0, 2, last].into()))
    }

    #[test]
    fn first_come_first_served() {
        let now = Instant::now();
        let mut line = WaitingLine::new(1);
        let mut join = |from| line.join(from, None, now).unwrap();
        let [first, second, third] = [join(network(1)), join(None), join(network(1))];
        assert!(!line.take_slot(second), "not before the first");
        assert!(line.take_slot(first));
        assert!(!line.take_slot(second), "no slot is free");
        line.leave(second);
        assert!(!line.take_slot(third));
        line.leave(first);
        assert!(line.take_slot(third));
        line.leave(third);
        assert!(line.per_address.is_empty() && line.waiting.is_empty());
        assert_eq!(line.free_slots, 1);
    }

    #[test]
    fn the_line_is_short_and_an_address_has_a_part_of_it() {
        let now = Instant::now();
        let mut line = WaitingLine::new(1);
        for _ in 0..MAX_FROM_ADDRESS {
            line.join(network(1), None, now).unwrap();
        }
        let refused = line.join(network(1), None, now);
        assert_eq!(refused, Err(Refused::TooManyFromAddress));
        let others = MAX_WAITING - MAX_FROM_ADDRESS;
        let others: Vec<_> = (0..others).map(|_| line.join(None, None, now)).collect();
        assert!(others.iter().all(Result::is_ok), "room for others");
        assert_eq!(line.join(network(2), None, now), Err(Refused::LineFull));
        line.leave(others[0].unwrap());
        line.join(network(2), None, now).unwrap();
    }

    #[test]
    fn a_site_has_a_part_of_it_too() {
        let now = Instant::now();
        let mut line = WaitingLine::new(1);
        let mut join = |address: String| {
            let from = IpPrefix::of(address.parse().unwrap());
            line.join(Some(from), None, now)
        };
        let joined = (0..100).map(|network| join(format!("2001:db8:1:{network}::1")));
        let joined: Vec<_> = joined.filter_map(Result::ok).collect();
        assert_eq!(joined.len(), MAX_FROM_SITE);
        join("2001:db8:2::1".to_owned()).unwrap();
        line.leave(joined[0]);
        let again = IpPrefix::of("2001:db8:1:99::1".parse().unwrap());
        line.join(Some(again), None, now).unwrap();
    }

    #[test]
    fn an_address_that_keeps_asking_has_to_pause() {
        let start = Instant::now();
        let rate = Rate::new(2, Duration::from_secs(60), 2);
        let mut line = WaitingLine::new(1);
        let mut ask = |from, now| {
            let ticket = line.join(from, rate, now)?;
            line.leave(ticket);
            // It had no slot yet, so there is none to give back.
            assert_eq!(line.free_slots, 1);
            Ok(())
        };
        assert_eq!(ask(network(1), start), Ok(()));
        assert_eq!(ask(network(1), start), Ok(()));
        let later = Err(Refused::TooOften(Duration::from_secs(30)));
        assert_eq!(ask(network(1), start), later);
        assert_eq!(ask(network(2), start), Ok(()), "others don't");
        assert_eq!(ask(network(1), start + Duration::from_secs(30)), Ok(()));
        for _ in 0..100 {
            assert_eq!(ask(None, start), Ok(()), "not counted");
        }
    }
}
