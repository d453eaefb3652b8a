//! The fingerprint of a certificate, which people compare and clients pin.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate in DER, the form that crosses the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// A text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAFingerprint;

impl fmt::Display for NotAFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a fingerprint has 64 hexadecimal digits, as the server prints them when it starts",
        )
    }
}

impl std::error::Error for NotAFingerprint {}

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Fingerprint(Sha256::digest(certificate).into())
    }

    /// Eight groups of eight digits, for people to compare.
    pub fn groups(&self) -> String {
        let digits = HEXLOWER.encode(&self.0);
        let groups: Vec<&str> = (0..8).map(|at| &digits[at * 8..at * 8 + 8]).collect();
        groups.join(" ")
    }
}

/// Writes 64 digits as one word, as in addresses and files.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Reads the forms that people have at hand: one word, groups, or the colons and capitals of
/// `openssl x509 -fingerprint`.
impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let digits: String = text
            .chars()
            .filter(|c| *c != ':' && *c != ' ')
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let bytes = HEXLOWER
            .decode(digits.as_bytes())
            .map_err(|_| NotAFingerprint)?;
        bytes
            .try_into()
            .map(Fingerprint)
            .map_err(|_| NotAFingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_is_read() {
        let one = Fingerprint(std::array::from_fn(|at| at as u8 * 7));
        let word = one.to_string();
        let openssl: Vec<String> = one.0.iter().map(|byte| format!("{byte:02X}")).collect();
        for text in [word.clone(), one.groups(), openssl.join(":")] {
            assert_eq!(text.parse(), Ok(one), "{text}");
        }
        for text in ["", "00", &word[1..], &format!("{word}00"), &"x".repeat(64)] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NotAFingerprint), "{text}");
        }
    }
}
