//! The two hash ratchets inside the Double Ratchet: the root key that takes in
//! each Diffie-Hellman result, and the chains that give each message its key
//! ("Double Ratchet Algorithm" sections 2.1, 2.2 and 7.2).
//!
//! When a chain is replaced, and by what, is the ratchet's to say.

use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::keys::{AgreementKey, WeakKey};
use crate::crypto::secret::Secret;

/// Input to HMAC for the key of this message.
const MESSAGE_KEY_BYTE: u8 = 1;

/// Input to HMAC for the next chain key.
const CHAIN_KEY_BYTE: u8 = 2;

/// The key of one message, which goes through HKDF before it encrypts.
#[derive(Clone)]
pub(crate) struct MessageKey(pub(crate) Secret<32>);

/// The root of a session's keys.
#[derive(Clone)]
pub(crate) struct RootKey(Secret<32>);

impl RootKey {
    /// The first root key is what X3DH agreed on.
    pub(crate) fn of_session(shared: Secret<32>) -> Self {
        Self(shared)
    }

    /// KDF_RK: `next root key (32) || chain key (32) = HKDF(root key, DH output,
    /// "secure-chat/1 root", 64)`, the DH being between `own` and `remote`.
    pub(crate) fn step(
        &self,
        own: &AgreementKey,
        remote: &RemoteRatchetKey,
    ) -> Result<(Self, Chain), WeakKey> {
        let shared = own.agree(&remote.0)?;
        let joined: Secret<64> = kdf::hkdf(self.0.expose(), shared.expose(), label::ROOT);
        let (root, chain) = joined.expose().split_at(32);
        let root = Self(Secret::filled_by(|place| place.copy_from_slice(root)));
        let key = Secret::filled_by(|place| place.copy_from_slice(chain));
        Ok((root, Chain { key, next: 0 }))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.secret().map(Self)
    }
}

/// The other side's current ratchet public key. Our own is an
/// [`AgreementKey`], so the two can't be taken for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemoteRatchetKey(pub(crate) [u8; 32]);

/// A sending or receiving chain: its key and the number of the next message.
#[derive(Clone)]
pub(crate) struct Chain {
    key: Secret<32>,
    next: u32,
}

/// A chain has given all the keys that its 32-bit message numbers can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainExhausted;

impl Chain {
    /// The number that [`advance`](Self::advance) will use next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// KDF_CK: `message key = HMAC-SHA-256(chain key, 01)`, `next chain key =
    /// HMAC-SHA-256(chain key, 02)`.
    pub(crate) fn advance(&mut self) -> Result<(u32, MessageKey), ChainExhausted> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(ChainExhausted)?;
        let message_key = kdf::hmac_of_byte(&self.key, MESSAGE_KEY_BYTE);
        self.key = kdf::hmac_of_byte(&self.key, CHAIN_KEY_BYTE);
        Ok((number, MessageKey(message_key)))
    }

    /// `chain key (32) || next number (4)`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(self.key.expose());
        put(&self.next.to_be_bytes());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let key = reader.secret()?;
        let next = reader.u32()?;
        Ok(Self { key, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_before_its_numbers_repeat() {
        let mut chain = Chain {
            key: Secret::from_bytes(&[0; 32]),
            next: u32::MAX - 1,
        };
        assert_eq!(chain.advance().map(|(number, _)| number), Ok(u32::MAX - 1));
        assert_eq!(chain.advance().map(|_| ()), Err(ChainExhausted));
        assert_eq!(chain.next(), u32::MAX);
    }
}
