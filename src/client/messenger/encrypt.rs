//! Encrypting what is to be sent, in the transaction that moves the ratchet and puts
//! the ciphertext into the outbox. Touches no network.

use super::Me;
use super::batch::Batch;
use super::retry;
use crate::client::vault::{
    Contact, DeliveryState, EncryptionStatus, MessageRecord, Result, Vault,
};
use crate::clock;
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
    if let Ok(sealed) = &encrypted {
        note_sealed(&mut record, sealed, contact);
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
        if let Ok(sealed) = &encrypted {
            note_sealed(&mut message.record, sealed, contact);
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

/// The record of a text that was just typed.
pub(super) fn outgoing(text: String, form: EncryptionStatus) -> MessageRecord {
    MessageRecord {
        outgoing: true,
        text,
        sent_at: Some(clock::unix_ms()),
        ..MessageRecord::new(form, DeliveryState::Waiting)
    }
}

fn note_sealed(record: &mut MessageRecord, (send, number): &Sealed, contact: &Contact) {
    record.identity = send.identity;
    record.verified = contact.verified;
    record.number = number.map(|it| (ByteArray(it.instance), it.number));
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
    (mut send, number): Sealed,
    origin: Origin,
) -> Result<Encrypted> {
    // The message is sent after this, so it comes behind every message with a handle.
    send.after = vault
        .contact_by_id(contact.id)
        .and_then(|contact| contact.last_handle);
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
