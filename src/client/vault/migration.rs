//! The migration from versions 1 and 2 of the vault to version 3: what the old file holds
//! is written into a new one (`file`), and a row that the old client would not have acted
//! on is left out.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::codec::Header;
use super::control_messages::{ControlKind, ControlMessage};
use super::history::{DeliveryState, EncryptionStatus, MessageRecord};
use super::migration_source::{Bound, Source};
use super::table::Table;
use super::{Result, Vault};
use crate::crypto::keys::SignedPrekeySecret;
use crate::protocol::reply::Incoming;
use crate::protocol::request::Send;
use crate::protocol::{Body, MessageId, UserName};

/// Puts all that the old vault holds into a new one. Call it within a transaction.
///
/// # Errors
/// That the old one could not be read, or is damaged where it must not be.
pub(super) fn fill(vault: &mut Vault, source: &Source, name: &UserName) -> Result<()> {
    vault.make_filing_key()?;
    vault.set_owner(name)?;
    key_slots(vault, source)?;
    keys(vault, source)?;
    for contact in source.contacts() {
        vault.save_contact(contact)?;
    }
    sealed_as_it_is(vault, source, "conversations", "contact", Table::Sessions)?;
    messages(vault, source)?;
    control_messages(vault, source)?;
    seen_and_wanted(vault, source)?;
    waiting(vault, source)?;
    under_way(vault, source)?;
    last_number(vault, source)
}

fn key_slots(vault: &mut Vault, source: &Source) -> Result<()> {
    let sql = "SELECT id, kind, salt, memory_kib, passes, lanes, wrapped FROM wraps";
    source.each(sql, |columns| {
        let values: Vec<rusqlite::types::Value> = (0..7)
            .map(|column| columns.get(column))
            .collect::<rusqlite::Result<_>>()?;
        vault.db.execute(
            "INSERT INTO key_slots (id, kind, salt, memory_kib, passes, lanes, wrapped)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            rusqlite::params_from_iter(values),
        )?;
        Ok(())
    })?;
    vault.adopt_key_slots()
}

/// Identity, device and prekeys.
fn keys(vault: &mut Vault, source: &Source) -> Result<()> {
    sealed_as_it_is(vault, source, "state", "id", Table::State)?;
    sealed_as_it_is(
        vault,
        source,
        "one_time_prekeys",
        "id",
        Table::OneTimePrekeys,
    )?;
    let table = "signed_prekeys";
    source.each_sealed(table, "id", Bound::Created, |id, columns, plain| {
        let plain = plain.ok_or_else(|| source.damaged(table, id))?;
        let prekey = SignedPrekeySecret::from_bytes(&plain);
        let prekey = prekey.map_err(|_| source.damaged(table, id))?;
        let created: i64 = source.column(columns, "created")?;
        vault.put_signed(&prekey, created as u64, None)
    })
}

/// Copies a table whose values have not changed.
fn sealed_as_it_is(
    vault: &mut Vault,
    source: &Source,
    from: &str,
    key: &str,
    to: Table,
) -> Result<()> {
    let bound = match to {
        Table::Sessions => Bound::Contact,
        _ => Bound::Alone,
    };
    source.each_sealed(from, key, bound, |number, _, plain| {
        let plain = plain.ok_or_else(|| source.damaged(from, number))?;
        vault.put(to, number, &plain)
    })
}

/// The history. A row that was changed says so in place of its text, as it did before.
fn messages(vault: &mut Vault, source: &Source) -> Result<()> {
    source.each_sealed("messages", "seq", Bound::Message, |seq, columns, plain| {
        let contact = source.column(columns, "contact")?;
        if source.contact(contact).is_none() || seq < 1 {
            return Ok(());
        }
        let header = Header {
            contact,
            mid: MessageId(source.column(columns, "mid")?),
            at: source.column::<i64>(columns, "at")? as u64,
        };
        let record = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        let record = record.unwrap_or_else(MessageRecord::of_changed_row);
        vault.insert_message(seq, header, &record)
    })?;
    source.each("SELECT seq FROM unread", |columns| {
        let seq = source.column(columns, "seq")?;
        match vault.contact_of_message(seq)? {
            Some(_) => vault.mark_unread(seq),
            None => Ok(()),
        }
    })
}

fn control_messages(vault: &mut Vault, source: &Source) -> Result<()> {
    // Version 1 did not note whether a control message had been sent.
    let mut unsent = Vec::new();
    source.each("SELECT seq FROM unsent", |columns| {
        unsent.push(source.column::<i64>(columns, "seq")?);
        Ok(())
    })?;
    source.each_sealed("errands", "seq", Bound::Message, |seq, columns, plain| {
        let Some(plain) = plain else {
            return Ok(());
        };
        let content = match source.version() {
            1 => serde_json::from_slice(&plain).map(|kind| (kind, !unsent.contains(&seq))),
            _ => serde_json::from_slice::<(ControlKind, bool)>(&plain),
        };
        let Ok((kind, sent)) = content else {
            return Ok(());
        };
        vault.insert_control(&ControlMessage {
            seq,
            contact: source.column(columns, "contact")?,
            mid: MessageId(source.column(columns, "mid")?),
            at: source.column::<i64>(columns, "at")? as u64,
            kind,
            sent,
        })
    })
}

