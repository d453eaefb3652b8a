//! Encrypting what is to be sent, in the transaction that moves the ratchet and puts
//! the ciphertext into the outbox; and whether a row of the vault that asks to be
//! encrypted or sent was written by this client. Touches no network.

use super::Me;
use super::batch::Batch;
use super::retry;
use crate::client::vault::{
    Contact, ControlKind, DeliveryState, EncryptionStatus, HistoryEntry, MessageRecord, Result,
    Vault, unchanged,
};
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, Payload};
use crate::crypto::os_rng;
use crate::crypto::ratchet::counters::MessageNumber;
use crate::crypto::ratchet::session_set::{EncryptError, SessionSet};
use crate::protocol::request::Send;
use crate::protocol::{Blob, Body, ByteArray, MessageId};

/// What is in the outbox at a place.
pub(super) struct Outgoing {
    pub(super) seq: i64,
    pub(super) send: Send,
    pub(super) origin: Origin,
}

/// Who wants something sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The person, who is told what becomes of the message.
    Person,
    /// This client, as a control message.
    Client,
}

/// What encrypting a message came to.
pub(super) enum Encrypted {
    /// It is in the outbox.
    Queued(Outgoing),
    /// It has lost its purpose and is not sent.
    Dropped,
    /// The message at this place can't be encrypted, for this reason.
    Failed(i64, String),
}

/// The message of the person's at a place that the server has not accepted yet.
pub(super) fn waiting_message(vault: &Vault, seq: i64) -> Result<Option<HistoryEntry>> {
    let message = unchanged(vault.message(seq))?;
    Ok(message.filter(|message| {
        message.record.outgoing && message.record.state == DeliveryState::Waiting
    }))
}

/// Whether this client noted that the message or control message at a place has to be
/// encrypted for a contact. The note is readable and anybody can have written it; who
/// gets what, in which direction, is sealed.
pub(super) fn is_postponed_here(vault: &Vault, seq: i64, contact: i64) -> Result<bool> {
    if vault.contact_by_id(contact).is_none() || vault.is_in_outbox(seq) {
        return Ok(false);
    }
    if let Some(message) = waiting_message(vault, seq)? {
        return Ok(message.contact == contact && message.record.form == EncryptionStatus::Encrypted);
    }
    let control = unchanged(vault.control(seq))?;
    Ok(control.is_some_and(|control| {
        let kept_back = matches!(control.kind, ControlKind::Requested(..));
        control.contact == contact && !control.sent && !kept_back
    }))
}

/// Who wanted the content of the outbox at a place sent; `None` if this client did not
/// write it for that place.
pub(super) fn origin_of(vault: &Vault, seq: i64, send: &Send) -> Result<Option<Origin>> {
    let encrypted = matches!(send.body, Body::Envelope(_));
    let (contact, mid, origin) = if let Some(message) = unchanged(vault.message(seq))? {
        if !message.record.outgoing
            || (message.record.form == EncryptionStatus::Encrypted) != encrypted
        {
            return Ok(None);
        }
        (message.contact, message.mid, Origin::Person)
    } else if let Some(control) = unchanged(vault.control(seq))? {
        if !control.sent || !encrypted {
            return Ok(None);
        }
        (control.contact, control.mid, Origin::Client)
    } else {
        return Ok(None);
    };
    let to = vault.contact_by_id(contact).map(|contact| contact.name);
    Ok((to == Some(send.to) && mid == send.mid).then_some(origin))
}

/// Encrypts a text that was just typed: its record, the moved ratchet and the
/// ciphertext are written once each.
pub(super) fn encrypt_new(
    batch: &mut Batch,
    contact: &Contact,
    mut sessions: SessionSet,
    mid: MessageId,
    mut record: MessageRecord,
) -> Result<Encrypted> {
    let content = content_of(&record, batch.now);
    let encrypted = encrypt(batch.me, &mut sessions, contact, mid, &content);
    if let Ok((send, _)) = &encrypted {
        record.identity = send.identity;
        record.verified = contact.verified;
    }
    let seq = batch
        .vault
        .add_message(contact.id, &mid, batch.now, &record)?;
    match encrypted {
        Ok(sealed) => queue(batch.vault, &sessions, contact, seq, sealed, Origin::Person),
        Err(error) => {
            // Until the failure is written down, a kill leaves it waiting, not lost.
            batch.vault.postpone(seq, contact.id)?;
            Ok(Encrypted::Failed(seq, error.to_string()))
        }
    }
}

