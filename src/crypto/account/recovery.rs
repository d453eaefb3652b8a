//! The recovery code: 128 random bits on paper that open the vault when the
//! password is forgotten.
//!
//! 20 bytes, `code (16) || checksum (4)`, are written as 32 characters of
//! Crockford's base32 in eight groups of four. The alphabet has no I, L, O and
//! U; what people read instead is understood (`o` as 0, `i` and `l` as 1), small
//! letters are too, and dashes and spaces don't count. The checksum finds
//! mistyped codes before the vault is tried.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::cipher::WrappingKey;
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::secret::Secret;

/// Crockford's symbols for 0 to 31.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// RFC 4648's symbols for the same, which the library reads and writes.
const STANDARD: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Bytes behind a code's characters.
const CODE_AND_CHECKSUM: usize = 20;

/// Characters in a code, without dashes.
const CHARACTERS: usize = 32;

/// Why what was typed is no recovery code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryCodeError {
    /// This many characters, and not 32.
    WrongLength(usize),
    /// A character that codes don't have.
    BadCharacter(char),
    /// The form is right, but a character was mistaken or two were swapped.
    BadChecksum,
}

impl fmt::Display for RecoveryCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength(length) => write!(
                f,
                "the recovery code has {length} characters; it must have {CHARACTERS}, dashes not counted"
            ),
            Self::BadCharacter(character) => {
                write!(f, "a recovery code never contains {character:?}")
            }
            Self::BadChecksum => f.write_str("the recovery code has a typing mistake"),
        }
    }
}

impl std::error::Error for RecoveryCodeError {}

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
        let mut bytes = Zeroizing::new([0_u8; CODE_AND_CHECKSUM]);
        let (code, check) = bytes.split_at_mut(16);
        code.copy_from_slice(self.0.expose());
        check.copy_from_slice(&checksum(self.0.expose()));
        let standard = Zeroizing::new(BASE32_NOPAD.encode(&*bytes));
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS + 7));
        for (i, symbol) in standard.bytes().enumerate() {
            if i > 0 && i % 4 == 0 {
                text.push('-');
            }
            let symbol = counterpart(symbol, STANDARD, CROCKFORD).unwrap_or(symbol);
            text.push(char::from(symbol));
        }
        text
    }

    /// Reads a code as typed.
    pub fn parse(text: &str) -> Result<Self, RecoveryCodeError> {
        let mut standard = Zeroizing::new(Vec::with_capacity(text.len()));
        for character in text.chars() {
            if character != '-' && !character.is_whitespace() {
                standard.push(standard_symbol(character)?);
            }
        }
        if standard.len() != CHARACTERS {
            return Err(RecoveryCodeError::WrongLength(standard.len()));
        }
        let mut bytes = Zeroizing::new([0_u8; CODE_AND_CHECKSUM]);
        BASE32_NOPAD
            .decode_mut(&standard, &mut *bytes)
            .map_err(|_| RecoveryCodeError::BadChecksum)?;
        let (code, check) = bytes.split_at(16);
        let code = Secret::filled_by(|place| place.copy_from_slice(code));
        if checksum(code.expose()) != check {
            return Err(RecoveryCodeError::BadChecksum);
        }
        Ok(Self(code))
    }

    /// The key that the vault key is wrapped under: `HKDF(32 zero bytes, code
    /// (16), "secure-chat/1 recovery", 32)`. 128 random bits need no Argon2.
    pub fn wrapping_key(&self) -> WrappingKey {
        WrappingKey::new(kdf::hkdf(&kdf::NO_SALT, self.0.expose(), label::RECOVERY))
    }
}

fn checksum(code: &[u8; 16]) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(label::RECOVERY_CHECK)
        .chain_update(code)
        .finalize();
    std::array::from_fn(|i| digest[i])
}

fn standard_symbol(typed: char) -> Result<u8, RecoveryCodeError> {
    let meant = match typed.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    u8::try_from(meant)
        .ok()
        .and_then(|symbol| counterpart(symbol, CROCKFORD, STANDARD))
        .ok_or(RecoveryCodeError::BadCharacter(typed))
}

/// The symbol of `to` that stands where `symbol` stands in `from`.
fn counterpart(symbol: u8, from: &[u8; 32], to: &[u8; 32]) -> Option<u8> {
    let place = from.iter().position(|&candidate| candidate == symbol)?;
    to.get(place).copied()
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
        assert_eq!(parse(""), RecoveryCodeError::WrongLength(0));
        assert_eq!(parse(&code[1..]), RecoveryCodeError::WrongLength(31));
        assert_eq!(
            parse(&format!("{}u", *code)),
            RecoveryCodeError::BadCharacter('u')
        );
        assert_eq!(
            parse(&format!("{}\u{e9}", *code)),
            RecoveryCodeError::BadCharacter('\u{e9}')
        );
        for (place, old) in code.char_indices().filter(|(_, c)| *c != '-') {
            let new = if old == '7' { "8" } else { "7" };
            let mut typed = code.to_string();
            typed.replace_range(place..=place, new);
            assert_eq!(parse(&typed), RecoveryCodeError::BadChecksum);
        }
    }

    #[test]
    fn debug_output_is_silent() {
        let code = RecoveryCode(Secret::from_bytes(&[1; 16]));
        assert_eq!(format!("{code:?}"), "RecoveryCode([redacted])");
    }
}
