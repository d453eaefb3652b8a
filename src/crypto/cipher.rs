//! The cipher of messages and of the vault: AES-256-CBC, then HMAC-SHA-256.
//!
//! "Double Ratchet Algorithm" section 7.2 recommends this authenticated encryption, and every
//! cryptographic library has its parts. The MAC is checked in constant time before anything is
//! decrypted. The ratchet chooses the secret of a message; the caller names the place of a sealed
//! value.
//!
//! `MAC = HMAC-SHA-256(MAC key, length of AD (4) || AD || length of header (4)
//! || header || ciphertext)`, all 32 bytes. Lengths count bytes and are
//! big-endian; they keep two different inputs from joining to the same bytes.

use std::fmt;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, Mac};
use rand::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::kdf;
use super::kdf::label;
use super::secret::Secret;

/// Bytes in a MAC, which is the whole output of HMAC-SHA-256.
pub const MAC_LEN: usize = 32;

/// Bytes in an AES block. A ciphertext has one or more blocks.
pub const BLOCK_LEN: usize = 16;

/// Bytes in the random salt that stands before each sealed value.
pub const SALT_LEN: usize = 16;

/// The most bytes that sealing adds: the salt, a whole block of padding, and the MAC.
pub const SEAL_OVERHEAD: usize = SALT_LEN + BLOCK_LEN + MAC_LEN;

/// Sealed bytes were changed or cut, were sealed with another key, or belong to another place.
///
/// These causes share one error on purpose, since telling them apart would help a forger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

impl fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data was changed or was not encrypted with this key")
    }
}

impl std::error::Error for NotAuthentic {}

/// The keys that encrypt one message or one sealed value.
///
/// The IV is derived, not sent, so each set may encrypt one plaintext only:
/// [`encrypt`](Self::encrypt) and [`decrypt`](Self::decrypt) consume it.
pub(crate) struct MessageKeys {
    aes: Secret<32>,
    mac: Secret<32>,
    iv: Secret<16>,
}

impl MessageKeys {
    /// The keys of one ratchet message.
    pub(crate) fn of_message(message_key: &Secret<32>) -> Self {
        Self::derive(&kdf::NO_SALT, message_key, label::MESSAGE)
    }

    /// `AES key (32) || MAC key (32) || IV (16) = HKDF(salt, secret, label, 80)`.
    fn derive(salt: &[u8], secret: &Secret<32>, label: &[u8]) -> Self {
        let joined: Secret<80> = kdf::hkdf(salt, secret.expose(), label);
        let (aes, rest) = joined.expose().split_at(32);
        let (mac, iv) = rest.split_at(32);
        Self {
            aes: Secret::filled_by(|place| place.copy_from_slice(aes)),
            mac: Secret::filled_by(|place| place.copy_from_slice(mac)),
            iv: Secret::filled_by(|place| place.copy_from_slice(iv)),
        }
    }

    /// Encrypts to `ciphertext || MAC`.
    pub(crate) fn encrypt(self, ad: &[u8], header: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut out =
            cbc::Encryptor::<Aes256>::new(self.aes.expose().into(), self.iv.expose().into())
                .encrypt_padded_vec::<Pkcs7>(plaintext);
        let mac = self.mac_over(ad, header, &out).finalize().into_bytes();
        out.extend_from_slice(&mac);
        out
    }

