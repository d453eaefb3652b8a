//! The numbers of a conversation, in each direction, across all its sessions: which come
//! next, which are missing, which came twice, and which their sender declares void.
//!
//! The numbers of a session ([`super::chain`]) find keys and end with the session; these
//! find out what a server dropped or played back between two sessions, and a copy of a
//! device that goes on by itself. They are inside the encryption ([`Position`]). All that
//! is remembered is bounded.

use rand::CryptoRng;

use super::ranges::{Ranges, split_at, write_range};
use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::message::position::{INSTANCE_LEN, MAX_VOIDS, Position, Range, read_range};

/// The most instances of the other side that are remembered: the latest, and those whose
/// messages may still be on the way.
const MAX_INSTANCES: usize = 4;

/// Stands for the number of instances if there are none and the count is lost.
const LOST: u8 = u8::MAX;

/// The number of a message that was encrypted, for when it turns out that it never went
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageNumber {
    /// The instance that it was counted in.
    pub instance: [u8; INSTANCE_LEN],
    /// Its number there.
    pub number: u32,
}

/// A range to be declared void in every message, until one of them was answered.
#[derive(Clone, Copy)]
struct Void {
    range: Range,
    /// How many ratchet steps we had made: a later one begins a chain in which every
    /// message says it.
    since: u32,
}

/// The numbers of what is sent.
#[derive(Clone, Default)]
pub(crate) struct SentNumbers {
    /// Drawn with the first message.
    instance: Option<[u8; INSTANCE_LEN]>,
    next: u32,
    voids: Vec<Void>,
}

impl SentNumbers {
    /// The position of the next message. Changes nothing but that an instance is drawn
    /// if there is none, or if it has no numbers left.
    pub(crate) fn position<R: CryptoRng + ?Sized>(
        &mut self,
        counted: bool,
        rng: &mut R,
    ) -> Position {
        let fresh = || {
            let mut instance = [0; INSTANCE_LEN];
            rng.fill_bytes(&mut instance);
            instance
        };
        if self.next == u32::MAX {
            *self = Self::default();
        }
        let instance = *self.instance.get_or_insert_with(fresh);
        Position {
            instance,
            number: self.next,
            counted,
            voids: self.voids.iter().map(|void| void.range).collect(),
        }
    }

    /// Notes that a message with this position was encrypted; gives its number, if it
    /// has one of its own.
    pub(crate) fn used(&mut self, position: &Position) -> Option<MessageNumber> {
        if !position.counted {
            return None;
        }
        self.next = position.number + 1;
        Some(MessageNumber {
            instance: position.instance,
            number: position.number,
        })
    }

    /// Notes that a message never went out, after `steps` ratchet steps of ours.
    pub(crate) fn void(&mut self, message: &MessageNumber, steps: u32) {
        let number = message.number;
        let known = |void: &Void| (void.range.first..=void.range.last).contains(&number);
        if self.instance != Some(message.instance)
            || number >= self.next
            || self.voids.iter().any(known)
        {
            return;
        }
        let neighbour = self.voids.iter_mut().find(|void| {
            void.range.last.checked_add(1) == Some(number)
                || number.checked_add(1) == Some(void.range.first)
        });
        match neighbour {
            Some(void) => {
                void.range.first = void.range.first.min(number);
                void.range.last = void.range.last.max(number);
                void.since = steps;
            }
            None => {
                let (first, last) = (number, number);
                self.voids.push(Void {
                    range: Range { first, last },
                    since: steps,
                });
            }
        }
        let surplus = self.voids.len().saturating_sub(MAX_VOIDS);
        self.voids.drain(..surplus);
    }

    /// The other side has answered our ratchet step of this number: what every message of
    /// that chain declared void need not be said again.
    pub(crate) fn answered(&mut self, step: u32) {
        self.voids.retain(|void| void.since >= step);
    }

    /// Counts anew, because the count may have gone back.
    pub(crate) fn renew(&mut self) {
        *self = Self::default();
    }

