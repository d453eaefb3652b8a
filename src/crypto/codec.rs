//! Reading and writing the binary layouts of this module: fixed-size fields,
//! big-endian numbers, and byte strings behind their length.
//!
//! Reading never panics and never allocates more than it was given. What the
//! fields mean is not known here.

use zeroize::Zeroizing;

use super::secret::Secret;

/// The input ended before the field did, went on after the last field, or held
/// a value that no writer produces.
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

    /// Refuses what follows the last field.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends a byte string behind its length as u16.
///
/// Every caller's strings are names, keys and hashes, far below 64 KiB; a
/// longer one is cut to its first 65,535 bytes with the length saying so, which
/// both ends would compute alike.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

/// Puts secrets into a buffer that never grows.
///
/// Growing would move the bytes and leave the old ones behind unwiped, so the
/// size is counted first, by the same code that writes.
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
