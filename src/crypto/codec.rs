//! Reads and writes the binary layouts of `crypto`: fields of fixed size, big-endian numbers, and
//! byte strings after their length.
//!
//! Reading never panics, and never allocates more than it was given. The meaning of the fields is
//! known to the callers.

use zeroize::Zeroizing;

use super::secret::Secret;

/// The input ended within a field, continued after the last field, or held a value that no writer
/// produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Takes fields off the front of a byte string.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(field)
    }

    pub(crate) fn secret(&mut self) -> Result<Secret<32>, Malformed> {
        self.array().map(Secret::from_bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|&[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A flag: one byte, 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Fails if bytes follow the last field.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends a byte string after its length as u16.
///
/// Callers pass names, keys and hashes, which are far shorter than 64 KiB. A longer string would be
/// cut to its first 65,535 bytes, with that length, at both ends alike.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

/// Writes secrets into a buffer that never grows.
///
/// A buffer that grows moves its bytes and leaves the old ones unwiped. `write` therefore runs twice:
/// first to count the bytes, then to write them.
pub(crate) fn encode_secret(write: impl Fn(&mut dyn FnMut(&[u8]))) -> Zeroizing<Vec<u8>> {
    let mut length = 0;
    write(&mut |bytes| length += bytes.len());
    let mut out = Zeroizing::new(Vec::with_capacity(length));
    write(&mut |bytes| out.extend_from_slice(bytes));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_refuses_short_input_and_leftovers() {
        let mut reader = Reader::new(&[0, 0, 7]);
        assert_eq!(reader.u32(), Err(Malformed));
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(reader.flag(), Ok(true));
        assert_eq!(reader.finish(), Err(Malformed));
    }

    #[test]
    fn counting_and_writing_agree() {
        let out = encode_secret(|put| {
            put(&[1, 2]);
            put(&[3]);
        });
        assert_eq!((out.as_slice(), out.capacity()), (&[1, 2, 3][..], 3));
    }
}