    /// `has begun (1) [|| instance (16) || next number (4) || number of voids (1) ||
    /// voids (first (4) || last (4) || since (4) each)]`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(&[u8::from(self.instance.is_some())]);
        let Some(instance) = &self.instance else {
            return;
        };
        put(instance);
        put(&self.next.to_be_bytes());
        // At most MAX_VOIDS.
        put(&[self.voids.len() as u8]);
        for Void { range, since } in &self.voids {
            write_range(range, put);
            put(&since.to_be_bytes());
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if !reader.flag()? {
            return Ok(Self::default());
        }
        let instance = Some(*reader.array()?);
        let next = reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_VOIDS {
            return Err(Malformed);
        }
        let voids = (0..count).map(|_| {
            let range = read_range(reader)?;
            let since = reader.u32()?;
            Ok(Void { range, since })
        });
        let voids = voids.collect::<Result<_, Malformed>>()?;
        Ok(Self {
            instance,
            next,
            voids,
        })
    }
}

/// What the position of a message that arrived shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many earlier messages have not arrived and were not known to be missing.
    pub missing: u64,
    /// How many messages that were missing never went out, as their sender says.
    pub never_sent: u64,
    /// How many numbers the sender declares void whose messages have arrived here.
    pub void_but_arrived: u64,
    /// The message's number was declared void before.
    pub void: bool,
    /// Another message had its number: an old copy of the other side's device goes on by
    /// itself, or somebody else uses its keys.
    pub twice: bool,
    /// The other side counts anew.
    pub counts_anew: bool,
    /// Earlier messages were counted in a vault that this one does not go on from, that of an
    /// export for instance, so nothing is known of them.
    pub count_is_lost: bool,
}

/// One instance of the other side.
#[derive(Clone)]
struct Instance {
    id: [u8; INSTANCE_LEN],
    /// All numbers from here on are still to come.
    next: u32,
    /// Numbers below this are unknown: their ranges were dropped to bound the memory.
    floor: u32,
    missing: Ranges,
    void: Ranges,
}

/// The numbers of what is received, the latest instance last.
#[derive(Clone, Default)]
pub(crate) struct ReceivedNumbers {
    instances: Vec<Instance>,
    /// Something may have been received of which there is no count: the first message that
    /// arrives tells nothing of those before it.
    is_lost: bool,
}

impl ReceivedNumbers {
    /// Whether nothing has been received.
    pub(crate) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// Notes that there is no count of what was received before, if nothing was received since.
    pub(crate) fn lose_count(&mut self) {
        self.is_lost = self.instances.is_empty();
    }

    /// Takes note of a message that was decrypted.
    pub(crate) fn take(&mut self, position: &Position) -> Findings {
        let mut findings = Findings::default();
        let known = self
            .instances
            .iter_mut()
            .find(|known| known.id == position.instance);
        if let Some(instance) = known {
            instance.take(position, &mut findings);
            return findings;
        }
        findings.counts_anew = !self.instances.is_empty();
        let begins_at = match std::mem::take(&mut self.is_lost) {
            true => position.number,
            false => 0,
        };
        findings.count_is_lost = begins_at > 0;
        let mut instance = Instance {
            id: position.instance,
            next: begins_at,
            floor: begins_at,
            missing: Ranges::default(),
            void: Ranges::default(),
        };
        instance.take(position, &mut findings);
        self.instances.push(instance);
        let surplus = self.instances.len().saturating_sub(MAX_INSTANCES);
        self.instances.drain(..surplus);
        findings
    }

    /// How many messages are known to be missing.
    pub(crate) fn missing(&self) -> u64 {
        let missing = |instance: &Instance| instance.missing.count();
        self.instances.iter().map(missing).sum()
    }

    /// `number of instances (1), or 255 for none and a lost count`, then for each `id (16) || next (4) || floor (4) ||
    /// missing || void`, both `number of ranges (1) || ranges (first (4) || last (4) each)`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        // At most MAX_INSTANCES.
        put(&[match self.is_lost {
            true => LOST,
            false => self.instances.len() as u8,
        }]);
        for instance in &self.instances {
            put(&instance.id);
            put(&instance.next.to_be_bytes());
            put(&instance.floor.to_be_bytes());
            instance.missing.write(put);
            instance.void.write(put);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (count, is_lost) = match reader.u8()? {
            LOST => (0, true),
            count => (usize::from(count), false),
        };
        if count > MAX_INSTANCES {
            return Err(Malformed);
        }
        let instances = (0..count).map(|_| {
            Ok(Instance {
                id: *reader.array()?,
                next: reader.u32()?,
                floor: reader.u32()?,
                missing: Ranges::read(reader)?,
                void: Ranges::read(reader)?,
            })
        });
        let instances = instances.collect::<Result<_, Malformed>>()?;
        Ok(Self { instances, is_lost })
    }
}

