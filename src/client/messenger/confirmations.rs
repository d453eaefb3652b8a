//! Receipts end to end: this client tells a contact's client which messages it has decrypted
//! and keeps, and learns the same of its own. `delivered` is the server's word; a receipt is the
//! contact's, proven by their session.
//!
//! A receipt is encrypted in the transaction that receives the messages. It is not in the
//! outbox and not sent again: if the server does not take it, what it confirms goes into the
//! next one, and a kill loses it. It is no message, and uses up no number of the conversation.

use std::collections::BTreeMap;

use super::batch::{Batch, Receipt, Received};
use super::encrypt;
use super::send::Awaited;
use super::{Messenger, random_id};
use crate::client::net::connection;
use crate::client::net::error::CallError;
use crate::client::vault::{
    Contact, ControlKind, DeliveryState, Device, EncryptionStatus, Result, unchanged,
};
use crate::client::view::ViewEvent;
use crate::crypto::message::content::{Content, Id, MAX_IDS, Payload};
use crate::protocol::reply::{Accepted, AccountSettings};
use crate::protocol::{ByteArray, MessageId, Refusal, Request};

/// Whether receipts are sent, and what is to be confirmed with the next ones.
#[derive(Default)]
pub(super) struct Confirmations {
    /// The person wants it, and does not hide when they are online.
    allowed: bool,
    due: Vec<Received>,
}

impl Confirmations {
    /// Takes over what the vault says of the person's wishes.
    pub(super) fn set(&mut self, device: &Device) {
        self.allowed = !device.no_receipts && !device.hidden;
    }

    /// Adds what the next receipts confirm. Without bound it would grow while a server takes
    /// no receipts: the oldest makes room, and stays `delivered` at its sender's.
    pub(super) fn add(&mut self, received: Vec<Received>) {
        if self.allowed {
            self.due.extend(received);
            let surplus = self.due.len().saturating_sub(MAX_IDS);
            self.due.drain(..surplus);
        }
    }
}

impl Messenger {
    /// What a transaction that receives messages is to confirm besides them; `None` if it
    /// confirms nothing. A receipt must not overtake a message: its number would say that the
    /// message is missing.
    pub(super) fn take_due(&mut self) -> Option<Vec<Received>> {
        let is_open = self.server.connection.is_some() && self.outbox.resend_at.is_none();
        let goes = self.confirmations.allowed
            && is_open
            && self.outbox.sent_through >= self.vault.last_in_outbox();
        goes.then(|| std::mem::take(&mut self.confirmations.due))
    }

    /// Sends receipts whose transaction is durable.
    pub(super) fn send_receipts(&mut self, receipts: Vec<Receipt>) {
        for Receipt { send, confirms } in receipts {
            let posted = match &mut self.server.connection {
                Some(connection) => connection.post(&Request::Send(send)).ok(),
                None => None,
            };
            match posted {
                Some(id) => {
                    let awaited = Awaited::Receipt(confirms);
                    self.server.awaited.insert(id, awaited);
                }
                None => self.confirmations.add(confirms),
            }
        }
    }

