//! Protecting one value for one row of the vault: encrypted and authenticated, or
//! authenticated alone. Either way it is bound to its table and number, so that it opens
//! nowhere else, and its last bytes are a MAC. Knows no SQL, and not which rows there are.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::table::Table;
use crate::crypto::cipher::{NotAuthentic, SealKey};
use crate::crypto::kdf::label;
use crate::crypto::secret::Secret;
use crate::crypto::{kdf, os_rng};

/// Bytes at the end of a value that stand for all of it.
pub(super) const TAG_LEN: usize = 16;

/// The end of a row's MAC: another value of the same row has another tag.
pub(super) type Tag = [u8; TAG_LEN];

/// Protects and opens values with the vault key.
pub(super) struct Sealer {
    key: SealKey,
    /// HMAC with the key for values that are not encrypted and for the root.
    macs: Hmac<Sha256>,
    /// AES with the key for what the root sums up.
    weights: Aes256,
}

impl Sealer {
    pub(super) fn new(key: SealKey) -> Self {
        let derive = |label| -> Secret<32> { kdf::hkdf(&kdf::NO_SALT, &*key.to_bytes(), label) };
        let (macs, weights) = (derive(label::VAULT_MACS), derive(label::VAULT_WEIGHTS));
        Sealer {
            key,
            macs: kdf::hmac(macs.expose()),
            weights: Aes256::new(weights.expose().into()),
        }
    }

    pub(super) fn key(&self) -> &SealKey {
        &self.key
    }

    /// Protects `plain` as its table asks.
    pub(super) fn protect(&self, table: Table, number: i64, plain: &[u8]) -> Vec<u8> {
        match table.is_encrypted() {
            true => self
                .key
                .seal(&mut os_rng(), &associated_data(table, number), plain),
            false => [plain, &self.tag_of(table, number, plain)].concat(),
        }
    }

    /// Gives back what [`protect`](Self::protect) protected.
    pub(super) fn open(
        &self,
        table: Table,
        number: i64,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        if table.is_encrypted() {
            return self.key.open(&associated_data(table, number), value);
        }
        let (plain, tag) = value.split_last_chunk().ok_or(NotAuthentic)?;
        match self.tag_of(table, number, plain) == *tag {
            true => Ok(Zeroizing::new(plain.to_vec())),
            false => Err(NotAuthentic),
        }
    }

    /// The tag of a value that is not encrypted. One without content has nothing to protect:
    /// the weight of its row says that it is there.
    pub(super) fn tag_of(&self, table: Table, number: i64, plain: &[u8]) -> Tag {
        if plain.is_empty() {
            return [0; TAG_LEN];
        }
        let mut mac = self.macs.clone();
        mac.update(table.name().as_bytes());
        // No table's name holds a zero, and the number has a fixed length.
        mac.update(&[0]);
        mac.update(&number.to_be_bytes());
        mac.update(plain);
        let bytes = mac.finalize().into_bytes();
        std::array::from_fn(|i| bytes[i])
    }

    /// What a row adds to the root's sum. Nobody without the key can tell it from a random
    /// number: it is the CBC-MAC of two blocks, table and number, then tag.
    pub(super) fn weight(&self, table: Table, number: i64, tag: &Tag) -> u128 {
        let first = u128::from(table as u8) << 64 | u128::from(number as u64);
        let mut block = first.to_be_bytes().into();
        self.weights.encrypt_block(&mut block);
        for (byte, tag) in block.iter_mut().zip(tag) {
            *byte ^= tag;
        }
        self.weights.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }

    /// The MAC of the root.
    pub(super) fn root_mac(&self, root: &[u8]) -> [u8; 32] {
        let mut mac = self.macs.clone();
        // "root" is no table's name here.
        mac.update(b"root\0");
        mac.update(root);
        mac.finalize().into_bytes().into()
    }
}

/// The last bytes of a protected value; `None` if it is too short to be one.
pub(super) fn tag(value: &[u8]) -> Option<Tag> {
    value.last_chunk().copied()
}

fn associated_data(table: Table, number: i64) -> Vec<u8> {
    format!("secure-chat vault 3: {table} {number}").into_bytes()
}
