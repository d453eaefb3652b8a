//! What the Python program before this one hashed and encrypted, for the import of its database.
//!
//! It kept the SHA-256 of a password in hexadecimal, without a salt, and encrypted each message with
//! AES-256-CBC under the SHA-256 of its recipient's name, always with the same IV: everybody who had
//! the database could read it. Nothing new is hashed or encrypted in these ways.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::account::password::{Argon2Params, ImpossibleCost, SALT_LEN, derive};

/// The IV of all its messages.
const IV: &[u8; 16] = b"RandomIV12345678";

/// What it kept of a password: SHA-256 in hexadecimal, in lower case.
pub fn password_hash(password: &str) -> Zeroizing<String> {
    Zeroizing::new(HEXLOWER.encode(&Sha256::digest(password.as_bytes())))
}

/// What is kept of such a hash until the account's owner has logged in: the public key to which
/// Argon2id leads from it. Nobody logs in with that key; the password itself is asked for, because
/// the hash may be known to others.
///
/// # Errors
/// Argon2id can't run with this cost.
pub fn verifier(
    hash: &str,
    salt: &[u8; SALT_LEN],
    cost: Argon2Params,
) -> Result<[u8; 32], ImpossibleCost> {
    derive(hash, salt, cost).map(|derived| derived.login_key.public())
}

/// Decrypts a message for the recipient of this name, in the original's spelling. `None` if it was
/// not encrypted for them. There is no MAC, so a changed one may decrypt to something else.
pub fn open_message(recipient: &str, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = Sha256::digest(recipient.as_bytes());
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = cbc::Decryptor::<Aes256>::new(&key, IV.into())
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .ok()?
        .len();
    buffer.truncate(length);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;

    /// `scripts/import.py` checks the same against PyCryptodome.
    #[test]
    fn a_message_opens_under_its_recipients_name_only() {
        let sealed = BASE64.decode(b"pUKYLV8efi6QxhqyP0VPFA==").unwrap();
        let opened = open_message("bob", &sealed).unwrap();
        assert_eq!(opened.as_slice(), "grüße, bob".as_bytes());
        assert!(open_message("bob", &sealed[..15]).is_none());
        assert!(open_message("bob", &[]).is_none());
        let another = open_message("Bob", &sealed);
        assert!(another.is_none_or(|text| *text != *opened));
    }

    #[test]
    fn a_password_leads_to_its_verifier_through_the_hash() {
        let hash = password_hash("password");
        assert_eq!(
            *hash,
            "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
        );
        let of = |hash: &str| verifier(hash, &[7; SALT_LEN], Argon2Params::FLOOR).unwrap();
        assert_eq!(of(&hash), of(&password_hash("password")));
        assert_ne!(of(&hash), of(&password_hash("Password")));
    }
}
