//! Sets of message numbers, kept as ranges because what is missing or void mostly comes in
//! a row. What the numbers count is not known here.

use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::message::position::{Range, read_range};

/// The most ranges that a set keeps; the lowest make room.
pub(super) const MAX_RANGES: usize = 64;

/// A set of numbers as ranges, the lowest first, none next to another.
#[derive(Clone, Default)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(Range::count).sum()
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let has = |range: &Range| (range.first..=range.last).contains(&number);
        self.0.iter().any(has)
    }

    pub(super) fn insert(&mut self, new: Range) {
        let Range {
            mut first,
            mut last,
        } = new;
        self.0.retain(|range| {
            let apart =
                range.last.saturating_add(1) < first || last.saturating_add(1) < range.first;
            if !apart {
                first = first.min(range.first);
                last = last.max(range.last);
            }
            apart
        });
        let at = self.0.partition_point(|range| range.first < first);
        self.0.insert(at, Range { first, last });
    }

    /// Gives how many numbers were removed.
    pub(super) fn remove(&mut self, gone: Range) -> u64 {
        let before = self.count();
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for range in self.0.drain(..) {
            let (below, rest) = split_at(range, gone.first);
            let above = match gone.last.checked_add(1) {
                Some(end) => rest.and_then(|rest| split_at(rest, end).1),
                None => None,
            };
            left.extend(below.into_iter().chain(above));
        }
        self.0 = left;
        before - self.count()
    }

    /// The parts of a range that are not in the set.
    pub(super) fn gaps_within(&self, whole: Range) -> Vec<Range> {
        let mut gaps = Self(vec![whole]);
        for range in &self.0 {
            gaps.remove(*range);
        }
        gaps.0
    }

    /// Drops the lowest ranges over the bound, and gives the number up to which nothing
    /// is known then.
    pub(super) fn trim(&mut self) -> u32 {
        let surplus = self.0.len().saturating_sub(MAX_RANGES);
        let last = self.0.drain(..surplus).next_back();
        last.map_or(0, |range| range.last.saturating_add(1))
    }

    pub(super) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        // At most MAX_RANGES.
        put(&[self.0.len() as u8]);
        self.0.iter().for_each(|range| write_range(range, put));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::from(reader.u8()?);
        let mut ranges: Vec<Range> = Vec::new();
        for _ in 0..count {
            let range = read_range(reader)?;
            let begins = ranges
                .last()
                .map_or(Some(0), |below| below.last.checked_add(2));
            if begins.is_none_or(|begins| range.first < begins) {
                return Err(Malformed);
            }
            ranges.push(range);
        }
        match count > MAX_RANGES {
            true => Err(Malformed),
            false => Ok(Self(ranges)),
        }
    }
}

/// The part of a range below a number, and the part from it on.
pub(super) fn split_at(range: Range, at: u32) -> (Option<Range>, Option<Range>) {
    let below = at.checked_sub(1).map(|end| end.min(range.last));
    let below = below.filter(|last| range.first <= *last);
    let above = range.first.max(at);
    let first = range.first;
    (
        below.map(|last| Range { first, last }),
        (above <= range.last).then_some(Range {
            first: above,
            last: range.last,
        }),
    )
}

pub(super) fn write_range(range: &Range, put: &mut dyn FnMut(&[u8])) {
    put(&range.first.to_be_bytes());
    put(&range.last.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a set of numbers.
        #[test]
        fn ranges_are_sets(steps in proptest::collection::vec((any::<bool>(), 0..60_u32, 0..8_u32), 0..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (add, first, length) in steps {
                let range = Range { first, last: first + length };
                let numbers = first..=first + length;
                let gaps: u64 = ranges.gaps_within(range).iter().map(Range::count).sum();
                prop_assert_eq!(gaps as usize, numbers.clone().filter(|n| !model.contains(n)).count());
                if add {
                    ranges.insert(range);
                    model.extend(numbers);
                } else {
                    let removed = numbers.filter(|n| model.remove(n)).count();
                    prop_assert_eq!(ranges.remove(range), removed as u64);
                }
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert!((0..70).all(|n| ranges.contains(n) == model.contains(&n)));
            }
        }
    }
}
