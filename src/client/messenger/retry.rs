//! Asking for messages again that could not be decrypted, and answering when
//! somebody asks. Bounded on both ends, so that neither a hostile server nor a
//! hostile contact can make two clients talk to each other for ever.
//!
//! All of it happens inside the transaction of the message it is about; what is
//! to be sent waits as a control message for the connection like any other message.

use super::batch::Batch;
use super::identity::fingerprint;
use super::{Me, Trust, findings, random_id};
use crate::client::vault::{
    Contact, ControlKind, ControlMessage, DeliveryState, EncryptionStatus, HistoryEntry,
    REMEMBERED_MS, Result, Vault, unchanged,
};
use crate::client::view::{ViewEvent, plural};
use crate::crypto::introduction::InvitationId;
use crate::crypto::message::content::{Content, Id, MAX_IDS, Payload};
use crate::crypto::ratchet::session_set::DecryptError;
use crate::protocol::{ByteArray, MessageId};

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
        | DecryptError::UnknownLink
        | DecryptError::Replayed
        | DecryptError::TooFarAhead { .. }
        | DecryptError::NotAuthentic => true,
        DecryptError::Envelope(_)
        | DecryptError::Outdated
        | DecryptError::IdentityMismatch { .. }
        | DecryptError::WeakKey => false,
    }
}

/// Notes that a message is to be asked for.
pub(super) fn want(batch: &mut Batch, contact: &Contact, mid: &MessageId) -> Result<()> {
    batch.vault.want(contact.id, mid)?;
    batch.wants(contact.id);
    Ok(())
}

/// Asks a contact for what was asked for fewer than `times` times; `false` if there is
/// nothing to ask for.
pub(super) fn ask(vault: &mut Vault, contact: i64, times: u8, now: u64) -> Result<bool> {
    let Some(mut contact) = vault.contact_by_id(contact).cloned() else {
        return Ok(false);
    };
    let mut ids = Vec::new();
    for mid in vault.wanted(contact.id, times, MAX_IDS)? {
        match unchanged(vault.message_by_mid(contact.id, &mid))?.filter(is_undecryptable) {
            Some(_) => ids.push(mid),
            None => vault.want_no_more(contact.id, &mid)?,
        }
    }
    if ids.is_empty() || contact.asked >= IN_VAIN {
        return Ok(false);
    }
    for mid in &ids {
        vault.asked(contact.id, mid)?;
    }
    contact.asked += 1;
    vault.save_contact(&contact)?;
    let request = ControlKind::ResendRequest(ids);
    vault.add_control_message(contact.id, &MessageId(random_id()), now, &request)?;
    Ok(true)
}