fn seen_and_wanted(vault: &mut Vault, source: &Source) -> Result<()> {
    source.each("SELECT contact, mid FROM taken", |columns| {
        let mid = MessageId(source.column(columns, "mid")?);
        vault.mark_seen(source.column(columns, "contact")?, &mid)
    })?;
    let mut wanted: BTreeMap<i64, Vec<(MessageId, u64)>> = BTreeMap::new();
    source.each(
        "SELECT contact, mid, asked FROM wanted ORDER BY id",
        |columns| {
            let mid = MessageId(source.column(columns, "mid")?);
            let asked: i64 = source.column(columns, "asked")?;
            let of_contact = wanted
                .entry(source.column(columns, "contact")?)
                .or_default();
            of_contact.push((mid, asked.max(0) as u64));
            Ok(())
        },
    )?;
    for (contact, wanted) in wanted {
        if source.contact(contact).is_some() {
            vault.save_wanted(contact, &wanted)?;
        }
    }
    Ok(())
}

/// The envelopes that wait for an identity to be accepted.
fn waiting(vault: &mut Vault, source: &Source) -> Result<()> {
    source.each_sealed("held", "seq", Bound::Contact, |seq, columns, plain| {
        let contact = source.column(columns, "contact")?;
        let message = plain.and_then(|plain| serde_json::from_slice::<Incoming>(&plain).ok());
        match message {
            Some(message) if vault.contact_of_message(seq)? == Some(contact) => {
                vault.hold(seq, contact, &message)
            }
            _ => Ok(()),
        }
    })
}

/// What is to be encrypted or sent, if the message or control message at its place says so.
/// The notes in `unsent` were readable, and the place of a row of the outbox was all that it
/// was bound to, so anybody could have written them.
fn under_way(vault: &mut Vault, source: &Source) -> Result<()> {
    source.each_sealed("outbox", "seq", Bound::Alone, |seq, _, plain| {
        match plain.and_then(|plain: Zeroizing<Vec<u8>>| serde_json::from_slice(&plain).ok()) {
            Some(send) if is_ours(vault, seq, &send)? => vault.add_to_outbox(seq, &send, None),
            _ => Ok(()),
        }
    })?;
    source.each("SELECT seq, contact FROM unsent", |columns| {
        let (seq, contact) = (
            source.column(columns, "seq")?,
            source.column(columns, "contact")?,
        );
        match is_postponed(vault, seq, contact)? {
            true => vault.postpone(seq, contact),
            false => Ok(()),
        }
    })
}

fn is_ours(vault: &Vault, seq: i64, send: &Send) -> Result<bool> {
    let is_encrypted = matches!(send.body, Body::Envelope(_));
    let (contact, mid) = if let Some(message) = vault.message(seq)? {
        let was_encrypted = message.record.form == EncryptionStatus::Encrypted;
        if !message.record.outgoing || was_encrypted != is_encrypted {
            return Ok(false);
        }
        (message.contact, message.mid)
    } else if let Some(control) = vault.control(seq)? {
        if !control.sent || !is_encrypted {
            return Ok(false);
        }
        (control.contact, control.mid)
    } else {
        return Ok(false);
    };
    let to = vault.contact_by_id(contact).map(|contact| contact.name);
    Ok(to == Some(send.to) && mid == send.mid)
}

fn is_postponed(vault: &Vault, seq: i64, contact: i64) -> Result<bool> {
    if vault.contact_by_id(contact).is_none() || vault.is_in_outbox(seq) {
        return Ok(false);
    }
    if let Some(message) = vault.message(seq)? {
        let record = message.record;
        return Ok(message.contact == contact
            && record.outgoing
            && record.state == DeliveryState::Waiting
            && record.form == EncryptionStatus::Encrypted);
    }
    let control = vault.control(seq)?;
    Ok(control.is_some_and(|control| {
        let kept_back = matches!(control.kind, ControlKind::Requested(..));
        control.contact == contact && !control.sent && !kept_back
    }))
}

/// Numbers go on behind all that were ever used.
fn last_number(vault: &mut Vault, source: &Source) -> Result<()> {
    let sql = "SELECT max(
        (SELECT coalesce(max(seq), 0) FROM sqlite_sequence),
        (SELECT coalesce(max(seq), 0) FROM messages),
        (SELECT coalesce(max(seq), 0) FROM errands)) AS last";
    source.each(sql, |columns| {
        vault.set_last_number(source.column(columns, "last")?);
        Ok(())
    })
}
