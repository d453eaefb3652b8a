//! All forms that the value of a row has, read and written again: what the fuzz target
//! `vault_value` feeds. The forms themselves are described where they are used.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::Header;
use super::contacts::Contact;
use super::control_messages::ControlKind;
use super::export::Export;
use super::history::MessageRecord;
use super::key_slots::SlotNotes;
use super::keys::{Device, split_age, with_age};
use super::message_chunks::{LISTING_LEN, Listing};
use super::outbox::{OutboxRow, body_from_bytes, body_to_bytes};
use super::seen_ids::Entry;
use crate::crypto::keys::{OneTimePrekeySecret, SignedPrekeySecret};
use crate::protocol::MessageId;

/// Whether everything that can be read from these bytes is the same after it was written:
/// as the value of any row, or as the JSON in an export.
#[must_use]
pub fn reads_back(plain: &[u8]) -> bool {
    let header = Header::split(plain);
    let content = header.map_or(plain, |(_, content)| content);
    header.is_none_or(|(header, content)| header.before(content) == plain)
        && body(content)
        && OutboxRow::split(plain).is_none_or(|row| row.to_bytes() == plain)
        && plain.chunks_exact(LISTING_LEN).all(listing)
        && plain
            .as_chunks()
            .0
            .iter()
            .all(|bytes| Entry::from_bytes(*bytes).to_bytes() == *bytes)
        && [OneTimePrekeySecret::LEN, SignedPrekeySecret::LEN]
            .iter()
            .all(|length| {
                let (prekey, age) = split_age(plain, *length);
                *with_age(prekey, age) == *plain
            })
        && [plain, content].iter().all(|json| {
            same::<MessageRecord>(json)
                && same::<(ControlKind, bool)>(json)
                && same::<Contact>(json)
                && same::<Device>(json)
                && same::<SlotNotes>(json)
                && same::<Vec<(MessageId, u64)>>(json)
        })
        && export(plain)
}

fn body(bytes: &[u8]) -> bool {
    body_from_bytes(bytes).is_none_or(|body| body_to_bytes(&body) == bytes)
}

fn listing(bytes: &[u8]) -> bool {
    Listing::from_bytes(bytes).is_none_or(|listing| listing.to_bytes() == bytes)
}

/// JSON has many spellings of one value, but one value for each spelling.
fn same<T: DeserializeOwned + Serialize + PartialEq>(json: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<T>(json) else {
        return true;
    };
    let written = serde_json::to_vec(&read);
    let again = written.and_then(|written| serde_json::from_slice::<T>(&written));
    again.is_ok_and(|again| again == read)
}

fn export(json: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<Export>(json) else {
        return true;
    };
    let written = |export: &Export| serde_json::to_vec(export).ok();
    let first = written(&read);
    let again = first
        .as_deref()
        .and_then(|json| serde_json::from_slice(json).ok());
    first.is_some() && again.and_then(|again| written(&again)) == first
}