/// Asks for all messages that a batch could not decrypt, and tells the person what
/// contacts asked for.
pub(super) fn ask_for_all(batch: &mut Batch) -> Result<()> {
    let times = if batch.ask_again { TIMES } else { 1 };
    for contact in std::mem::take(&mut batch.wanted_of) {
        if !ask(batch.vault, contact, times, batch.now)? {
            continue;
        }
        batch.effects.postponed = true;
        let is_said = batch
            .said_of
            .contains(&(contact, findings::BEFORE_THE_IMPORT));
        if let Some(contact) = batch.vault.contact_by_id(contact).filter(|_| !is_said) {
            // Without a number: a receipt that can't be decrypted looks like a message.
            batch.show(ViewEvent::quiet(format!(
                "{0}'s client is asked to send again what could not be decrypted; it answers when it is online \
                 (if it never does: /renew {0})",
                contact.name,
            )));
        }
    }
    for contact in std::mem::take(&mut batch.requested_by) {
        let Some(contact) = batch.vault.contact_by_id(contact).cloned() else {
            continue;
        };
        let count = asked_for(batch.vault, &contact, batch.now)?;
        if count > 0 {
            batch.show(ViewEvent::warning(waits_for_word(&contact, count)));
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
pub(super) fn release_requested(batch: &mut Batch, contact: &Contact) -> Result<()> {
    let requested = requested(batch.vault, contact)?;
    let ids: Vec<Id> = requested.iter().map(|mid| mid.0).collect();
    batch.vault.forget_requests(contact.id)?;
    match ids.is_empty() {
        true => Ok(()),
        false => answer(batch, contact, &ids),
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
    let control = vault.control_message_by_mid(contact.id, mid)?;
    let message = match control.map(|control| control.kind) {
        Some(
            ControlKind::ResendRequest(_)
            | ControlKind::NothingThere(..)
            | ControlKind::Introduction(..)
            | ControlKind::Receipt,
        ) => {
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
pub(super) fn answer(batch: &mut Batch, contact: &Contact, ids: &[Id]) -> Result<()> {
    let name = contact.name;
    let Some(identity) = contact.identity else {
        return Ok(());
    };
    if batch.me.trust == Trust::Always {
        batch.show(ViewEvent::warning(format!(
            "{name}'s client asks for earlier messages again; with --trust always that is never done by itself"
        )));
        return Ok(());
    }
    let identity = fingerprint(&identity);
    let known = requested(batch.vault, contact)?;
    let (mut undecided, mut without_text) = (Vec::new(), Vec::new());
    // An id may stand there twice, and a message under several of its ids: it is sent once.
    let mut answered = Vec::new();
    for mid in ids.iter().copied().map(MessageId) {
        match asked_message(batch.vault, contact, &mid)? {
            Asked::ControlMessage if without_text.contains(&mid) => {}
            Asked::ControlMessage => without_text.push(mid),
            Asked::Message(message) if answered.contains(&message.seq) => {}
            Asked::Message(message) if may_go_again(&message, batch.now) => {
                if is_for(&message, contact) {
                    answered.push(message.seq);
                    send_again(batch, *message, identity)?;
                } else if !known.contains(&mid) && !undecided.contains(&mid) {
                    undecided.push(mid);
                }
            }
            Asked::Message(_) | Asked::Nothing => {}
        }
    }
    if !undecided.is_empty() {
        let request = ControlKind::Requested(undecided, identity);
        add_control(batch, contact.id, MessageId(random_id()), &request)?;
        batch.requested_by.push(contact.id);
    }
    if !without_text.is_empty() {
        // Our own request may have been among them.
        batch.wants(contact.id);
        batch.ask_again = true;
        let reply = ControlKind::NothingThere(without_text, identity);
        add_control(batch, contact.id, MessageId(random_id()), &reply)?;
        batch.effects.postponed = true;
    }
    let count = answered.len() as u64;
    if count > 0 {
        batch.effects.postponed = true;
        batch.show(ViewEvent::quiet(format!(
            "{name}'s client could not decrypt {count} {} and asked for {}; sent again",
            plural(count, "message", "messages"),
            plural(count, "it", "them"),
        )));
    }
    Ok(())
}

/// Sends a message once more, to the identity that asked, under an id of its own.
pub(super) fn send_again(
    batch: &mut Batch,
    mut message: HistoryEntry,
    identity: ByteArray<32>,
) -> Result<()> {
    let mid = MessageId(random_id());
    message.record.resends.push(mid);
    batch.vault.update_message(&message)?;
    let again = ControlKind::Resend(message.seq, identity);
    add_control(batch, message.contact, mid, &again)
}

fn add_control(batch: &mut Batch, contact: i64, mid: MessageId, kind: &ControlKind) -> Result<()> {
    batch
        .vault
        .add_control_message(contact, &mid, batch.now, kind)
}

pub(super) fn may_go_again(message: &HistoryEntry, now: u64) -> bool {
    let record = &message.record;
    record.outgoing
        && record.form == EncryptionStatus::Encrypted
        && !matches!(record.state, DeliveryState::Failed(_))
        && now.saturating_sub(message.at) <= REMEMBERED_MS
        && record.resends.len() < usize::from(TIMES)
}

/// What a control message says; nothing if it has lost its purpose.
pub(super) fn content(
    vault: &Vault,
    me: &Me,
    control: &ControlMessage,
    contact: &Contact,
) -> Result<Option<Content>> {
    let for_them = |identity| {
        let known = contact.identity.map(|identity| fingerprint(&identity));
        known == Some(identity) && me.trust != Trust::Always
    };
    let raw = |ids: &[MessageId]| ids.iter().map(|mid| mid.0).collect::<Vec<Id>>();
    let content = |sent_at_ms, body| Content { sent_at_ms, body };
    Ok(match &control.kind {
        ControlKind::ResendRequest(ids) => {
            let mut still = Vec::new();
            for mid in ids {
                if vault.is_wanted(contact.id, mid)? {
                    still.push(mid.0);
                }
            }
            (!still.is_empty()).then(|| content(control.at, Payload::RetryRequest(still)))
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
                    content(at, Payload::Again { sent_as, text })
                })
        }
        ControlKind::NothingThere(ids, identity) if for_them(*identity) => {
            Some(content(control.at, Payload::NothingThere(raw(ids))))
        }
        ControlKind::Introduction(nonce, expires, proof) => Some(content(
            control.at,
            Payload::Introduction {
                invitation: InvitationId {
                    nonce: nonce.0,
                    expires: *expires,
                },
                proof: proof.0,
            },
        )),
        ControlKind::Resend(..)
        | ControlKind::NothingThere(..)
        | ControlKind::Requested(..)
        | ControlKind::Receipt => None,
    })
}

/// What is there of a message that was sent again.
pub(super) enum Earlier {
    /// Nothing: it never came.
    Nothing,
    /// Its words, or it waits for its sender's identity to be accepted.
    Read,
    /// This, which could not be decrypted.
    Undecryptable(Box<HistoryEntry>),
}

/// Looks for a message under every id it was sent under, ends the asking for it,
/// and leaves at most one row of it.
pub(super) fn earlier(vault: &mut Vault, contact: &Contact, sent_as: &[Id]) -> Result<Earlier> {
    let mut earlier = Earlier::Nothing;
    let mut lost = Vec::new();
    for mid in sent_as.iter().copied().map(MessageId) {
        vault.want_no_more(contact.id, &mid)?;
        match unchanged(vault.message_by_mid(contact.id, &mid))? {
            Some(message) if message.record.outgoing => {}
            Some(message) if is_undecryptable(&message) => lost.push(message),
            Some(_) => earlier = Earlier::Read,
            None => {}
        }
    }
    let mut lost = lost.into_iter();
    if matches!(earlier, Earlier::Nothing)
        && let Some(message) = lost.next()
    {
        earlier = Earlier::Undecryptable(Box::new(message));
    }
    for message in lost {
        vault.remove_message(message.seq)?;
    }
    Ok(earlier)
}

/// Removes what turned out to hold nothing for a person.
pub(super) fn forget(vault: &mut Vault, contact: &Contact, ids: &[Id]) -> Result<()> {
    for mid in ids.iter().copied().map(MessageId) {
        vault.want_no_more(contact.id, &mid)?;
        let message = unchanged(vault.message_by_mid(contact.id, &mid))?;
        if let Some(message) = message.filter(is_undecryptable) {
            vault.remove_message(message.seq)?;
        }
    }
    Ok(())
}

fn is_undecryptable(message: &HistoryEntry) -> bool {
    !message.record.outgoing && matches!(message.record.form, EncryptionStatus::Undecryptable(_))
}
