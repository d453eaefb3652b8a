//! Asking for messages again that could not be decrypted, and answering when
//! somebody asks. Bounded on both ends, so that neither a hostile server nor a
//! hostile contact can make two clients talk to each other for ever.
//!
//! All of it happens inside the transaction of the message it is about; what is
//! to be sent waits as an errand for the connection like any other message.

use super::receive::{Batch, fingerprint, plural};
use super::{Me, Trust, random_id};
use crate::client::vault::{
    Contact, ControlKind, ControlMessage, DeliveryState, EncryptionStatus, HistoryEntry,
    REMEMBERED_MS, Result, Vault, unchanged,
};
use crate::client::view::ViewEvent;
use crate::crypto::message::content::{Id, MAX_IDS, Payload};
use crate::crypto::ratchet::session_set::DecryptError;
use crate::protocol::MessageId;

/// How often one message is asked for, and how often it is sent again.
pub(super) const TIMES: u8 = 2;

/// How many requests may go out to somebody of whom nothing is understood.
const IN_VAIN: u8 = 3;

/// Whether a message that failed like this may come again and be readable then.
/// What no client of ours sends is not worth asking for.
pub(super) fn curable(error: &DecryptError) -> bool {
    match error {
        DecryptError::NotOurIdentity
        | DecryptError::UnknownSession
        | DecryptError::MissingSignedPrekey(_)
        | DecryptError::MissingOneTimePrekey(_)
        | DecryptError::Replayed
        | DecryptError::TooFarAhead { .. }
        | DecryptError::NotAuthentic => true,
        DecryptError::Envelope(_)
        | DecryptError::IdentityMismatch { .. }
        | DecryptError::WeakKey => false,
    }
}

/// Notes that a message is to be asked for, and whether the session it came in
/// is of no use any more.
pub(super) fn want(
    vault: &mut Vault,
    batch: &mut Batch,
    contact: &mut Contact,
    mid: &MessageId,
    renew: bool,
) -> Result<()> {
    vault.want(contact.id, mid)?;
    if renew && !contact.renew {
        contact.renew = true;
        vault.save_contact(contact)?;
    }
    batch.wants(contact.id);
    Ok(())
}

/// Something of theirs was decrypted: what could not be asked for before can be now.
pub(super) fn understood(
    vault: &mut Vault,
    batch: &mut Batch,
    contact: &mut Contact,
) -> Result<()> {
    if contact.renew || contact.asked > 0 {
        contact.renew = false;
        contact.asked = 0;
        vault.save_contact(contact)?;
        batch.wants(contact.id);
    }
    Ok(())
}

/// Makes the errand that asks a contact for what was asked for fewer than `times`
/// times; how many messages that are.
pub(super) fn ask(vault: &mut Vault, contact: i64, times: u8, now: u64) -> Result<usize> {
    let Some(mut contact) = vault.contact_by_id(contact).cloned() else {
        return Ok(0);
    };
    let mut ids = Vec::new();
    for mid in vault.wanted(contact.id, times, MAX_IDS)? {
        // The list is readable, and anybody can have written it; what was lost is sealed.
        match unchanged(vault.message_by_mid(contact.id, &mid))?.filter(is_lost) {
            Some(_) => ids.push(mid),
            None => vault.want_no_more(contact.id, &mid)?,
        }
    }
    if ids.is_empty() || contact.asked >= IN_VAIN {
        return Ok(0);
    }
    for mid in &ids {
        vault.asked(contact.id, mid)?;
    }
    contact.asked += 1;
    vault.save_contact(&contact)?;
    let count = ids.len();
    vault.add_control_message(
        contact.id,
        &MessageId(random_id()),
        now,
        &ControlKind::ResendRequest(ids),
    )?;
    Ok(count)
}

/// Asks for all that a batch has found to be lost.
pub(super) fn ask_for_all(vault: &mut Vault, batch: &mut Batch, now: u64) -> Result<()> {
    let times = if batch.again { TIMES } else { 1 };
    for contact in std::mem::take(&mut batch.wanted_of) {
        let count = ask(vault, contact, times, now)? as u64;
        if count == 0 {
            continue;
        }
        batch.controls = true;
        if let Some(contact) = vault.contact_by_id(contact) {
            batch.shows.push(ViewEvent::quiet(format!(
                "{}'s client is asked to send {count} {} again; it answers when it is online",
                contact.name,
                plural(count, "message", "messages"),
            )));
        }
    }
    for contact in std::mem::take(&mut batch.asked_for) {
        let Some(contact) = vault.contact_by_id(contact).cloned() else {
            continue;
        };
        let count = asked_for(vault, &contact, now)?;
        if count > 0 {
            let warning = waits_for_word(&contact, count);
            batch.shows.push(ViewEvent::warning(warning));
        }
    }
    Ok(())
}

