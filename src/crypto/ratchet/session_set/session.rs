//! One session of a set: its ratchet, its rank among the others, and its saved form.

use std::cmp::Reverse;

use super::MAX_SUPERSEDED_MS;
use crate::crypto::codec::Reader;
use crate::crypto::keys::KeyError;
use crate::crypto::message::envelope::{OLD_VERSION, VERSION};
use crate::crypto::ratchet::Ratchet;
use crate::crypto::ratchet::origin::SESSION_ID_LEN;
use crate::crypto::ratchet::x3dh::InitialHeader;

/// The order of sessions: both sides compute the same one. The later generation goes
/// first, and of two equal ones that with the lower id.
pub(super) type Rank = (u64, Reverse<[u8; SESSION_ID_LEN]>);

#[derive(Clone)]
pub(super) struct RatchetSession {
    /// The version of its envelopes. Those of version 1 only read.
    pub(super) version: u8,
    pub(super) id: [u8; SESSION_ID_LEN],
    pub(super) generation: u64,
    /// Sent along until the other side has answered.
    pub(super) unanswered: Option<InitialHeader>,
    /// Since when the session only reads, by the clock that things age by.
    pub(super) superseded: Option<u64>,
    pub(super) ratchet: Ratchet,
}

impl RatchetSession {
    pub(super) fn rank(&self) -> Rank {
        (self.generation, Reverse(self.id))
    }

    /// Whether it may be sent in.
    pub(super) fn is_live(&self) -> bool {
        self.superseded.is_none() && self.version == VERSION
    }

    /// Whether it is sure that the other side has it.
    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.is_none()
    }

    /// Whether it was superseded too long ago to read. A clock set back makes nothing
    /// older.
    pub(super) fn has_expired(&self, age_ms: u64) -> bool {
        let since = |since| age_ms.saturating_sub(since) > MAX_SUPERSEDED_MS;
        self.superseded.is_some_and(since)
    }

    /// `version (1) || id (16) || generation (8) || superseded (1) [|| since (8)] ||
    /// initiated and unanswered (1) [|| initial header] || ratchet`.
    pub(super) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        let Self {
            version,
            id,
            generation,
            unanswered,
            superseded,
            ratchet,
        } = self;
        put(&[*version]);
        put(id);
        put(&generation.to_be_bytes());
        put(&[u8::from(superseded.is_some())]);
        if let Some(since) = superseded {
            put(&since.to_be_bytes());
        }
        put(&[u8::from(unanswered.is_some())]);
        if let Some(initial) = unanswered {
            initial.write(put);
        }
        ratchet.write(put);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        let version = match reader.u8()? {
            version @ (OLD_VERSION | VERSION) => version,
            _ => return Err(KeyError::Malformed),
        };
        let id = *reader.array()?;
        let generation = reader.u64()?;
        let superseded = match reader.flag()? {
            true => Some(reader.u64()?),
            false => None,
        };
        Ok(Self {
            version,
            id,
            generation,
            superseded,
            unanswered: read_unanswered(reader, version)?,
            ratchet: Ratchet::read(reader)?,
        })
    }

    /// Reads what version 1 of the saved form has: `id (16) || initiated and unanswered
    /// (1) [|| initial header] || ratchet`.
    pub(super) fn read_version_1(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        Ok(Self {
            version: OLD_VERSION,
            id: *reader.array()?,
            generation: 0,
            superseded: None,
            unanswered: read_unanswered(reader, OLD_VERSION)?,
            ratchet: Ratchet::read(reader)?,
        })
    }
}

fn read_unanswered(
    reader: &mut Reader<'_>,
    version: u8,
) -> Result<Option<InitialHeader>, KeyError> {
    match reader.flag()? {
        true => InitialHeader::read(reader, version != OLD_VERSION).map(Some),
        false => Ok(None),
    }
}
