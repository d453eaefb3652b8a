//! `/outbox`: messages that wait here or have expired, and giving up those that have not left.

use super::Messenger;
use super::command::{CommandError, WhichMessages};
use super::encrypt;
use crate::client::vault::{DeliveryState, HistoryEntry, Result, unchanged};
use crate::client::view::{ViewEvent, not_sent, plural};

/// Why a message that was cancelled was not sent.
const CANCELLED: &str = "you cancelled it";

impl Messenger {
    /// `/outbox`
    pub(super) fn outbox(&mut self) -> Result<()> {
        self.save_progress()?;
        let waiting = self.waiting()?;
        let expired = self.latest_expired()?;
        if waiting.is_empty() && expired.is_empty() {
            self.say(ViewEvent::plain("no message waits here"));
        }
        for message in expired.iter().chain(&waiting) {
            let Some(contact) = self.vault.contact_by_id(message.contact) else {
                continue;
            };
            let mut event = message.event(contact);
            if let ViewEvent::Message { listed, state, .. } = &mut event {
                *listed = true;
                *state = match self.may_have_left(message.seq) {
                    _ if *state == "expired" => "expired",
                    true => "under way",
                    false if contact.paused => "held",
                    false => "waiting",
                };
            }
            self.say(event);
        }
        Ok(())
    }

    /// `/outbox cancel ID` and `/outbox cancel all`
    pub(super) fn cancel_held(
        &mut self,
        which: &WhichMessages,
    ) -> std::result::Result<(), CommandError> {
        self.save_progress()?;
        let mut waiting = self.waiting()?;
        if let WhichMessages::One(id) = which {
            let meant = self.vault.message_with_id(id)?;
            waiting.retain(|message| message.seq == meant.seq);
            if waiting.is_empty() {
                return Err(CommandError::Refused(
                    "this message does not wait here; /outbox lists those that do".to_owned(),
                ));
            }
        }
        let (left, held): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|message| self.may_have_left(message.seq));
        let gone = held.len() as u64;
        for message in held {
            self.cancel(message)?;
        }
        if gone > 0 {
            self.say(ViewEvent::good(format!(
                "{gone} {} cancelled",
                plural(gone, "message is", "messages are")
            )));
        }
        match (left.len() as u64, gone) {
            (0, 0) => self.say(ViewEvent::plain("no message waits here")),
            (0, _) => {}
            (count, _) => {
                return Err(CommandError::Refused(format!(
                    "{count} {} left already, so {} can't be cancelled",
                    plural(count, "message may have", "messages may have"),
                    plural(count, "it", "they"),
                )));
            }
        }
        Ok(())
    }

    fn cancel(&mut self, mut message: HistoryEntry) -> Result<()> {
        message.record.state = DeliveryState::Failed(CANCELLED.to_owned());
        self.vault.transact(|vault| {
            vault.unpostpone(message.seq)?;
            encrypt::remove_unsent(vault, message.seq)?;
            vault.update_message(&message)
        })?;
        if let Some(contact) = self.vault.contact_by_id(message.contact) {
            self.say_not_sent(&contact.name, message.mid);
        }
        Ok(())
    }

    /// Gives up messages that waited when somebody changed their rows in the vault's file: nobody
    /// knows any more what they said, and they must not be in the way of the others.
    pub(super) fn give_up_changed(&mut self) -> Result<()> {
        for (seq, contact) in self.vault.changed_while_waiting()? {
            self.vault.transact(|vault| {
                vault.unpostpone(seq)?;
                // It may have left before, so its number in the conversation is not void.
                vault.remove_from_outbox(seq)
            })?;
            if let Some(contact) = self.vault.contact_by_id(contact) {
                self.outbox.failed += 1;
                let why = "its row in the vault's file was changed, so its words are lost; \
                           write it again, if it has not arrived";
                self.say(ViewEvent::bad(not_sent(&contact.name, why)));
            }
        }
        Ok(())
    }

    /// The person's messages that the server has not accepted, oldest first.
    fn waiting(&self) -> Result<Vec<HistoryEntry>> {
        let mut waiting = Vec::new();
        for seq in self.vault.not_accepted() {
            let message = unchanged(self.vault.message(seq))?;
            waiting.extend(message.filter(|message| {
                message.record.outgoing && message.record.state == DeliveryState::Waiting
            }));
        }
        Ok(waiting)
    }

    /// Whether a message may have been sent, on this connection or on an earlier one.
    fn may_have_left(&self, seq: i64) -> bool {
        let through = self.outbox.posted_through.max(self.outbox.again_through);
        self.vault.is_in_outbox(seq) && seq <= through
    }
}
