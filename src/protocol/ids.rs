//! Bytes in JSON: values of fixed size and blobs in base64 (RFC 4648 section 4, with padding),
//! and message ids as 32 hexadecimal digits.
//!
//! Base64 is decoded strictly: a wrong length, a foreign character or non-zero trailing bits are
//! errors, so a value has exactly one form.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Exactly `N` bytes, such as a key, a signature, a nonce or a fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteArray<const N: usize>(pub [u8; N]);

/// Bytes of any length. The code that accepts them bounds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Box<[u8]>);

/// A message's 128-bit id. The sender's client draws it at random, and it is scoped to the sender:
/// two senders may use the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

/// Names a message's place in its recipient's mailbox, to its sender and the server only. Opaque
/// to the sender.
pub type Handle = ByteArray<16>;

impl<const N: usize> fmt::Debug for ByteArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_digits(|digits| f.write_str(digits))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MessageId {
    /// Passes the 32 digits to `consumer` without allocating.
    fn with_digits<T>(&self, consumer: impl FnOnce(&str) -> T) -> T {
        let mut digits = [0; 32];
        data_encoding::HEXLOWER.encode_mut(&self.0, &mut digits);
        // Hexadecimal digits are ASCII, so the fallback is never taken.
        consumer(std::str::from_utf8(&digits).unwrap_or_default())
    }

    fn from_ascii(text: &[u8]) -> Result<Self, IdError> {
        let mut id = [0; 16];
        if text.len() != 32 {
            return Err(IdError::MessageId);
        }
        match HEXLOWER_PERMISSIVE.decode_mut(text, &mut id) {
            Ok(16) => Ok(MessageId(id)),
            _ => Err(IdError::MessageId),
        }
    }
}

/// Why a text is not one of this file's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    /// A message id is not 32 hexadecimal digits.
    MessageId,
    /// It is not base64 with padding.
    Base64,
    /// It decodes to another number of bytes than the value has.
    Length {
        /// How many bytes the value has.
        expected: usize,
        /// How many came.
        found: usize,
    },
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdError::MessageId => f.write_str("a message id is 32 hexadecimal digits"),
            IdError::Base64 => f.write_str("not base64 with padding"),
            IdError::Length { expected, found } => {
                write!(f, "{expected} bytes belong here, not {found}")
            }
        }
    }
}

impl std::error::Error for IdError {}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::from_ascii(text.as_bytes())
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_digits(|digits| serializer.serialize_str(digits))
    }
}

impl<const N: usize> Serialize for ByteArray<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

/// A serde visitor that parses a text: what it expects, and the parser.
pub(super) struct TextVisitor<T, E>(pub &'static str, pub fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> Visitor<'_> for TextVisitor<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        (self.1)(text).map_err(D::custom)
    }
}

/// Like [`TextVisitor`], for a parser that takes ASCII only: it gets the bytes of the string, and
/// nobody has to check first that they are UTF-8.
struct AsciiVisitor<T>(&'static str, fn(&[u8]) -> Result<T, IdError>);

impl<T> Visitor<'_> for AsciiVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_bytes<D: de::Error>(self, text: &[u8]) -> Result<T, D> {
        (self.1)(text).map_err(D::custom)
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        self.visit_bytes(text.as_bytes())
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = AsciiVisitor("32 hexadecimal digits", MessageId::from_ascii);
        deserializer.deserialize_bytes(parse)
    }
}

impl<'de, const N: usize> Deserialize<'de> for ByteArray<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(AsciiVisitor("base64", |text| {
            let bytes = <[u8; N]>::try_from(decode(text)?);
            bytes.map(ByteArray).map_err(|bytes| IdError::Length {
                expected: N,
                found: bytes.len(),
            })
        }))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(AsciiVisitor("base64", |text| {
            decode(text).map(|bytes| Blob(bytes.into_boxed_slice()))
        }))
    }
}

fn decode(text: &[u8]) -> Result<Vec<u8>, IdError> {
    let decoded = BASE64.decode(text);
    decoded.map_err(|_| IdError::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_thirty_two_digits() {
        let id: MessageId = "00112233445566778899AABBccddeeff".parse().unwrap();
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        for wrong in [
            "",
            "00",
            "zz112233445566778899aabbccddeeff",
            "é0112233445566778899aabbccddeef",
        ] {
            assert!(wrong.parse::<MessageId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(
            serde_json::from_str::<ByteArray<2>>("\"AAE=\"").unwrap(),
            ByteArray([0, 1])
        );
        for wrong in [
            "\"AAE\"",
            "\"AAF=\"",
            "\"AA==\"",
            "\"AA E=\"",
            "7",
            "null",
            "[0, 1]",
            "\"\\ud800\"",
        ] {
            assert!(
                serde_json::from_str::<ByteArray<2>>(wrong).is_err(),
                "{wrong}"
            );
        }
        assert_eq!(
            serde_json::to_string(&Blob(Box::new([255, 0]))).unwrap(),
            "\"/wA=\""
        );
    }
}
