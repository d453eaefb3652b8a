//! The recovery code: 128 random bits on paper that open the vault when the
//! password is forgotten. `code` writes and reads its text.

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::code;
use super::code::CodeError;
use crate::crypto::cipher::WrappingKey;
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::secret::Secret;

/// A recovery code. It is shown once, by [`to_text`](Self::to_text), and has no
/// `Display`, so that it can't slip into a log.
#[derive(Clone, Debug)]
pub struct RecoveryCode(Secret<16>);

impl RecoveryCode {
    /// A new code.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::random(rng))
    }

    /// The code for paper: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
    pub fn to_text(&self) -> Zeroizing<String> {
        code::to_text(&self.0, label::RECOVERY_CHECK)
    }

    /// Reads a code as typed.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        code::parse(text, label::RECOVERY_CHECK).map(Self)
    }

    /// The key that the vault key is wrapped under: `HKDF(32 zero bytes, code
    /// (16), "secure-chat/1 recovery", 32)`. 128 random bits need no Argon2.
    pub fn wrapping_key(&self) -> WrappingKey {
        WrappingKey::new(kdf::hkdf(&kdf::NO_SALT, self.0.expose(), label::RECOVERY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::TestRng;

    #[test]
    fn codes_survive_paper() {
        let mut rng = TestRng::new(1);
        for _ in 0..50 {
            let code = RecoveryCode::generate(&mut rng);
            let text = code.to_text();
            assert_eq!(text.len(), 39);
            let sloppy = text.to_lowercase().replace('-', " ").replace('0', "o");
            for typed in [text.as_str(), &sloppy, &sloppy.replace('1', "l")] {
                let read = RecoveryCode::parse(typed).unwrap();
                assert_eq!(read.0.expose(), code.0.expose());
            }
        }
    }

    #[test]
    fn a_code_opens_what_it_wrapped() {
        let mut rng = TestRng::new(2);
        let code = RecoveryCode::generate(&mut rng);
        let key = crate::crypto::cipher::SealKey::generate(&mut rng);
        let wrapped = code.wrapping_key().wrap(&mut rng, b"vault", &key);
        let read = RecoveryCode::parse(&code.to_text()).unwrap();
        let opened = read.wrapping_key().unwrap(b"vault", &wrapped).unwrap();
        assert_eq!(opened.to_bytes(), key.to_bytes());
    }

    #[test]
    fn mistakes_are_named() {
        let code = RecoveryCode(Secret::from_bytes(&[0x5a; 16])).to_text();
        let parse = |text: &str| RecoveryCode::parse(text).map(|_| ()).unwrap_err();
        assert_eq!(parse(""), CodeError::WrongLength(0));
        assert_eq!(parse(&code[1..]), CodeError::WrongLength(31));
        assert_eq!(parse(&format!("{}u", *code)), CodeError::BadCharacter('u'));
        assert_eq!(
            parse(&format!("{}\u{e9}", *code)),
            CodeError::BadCharacter('\u{e9}')
        );
        for (place, old) in code.char_indices().filter(|(_, c)| *c != '-') {
            let new = if old == '7' { "8" } else { "7" };
            let mut typed = code.to_string();
            typed.replace_range(place..=place, new);
            assert_eq!(parse(&typed), CodeError::BadChecksum);
        }
    }

    #[test]
    fn debug_output_is_silent() {
        let code = RecoveryCode(Secret::from_bytes(&[1; 16]));
        assert_eq!(format!("{code:?}"), "RecoveryCode([redacted])");
    }
}
