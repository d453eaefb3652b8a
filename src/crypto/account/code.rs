//! 128 random bits as a text that people write down and type: the recovery code, and the code
//! that an operator hands out. What such a code opens is decided by its owner.
//!
//! 20 bytes, `code (16) || checksum (4)`, are written as 32 characters of
//! Crockford's base32 in eight groups of four. The alphabet has no I, L, O and
//! U; what people read instead is understood (`o` as 0, `i` and `l` as 1), small
//! letters are too, and dashes and spaces don't count. The checksum finds mistyped codes
//! before they are tried. It depends on what the code is for, so one kind is never taken for
//! another.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::secret::Secret;

/// Crockford's symbols for 0 to 31.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// RFC 4648's symbols for the same, which the library reads and writes.
const STANDARD: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Bytes behind a code's characters.
const CODE_AND_CHECKSUM: usize = 20;

/// Characters in a code, without dashes.
const CHARACTERS: usize = 32;

/// Why what was typed is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeError {
    /// This many characters, and not 32.
    WrongLength(usize),
    /// A character that codes don't have.
    BadCharacter(char),
    /// The form is right, but a character was mistaken or two were swapped.
    BadChecksum,
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength(length) => write!(
                f,
                "the code has {length} characters; it must have {CHARACTERS}, dashes not counted"
            ),
            Self::BadCharacter(character) => {
                write!(f, "a code never contains {character:?}")
            }
            Self::BadChecksum => f.write_str("the code has a typing mistake"),
        }
    }
}

impl std::error::Error for CodeError {}

/// The code for paper: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`. `check` is the label of its
/// checksum.
pub(super) fn to_text(code: &Secret<16>, check: &[u8]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; CODE_AND_CHECKSUM]);
    let (place, sum) = bytes.split_at_mut(16);
    place.copy_from_slice(code.expose());
    sum.copy_from_slice(&checksum(code.expose(), check));
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
pub(super) fn parse(text: &str, check: &[u8]) -> Result<Secret<16>, CodeError> {
    let mut standard = Zeroizing::new(Vec::with_capacity(text.len()));
    for character in text.chars() {
        if character != '-' && !character.is_whitespace() {
            standard.push(standard_symbol(character)?);
        }
    }
    if standard.len() != CHARACTERS {
        return Err(CodeError::WrongLength(standard.len()));
    }
    let mut bytes = Zeroizing::new([0_u8; CODE_AND_CHECKSUM]);
    BASE32_NOPAD
        .decode_mut(&standard, &mut *bytes)
        .map_err(|_| CodeError::BadChecksum)?;
    let (code, sum) = bytes.split_at(16);
    let code = Secret::filled_by(|place| place.copy_from_slice(code));
    if checksum(code.expose(), check) != sum {
        return Err(CodeError::BadChecksum);
    }
    Ok(code)
}

fn checksum(code: &[u8; 16], check: &[u8]) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(check)
        .chain_update(code)
        .finalize();
    std::array::from_fn(|i| digest[i])
}

fn standard_symbol(typed: char) -> Result<u8, CodeError> {
    let meant = match typed.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    u8::try_from(meant)
        .ok()
        .and_then(|symbol| counterpart(symbol, CROCKFORD, STANDARD))
        .ok_or(CodeError::BadCharacter(typed))
}

/// The symbol of `to` that stands where `symbol` stands in `from`.
fn counterpart(symbol: u8, from: &[u8; 32], to: &[u8; 32]) -> Option<u8> {
    let place = from.iter().position(|&candidate| candidate == symbol)?;
    to.get(place).copied()
}