impl Instance {
    fn take(&mut self, position: &Position, findings: &mut Findings) {
        let (number, gap_from) = (position.number, self.next);
        if number >= gap_from {
            let last = number.checked_sub(1).filter(|last| *last >= gap_from);
            if let Some(gap) = last.map(|last| Range {
                first: gap_from,
                last,
            }) {
                self.missing.insert(gap);
                findings.missing = gap.count();
            }
            self.next = match position.counted {
                true => number.saturating_add(1),
                false => number,
            };
        } else if position.counted && self.missing.remove(single(number)) == 0 {
            findings.void = self.void.contains(number);
            findings.twice = !findings.void && number >= self.floor;
        }
        for range in &position.voids {
            self.take_void(*range, gap_from, findings);
        }
        let floors = [self.missing.trim(), self.void.trim()];
        self.floor = floors.into_iter().fold(self.floor, u32::max);
    }

    /// Takes what the sender declares void out of what is missing; the numbers from
    /// `gap_from` on were not known to be missing before this message.
    fn take_void(&mut self, range: Range, gap_from: u32, findings: &mut Findings) {
        // A sender declares void only what it has counted.
        let Some(highest) = self.next.checked_sub(1) else {
            return;
        };
        let (first, last) = (range.first.max(self.floor), range.last.min(highest));
        if first > last {
            return;
        }
        for part in self.void.gaps_within(Range { first, last }) {
            self.void.insert(part);
            let (earlier, in_gap) = split_at(part, gap_from);
            let known = earlier.map_or(0, |part| self.missing.remove(part));
            let new = in_gap.map_or(0, |part| self.missing.remove(part));
            findings.never_sent += known;
            findings.missing = findings.missing.saturating_sub(new);
            findings.void_but_arrived += part.count() - known - new;
        }
    }
}

