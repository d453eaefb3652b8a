//! An encrypted message as it travels: the bytes that the server carries.
//!
//! | at | bytes | |
//! | --- | --- | --- |
//! | 0 | 1 | version: 2; 1 in messages of clients before it, which are only read |
//! | 1 | 1 | kind: 1 ordinary, 2 initial |
//! | 2 | 16 | session id |
//! | 18 | 32 | sender's ratchet public key (X25519) |
//! | 50 | 4 | messages in the sender's previous chain |
//! | 54 | 4 | number of this message in its chain, from 0 |
//! | | | the next four only in an initial envelope: |
//! | 58 | 64 | sender's identity: Ed25519 (32), X25519 (32) |
//! | 122 | 32 | ephemeral public key (X25519) |
//! | 154 | 4 | id of the recipient's signed prekey |
//! | 158 | 5 | 1 and the id (4) of the one-time prekey, or five zeros |
//! | | | and, in an initial envelope of version 2: |
//! | 163 | 8 | generation of the session |
//! | 171 | 1 | cause |
//! | 172 | 16 | link id, or zeros |
//! | 188 | 64 | signature of the sender's identity |
//! | 58 or 252 | n | ciphertext: whole blocks of 16 bytes, at least one |
//! | end - 32 | 32 | MAC |
//!
//! Numbers are big-endian. All that stands before the ciphertext is the header
//! that the MAC covers. Parsing is strict and proves nothing: only a MAC does.

use std::fmt;

use crate::crypto::cipher::{BLOCK_LEN, MAC_LEN};
use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::keys::KeyError;
use crate::crypto::ratchet::RatchetHeader;
use crate::crypto::ratchet::origin::SESSION_ID_LEN;
use crate::crypto::ratchet::x3dh::InitialHeader;

/// The version of the envelope and of everything under it.
pub const VERSION: u8 = 2;

/// The version before: read, as long as the sender has not written in a later one,
/// and not written.
pub(crate) const OLD_VERSION: u8 = 1;

/// The most bytes in an envelope. The longest text makes 20,780; the rest is
/// room for later kinds. In base64 it stays well inside a line of 64 KiB.
pub const MAX_ENVELOPE: usize = 24 * 1024;

const ORDINARY: u8 = 1;
const INITIAL: u8 = 2;

/// Why bytes are not an envelope of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// A version that this client doesn't know.
    UnknownVersion(u8),
    /// A kind that no version has.
    UnknownKind(u8),
    /// This many bytes, over [`MAX_ENVELOPE`].
    TooLong(usize),
    /// Too short, a ciphertext of broken blocks, or a field with a value that
    /// no client writes.
    Malformed,
    /// The identity in an initial envelope is not a usable one.
    BadIdentity,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => write!(
                f,
                "the message is in version {version} of the encryption; this client knows version {VERSION}"
            ),
            Self::UnknownKind(kind) => write!(f, "the message is of the unknown kind {kind}"),
            Self::TooLong(length) => write!(
                f,
                "the message has {length} bytes; the longest allowed has {MAX_ENVELOPE}"
            ),
            Self::Malformed => f.write_str("the message is damaged or not in the expected form"),
            Self::BadIdentity => {
                f.write_str("the message names an identity that is not a usable key")
            }
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl From<Malformed> for EnvelopeError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<KeyError> for EnvelopeError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Malformed => Self::Malformed,
            KeyError::BadSigningKey | KeyError::BadSignature => Self::BadIdentity,
        }
    }
}

/// The readable part of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the envelope.
    pub version: u8,
    /// Which session it belongs to.
    pub session_id: [u8; SESSION_ID_LEN],
    /// Where it stands in that session.
    pub ratchet: RatchetHeader,
    /// What starts the session, until the responder has answered.
    pub initial: Option<InitialHeader>,
}

impl Header {
    /// The bytes under the MAC: 58 of an ordinary envelope, 252 of an initial one
    /// (163 in version 1).
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let kind = if self.initial.is_some() {
            INITIAL
        } else {
            ORDINARY
        };
        let mut out = vec![self.version, kind];
        out.extend_from_slice(&self.session_id);
        out.extend_from_slice(&self.ratchet.ratchet_key);
        out.extend_from_slice(&self.ratchet.previous_count.to_be_bytes());
        out.extend_from_slice(&self.ratchet.number.to_be_bytes());
        if let Some(initial) = self.initial {
            initial.write(&mut |bytes| out.extend_from_slice(bytes));
        }
        out
    }
}

/// An envelope taken apart, its bytes borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The readable part.
    pub header: Header,
    /// The readable part as it came, for the MAC.
    pub(crate) header_bytes: &'a [u8],
    pub(crate) ciphertext: &'a [u8],
    pub(crate) mac: &'a [u8; MAC_LEN],
}

