//! Sealing one value for one row of the vault, bound to every other column of the
//! row, so that no value can be moved to another row, column, table, contact or time
//! unseen. Knows no SQL.

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::cipher::{NotAuthentic, SealKey};
use crate::crypto::os_rng;

/// A sealed column of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    State,
    Contact,
    SessionSet,
    SignedPrekey,
    OneTimePrekey,
    Message,
    Outbox,
    Held,
    ControlMessage,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::State => "state.sealed",
            Place::Contact => "contacts.sealed",
            Place::SessionSet => "conversations.sealed",
            Place::SignedPrekey => "signed_prekeys.sealed",
            Place::OneTimePrekey => "one_time_prekeys.sealed",
            Place::Message => "messages.sealed",
            Place::Outbox => "outbox.sealed",
            Place::Held => "held.sealed",
            Place::ControlMessage => "errands.sealed",
        })
    }
}

/// A row of a table: what stands in its readable columns, and what those stand for.
#[derive(Clone)]
pub(super) struct Row {
    place: Place,
    number: i64,
    ad: Vec<u8>,
}

impl Row {
    /// The row of `place` whose primary key is `number`.
    pub(super) fn new(place: Place, number: i64) -> Self {
        let mut ad = format!("secure-chat vault 2: {place}\n").into_bytes();
        ad.extend_from_slice(&number.to_be_bytes());
        Row { place, number, ad }
    }

    /// With one more column, in the order of the schema.
    pub(super) fn with(mut self, column: &[u8]) -> Self {
        // Lengths keep one column's end from being the next one's beginning.
        self.ad
            .extend_from_slice(&(column.len() as u64).to_be_bytes());
        self.ad.extend_from_slice(column);
        self
    }

    /// The same of a number.
    pub(super) fn with_number(self, column: i64) -> Self {
        self.with(&column.to_be_bytes())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} of {}", self.number, self.place)
    }
}

/// The vault key at work.
pub(super) struct Sealer(SealKey);

impl Sealer {
    pub(super) fn new(key: SealKey) -> Self {
        Sealer(key)
    }

    pub(super) fn key(&self) -> &SealKey {
        &self.0
    }

    pub(super) fn seal(&self, row: &Row, plain: &[u8]) -> Vec<u8> {
        self.0.seal(&mut os_rng(), &row.ad, plain)
    }

    pub(super) fn open(
        &self,
        row: &Row,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.0.open(&row.ad, sealed)
    }

    /// Opens a value as version 1 of the vault sealed it: bound to its place and its
    /// row's number only.
    pub(super) fn open_version_1(
        &self,
        row: &Row,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let ad = format!("secure-chat vault 1: {} {}", row.place, row.number);
        self.0.open(ad.as_bytes(), sealed)
    }
}
