//! Bytes inside JSON: fixed-size values and blobs as base64 (RFC 4648 section 4,
//! with padding), message ids as 32 hexadecimal digits.
//!
//! Decoding is strict: a wrong length, a foreign character or non-zero trailing
//! bits are errors, so one value has exactly one spelling.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Exactly `N` bytes: a key, a signature, a nonce, a fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteArray<const N: usize>(pub [u8; N]);

/// Bytes of any length; whoever takes them bounds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Box<[u8]>);

/// A message's 128-bit id, chosen by the sender's client at random and scoped to
/// the sender: two senders may use the same one.
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
    /// Hands the 32 digits to `take` without allocating.
    fn with_digits<T>(&self, take: impl FnOnce(&str) -> T) -> T {
        let mut digits = [0; 32];
        data_encoding::HEXLOWER.encode_mut(&self.0, &mut digits);
        // Hexadecimal digits are ASCII, so the fallback is never taken.
        take(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl FromStr for MessageId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a message id is 32 hexadecimal digits";
        let mut id = [0; 16];
        if text.len() != 32 {
            return Err(WRONG);
        }
        match HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut id) {
            Ok(16) => Ok(MessageId(id)),
            _ => Err(WRONG),
        }
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

/// Turns a parser of text into a serde visitor.
struct TextVisitor<T, E>(&'static str, fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> Visitor<'_> for TextVisitor<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        (self.1)(text).map_err(D::custom)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("32 hexadecimal digits", MessageId::from_str))
    }
}

impl<'de, const N: usize> Deserialize<'de> for ByteArray<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("base64", |text| {
            let bytes = decode(text)?;
            match <[u8; N]>::try_from(bytes) {
                Ok(bytes) => Ok(ByteArray(bytes)),
                Err(bytes) => Err(format!("{N} bytes belong here, not {}", bytes.len())),
            }
        }))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("base64", |text| {
            decode(text).map(|bytes| Blob(bytes.into_boxed_slice()))
        }))
    }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    BASE64
        .decode(text.as_bytes())
        .map_err(|_| "not base64 with padding".to_owned())
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
        for wrong in ["\"AAE\"", "\"AAF=\"", "\"AA==\"", "\"AA E=\"", "7", "null"] {
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
