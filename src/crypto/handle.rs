//! Sealed handles: how a server names a message's place to its sender without telling it.
//!
//! A mailbox numbers its messages, and bare numbers would tell each sender how much mail the
//! recipient gets. A handle hides the number, is worth nothing for another sender or
//! recipient, and can't be made without the server's secret. Only the server that made it
//! reads it; a client keeps it as 16 opaque bytes.
//!
//! ```text
//! pair key (32) || place key (32) = HKDF(32 zero bytes, server's secret (32), HANDLE, 64)
//! check (8)  = AES-256(pair key, sender (8) || recipient (8))[..8]
//! handle (16) = AES-256(place key, number (8) || check (8))
//! ```
//!
//! AES on one block is a permutation that nobody without the key can tell from a random one, so
//! that a forged handle opens to a random block, whose check fits once in 2⁶⁴ times.

use aes::Aes256;
use aes::cipher::{Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use super::kdf::{self, label};
use super::secret::Secret;

/// Bytes in a handle: one AES block.
pub const HANDLE_LEN: usize = 16;

/// Makes and reads handles. The keys are wiped on drop.
pub struct HandleKey {
    pair: Aes256,
    place: Aes256,
}

impl HandleKey {
    /// The key that belongs to a server's secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        let keys: Secret<64> = kdf::hkdf(&kdf::NO_SALT, secret, label::HANDLE);
        let (pair, place) = keys.expose().split_at(32);
        let cipher = |key: &[u8]| {
            let key: Secret<32> = Secret::filled_by(|place| place.copy_from_slice(key));
            Aes256::new(key.expose().into())
        };
        HandleKey {
            pair: cipher(pair),
            place: cipher(place),
        }
    }

    /// The handle of the message that `sender` has at `number` in `recipient`'s mailbox. Users
    /// are named by the numbers of their accounts.
    pub fn seal(&self, sender: i64, recipient: i64, number: u64) -> [u8; HANDLE_LEN] {
        let mut block = self.place(number, self.check(sender, recipient));
        self.place.encrypt_block(&mut block);
        block.into()
    }

    /// The handles of several messages in `recipient`'s mailbox, each given by its sender and its
    /// number. Preparing the cipher costs more than a block does, so that many at once are cheaper
    /// than one by one.
    pub fn seal_all(
        &self,
        recipient: i64,
        messages: impl Iterator<Item = (i64, u64)>,
    ) -> Vec<[u8; HANDLE_LEN]> {
        // Messages that are answered together mostly have one sender.
        let mut last = None;
        let mut blocks: Vec<Block<Aes256>> = messages
            .map(|(sender, number)| {
                let check = match last {
                    Some((known, check)) if known == sender => check,
                    _ => self.check(sender, recipient),
                };
                last = Some((sender, check));
                self.place(number, check)
            })
            .collect();
        if !blocks.is_empty() {
            self.place.encrypt_blocks(&mut blocks);
        }
        blocks.into_iter().map(Array::into).collect()
    }

    /// The number in a handle; `None` if it was not made with this key for these two.
    pub fn open(&self, sender: i64, recipient: i64, handle: &[u8; HANDLE_LEN]) -> Option<u64> {
        let mut block = Block::<Aes256>::from(*handle);
        self.place.decrypt_block(&mut block);
        let (number, check) = block.split_first_chunk::<8>()?;
        // Whoever learns how long this takes still has to guess a whole block.
        (*check == self.check(sender, recipient)).then(|| u64::from_be_bytes(*number))
    }

    fn place(&self, number: u64, check: [u8; 8]) -> Block<Aes256> {
        let mut block = Block::<Aes256>::default();
        block[..8].copy_from_slice(&number.to_be_bytes());
        block[8..].copy_from_slice(&check);
        block
    }

    fn check(&self, sender: i64, recipient: i64) -> [u8; 8] {
        let mut block = Block::<Aes256>::default();
        block[..8].copy_from_slice(&sender.to_be_bytes());
        block[8..].copy_from_slice(&recipient.to_be_bytes());
        self.pair.encrypt_block(&mut block);
        std::array::from_fn(|i| block[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_for_one_sender_one_recipient_and_one_server() {
        let key = HandleKey::new(&[7; 32]);
        let handle = key.seal(3, 4, 123_456);
        assert_eq!(key.open(3, 4, &handle), Some(123_456));
        assert_eq!(HandleKey::new(&[7; 32]).open(3, 4, &handle), Some(123_456));
        assert_eq!(key.open(4, 3, &handle), None);
        assert_eq!(key.open(3, 5, &handle), None);
        assert_eq!(HandleKey::new(&[8; 32]).open(3, 4, &handle), None);
        for bit in 0..128 {
            let mut forged = handle;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(3, 4, &forged), None, "bit {bit}");
        }
    }

    #[test]
    fn many_at_once_are_the_same_as_one_by_one() {
        let key = HandleKey::new(&[7; 32]);
        // As many as the cipher takes at once, and some more.
        let messages = || (0..150_u64).map(|n| (i64::from(n % 7 == 0), n * n));
        let one_by_one: Vec<_> = messages().map(|(from, n)| key.seal(from, 4, n)).collect();
        assert_eq!(key.seal_all(4, messages()), one_by_one);
        assert!(key.seal_all(4, std::iter::empty()).is_empty());
    }

    #[test]
    fn a_handle_does_not_tell_the_number() {
        let key = HandleKey::new(&[7; 32]);
        let [first, next, other] = [(1, 1), (1, 2), (2, 1)].map(|(to, n)| key.seal(3, to, n));
        // About half of 128 bits differ, as between any two random blocks.
        let differ = |a: [u8; 16], b: [u8; 16]| -> u32 {
            a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum()
        };
        assert!((32..96).contains(&differ(first, next)));
        assert!((32..96).contains(&differ(first, other)));
    }
}