    /// Decrypts, if `mac` is the MAC of `ad`, `header` and `ciphertext`.
    pub(crate) fn decrypt(
        self,
        ad: &[u8],
        header: &[u8],
        ciphertext: &[u8],
        mac: &[u8; MAC_LEN],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.mac_over(ad, header, ciphertext)
            .verify(mac.into())
            .map_err(|_| NotAuthentic)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length =
            cbc::Decryptor::<Aes256>::new(self.aes.expose().into(), self.iv.expose().into())
                .decrypt_padded::<Pkcs7>(&mut buffer)
                .map_err(|_| NotAuthentic)?
                .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    fn mac_over(&self, ad: &[u8], header: &[u8], ciphertext: &[u8]) -> Hmac<Sha256> {
        let mut mac = kdf::hmac(self.mac.expose());
        for part in [ad, header] {
            mac.update(&length_of(part));
            mac.update(part);
        }
        mac.update(ciphertext);
        mac
    }
}

/// The length of a MAC input as four bytes. Headers have at most 163 bytes and associated data holds
/// a few names and keys, so no input reaches 4 GiB. A longer one would get the length 2^32 - 1.
fn length_of(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A long-lived 32-byte key that seals values at rest, such as the vault's.
///
/// A sealed value is `salt (16) || ciphertext || MAC (32)`. Each value has a random salt, which
/// goes through HKDF with the key, so no two values share an AES key or an IV. The salt is also the
/// header under the MAC. The associated data names the place of the value (table, column, row), so
/// that none can be moved to another place.
#[derive(Clone, Debug)]
pub struct SealKey(Secret<32>);

impl SealKey {
    /// A new key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::random(rng))
    }

    /// The key with these bytes, which [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 bytes of the key.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.to_bytes()
    }

    /// Seals a plaintext of any length. The result is at most [`SEAL_OVERHEAD`] bytes longer.
    pub fn seal<R: CryptoRng + ?Sized>(&self, rng: &mut R, ad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        seal_with(&self.0, label::VAULT, &salt, ad, plaintext)
    }

    /// Opens what [`seal`](Self::seal) made with the same key and associated data.
    pub fn open(&self, ad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        open_with(&self.0, label::VAULT, ad, sealed)
    }
}

/// A 32-byte key that only encrypts another key. It is derived from the password or from the
/// recovery code, and the vault key is stored under it.
#[derive(Clone, Debug)]
pub struct WrappingKey(Secret<32>);

/// Bytes in a wrapped vault key: salt 16, ciphertext 48, MAC 32.
pub const WRAPPED_LEN: usize = SALT_LEN + 48 + MAC_LEN;

impl WrappingKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Encrypts `key` to [`WRAPPED_LEN`] bytes, in the layout of a sealed value.
    pub fn wrap<R: CryptoRng + ?Sized>(&self, rng: &mut R, ad: &[u8], key: &SealKey) -> Vec<u8> {
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        seal_with(&self.0, label::WRAP, &salt, ad, key.0.expose())
    }

    /// Decrypts a key that [`wrap`](Self::wrap) encrypted under the same associated data. With a
    /// wrong password or recovery code it fails with [`NotAuthentic`].
    pub fn unwrap(&self, ad: &[u8], wrapped: &[u8]) -> Result<SealKey, NotAuthentic> {
        let plaintext = open_with(&self.0, label::WRAP, ad, wrapped)?;
        let key = plaintext.as_slice().try_into().map_err(|_| NotAuthentic)?;
        Ok(SealKey::from_bytes(key))
    }
}

fn seal_with(
    key: &Secret<32>,
    label: &[u8],
    salt: &[u8; SALT_LEN],
    ad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let encrypted = MessageKeys::derive(salt, key, label).encrypt(ad, salt, plaintext);
    [salt.as_slice(), &encrypted].concat()
}

