//! Why a conversation refused to encrypt or decrypt, precisely enough that a
//! client can tell its user what happened and what to do.

use std::fmt;

use super::{MAX_SKIP, RatchetError, SendError};
use crate::crypto::keys::{PublicIdentity, WeakKey};
use crate::crypto::message::content::ContentError;
use crate::crypto::message::envelope::EnvelopeError;

/// Why a message could not be decrypted. The conversation is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecryptError {
    /// The bytes are not an envelope that this version knows.
    Envelope(EnvelopeError),
    /// The message claims to come from another identity than the pinned one.
    /// It is a claim: nothing about the message has been authenticated. To look
    /// inside, make a new [`SessionSet`](super::session_set::SessionSet) with the claimed identity.
    IdentityMismatch {
        /// The identity that the message names.
        claimed: PublicIdentity,
    },
    /// The message starts a session with another identity than ours: with the
    /// one of an earlier device of this account, for instance.
    NotOurIdentity,
    /// The message belongs to a session that is not, or no longer, known here.
    UnknownSession,
    /// The message starts a session with a signed prekey that is not, or no
    /// longer, kept.
    MissingSignedPrekey(u32),
    /// The message starts a session with a one-time prekey that was used up.
    MissingOneTimePrekey(u32),
    /// The message starts a session from a link that is not, or no longer, kept.
    UnknownLink,
    /// The message starts a session of version 1, with a contact who has written in
    /// version 2.
    Outdated,
    /// The message was decrypted before, or came after its key had been dropped
    /// as too old.
    Replayed,
    /// The message jumps over more than [`MAX_SKIP`] others of its session.
    TooFarAhead {
        /// How many messages it jumps over.
        skipped: u64,
    },
    /// The MAC is wrong: the message was changed on its way, or made for
    /// another id, sender or recipient, or not by the other side at all.
    NotAuthentic,
    /// A public key in the message has low order.
    WeakKey,
}

impl fmt::Display for DecryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => error.fmt(f),
            Self::IdentityMismatch { .. } => {
                f.write_str("the message names another identity than the one known for its sender")
            }
            Self::NotOurIdentity => f.write_str(
                "the message was encrypted to another identity of this account, not to this device's",
            ),
            Self::UnknownSession => {
                f.write_str("the message belongs to a session that this device doesn't have")
            }
            Self::MissingSignedPrekey(id) => {
                write!(f, "the message uses signed prekey {id}, which this device doesn't have")
            }
            Self::MissingOneTimePrekey(id) => {
                write!(f, "the message uses one-time prekey {id}, which was used up or never ours")
            }
            Self::UnknownLink => f.write_str(
                "the message goes on from an earlier session in a state that this device doesn't have",
            ),
            Self::Outdated => f.write_str(
                "the message starts a session in a version of the encryption that its sender has left behind",
            ),
            Self::Replayed => {
                f.write_str("the message was decrypted before, or its key was dropped as too old")
            }
            Self::TooFarAhead { skipped } => write!(
                f,
                "the message jumps over {skipped} others of its session; at most {MAX_SKIP} are allowed"
            ),
            Self::NotAuthentic => {
                f.write_str("the message was changed, or was not encrypted for here by its sender")
            }
            Self::WeakKey => WeakKey.fmt(f),
        }
    }
}

impl std::error::Error for DecryptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Envelope(error) => Some(error),
            _ => None,
        }
    }
}

impl From<EnvelopeError> for DecryptError {
    fn from(error: EnvelopeError) -> Self {
        Self::Envelope(error)
    }
}

impl From<WeakKey> for DecryptError {
    fn from(WeakKey: WeakKey) -> Self {
        Self::WeakKey
    }
}

impl From<RatchetError> for DecryptError {
    fn from(error: RatchetError) -> Self {
        match error {
            RatchetError::Replayed => Self::Replayed,
            RatchetError::TooFarAhead { skipped } => Self::TooFarAhead { skipped },
            RatchetError::NotAuthentic => Self::NotAuthentic,
            RatchetError::WeakKey => Self::WeakKey,
        }
    }
}

/// Why nothing was encrypted. The conversation is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptError {
    /// There is no session yet: [`SessionSet::start`](super::session_set::SessionSet::start) one.
    NoSession,
    /// The content can't be written.
    Content(ContentError),
    /// The bundle is of another identity than the pinned one.
    IdentityMismatch {
        /// The identity of the bundle.
        offered: PublicIdentity,
    },
    /// A linked session was to be started, and nothing was heard of the other side yet
    /// that it could go on from.
    NoLink,
    /// A public key of the other side has low order.
    WeakKey,
    /// The session has sent all the messages it can number without an answer:
    /// start another.
    SessionExhausted,
}

impl fmt::Display for EncryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSession => f.write_str("there is no session with this contact yet"),
            Self::Content(error) => error.fmt(f),
            Self::IdentityMismatch { .. } => f.write_str(
                "the server offers keys of another identity than the one known for this contact",
            ),
            Self::NoLink => {
                f.write_str("there is no earlier session that a new one could go on from")
            }
            Self::WeakKey => WeakKey.fmt(f),
            Self::SessionExhausted => {
                f.write_str("the session has no message numbers left; a new one must be started")
            }
        }
    }
}

impl std::error::Error for EncryptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Content(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SendError> for EncryptError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::WeakKey => Self::WeakKey,
            SendError::ChainExhausted => Self::SessionExhausted,
        }
    }
}