    /// The server's answer for a receipt. One that it can't take now goes with the next ones;
    /// of one that it refuses nobody needs to hear.
    pub(super) fn answered_receipt(
        &mut self,
        confirms: Vec<Received>,
        answer: std::result::Result<serde_json::Value, Refusal>,
    ) {
        match connection::typed::<Accepted>(answer) {
            Err(CallError::Refused(refusal)) if refusal.code.retry() => {
                self.confirmations.add(confirms);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Turns receipts on or off.
    pub(super) fn set_receipts(&mut self, on: bool) -> Result<()> {
        self.change_device(|device| device.no_receipts = !on)
    }

    /// Takes note of the account's settings, and of what the person has just wished about
    /// presence. Once it was hidden, only their wish ends that here: a server that claims
    /// otherwise would learn when they are online from whom they confirm.
    pub(super) fn note_presence(
        &mut self,
        wish: Option<bool>,
        settings: &AccountSettings,
    ) -> Result<()> {
        self.change_device(|device| match wish {
            Some(shown) => device.hidden = !shown,
            None => device.hidden |= !settings.presence,
        })
    }

    fn change_device(&mut self, change: impl FnOnce(&mut Device)) -> Result<()> {
        let before = self.vault.device()?;
        let mut device = before.clone();
        change(&mut device);
        if device != before {
            self.vault.transact(|vault| vault.save_device(&device))?;
        }
        self.confirmations.set(&device);
        Ok(())
    }
}

/// Whether somebody gets receipts: they are known, the person has written to them, and what
/// is encrypted for them reaches them, as far as is known.
fn gets_receipts(contact: &Contact) -> bool {
    contact.identity.is_some()
        && contact.written_to
        && contact.renewal.is_none()
        && !contact.paused
        && !contact.blocked
}

/// Encrypts receipts for what the transaction has received, and for what is due besides.
pub(super) fn confirm(batch: &mut Batch, due: Vec<Received>) -> Result<()> {
    let mut ids: BTreeMap<i64, Vec<MessageId>> = BTreeMap::new();
    let received = std::mem::take(&mut batch.effects.received);
    for (contact, mid) in due.into_iter().chain(received) {
        ids.entry(contact).or_default().push(mid);
    }
    for (number, ids) in ids {
        let contact = batch.vault.contact_by_id(number);
        let Some(contact) = contact.filter(|contact| gets_receipts(contact)).cloned() else {
            continue;
        };
        for some in ids.chunks(MAX_IDS) {
            let Some(mut sessions) = batch.take_sessions(number)? else {
                break;
            };
            let mid = MessageId(random_id());
            let content = Content {
                sent_at_ms: batch.now,
                body: Payload::Receipt(some.iter().map(|mid| mid.0).collect()),
            };
            let sealed = match sessions.has_session() {
                true => encrypt::encrypt(batch.me, &mut sessions, &contact, mid, &content).ok(),
                false => None,
            };
            batch.keep_sessions(number, sessions, sealed.is_some());
            let Some((send, _)) = sealed else {
                break;
            };
            // Remembered, so that somebody who could not decrypt it can be told that it had
            // nothing for a person.
            batch
                .vault
                .add_control_message(number, &mid, batch.now, &ControlKind::Receipt)?;
            let confirms = some.iter().map(|mid| (number, *mid)).collect();
            batch.effects.receipts.push(Receipt { send, confirms });
        }
    }
    Ok(())
}

/// Somebody's client confirms messages. The receipt was decrypted, so it comes from the
/// holder of `identity`: it counts for what was encrypted to that identity, or was sent to it
/// again after the person had compared it.
pub(super) fn confirmed(
    batch: &mut Batch,
    contact: &Contact,
    identity: ByteArray<32>,
    ids: &[Id],
) -> Result<()> {
    let mut count = 0;
    for mid in ids.iter().copied().map(MessageId) {
        let Some(mut message) = unchanged(batch.vault.message_by_mid(contact.id, &mid))? else {
            continue;
        };
        let record = &mut message.record;
        let theirs =
            record.identity == Some(identity) || (contact.verified && !record.resends.is_empty());
        if !record.outgoing
            || !theirs
            || record.form != EncryptionStatus::Encrypted
            || record.state == DeliveryState::Confirmed
        {
            continue;
        }
        record.state = DeliveryState::Confirmed;
        record.received_at = Some(batch.now);
        // It arrived although the server said that it had not accepted it.
        batch.vault.unpostpone(message.seq)?;
        batch.vault.update_message(&message)?;
        count += 1;
    }
    if count > 0 {
        batch.show(ViewEvent::Receipt {
            to: contact.name,
            state: "received",
            count,
        });
    }
    Ok(())
}
