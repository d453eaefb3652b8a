//! What is to be sent: whether it is ours, and encrypting it, in the transaction that moves the ratchet and
//! puts the ciphertext into the outbox. Touches no network.

use super::Me;
use super::identity::{fingerprint, wire_identity};
use super::retry;
use crate::client::vault::{
    Contact, ControlKind, ControlMessage, Form, Message, Result, State, Vault, unchanged,
};
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, Payload};
use crate::crypto::os_rng;
use crate::protocol::request::Send;
use crate::protocol::{Blob, Body, MessageId};

/// What is to be encrypted: a message of the person's, or an errand.
struct Parcel {
    mid: MessageId,
    content: Content,
    message: Option<Message>,
    control: Option<ControlMessage>,
}

/// The message of the person's at a place that the server has not accepted yet.
pub(super) fn waiting_message(vault: &Vault, seq: i64) -> Result<Option<Message>> {
    let message = unchanged(vault.message(seq))?;
    Ok(message.filter(|message| message.record.outgoing && message.record.state == State::Waiting))
}

/// Whether this client noted that the message or errand at a place has to be
/// encrypted for a contact. The note is readable and anybody can have written it; who
/// gets what, in which direction, is sealed.
pub(super) fn is_postponed_here(vault: &Vault, seq: i64, contact: i64) -> Result<bool> {
    if vault.contact_by_id(contact).is_none() || vault.is_out(seq)? {
        return Ok(false);
    }
    if let Some(message) = waiting_message(vault, seq)? {
        return Ok(message.contact == contact && message.record.form == Form::Encrypted);
    }
    let control = unchanged(vault.control(seq))?;
    Ok(control.is_some_and(|control| {
        let kept_back = matches!(control.task, ControlKind::Requested(..));
        control.contact == contact && !control.sent && !kept_back
    }))
}

/// Whether what is in the outbox at a place is the message or errand of that place.
pub(super) fn is_out_here(vault: &Vault, seq: i64, send: &Send) -> Result<bool> {
    let encrypted = matches!(send.body, Body::Envelope(_));
    let (contact, mid) = if let Some(message) = unchanged(vault.message(seq))? {
        if !message.record.outgoing || (message.record.form == Form::Encrypted) != encrypted {
            return Ok(false);
        }
        (message.contact, message.mid)
    } else if let Some(control) = unchanged(vault.control(seq))? {
        if !control.sent || !encrypted {
            return Ok(false);
        }
        (control.contact, control.mid)
    } else {
        return Ok(false);
    };
    let to = vault.contact_by_id(contact).map(|contact| contact.name);
    Ok(to == Some(send.to) && mid == send.mid)
}

fn parcel(vault: &Vault, me: &Me, seq: i64, contact: &Contact) -> Result<Option<Parcel>> {
    if let Some(message) = vault.message(seq)? {
        let content = Content {
            sent_at_ms: message.record.sent_at.unwrap_or(message.at),
            body: Payload::Text(message.record.text.clone()),
        };
        return Ok(Some(Parcel {
            mid: message.mid,
            content,
            message: Some(message),
            control: None,
        }));
    }
    let Some(control) = vault.control(seq)? else {
        return Ok(None);
    };
    let content = retry::content(vault, me, &control, contact)?;
    Ok(content.map(|(sent_at_ms, body)| Parcel {
        mid: control.mid,
        content: Content { sent_at_ms, body },
        message: None,
        control: Some(control),
    }))
}

/// Encrypts the message or errand at `seq`: the moved ratchet, the ciphertext and its
/// place in the outbox are one transaction with the caller's.
pub(super) fn encrypt(
    vault: &mut Vault,
    me: &Me,
    seq: i64,
    contact: i64,
) -> Result<std::result::Result<(), String>> {
    let (Some(contact), Some(mut conversation)) = (
        vault.contact_by_id(contact).cloned(),
        vault.conversation(contact)?,
    ) else {
        return Ok(Err("its session is gone; send it again".to_owned()));
    };
    let Some(parcel) = parcel(vault, me, seq, &contact)? else {
        // An errand that nobody waits for any more.
        return vault.unpostpone(seq).map(Ok);
    };
    let context = AssociatedData {
        message_id: parcel.mid.0,
        sender: me.name.as_str(),
        recipient: contact.name.as_str(),
    };
    let envelope = match conversation.encrypt(&me.keys, &context, &parcel.content, &mut os_rng()) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let identity = wire_identity(conversation.identity());
    let identity = fingerprint(&identity);
    if let Some(mut message) = parcel.message {
        message.record.identity = Some(identity);
        message.record.verified = contact.verified;
        vault.save_message(seq, &message.record)?;
    }
    if let Some(control) = parcel.control {
        vault.errand_sent(&control)?;
    }
    vault.save_conversation(contact.id, &conversation)?;
    vault.unpostpone(seq)?;
    vault.put_out(
        seq,
        &Send {
            to: contact.name,
            mid: parcel.mid,
            body: Body::Envelope(Blob(envelope.into())),
            identity: Some(identity),
            again: false,
        },
    )?;
    Ok(Ok(()))
}
