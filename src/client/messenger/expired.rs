//! Messages that the server removed, because their recipient did not fetch them for longer than it keeps
//! mail: one's own, which can be sent again, and those of others.
//!
//! Both are the server's word. A number of one's own is declared void, so that the recipient learns from
//! the sender, too, that nothing more comes; if the recipient's client says that it has the message
//! all the same, that counts.

use super::Messenger;
use super::batch::Batch;
use super::command::{CommandError, WhichMessages};
use super::encrypt;
use crate::client::vault::{
    DeliveryState, EncryptionStatus, HistoryEntry, Result, Vault, unchanged,
};
use crate::client::view::{ViewEvent, plural};
use crate::clock;
use crate::crypto::ratchet::counters::MessageNumber;
use crate::crypto::ratchet::session_set::SessionSet;
use crate::protocol::reply::MissedFrom;
use crate::protocol::{MessageId, UserName};

/// How many of the latest messages `/outbox` looks through for expired ones.
const LOOK_BACK: u32 = 500;

/// Why a message is given up that its person has sent once more.
const SENT_AGAIN: &str = "it expired on the server, and you sent it again";

/// The server says that it removed messages of this account.
pub(super) fn receive(batch: &mut Batch, to: &UserName, ids: &[MessageId]) -> Result<()> {
    let Some(contact) = batch.vault.contact(to).map(|contact| contact.id) else {
        return Ok(());
    };
    let expired = note(batch.vault, contact, ids)?;
    if let Some(mut sessions) = batch.take_sessions(contact)? {
        let changed = void(&mut sessions, &expired);
        batch.keep_sessions(contact, sessions, changed);
    }
    for event in told(to, &expired) {
        batch.show(event);
    }
    Ok(())
}

/// The server says that it removed messages to this account.
pub(super) fn receive_missed(batch: &mut Batch, from: &[MissedFrom], count: u64) -> Result<()> {
    for MissedFrom { name, count } in from {
        batch.effects.people_changed |= batch.vault.contact(name).is_none();
        let mut contact = batch.vault.contact_or_new(name)?;
        contact.missed = contact.missed.saturating_add(*count);
        batch.vault.save_contact(&contact)?;
    }
    let names: Vec<_> = from.iter().map(|from| from.name.to_string()).collect();
    batch.show(ViewEvent::warning(format!(
        "the server says that it removed {count} {} from {}, because you did not fetch {} for longer than it \
         keeps mail; ask them to send again",
        plural(count, "message or receipt", "messages or receipts"),
        names.join(", "),
        plural(count, "it", "them"),
    )));
    Ok(())
}

/// Notes which of these messages have expired: those that the server had, and of which nobody has said
/// that they arrived.
fn note(vault: &mut Vault, contact: i64, ids: &[MessageId]) -> Result<Vec<HistoryEntry>> {
    let mut expired = Vec::new();
    for mid in ids {
        let message = unchanged(vault.message_by_mid(contact, mid))?;
        let Some(mut message) = message.filter(|message| message.record.outgoing) else {
            continue;
        };
        // The server answers for one that it is being sent again.
        if message.record.state == DeliveryState::Stored && !vault.is_in_outbox(message.seq) {
            message.record.state = DeliveryState::Expired;
            vault.update_message(&message)?;
            expired.push(message);
        }
    }
    Ok(expired)
}

/// Declares the numbers of messages void. Returns whether there were any.
fn void(sessions: &mut SessionSet, expired: &[HistoryEntry]) -> bool {
    let numbers = expired.iter().filter_map(|message| message.record.number);
    let mut changed = false;
    for (instance, number) in numbers {
        sessions.void(&MessageNumber {
            instance: instance.0,
            number,
        });
        changed = true;
    }
    changed
}

/// The mark of expired messages, and what to say of them.
fn told(to: &UserName, expired: &[HistoryEntry]) -> Vec<ViewEvent> {
    let count = expired.len() as u64;
    if count == 0 {
        return Vec::new();
    }
    let mark = ViewEvent::Receipt {
        to: *to,
        state: "expired",
        ids: expired.iter().map(|message| message.mid).collect(),
        at: clock::unix_ms(),
    };
    let line = ViewEvent::bad(format!(
        "{count} {} to {to} expired: {to} did not fetch {} for longer than the server keeps mail, so it removed {}; \
         /outbox lists {}, /outbox again sends {} again",
        plural(count, "message", "messages"),
        plural(count, "it", "them"),
        plural(count, "it", "them"),
        plural(count, "it", "them"),
        plural(count, "it", "them"),
    ));
    vec![mark, line]
}

impl Messenger {
    /// The server answers that messages of this account have expired.
    pub(super) fn expired(&mut self, to: &UserName, ids: &[MessageId]) -> Result<()> {
        let Some(contact) = self.vault.contact(to).map(|contact| contact.id) else {
            return Ok(());
        };
        let expired = self.vault.transact(|vault| {
            let expired = note(vault, contact, ids)?;
            if let Some(mut sessions) = vault.conversation(contact)?
                && void(&mut sessions, &expired)
            {
                vault.save_conversation(contact, &sessions)?;
            }
            Ok(expired)
        })?;
        for event in told(to, &expired) {
            self.say(event);
        }
        Ok(())
    }

    /// The server says of a message that is sent again for want of an answer that it has expired.
    pub(super) fn expired_unanswered(&mut self, to: &UserName, seq: i64) -> Result<()> {
        let expired = self.vault.transact(|vault| {
            encrypt::remove_unsent(vault, seq)?;
            let mut message = vault.message(seq)?;
            if let Some(message) = &mut message {
                message.record.state = DeliveryState::Expired;
                vault.update_message(message)?;
            }
            Ok(message)
        })?;
        for event in told(to, expired.as_slice()) {
            self.say(event);
        }
        Ok(())
    }

    /// The latest messages of this account that have expired, oldest first.
    pub(super) fn latest_expired(&self) -> Result<Vec<HistoryEntry>> {
        let mut expired = self.vault.history(None, LOOK_BACK)?;
        expired.retain(|message| {
            message.record.outgoing && message.record.state == DeliveryState::Expired
        });
        Ok(expired)
    }

    /// `/outbox again ID` and `/outbox again all`
    pub(super) fn send_expired_again(
        &mut self,
        which: &WhichMessages,
    ) -> std::result::Result<(), CommandError> {
        let expired = match which {
            WhichMessages::All => self.latest_expired()?,
            WhichMessages::One(id) => vec![self.vault.message_with_id(id)?],
        };
        let is_expired = |it: &HistoryEntry| it.record.state == DeliveryState::Expired;
        if expired.is_empty() || !expired.iter().all(is_expired) {
            return Err(CommandError::Refused(
                "this is no message that expired; /outbox lists those that did".to_owned(),
            ));
        }
        for mut message in expired {
            let contact = self.vault.contact_by_id(message.contact);
            let Some(to) = contact.map(|contact| contact.name) else {
                continue;
            };
            let text = message.record.text.clone();
            match message.record.form {
                EncryptionStatus::Unencrypted => self.send_unencrypted(&to, text)?,
                _ => drop(self.send(&to, text)?),
            }
            message.record.state = DeliveryState::Failed(SENT_AGAIN.to_owned());
            self.vault
                .transact(|vault| vault.update_message(&message))?;
        }
        Ok(())
    }
}