/// What to say of messages that the known identity gets only with the person's word.
pub(super) fn waits_for_word(contact: &Contact, count: u64) -> String {
    let name = contact.name;
    format!(
        "{count} {} to {name} went to an identity before this one and {} for your word: after comparing, \
         /verify {name} yes sends {} to this one; /reject {name} does not",
        plural(count, "message", "messages"),
        plural(count, "waits", "wait"),
        plural(count, "it", "them"),
    )
}

/// How many messages the known identity has asked for that wait for the person's word.
pub(super) fn asked_for(vault: &Vault, contact: &Contact, now: u64) -> Result<u64> {
    count_asked(vault, contact, &requested(vault, contact)?, now)
}

/// How many messages are asked for with these ids.
pub(super) fn count_asked(
    vault: &Vault,
    contact: &Contact,
    ids: &[MessageId],
    now: u64,
) -> Result<u64> {
    let mut places = Vec::new();
    for mid in ids {
        match asked_message(vault, contact, mid)? {
            Asked::Message(message) if may_go_again(&message, now) => places.push(message.seq),
            Asked::Message(_) | Asked::ControlMessage | Asked::Nothing => {}
        }
    }
    places.sort_unstable();
    places.dedup();
    Ok(places.len() as u64)
}

/// The ids that the known identity has asked for and the person has to decide about.
fn requested(vault: &Vault, contact: &Contact) -> Result<Vec<MessageId>> {
    let known = contact.identity.map(|identity| fingerprint(&identity));
    let requests = vault.requests(contact.id)?;
    let theirs = requests.into_iter().filter(|(_, by)| known == Some(*by));
    Ok(theirs.flat_map(|(ids, _)| ids).collect())
}

/// The person has compared the number of the identity that asked: it gets what it
/// asked for.
pub(super) fn let_go(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    contact: &Contact,
    now: u64,
) -> Result<()> {
    let ids: Vec<Id> = requested(vault, contact)?.iter().map(|mid| mid.0).collect();
    vault.forget_requests(contact.id)?;
    match ids.is_empty() {
        true => Ok(()),
        false => answer(vault, me, batch, contact, &ids, now),
    }
}

/// What an id that is asked for stands for.
enum Asked {
    Message(Box<HistoryEntry>),
    /// Nothing with words for a person.
    ControlMessage,
    Nothing,
}

fn asked_message(vault: &Vault, contact: &Contact, mid: &MessageId) -> Result<Asked> {
    let control = unchanged(vault.control_message_by_mid(contact.id, mid))?;
    let message = match control.map(|control| control.kind) {
        Some(ControlKind::ResendRequest(_) | ControlKind::NothingThere(..)) => {
            return Ok(Asked::ControlMessage);
        }
        Some(ControlKind::Resend(seq, _)) => vault.message(seq),
        Some(ControlKind::Requested(..)) | None => vault.message_by_mid(contact.id, mid),
    };
    let message = unchanged(message)?;
    Ok(message.map_or(Asked::Nothing, |message| Asked::Message(Box::new(message))))
}

/// Whether a message may go, once more, to the identity that the contact is known by:
/// it went to that identity, or the person has compared its number.
pub(super) fn is_for(message: &HistoryEntry, contact: &Contact) -> bool {
    let known = contact.identity.map(|identity| fingerprint(&identity));
    contact.verified || (known.is_some() && message.record.identity == known)
}

/// Somebody's client asks for messages again. The request was decrypted, so it
/// comes from the identity that the contact is known by.
pub(super) fn answer(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    contact: &Contact,
    ids: &[Id],
    now: u64,
) -> Result<()> {
    let name = contact.name;
    let Some(identity) = contact.identity else {
        return Ok(());
    };
    if me.trust == Trust::Always {
        batch.shows.push(ViewEvent::warning(format!(
            "{name}'s client asks for earlier messages again; with --trust always that is never done by itself"
        )));
        return Ok(());
    }
    let identity = fingerprint(&identity);
    let mut waiting = requested(vault, contact)?;
    let before = waiting.len();
    let (mut nothing, mut count) = (Vec::new(), 0);
    for mid in ids.iter().copied().map(MessageId) {
        match asked_message(vault, contact, &mid)? {
            Asked::ControlMessage => nothing.push(mid),
            Asked::Message(mut message) if may_go_again(&message, now) => {
                if is_for(&message, contact) {
                    let mid = MessageId(random_id());
                    message.record.resends.push(mid);
                    vault.save_message(message.seq, &message.record)?;
                    vault.add_control_message(
                        contact.id,
                        &mid,
                        now,
                        &ControlKind::Resend(message.seq, identity),
                    )?;
                    count += 1;
                } else if !waiting.contains(&mid) {
                    waiting.push(mid);
                }
            }
            Asked::Message(_) | Asked::Nothing => {}
        }
    }
    let waiting = waiting.split_off(before);
    if !waiting.is_empty() {
        let mid = MessageId(random_id());
        vault.add_control_message(
            contact.id,
            &mid,
            now,
            &ControlKind::Requested(waiting, identity),
        )?;
        batch.asked_for.push(contact.id);
    }
    if !nothing.is_empty() {
        // Our own request may have been among them.
        batch.wants(contact.id);
        batch.again = true;
        let mid = MessageId(random_id());
        vault.add_control_message(
            contact.id,
            &mid,
            now,
            &ControlKind::NothingThere(nothing, identity),
        )?;
        batch.controls = true;
    }
    if count > 0 {
        batch.controls = true;
        batch.shows.push(ViewEvent::quiet(format!(
            "{name}'s client could not decrypt {count} {} and asked for {}; sent again",
            plural(count, "message", "messages"),
            plural(count, "it", "them"),
        )));
    }
    Ok(())
}