/// Encrypts the message or the control message at `seq`, which waited for it.
pub(super) fn encrypt_postponed(
    batch: &mut Batch,
    contact: &Contact,
    mut sessions: SessionSet,
    seq: i64,
) -> Result<Encrypted> {
    let (origin, encrypted) = if let Some(mut message) = batch.vault.message(seq)? {
        let content = content_of(&message.record, message.at);
        let encrypted = encrypt(batch.me, &mut sessions, contact, message.mid, &content);
        if let Ok((send, _)) = &encrypted {
            message.record.identity = send.identity;
            message.record.verified = contact.verified;
            batch.vault.update_message(&message)?;
        }
        (Origin::Person, encrypted)
    } else {
        let Some(control) = batch.vault.control(seq)? else {
            batch.vault.unpostpone(seq)?;
            return Ok(Encrypted::Dropped);
        };
        let Some(content) = retry::content(batch.vault, batch.me, &control, contact)? else {
            batch.vault.unpostpone(seq)?;
            return Ok(Encrypted::Dropped);
        };
        let encrypted = encrypt(batch.me, &mut sessions, contact, control.mid, &content);
        if encrypted.is_ok() {
            batch.vault.mark_control_sent(&control)?;
        }
        (Origin::Client, encrypted)
    };
    match encrypted {
        Ok(sealed) => {
            batch.vault.unpostpone(seq)?;
            queue(batch.vault, &sessions, contact, seq, sealed, origin)
        }
        Err(error) => Ok(Encrypted::Failed(seq, error.to_string())),
    }
}

fn content_of(record: &MessageRecord, at: u64) -> Content {
    Content {
        sent_at_ms: record.sent_at.unwrap_or(at),
        body: Payload::Text(record.text.clone()),
    }
}

/// Encrypts a content for a contact, which moves the ratchet.
pub(super) fn encrypt(
    me: &Me,
    sessions: &mut SessionSet,
    contact: &Contact,
    mid: MessageId,
    content: &Content,
) -> std::result::Result<Sealed, EncryptError> {
    let context = AssociatedData {
        message_id: mid.0,
        sender: me.name.as_str(),
        recipient: contact.name.as_str(),
    };
    let encrypted = sessions.encrypt(&me.keys, &context, content, me.age, &mut os_rng())?;
    let send = Send {
        to: contact.name,
        mid,
        body: Body::Envelope(Blob(encrypted.envelope.into())),
        identity: Some(ByteArray(sessions.identity().fingerprint())),
        again: false,
        after: None,
    };
    Ok((send, encrypted.number))
}

/// What is to be sent, and its number in the conversation.
pub(super) type Sealed = (Send, Option<MessageNumber>);

/// Saves the moved ratchet before its ciphertext can leave.
fn queue(
    vault: &mut Vault,
    sessions: &SessionSet,
    contact: &Contact,
    seq: i64,
    (send, number): Sealed,
    origin: Origin,
) -> Result<Encrypted> {
    vault.save_conversation(contact.id, sessions)?;
    vault.add_to_outbox(seq, &send, number)?;
    Ok(Encrypted::Queued(Outgoing { seq, send, origin }))
}

/// Removes from the outbox what the server did not accept and is not sent again: its
/// number in the conversation is void, and the next messages say so.
pub(super) fn remove_unsent(vault: &mut Vault, seq: i64) -> Result<()> {
    if let Some((contact, number)) = vault.number_in_outbox(seq)?
        && let Some(mut sessions) = vault.conversation(contact)?
    {
        sessions.void(&number);
        vault.save_conversation(contact, &sessions)?;
    }
    vault.remove_from_outbox(seq)
}
