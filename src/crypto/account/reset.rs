//! The code that an operator hands to the owner of an account whose password was reset: 128
//! random bits that set another password, once. `code` writes and reads its text.
//!
//! The code leads to an Ed25519 key. The server keeps the public half, and the owner's client
//! signs the new login key with the private one, so a server that is only pretended learns nothing.

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::code;
use super::code::CodeError;
use super::password::LoginKey;
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::secret::Secret;

/// A reset code. It has no `Display`, so that it can't slip into a log.
#[derive(Clone, Debug)]
pub struct ResetCode(Secret<16>);

impl ResetCode {
    /// A new code.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::random(rng))
    }

    /// The code for people: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
    pub fn to_text(&self) -> Zeroizing<String> {
        code::to_text(&self.0, label::RESET_CHECK)
    }

    /// Reads a code as typed.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        code::parse(text, label::RESET_CHECK).map(Self)
    }

    /// What signs the new login key: `seed = HKDF(32 zero bytes, code (16), "secure-chat/1
    /// reset-key", 32)`. 128 random bits need no Argon2.
    pub fn key(&self) -> LoginKey {
        LoginKey::from_seed(kdf::hkdf(&kdf::NO_SALT, self.0.expose(), label::RESET_KEY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::account::recovery::RecoveryCode;
    use crate::crypto::testing::TestRng;

    #[test]
    fn a_code_is_of_one_kind_and_leads_to_one_key() {
        let code = ResetCode::generate(&mut TestRng::new(1));
        let read = ResetCode::parse(&code.to_text().to_lowercase()).unwrap();
        assert_eq!(read.key().public(), code.key().public());
        assert_eq!(
            RecoveryCode::parse(&code.to_text()).err(),
            Some(CodeError::BadChecksum)
        );
        let recovery = RecoveryCode::generate(&mut TestRng::new(1)).to_text();
        assert!(ResetCode::parse(&recovery).is_err());
    }
}
