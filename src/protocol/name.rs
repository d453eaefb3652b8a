//! User names, which identify the sender and the recipient of a message.
//!
//! A name has 1 to 32 characters of `a-z 0-9 . _ -` and begins with a letter or a digit. Parsing
//! folds upper-case letters to lower case, so each [`UserName`] in memory, on disk and in a
//! signature is in canonical form. Any other character, such as a look-alike or a bidirectional
//! control, is refused; none is normalised away.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::TextVisitor;

/// The longest name, in characters (each is one byte).
pub const MAX_NAME: usize = 32;

/// A canonical user name. It is small enough to be copied, so no message allocates for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName {
    // The derived order compares the bytes first and is alphabetical, because the unused tail is
    // zero, which sorts before each permitted character.
    bytes: [u8; MAX_NAME],
    length: u8,
}

impl UserName {
    /// The canonical form.
    pub fn as_str(&self) -> &str {
        // Only ASCII ever enters `bytes`, so the fallback is never taken.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// Why a text is not a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text is longer than [`MAX_NAME`] characters.
    TooLong,
    /// The first character is neither a letter nor a digit.
    BadStart,
    /// A character is outside the permitted set.
    BadCharacter,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Empty => "the name is empty; use 1 to 32 letters, digits, '.', '_' or '-'",
            NameError::TooLong => "the name is longer than 32 characters; choose a shorter one",
            NameError::BadStart => "a name begins with a letter or a digit; choose another",
            NameError::BadCharacter => {
                "a name has only the letters a to z, digits, '.', '_' and '-'; choose another"
            }
        })
    }
}

impl std::error::Error for NameError {}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let raw = text.as_bytes();
        if raw.is_empty() {
            return Err(NameError::Empty);
        }
        if raw.len() > MAX_NAME {
            // For a long name with foreign letters, the letters are the more helpful reason.
            return Err(if text.is_ascii() {
                NameError::TooLong
            } else {
                NameError::BadCharacter
            });
        }
        let mut bytes = [0; MAX_NAME];
        for (slot, byte) in bytes.iter_mut().zip(raw) {
            *slot = match byte.to_ascii_lowercase() {
                allowed @ (b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-') => allowed,
                _ => return Err(NameError::BadCharacter),
            };
        }
        if !bytes[0].is_ascii_alphanumeric() {
            return Err(NameError::BadStart);
        }
        Ok(UserName {
            bytes,
            length: raw.len() as u8,
        })
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for UserName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("a user name", UserName::from_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_folded() {
        let name: UserName = "Alice.B-2_x".parse().unwrap();
        assert_eq!(name.as_str(), "alice.b-2_x");
        assert_eq!(name, "ALICE.b-2_X".parse().unwrap());
    }

    #[test]
    fn length_is_bounded() {
        assert_eq!("".parse::<UserName>(), Err(NameError::Empty));
        assert!("a".repeat(32).parse::<UserName>().is_ok());
        assert_eq!("a".repeat(33).parse::<UserName>(), Err(NameError::TooLong));
    }

    #[test]
    fn look_alike_and_control_characters_are_refused() {
        // Cyrillic a, right-to-left override, NUL, zero-width joiner, full-width A.
        for text in [
            "\u{430}lice",
            "bob\u{202e}",
            "bo\0b",
            "bo\u{200d}b",
            "\u{ff21}",
            "a b",
        ] {
            assert_eq!(
                text.parse::<UserName>(),
                Err(NameError::BadCharacter),
                "{text:?}"
            );
        }
        assert_eq!("-bob".parse::<UserName>(), Err(NameError::BadStart));
        assert_eq!("*".parse::<UserName>(), Err(NameError::BadCharacter));
    }

    #[test]
    fn order_is_alphabetical() {
        let mut names: Vec<UserName> = ["bob", "al", "alice", "b"]
            .map(|n| n.parse().unwrap())
            .into();
        names.sort();
        let names: Vec<&str> = names.iter().map(UserName::as_str).collect();
        assert_eq!(names, ["al", "alice", "b", "bob"]);
    }
}