fn may_go_again(message: &HistoryEntry, now: u64) -> bool {
    let record = &message.record;
    record.outgoing
        && record.form == EncryptionStatus::Encrypted
        && !matches!(record.state, DeliveryState::Failed(_))
        && now.saturating_sub(message.at) <= REMEMBERED_MS
        && record.resends.len() < usize::from(TIMES)
}

/// What an errand says, and the time on it; nothing if it is pointless by now.
pub(super) fn content(
    vault: &Vault,
    me: &Me,
    control: &ControlMessage,
    contact: &Contact,
) -> Result<Option<(u64, Payload)>> {
    let for_them = |identity| {
        let known = contact.identity.map(|identity| fingerprint(&identity));
        known == Some(identity) && me.trust != Trust::Always
    };
    let raw = |ids: &[MessageId]| ids.iter().map(|mid| mid.0).collect::<Vec<Id>>();
    Ok(match &control.kind {
        ControlKind::ResendRequest(ids) => {
            let mut still = Vec::new();
            for mid in ids {
                if vault.is_wanted(contact.id, mid)? {
                    still.push(mid.0);
                }
            }
            (!still.is_empty()).then_some((control.at, Payload::RetryRequest(still)))
        }
        ControlKind::Resend(seq, identity) if for_them(*identity) => {
            let message = unchanged(vault.message(*seq))?;
            message
                .filter(|message| is_for(message, contact))
                .map(|message| {
                    let mut sent_as = vec![message.mid.0];
                    sent_as.extend(raw(&message.record.resends));
                    let text = message.record.text;
                    let at = message.record.sent_at.unwrap_or(message.at);
                    (at, Payload::Again { sent_as, text })
                })
        }
        ControlKind::NothingThere(ids, identity) if for_them(*identity) => {
            Some((control.at, Payload::NothingThere(raw(ids))))
        }
        ControlKind::Resend(..) | ControlKind::NothingThere(..) | ControlKind::Requested(..) => {
            None
        }
    })
}

/// What is there of a message that was sent again.
pub(super) enum Before {
    /// Nothing: it never came.
    Nothing,
    /// Its words, or it waits for its sender's identity to be accepted.
    Read,
    /// This, which could not be decrypted.
    Lost(Box<HistoryEntry>),
}

/// Looks for a message under every id it was sent under, ends the asking for it,
/// and leaves at most one row of it.
pub(super) fn before(vault: &mut Vault, contact: &Contact, sent_as: &[Id]) -> Result<Before> {
    let mut before = Before::Nothing;
    let mut lost = Vec::new();
    for mid in sent_as.iter().copied().map(MessageId) {
        vault.want_no_more(contact.id, &mid)?;
        match unchanged(vault.message_by_mid(contact.id, &mid))? {
            Some(message) if message.record.outgoing => {}
            Some(message) if is_lost(&message) => lost.push(message),
            Some(_) => before = Before::Read,
            None => {}
        }
    }
    let mut lost = lost.into_iter();
    if matches!(before, Before::Nothing)
        && let Some(message) = lost.next()
    {
        before = Before::Lost(Box::new(message));
    }
    for message in lost {
        vault.remove_message(message.seq)?;
    }
    Ok(before)
}

/// Removes what turned out to hold nothing for a person.
pub(super) fn forget(vault: &mut Vault, contact: &Contact, ids: &[Id]) -> Result<()> {
    for mid in ids.iter().copied().map(MessageId) {
        vault.want_no_more(contact.id, &mid)?;
        let message = unchanged(vault.message_by_mid(contact.id, &mid))?;
        if let Some(message) = message.filter(is_lost) {
            vault.remove_message(message.seq)?;
        }
    }
    Ok(())
}

fn is_lost(message: &HistoryEntry) -> bool {
    !message.record.outgoing && matches!(message.record.form, EncryptionStatus::Undecryptable(_))
}