fn open_with(
    key: &Secret<32>,
    label: &[u8],
    ad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
    let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>().ok_or(NotAuthentic)?;
    let (ciphertext, mac) = rest.split_last_chunk().ok_or(NotAuthentic)?;
    MessageKeys::derive(salt, key, label).decrypt(ad, salt, ciphertext, mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::account::recovery::RecoveryCode;
    use crate::crypto::testing::{TestRng, array, bytes, text, vectors};

    #[test]
    fn messages_agree_with_pycryptodome() {
        for case in vectors(include_str!("../../tests/vectors/cipher.json")) {
            let key = Secret::from_bytes(&array(&case, "message_key"));
            let keys = || MessageKeys::of_message(&key);
            assert_eq!(*keys().aes.expose(), array(&case, "aes_key"));
            assert_eq!(*keys().mac.expose(), array(&case, "mac_key"));
            assert_eq!(*keys().iv.expose(), array(&case, "iv"));
            let [ad, header, plaintext, encrypted] =
                ["ad", "header", "plaintext", "encrypted"].map(|field| bytes(&case, field));
            assert_eq!(keys().encrypt(&ad, &header, &plaintext), encrypted);
            let (ciphertext, mac) = encrypted.split_last_chunk().unwrap();
            let opened = keys().decrypt(&ad, &header, ciphertext, mac).unwrap();
            assert_eq!(*opened, plaintext);
        }
    }

    #[test]
    fn the_vault_agrees_with_pycryptodome() {
        for case in vectors(include_str!("../../tests/vectors/vault.json")) {
            let mut rng = TestRng::reading(&[array::<16>(&case, "salt"); 3].concat());
            let key = SealKey::from_bytes(&array(&case, "key"));
            let wrapping = WrappingKey(Secret::from_bytes(&array(&case, "wrapping_key")));
            let code = RecoveryCode::parse(text(&case, "recovery_code")).unwrap();
            assert_eq!(*code.to_text(), text(&case, "recovery_code"));
            let (ad, plaintext) = (bytes(&case, "ad"), bytes(&case, "plaintext"));
            let sealed = key.seal(&mut rng, &ad, &plaintext);
            assert_eq!(sealed, bytes(&case, "sealed"));
            assert!(sealed.len() <= plaintext.len() + SEAL_OVERHEAD);
            assert_eq!(*key.open(&ad, &sealed).unwrap(), plaintext);
            let wrapped = wrapping.wrap(&mut rng, &ad, &key);
            assert_eq!(wrapped, bytes(&case, "wrapped"));
            assert_eq!(wrapped.len(), WRAPPED_LEN);
            let wrapped = code.wrapping_key().wrap(&mut rng, &ad, &key);
            assert_eq!(wrapped, bytes(&case, "wrapped_by_recovery_code"));
            let unwrapped = code.wrapping_key().unwrap(&ad, &wrapped).unwrap();
            assert_eq!(unwrapped.to_bytes(), key.to_bytes());
        }
    }

    #[test]
    fn sealed_values_open_only_whole_in_their_place_and_with_their_key() {
        let mut rng = TestRng::new(3);
        let key = SealKey::generate(&mut rng);
        let sealed = key.seal(&mut rng, b"place", b"value");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"place", &changed), Err(NotAuthentic));
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(b"place", &sealed[..length]), Err(NotAuthentic));
        }
        assert_eq!(key.open(b"other", &sealed), Err(NotAuthentic));
        let other = SealKey::generate(&mut rng);
        assert_eq!(other.open(b"place", &sealed), Err(NotAuthentic));
        assert_ne!(key.seal(&mut rng, b"place", b"value"), sealed);
    }

    #[test]
    fn lengths_keep_associated_data_and_header_apart() {
        let keys = || MessageKeys::of_message(&Secret::from_bytes(&[1; 32]));
        let encrypted = keys().encrypt(b"ab", b"c", b"text");
        let (ciphertext, mac) = encrypted.split_last_chunk().unwrap();
        assert!(keys().decrypt(b"ab", b"c", ciphertext, mac).is_ok());
        assert!(keys().decrypt(b"a", b"bc", ciphertext, mac).is_err());
    }

    #[test]
    fn a_wrapped_key_is_no_sealed_value() {
        let mut rng = TestRng::new(4);
        let (wrapping, key) = (
            WrappingKey(Secret::from_bytes(&[7; 32])),
            SealKey::from_bytes(&[7; 32]),
        );
        let wrapped = wrapping.wrap(&mut rng, b"", &key);
        assert_eq!(key.open(b"", &wrapped), Err(NotAuthentic));
        assert_eq!(
            format!("{key:?} {wrapping:?}"),
            "SealKey([redacted]) WrappingKey([redacted])"
        );
    }
}
