//! What is inside the encryption: a text, a receipt, or a request to send again.
//!
//! As bytes: `kind (1) || sender's clock (8, milliseconds since 1970 UTC) ||
//! body`, numbers big-endian. The body of kind 1 (text) is UTF-8, of kind 2
//! (receipt) and kind 3 (retry request) one or more message ids of 16 bytes
//! each. A kind that this version doesn't know is kept as a number, so that it
//! can be shown as "sent by a newer client" and not as damage. Padding and
//! encryption come after.

use std::fmt;

use zeroize::Zeroizing;

use super::codec::Reader;

/// The longest text, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;

/// The most ids in one receipt or retry request: as many as a text has room for.
pub const MAX_IDS: usize = MAX_TEXT / 16;

const TEXT: u8 = 1;
const RECEIPT: u8 = 2;
const RETRY_REQUEST: u8 = 3;

/// A 128-bit message id, as the sender's client chose it.
pub type Id = [u8; 16];

/// One message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The sender's clock when it was written: milliseconds since 1970 UTC.
    /// Only as right as that clock.
    pub sent_at_ms: u64,
    /// What was sent.
    pub body: Body,
}

/// The kinds of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Words for a person, at most [`MAX_TEXT`] bytes.
    Text(String),
    /// The person has seen these messages; 1 to [`MAX_IDS`] ids.
    Receipt(Vec<Id>),
    /// These messages couldn't be decrypted here; please send them again in
    /// this session. 1 to [`MAX_IDS`] ids.
    RetryRequest(Vec<Id>),
    /// A kind of a later version, by its number. It can be read, not written.
    Unknown(u8),
}

/// Why a content can't be written, or why authenticated bytes are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// The text has this many bytes, over [`MAX_TEXT`].
    TextTooLong(usize),
    /// There is no id or there are over [`MAX_IDS`]; this many.
    IdCount(usize),
    /// A kind that this version can't write.
    UnknownKind(u8),
    /// The text is not UTF-8.
    NotUtf8,
    /// Too short, an id cut, or badly padded.
    Malformed,
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TextTooLong(length) => write!(
                f,
                "the text has {length} bytes; the longest that can be sent has {MAX_TEXT}"
            ),
            Self::IdCount(count) => write!(
                f,
                "the list has {count} message ids; it must have 1 to {MAX_IDS}"
            ),
            Self::UnknownKind(kind) => {
                write!(f, "this version can't write contents of kind {kind}")
            }
            Self::NotUtf8 => f.write_str("the text is not valid UTF-8"),
            Self::Malformed => f.write_str("the content is damaged or not in the expected form"),
        }
    }
}

impl std::error::Error for ContentError {}

impl Content {
    /// The bytes, unpadded.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ContentError> {
        let (kind, body): (u8, &[u8]) = match &self.body {
            Body::Text(text) => (TEXT, checked_text(text)?),
            Body::Receipt(ids) => (RECEIPT, checked_ids(ids)?.as_flattened()),
            Body::RetryRequest(ids) => (RETRY_REQUEST, checked_ids(ids)?.as_flattened()),
            Body::Unknown(kind) => return Err(ContentError::UnknownKind(*kind)),
        };
        let mut out = Zeroizing::new(Vec::with_capacity(1 + 8 + body.len()));
        out.push(kind);
        out.extend_from_slice(&self.sent_at_ms.to_be_bytes());
        out.extend_from_slice(body);
        Ok(out)
    }

    /// Reads what [`encode`](Self::encode) wrote, with the same limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8().map_err(|_| ContentError::Malformed)?;
        let sent_at_ms = reader.u64().map_err(|_| ContentError::Malformed)?;
        let body = reader.rest();
        let body = match kind {
            TEXT => {
                let text = std::str::from_utf8(body).map_err(|_| ContentError::NotUtf8)?;
                checked_text(text)?;
                Body::Text(text.to_owned())
            }
            RECEIPT => Body::Receipt(ids(body)?),
            RETRY_REQUEST => Body::RetryRequest(ids(body)?),
            kind => Body::Unknown(kind),
        };
        Ok(Self { sent_at_ms, body })
    }
}

fn checked_text(text: &str) -> Result<&[u8], ContentError> {
    if text.len() > MAX_TEXT {
        return Err(ContentError::TextTooLong(text.len()));
    }
    Ok(text.as_bytes())
}

fn checked_ids(ids: &[Id]) -> Result<&[Id], ContentError> {
    if ids.is_empty() || ids.len() > MAX_IDS {
        return Err(ContentError::IdCount(ids.len()));
    }
    Ok(ids)
}

fn ids(body: &[u8]) -> Result<Vec<Id>, ContentError> {
    let (ids, rest) = body.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(ContentError::Malformed);
    }
    checked_ids(ids).map(<[Id]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(body: Body) -> Content {
        let sent_at_ms = 1_700_000_000_123;
        Content { sent_at_ms, body }
    }

    #[test]
    fn layout_is_as_documented() {
        let text = at(Body::Text("hé".into())).encode().unwrap();
        assert_eq!(text[..], *b"\x01\x00\x00\x01\x8b\xcf\xe5\x68\x7bh\xc3\xa9");
    }

    #[test]
    fn limits_hold_in_both_directions() {
        let longest = at(Body::Text("x".repeat(MAX_TEXT))).encode().unwrap();
        assert!(Content::decode(&longest).is_ok());
        assert!(longest.len() <= super::super::padding::MAX_CONTENT);
        let longer = [longest.as_slice(), b"x"].concat();
        let too_long = Err(ContentError::TextTooLong(MAX_TEXT + 1));
        assert_eq!(Content::decode(&longer), too_long);
        let over = at(Body::Text("x".repeat(MAX_TEXT + 1)));
        assert_eq!(over.encode(), Err(ContentError::TextTooLong(MAX_TEXT + 1)));
        for count in [0, MAX_IDS + 1] {
            let ids = at(Body::Receipt(vec![[0; 16]; count]));
            assert_eq!(ids.encode(), Err(ContentError::IdCount(count)));
        }
        assert_eq!(Content::decode(&[2; 9]), Err(ContentError::IdCount(0)));
    }

    #[test]
    fn later_kinds_are_kept_and_damage_is_named() {
        let later = Content::decode(&[200, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3]).unwrap();
        assert_eq!(
            (later.sent_at_ms, later.body.clone()),
            (5, Body::Unknown(200))
        );
        assert_eq!(later.encode(), Err(ContentError::UnknownKind(200)));
        assert_eq!(Content::decode(&[]), Err(ContentError::Malformed));
        assert_eq!(Content::decode(&[1; 8]), Err(ContentError::Malformed));
        assert_eq!(Content::decode(&[3; 26]), Err(ContentError::Malformed));
        assert_eq!(
            Content::decode(&[&[1; 9][..], &[0xff]].concat()),
            Err(ContentError::NotUtf8)
        );
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(text in ".{0,200}", ids in proptest::collection::vec(any::<Id>(), 1..40)) {
            for body in [Body::Text(text), Body::Receipt(ids.clone()), Body::RetryRequest(ids)] {
                let content = at(body);
                prop_assert_eq!(Content::decode(&content.encode().unwrap()), Ok(content));
            }
        }

        #[test]
        fn decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Content::decode(&bytes);
        }
    }
}
