//! Where a message stands in the conversation, whichever session it travels in: the first
//! thing inside the encryption.
//!
//! `instance (16) || number (4) || counted (1) || number of void ranges (1) || ranges
//! (first (4) || last (4) each)`, numbers big-endian; what follows is the content.
//! [`crate::crypto::ratchet::counters`] gives the numbers and compares them.

use crate::crypto::codec::{Malformed, Reader};

/// Bytes in the name of an instance.
pub const INSTANCE_LEN: usize = 16;

/// The most ranges in one message: they take 64 bytes.
pub const MAX_VOIDS: usize = 8;

/// The bytes of a position without void ranges.
pub const SHORTEST: usize = INSTANCE_LEN + 4 + 1 + 1;

/// Numbers from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first number.
    pub first: u32,
    /// The last number, not below the first.
    pub last: u32,
}

impl Range {
    /// How many numbers it has.
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

/// A message's position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What the numbers are counted in: drawn anew when the sender's count is lost.
    pub instance: [u8; INSTANCE_LEN],
    /// The message's number, from 0. For one that is not counted, the next number.
    pub number: u32,
    /// Whether the message uses up its number. A receipt does not: that one is
    /// missing is not worth a word.
    pub counted: bool,
    /// Numbers of earlier messages of this instance that never went out, at most
    /// [`MAX_VOIDS`] ranges.
    pub voids: Vec<Range>,
}

impl Position {
    /// The bytes, for the front of a content.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(&self.instance);
        put(&self.number.to_be_bytes());
        // At most MAX_VOIDS.
        put(&[u8::from(self.counted), self.voids.len() as u8]);
        for range in &self.voids {
            put(&range.first.to_be_bytes());
            put(&range.last.to_be_bytes());
        }
    }

    /// Takes a position off the front. Refuses ranges that go backwards or are too many.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let instance = *reader.array()?;
        let number = reader.u32()?;
        let counted = reader.flag()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_VOIDS {
            return Err(Malformed);
        }
        let voids = (0..count).map(|_| read_range(reader));
        let voids = voids.collect::<Result<_, _>>()?;
        Ok(Self {
            instance,
            number,
            counted,
            voids,
        })
    }

    /// Takes a position off the front of the plaintext of a message, and gives what
    /// follows. For trying out bytes: nothing else is checked.
    pub fn split(plaintext: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader::new(plaintext);
        let position = Self::read(&mut reader).ok()?;
        Some((position, reader.rest()))
    }
}

/// Reads `first (4) || last (4)`.
pub(crate) fn read_range(reader: &mut Reader<'_>) -> Result<Range, Malformed> {
    let (first, last) = (reader.u32()?, reader.u32()?);
    match first <= last {
        true => Ok(Range { first, last }),
        false => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::codec::encode_secret;
    use proptest::prelude::*;

    fn position(voids: Vec<Range>) -> Position {
        Position {
            instance: [7; INSTANCE_LEN],
            number: 0x0102_0304,
            counted: true,
            voids,
        }
    }

    #[test]
    fn layout_is_as_documented() {
        let voids = vec![Range { first: 1, last: 2 }];
        let bytes = encode_secret(|put| position(voids.clone()).write(put));
        let expected = [&[7; 16][..], &[1, 2, 3, 4, 1, 1], &[0, 0, 0, 1, 0, 0, 0, 2]];
        assert_eq!(bytes[..], expected.concat());
        assert_eq!(Position::split(&bytes), Some((position(voids), &[][..])));
        // A flag that is none, a range that goes backwards, too many ranges.
        for (at, byte) in [(20, 2), (25, 9), (21, 9)] {
            let mut wrong = bytes.to_vec();
            wrong[at] = byte;
            wrong.extend([0; 100]);
            assert_eq!(Position::split(&wrong), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn reading_inverts_writing_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some((position, rest)) = Position::split(&bytes) {
                let written = encode_secret(|put| position.write(put));
                prop_assert_eq!([&written[..], rest].concat(), bytes);
            }
        }
    }
}