fn single(number: u32) -> Range {
    let (first, last) = (number, number);
    Range { first, last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ratchet::ranges::MAX_RANGES;
    use crate::crypto::testing::TestRng;
    use proptest::prelude::*;

    fn at(number: u32, voids: &[(u32, u32)]) -> Position {
        let range = |(first, last): &(u32, u32)| Range {
            first: *first,
            last: *last,
        };
        Position {
            instance: [1; INSTANCE_LEN],
            number,
            counted: true,
            voids: voids.iter().map(range).collect(),
        }
    }

    #[test]
    fn gaps_replays_and_new_counts_are_found() {
        let mut received = ReceivedNumbers::default();
        let none = Findings::default();
        assert_eq!(received.take(&at(0, &[])), none);
        let gap = received.take(&at(3, &[]));
        assert_eq!(gap, Findings { missing: 2, ..none });
        assert_eq!(received.take(&at(1, &[])), none, "late");
        let again = received.take(&at(1, &[]));
        assert_eq!(
            again,
            Findings {
                twice: true,
                ..none
            }
        );
        let other = Position {
            instance: [2; INSTANCE_LEN],
            ..at(1, &[])
        };
        let anew = Findings {
            missing: 1,
            counts_anew: true,
            ..none
        };
        assert_eq!(received.take(&other), anew);
        assert_eq!(
            received.take(&at(2, &[])),
            none,
            "late, in the count before"
        );
        assert_eq!(received.missing(), 1);
    }

    #[test]
    fn nothing_is_said_of_what_came_before_the_count_was_lost() {
        let mut received = ReceivedNumbers::default();
        received.lose_count();
        let mut saved = Vec::new();
        received.write(&mut |bytes| saved.extend_from_slice(bytes));
        let mut received = ReceivedNumbers::read(&mut Reader::new(&saved)).unwrap();
        let none = Findings::default();
        let lost = Findings {
            count_is_lost: true,
            ..none
        };
        assert_eq!(received.take(&at(500, &[(3, 5)])), lost);
        assert_eq!(received.take(&at(499, &[])), none, "late");
        assert_eq!(received.take(&at(502, &[])).missing, 1);
        received.lose_count();
        assert_eq!(received.take(&at(504, &[])).missing, 1, "it is not lost");
    }

    #[test]
    fn what_is_void_is_not_missing_and_what_arrived_is_not_void() {
        let mut received = ReceivedNumbers::default();
        let none = Findings::default();
        received.take(&at(0, &[]));
        assert_eq!(received.take(&at(3, &[(1, 2)])), none);
        // It is said again until it was answered.
        assert_eq!(received.take(&at(4, &[(1, 2)])), none);
        let forged = received.take(&at(2, &[]));
        assert_eq!(forged, Findings { void: true, ..none });
        assert_eq!(received.take(&at(6, &[])).missing, 1);
        let late = received.take(&at(7, &[(4, 5)]));
        let found = Findings {
            never_sent: 1,
            void_but_arrived: 1,
            ..none
        };
        assert_eq!(late, found);
        // Numbers to come can't be void.
        assert_eq!(received.take(&at(8, &[(9, u32::MAX)])), none);
        assert_eq!(received.take(&at(9, &[])), none);
    }

    #[test]
    fn a_receipt_uses_no_number_and_shows_what_is_missing() {
        let mut received = ReceivedNumbers::default();
        let receipt = |number| Position {
            counted: false,
            ..at(number, &[])
        };
        assert_eq!(received.take(&receipt(0)), Findings::default());
        assert_eq!(received.take(&receipt(2)).missing, 2);
        assert_eq!(received.take(&receipt(2)), Findings::default());
        assert_eq!(received.take(&at(2, &[])), Findings::default());
        assert_eq!(received.take(&receipt(1)), Findings::default());
    }

    #[test]
    fn voids_are_said_until_a_later_step_was_answered_and_are_bounded() {
        let mut rng = TestRng::new(1);
        let mut sent = SentNumbers::default();
        let mut numbers = Vec::new();
        for _ in 0..40 {
            let position = sent.position(true, &mut rng);
            numbers.extend(sent.used(&position));
        }
        sent.void(&numbers[3], 5);
        sent.void(&numbers[2], 5);
        sent.void(&numbers[2], 9);
        let said = |sent: &mut SentNumbers| sent.position(true, &mut TestRng::new(2)).voids;
        assert_eq!(said(&mut sent), [Range { first: 2, last: 3 }]);
        sent.answered(5);
        assert_eq!(said(&mut sent).len(), 1, "that chain began before");
        sent.answered(6);
        assert_eq!(said(&mut sent), []);
        for number in numbers.iter().step_by(2) {
            sent.void(number, 7);
        }
        assert_eq!(said(&mut sent).len(), MAX_VOIDS);
        let foreign = MessageNumber {
            instance: [9; INSTANCE_LEN],
            ..numbers[0]
        };
        sent.renew();
        sent.void(&foreign, 8);
        assert_eq!(said(&mut sent), []);
        assert_ne!(sent.position(true, &mut rng).instance, numbers[0].instance);
    }

    proptest! {
        /// Whatever the other side writes, what is kept is bounded and comes back.
        #[test]
        fn what_is_kept_is_bounded(positions in proptest::collection::vec((0..6_u8, 0..500_u32, any::<bool>(), 0..500_u32, 0..9_u32), 0..300)) {
            let mut received = ReceivedNumbers::default();
            for (instance, number, counted, first, length) in positions {
                let voids = vec![Range { first, last: first + length }];
                let instance = [instance; INSTANCE_LEN];
                received.take(&Position { instance, number: number * 7, counted, voids });
            }
            let bytes = crate::crypto::codec::encode_secret(|put| received.write(put));
            prop_assert!(bytes.len() <= 1 + MAX_INSTANCES * (24 + 2 + 2 * MAX_RANGES * 8));
            let mut reader = Reader::new(&bytes);
            let read = ReceivedNumbers::read(&mut reader).unwrap();
            prop_assert!(reader.finish().is_ok());
            prop_assert_eq!(&*bytes, &*crate::crypto::codec::encode_secret(|put| read.write(put)));
        }
    }
}