impl<'a> Envelope<'a> {
    /// Takes `bytes` apart, or says why they are no envelope. Never panics, and
    /// allocates nothing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if !matches!(version, OLD_VERSION | VERSION) {
            return Err(EnvelopeError::UnknownVersion(version));
        }
        let is_initial = match reader.u8()? {
            ORDINARY => false,
            INITIAL => true,
            kind => return Err(EnvelopeError::UnknownKind(kind)),
        };
        let header = Header {
            version,
            session_id: *reader.array()?,
            ratchet: RatchetHeader {
                ratchet_key: *reader.array()?,
                previous_count: reader.u32()?,
                number: reader.u32()?,
            },
            initial: is_initial
                .then(|| InitialHeader::read(&mut reader, version != OLD_VERSION))
                .transpose()?,
        };
        let rest = reader.rest();
        let (ciphertext, mac) = rest.split_last_chunk().ok_or(Malformed)?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(EnvelopeError::Malformed);
        }
        let (header_bytes, _) = bytes
            .split_at_checked(bytes.len() - rest.len())
            .ok_or(Malformed)?;
        Ok(Self {
            header,
            header_bytes,
            ciphertext,
            mac,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::IdentityKeys;
    use crate::crypto::ratchet::origin::{Cause, LINK_ID_LEN, Origin};
    use proptest::prelude::*;

    fn header(one_time_id: Option<u32>, is_initial: bool) -> Header {
        let origin = Origin {
            generation: 9,
            cause: Cause::First,
            link: [0; LINK_ID_LEN],
            signature: [10; 64],
        };
        let initial = InitialHeader {
            identity: IdentityKeys::from_bytes(&[3; 64]).public(),
            ephemeral: [4; 32],
            signed_prekey_id: 5,
            one_time_id,
            origin: Some(origin),
        };
        Header {
            version: VERSION,
            session_id: [1; 16],
            ratchet: RatchetHeader {
                ratchet_key: [2; 32],
                previous_count: 6,
                number: 7,
            },
            initial: is_initial.then_some(initial),
        }
    }

    fn envelope(header: Header, blocks: usize) -> Vec<u8> {
        [header.to_bytes(), vec![8; 16 * blocks], vec![9; 32]].concat()
    }

    #[test]
    fn headers_survive_the_journey_in_their_documented_sizes() {
        for (header, length) in [
            (header(None, false), 58),
            (header(None, true), 252),
            (header(Some(0), true), 252),
            (header(Some(u32::MAX), true), 252),
        ] {
            let bytes = envelope(header, 2);
            let parsed = Envelope::parse(&bytes).unwrap();
            assert_eq!(parsed.header, header);
            assert_eq!(parsed.header_bytes, header.to_bytes());
            assert_eq!(
                (parsed.header_bytes.len(), parsed.ciphertext.len()),
                (length, 32)
            );
        }
    }

    #[test]
    fn what_no_client_writes_is_refused() {
        let good = envelope(header(None, true), 1);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Envelope::parse(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, 3), EnvelopeError::UnknownVersion(3));
        assert_eq!(with(1, 3), EnvelopeError::UnknownKind(3));
        assert_eq!(with(158, 2), EnvelopeError::Malformed);
        assert_eq!(with(162, 1), EnvelopeError::Malformed);
        // A cause that there is not, and links where the cause has none and the reverse.
        assert_eq!(with(171, 7), EnvelopeError::Malformed);
        assert_eq!(with(172, 1), EnvelopeError::Malformed);
        assert_eq!(with(171, 0), EnvelopeError::Malformed);
        let mut weak = good.clone();
        weak[58..90].fill(0);
        assert_eq!(Envelope::parse(&weak), Err(EnvelopeError::BadIdentity));
        for length in 0..good.len() {
            assert!(Envelope::parse(&good[..length]).is_err());
        }
        for extra in 1..16 {
            let longer = [good.as_slice(), &vec![0; extra]].concat();
            assert_eq!(Envelope::parse(&longer), Err(EnvelopeError::Malformed));
        }
        let none = envelope(header(None, false), 0);
        assert_eq!(Envelope::parse(&none), Err(EnvelopeError::Malformed));
        let huge = vec![1; MAX_ENVELOPE + 1];
        let too_long = Err(EnvelopeError::TooLong(MAX_ENVELOPE + 1));
        assert_eq!(Envelope::parse(&huge), too_long);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 1..3_u8, version in 1..3_u8) {
            let _ = Envelope::parse(&bytes);
            for (place, byte) in bytes.iter_mut().zip([version, kind]) {
                *place = byte;
            }
            let _ = Envelope::parse(&bytes);
        }
    }
}
