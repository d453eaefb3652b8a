//! What is inside the encryption: a text, a receipt, or a request to send again.
//!
//! As bytes: `kind (1) || sender's clock (8, milliseconds since 1970 UTC) ||
//! body`, numbers big-endian. The body of kind 1 (text) is UTF-8, of kind 2
//! (receipt), kind 3 (retry request) and kind 5 (nothing there) one or more message
//! ids of 16 bytes each, of kind 4 (sent again) `number of ids (1) || ids (16 each)
//! || UTF-8`, of kind 6 (introduction) `number (8) || end (8) || proof (32)`. A kind that this version doesn't know is kept as a number, so that it
//! can be shown as "sent by a newer client" and not as damage. The message's
//! position ([`super::position`]) stands before it; padding and encryption come after.

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::introduction::InvitationId;

/// The longest text, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;

/// The most ids in one receipt or retry request: as many as a text has room for.
pub const MAX_IDS: usize = MAX_TEXT / 16;

/// The most ids that one text was sent under before: its own, and one for each
/// answer to a retry request, of which there are few.
pub const MAX_SENT_AS: usize = 8;

const TEXT: u8 = 1;
const RECEIPT: u8 = 2;
const RETRY_REQUEST: u8 = 3;
const AGAIN: u8 = 4;
const NOTHING_THERE: u8 = 5;
const INTRODUCTION: u8 = 6;

/// A 128-bit message id, as the sender's client chose it.
pub type Id = [u8; 16];

/// One message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The sender's clock when it was written: milliseconds since 1970 UTC.
    /// Only as right as that clock.
    pub sent_at_ms: u64,
    /// What was sent.
    pub body: Payload,
}

/// The kinds of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Words for a person, at most [`MAX_TEXT`] bytes.
    Text(String),
    /// The person has seen these messages; 1 to [`MAX_IDS`] ids.
    Receipt(Vec<Id>),
    /// These messages couldn't be decrypted here; please send them again in
    /// this session. 1 to [`MAX_IDS`] ids.
    RetryRequest(Vec<Id>),
    /// The answer to a retry request: the words of a message that was sent before.
    Again {
        /// The ids it was sent under, its own first: 1 to [`MAX_SENT_AS`]. The
        /// receiver shows the words once, whichever of them it has.
        sent_as: Vec<Id>,
        /// As in [`Text`](Self::Text).
        text: String,
    },
    /// Another answer to a retry request: these messages had nothing in them for
    /// a person. 1 to [`MAX_IDS`] ids.
    NothingThere(Vec<Id>),
    /// The sender has joined by an invitation of the receiver's, and proves it: see
    /// [`introduction`](crate::crypto::introduction).
    Introduction {
        /// Which invitation it was.
        invitation: InvitationId,
        /// The MAC.
        proof: [u8; 32],
    },
    /// A kind of a later version, by its number. It can be read, not written.
    Unknown(u8),
}

