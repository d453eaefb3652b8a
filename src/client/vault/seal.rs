//! Sealing one value for one place in the vault, so that no value can be moved
//! to another row, column or table unseen. Knows no SQL.

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::cipher::{NotAuthentic, SealKey};
use crate::crypto::os_rng;

/// A sealed column of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    State,
    Contact,
    Conversation,
    SignedPrekey,
    OneTimePrekey,
    Message,
    Outbox,
    Held,
    Errand,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::State => "state.sealed",
            Place::Contact => "contacts.sealed",
            Place::Conversation => "conversations.sealed",
            Place::SignedPrekey => "signed_prekeys.sealed",
            Place::OneTimePrekey => "one_time_prekeys.sealed",
            Place::Message => "messages.sealed",
            Place::Outbox => "outbox.sealed",
            Place::Held => "held.sealed",
            Place::Errand => "errands.sealed",
        })
    }
}

/// The vault key at work.
pub(super) struct Sealer(SealKey);

impl Sealer {
    pub(super) fn new(key: SealKey) -> Self {
        Sealer(key)
    }

    pub(super) fn into_key(self) -> SealKey {
        self.0
    }

    pub(super) fn key(&self) -> &SealKey {
        &self.0
    }

    pub(super) fn seal(&self, place: Place, row: i64, plain: &[u8]) -> Vec<u8> {
        self.0.seal(&mut os_rng(), &ad(place, row), plain)
    }

    pub(super) fn open(
        &self,
        place: Place,
        row: i64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.0.open(&ad(place, row), sealed)
    }
}

fn ad(place: Place, row: i64) -> Vec<u8> {
    format!("secure-chat vault 1: {place} {row}").into_bytes()
}
