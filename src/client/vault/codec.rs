//! Numbers and bytes in a value of the vault: big-endian, in a fixed order, and read only
//! as long as there is something to read.

use crate::protocol::MessageId;

/// What stands before the content of a message or control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The vault's number for the contact.
    pub(super) contact: i64,
    pub(super) mid: MessageId,
    /// Milliseconds since 1970.
    pub(super) at: u64,
}

impl Header {
    /// The header, and `content` behind it.
    pub(super) fn before(&self, content: &[u8]) -> Vec<u8> {
        let (contact, at) = (self.contact.to_be_bytes(), self.at.to_be_bytes());
        [contact.as_slice(), &self.mid.0, &at, content].concat()
    }

    /// The header of a value, and the content behind it.
    pub(super) fn split(value: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader(value);
        let header = Header {
            contact: i64::from_be_bytes(reader.array()?),
            mid: MessageId(reader.array()?),
            at: u64::from_be_bytes(reader.array()?),
        };
        Some((header, reader.0))
    }
}

/// What is still to be read of a value.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `N` bytes, if there are as many.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
}
