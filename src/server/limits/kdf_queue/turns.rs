//! Whose turn it is to have the server derive a key from a password, which costs
//! 64 MiB and a core for a third of a second. First come, first served; the line
//! is short, and no address gets all of it.
//!
//! This is the order only; `server::derivations` does the waiting.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::limits::keyed_buckets::KeyedBuckets;
use crate::server::limits::token_bucket::Rate;

/// How many may wait: as many as are served in the time that each may wait.
const MAX_LINE: usize = 16;

/// How many of one address may wait or be served at a time.
const MAX_FROM_ADDRESS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    free: usize,
    line: VecDeque<Ticket>,
    last: u64,
    /// How many of each address wait or are served; none that has none.
    present: HashMap<IpPrefix, usize>,
    rates: KeyedBuckets<IpPrefix>,
}

/// A place in the line. Give it back with [`WaitingLine::leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    number: u64,
    from: Option<IpPrefix>,
}

/// Why there is no place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Too many wait.
    Full,
    /// This address has as many there as it may have.
    Crowded,
    /// This address has had its share; so much later it has another.
    Later(Duration),
}

impl WaitingLine {
    /// With so many served at the same time.
    pub(crate) fn new(free: usize) -> Self {
        WaitingLine {
            free,
            line: VecDeque::new(),
            last: 0,
            present: HashMap::new(),
            rates: KeyedBuckets::default(),
        }
    }

    /// Gets into the line. An address that is `None` is not counted.
    ///
    /// # Errors
    /// There is no place.
    pub(crate) fn line_up(
        &mut self,
        from: Option<IpPrefix>,
        rate: Option<Rate>,
        now: Instant,
    ) -> Result<Ticket, NoPlace> {
        if self.line.len() >= MAX_LINE {
            return Err(NoPlace::Full);
        }
        if let Some(from) = from {
            if self
                .present
                .get(&from)
                .is_some_and(|n| *n >= MAX_FROM_ADDRESS)
            {
                return Err(NoPlace::Crowded);
            }
            if let Some(rate) = rate {
                let taken = self.rates.take(from, rate, now, Duration::ZERO);
                taken.map_err(NoPlace::Later)?;
            }
            *self.present.entry(from).or_default() += 1;
        }
        self.last += 1;
        let ticket = Ticket {
            number: self.last,
            from,
        };
        self.line.push_back(ticket);
        Ok(ticket)
    }

    /// Whether it is this one's turn; if so, it is out of the line and served.
    pub(crate) fn begin(&mut self, ticket: Ticket) -> bool {
        if self.free == 0 || self.line.front() != Some(&ticket) {
            return false;
        }
        self.line.pop_front();
        self.free -= 1;
        true
    }

    /// It was served, or waits no longer.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        match self.line.iter().position(|other| *other == ticket) {
            Some(place) => drop(self.line.remove(place)),
            None => self.free += 1,
        }
        if let Some(from) = ticket.from
            && let Some(present) = self.present.get_mut(&from)
        {
            *present -= 1;
            if *present == 0 {
                self.present.remove(&from);
            }
        }
    }
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
        let mut turns = WaitingLine::new(1);
        let mut line_up = |from| turns.line_up(from, None, now).unwrap();
        let [first, second, third] = [line_up(network(1)), line_up(None), line_up(network(1))];
        assert!(!turns.begin(second), "not before the first");
        assert!(turns.begin(first));
        assert!(!turns.begin(second), "no place is free");
        turns.leave(second);
        assert!(!turns.begin(third));
        turns.leave(first);
        assert!(turns.begin(third));
        turns.leave(third);
        assert!(turns.present.is_empty() && turns.line.is_empty());
        assert_eq!(turns.free, 1);
    }

    #[test]
    fn the_line_is_short_and_an_address_has_a_part_of_it() {
        let now = Instant::now();
        let mut turns = WaitingLine::new(1);
        for _ in 0..MAX_FROM_ADDRESS {
            turns.line_up(network(1), None, now).unwrap();
        }
        let refused = turns.line_up(network(1), None, now);
        assert_eq!(refused, Err(NoPlace::Crowded));
        let others = MAX_LINE - MAX_FROM_ADDRESS;
        let others: Vec<_> = (0..others)
            .map(|_| turns.line_up(None, None, now))
            .collect();
        assert!(others.iter().all(Result::is_ok), "room for others");
        assert_eq!(turns.line_up(network(2), None, now), Err(NoPlace::Full));
        turns.leave(others[0].unwrap());
        turns.line_up(network(2), None, now).unwrap();
    }

    #[test]
    fn an_address_that_keeps_asking_has_to_pause() {
        let start = Instant::now();
        let rate = Rate::new(2, Duration::from_secs(60), 2);
        let mut turns = WaitingLine::new(1);
        let mut ask = |from, now| {
            let ticket = turns.line_up(from, rate, now)?;
            turns.leave(ticket);
            // It was in the line, so nothing was taken that has to come back.
            assert_eq!(turns.free, 1);
            Ok(())
        };
        assert_eq!(ask(network(1), start), Ok(()));
        assert_eq!(ask(network(1), start), Ok(()));
        let later = Err(NoPlace::Later(Duration::from_secs(30)));
        assert_eq!(ask(network(1), start), later);
        assert_eq!(ask(network(2), start), Ok(()), "others don't");
        assert_eq!(ask(network(1), start + Duration::from_secs(30)), Ok(()));
        for _ in 0..100 {
            assert_eq!(ask(None, start), Ok(()), "not counted");
        }
    }
}