/// Why a content can't be written, or why authenticated bytes are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// The text has this many bytes, over [`MAX_TEXT`].
    TextTooLong(usize),
    /// There is no id or there are more than this list may have; this many.
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
                "the list has {count} message ids; there must be one, and not so many"
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
    /// Whether the message uses up a number of the conversation: it is said if it does
    /// not arrive. A receipt does not.
    pub(crate) fn is_counted(&self) -> bool {
        !matches!(self.body, Payload::Receipt(_))
    }

    /// The bytes, unpadded.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ContentError> {
        let ids = |ids| checked_ids(ids, MAX_IDS);
        let (count, expires);
        let (kind, body): (u8, [&[u8]; 3]) = match &self.body {
            Payload::Text(text) => (TEXT, [checked_text(text)?, &[], &[]]),
            Payload::Receipt(seen) => (RECEIPT, [ids(seen)?.as_flattened(), &[], &[]]),
            Payload::RetryRequest(lost) => (RETRY_REQUEST, [ids(lost)?.as_flattened(), &[], &[]]),
            Payload::Again { sent_as, text } => {
                let sent_as = checked_ids(sent_as, MAX_SENT_AS)?;
                count = [sent_as.len() as u8];
                (AGAIN, [&count, sent_as.as_flattened(), checked_text(text)?])
            }
            Payload::NothingThere(lost) => (NOTHING_THERE, [ids(lost)?.as_flattened(), &[], &[]]),
            Payload::Introduction { invitation, proof } => {
                expires = invitation.expires.to_be_bytes();
                (INTRODUCTION, [&invitation.nonce, &expires, proof])
            }
            Payload::Unknown(kind) => return Err(ContentError::UnknownKind(*kind)),
        };
        let length: usize = body.iter().map(|part| part.len()).sum();
        let mut out = Zeroizing::new(Vec::with_capacity(1 + 8 + length));
        out.push(kind);
        out.extend_from_slice(&self.sent_at_ms.to_be_bytes());
        for part in body {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    /// Reads what [`encode`](Self::encode) wrote, with the same limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8().map_err(|_| ContentError::Malformed)?;
        let sent_at_ms = reader.u64().map_err(|_| ContentError::Malformed)?;
        let body = reader.rest();
        let body = match kind {
            TEXT => Payload::Text(text(body)?),
            RECEIPT => Payload::Receipt(ids(body)?),
            RETRY_REQUEST => Payload::RetryRequest(ids(body)?),
            AGAIN => {
                let (count, rest) = body.split_first().ok_or(ContentError::Malformed)?;
                let (sent_as, words) = rest
                    .split_at_checked(usize::from(*count) * 16)
                    .ok_or(ContentError::Malformed)?;
                let sent_as = ids(sent_as)?;
                checked_ids(&sent_as, MAX_SENT_AS)?;
                let text = text(words)?;
                Payload::Again { sent_as, text }
            }
            NOTHING_THERE => Payload::NothingThere(ids(body)?),
            INTRODUCTION => introduction(body).map_err(|_| ContentError::Malformed)?,
            kind => Payload::Unknown(kind),
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

fn text(body: &[u8]) -> Result<String, ContentError> {
    let text = std::str::from_utf8(body).map_err(|_| ContentError::NotUtf8)?;
    checked_text(text)?;
    Ok(text.to_owned())
}

fn introduction(body: &[u8]) -> Result<Payload, Malformed> {
    let mut fields = Reader::new(body);
    let invitation = InvitationId {
        nonce: *fields.array()?,
        expires: fields.u64()?,
    };
    let proof = *fields.array()?;
    fields.finish()?;
    Ok(Payload::Introduction { invitation, proof })
}

fn checked_ids(ids: &[Id], most: usize) -> Result<&[Id], ContentError> {
    if ids.is_empty() || ids.len() > most {
        return Err(ContentError::IdCount(ids.len()));
    }
    Ok(ids)
}

fn ids(body: &[u8]) -> Result<Vec<Id>, ContentError> {
    let (ids, rest) = body.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(ContentError::Malformed);
    }
    checked_ids(ids, MAX_IDS).map(<[Id]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(body: Payload) -> Content {
        let sent_at_ms = 1_700_000_000_123;
        Content { sent_at_ms, body }
    }

    #[test]
    fn layout_is_as_documented() {
        let text = at(Payload::Text("hé".into())).encode().unwrap();
        assert_eq!(text[..], *b"\x01\x00\x00\x01\x8b\xcf\xe5\x68\x7bh\xc3\xa9");
    }

    #[test]
    fn what_is_sent_again_names_its_ids() {
        let sent_as = vec![[7; 16], [8; 16]];
        let text = "hé".to_owned();
        let again = at(Payload::Again { sent_as, text });
        let bytes = again.encode().unwrap();
        let ids = [[7_u8; 16], [8; 16]].concat();
        assert_eq!(bytes[9..], *[&b"\x02"[..], &ids, "hé".as_bytes()].concat());
        assert_eq!(Content::decode(&bytes), Ok(again));
        // The number of ids stands at 9: none, more than there are, too many.
        for (count, error) in [
            (0, ContentError::IdCount(0)),
            (3, ContentError::Malformed),
            (9, ContentError::IdCount(9)),
        ] {
            let mut wrong = bytes.to_vec();
            wrong[9] = count;
            if count == 9 {
                wrong.extend([0; 9 * 16]);
            }
            assert_eq!(Content::decode(&wrong), Err(error), "{count}");
        }
        let longest = at(Payload::Again {
            sent_as: vec![[0; 16]; MAX_SENT_AS],
            text: "x".repeat(MAX_TEXT),
        });
        assert!(longest.encode().unwrap().len() <= crate::crypto::message::padding::MAX_CONTENT);
    }

    #[test]
    fn limits_hold_in_both_directions() {
        let longest = at(Payload::Text("x".repeat(MAX_TEXT))).encode().unwrap();
        assert!(Content::decode(&longest).is_ok());
        assert!(longest.len() <= crate::crypto::message::padding::MAX_CONTENT);
        let longer = [longest.as_slice(), b"x"].concat();
        let too_long = Err(ContentError::TextTooLong(MAX_TEXT + 1));
        assert_eq!(Content::decode(&longer), too_long);
        let over = at(Payload::Text("x".repeat(MAX_TEXT + 1)));
        assert_eq!(over.encode(), Err(ContentError::TextTooLong(MAX_TEXT + 1)));
        for count in [0, MAX_IDS + 1] {
            let ids = at(Payload::Receipt(vec![[0; 16]; count]));
            assert_eq!(ids.encode(), Err(ContentError::IdCount(count)));
        }
        assert_eq!(Content::decode(&[2; 9]), Err(ContentError::IdCount(0)));
    }

    #[test]
    fn later_kinds_are_kept_and_damage_is_named() {
        let later = Content::decode(&[200, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3]).unwrap();
        assert_eq!(
            (later.sent_at_ms, later.body.clone()),
            (5, Payload::Unknown(200))
        );
        assert_eq!(later.encode(), Err(ContentError::UnknownKind(200)));
        assert_eq!(Content::decode(&[]), Err(ContentError::Malformed));
        assert_eq!(Content::decode(&[1; 8]), Err(ContentError::Malformed));
        assert_eq!(Content::decode(&[3; 26]), Err(ContentError::Malformed));
        for length in [47, 49] {
            let introduction = [&[6; 9][..], &vec![0; length]].concat();
            assert_eq!(Content::decode(&introduction), Err(ContentError::Malformed));
        }
        assert_eq!(
            Content::decode(&[&[1; 9][..], &[0xff]].concat()),
            Err(ContentError::NotUtf8)
        );
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(text in ".{0,200}", ids in proptest::collection::vec(any::<Id>(), 1..40)) {
            let again = Payload::Again { sent_as: ids.iter().copied().take(MAX_SENT_AS).collect(), text: text.clone() };
            let invitation = InvitationId { nonce: [7; 8], expires: 9 };
            let others = [Payload::Introduction { invitation, proof: [3; 32] }, Payload::Text(text), Payload::Receipt(ids.clone()), Payload::RetryRequest(ids.clone()), Payload::NothingThere(ids)];
            for body in others.into_iter().chain([again]) {
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
