//! What the server says became of messages that were sent: its `delivered` events, and
//! the question after an absence. What the recipient says is in `confirmations`.

use std::collections::BTreeMap;

use super::Messenger;
use super::claims::held_mark;
use crate::client::vault::{
    Contact, DeliveryState, EncryptionStatus, HistoryEntry, Result, unchanged,
};
use crate::client::view::{Mark, ViewEvent};
use crate::clock;
use crate::protocol::ids::Handle;
use crate::protocol::reply::Waiting;
use crate::protocol::request::Outcome;
use crate::protocol::{MessageId, Request, UserName};

/// How far back a login looks for messages whose delivery it may have missed.
const LOOK_BACK: u32 = 500;

impl Messenger {
    /// The recipient's client has acknowledged messages.
    pub(super) fn delivered(&mut self, to: &UserName, ids: &[MessageId]) -> Result<()> {
        let Some(contact) = self.vault.contact(to).map(|contact| contact.id) else {
            return Ok(());
        };
        let now = clock::unix_ms();
        let ids = self.vault.transact(|vault| {
            let mut arrived = Vec::new();
            for mid in ids {
                let Some(mut message) = unchanged(vault.message_by_mid(contact, mid))? else {
                    continue;
                };
                // What waits to be encrypted was not accepted: the server contradicts itself.
                let is_sent = message.record.outgoing && !vault.is_postponed(message.seq);
                if is_sent && !message.record.state.has_arrived() {
                    message.record.state = DeliveryState::Delivered;
                    message.record.delivered_at = Some(now);
                    vault.update_message(&message)?;
                    arrived.push(*mid);
                }
            }
            Ok(arrived)
        })?;
        if !ids.is_empty() {
            self.say(ViewEvent::Receipt {
                to: *to,
                state: "delivered",
                ids,
                at: now,
            });
        }
        Ok(())
    }

    /// Asks what became of messages whose delivery may have happened while away.
    pub(super) fn ask_outcomes(&mut self) -> Result<()> {
        let mut stored: BTreeMap<i64, (Vec<MessageId>, Vec<Option<Handle>>)> = BTreeMap::new();
        let elsewhere = self.vault.device()?.sent_elsewhere;
        for message in self.vault.history(None, LOOK_BACK)? {
            if message.seq <= elsewhere {
                continue;
            }
            // Of what was sent again, only the first id would be asked for.
            let once = message.record.resends.is_empty();
            if once && message.record.state == DeliveryState::Stored {
                let (ids, handles) = stored.entry(message.contact).or_default();
                ids.push(message.mid);
                handles.push(message.record.handle);
            }
        }
        for (contact, (ids, handles)) in stored {
            let Some(to) = self
                .vault
                .contact_by_id(contact)
                .map(|contact| contact.name)
            else {
                continue;
            };
            let ask = Request::Outcome(Outcome {
                to,
                ids: ids.clone(),
                handles,
            });
            // Not worth a word if it fails: the next login asks again.
            if let Ok(Waiting { waiting, expired }) = self.call(&ask) {
                let is_gone = |id: &MessageId| !waiting.contains(id) && !expired.contains(id);
                let gone: Vec<_> = ids.into_iter().filter(is_gone).collect();
                self.delivered(&to, &gone)?;
                self.expired(&to, &expired)?;
            }
        }
        Ok(())
    }
}

impl HistoryEntry {
    /// The message as a line of the conversation with a contact.
    pub(crate) fn event(&self, contact: &Contact) -> ViewEvent {
        let record = &self.record;
        ViewEvent::Message {
            name: contact.name,
            outgoing: record.outgoing,
            text: record.text.clone(),
            at: self.at,
            mark: match &record.form {
                EncryptionStatus::Encrypted => Mark::None,
                // Also if the identity became known later: it proves nothing then.
                EncryptionStatus::Unencrypted if !record.outgoing && contact.identity.is_some() => {
                    Mark::Unproven
                }
                EncryptionStatus::Unencrypted => Mark::Unencrypted,
                EncryptionStatus::Undecryptable(why) => Mark::Undecryptable(why.clone()),
                EncryptionStatus::Held => held_mark(contact),
            },
            state: match &record.state {
                DeliveryState::Waiting => "waiting",
                DeliveryState::Stored => "stored",
                DeliveryState::Delivered => "delivered",
                DeliveryState::Confirmed => "received",
                DeliveryState::Expired => "expired",
                DeliveryState::Failed(_) => "not sent",
                DeliveryState::Received => "",
            },
            id: self.mid,
            verified: record.verified,
            failed: match &record.state {
                DeliveryState::Failed(why) => Some(why.clone()),
                _ => None,
            },
            listed: false,
        }
    }
}
