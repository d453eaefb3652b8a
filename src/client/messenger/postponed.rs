//! What waits to be encrypted: for a session, a connection, an identity, or the
//! person's word.

use super::Messenger;
use super::batch::Batch;
use super::encrypt::{Encrypted, encrypt_postponed};
use super::retry;
use super::trust::{NoSession, SessionStart};
use crate::client::vault::{Contact, Result};
use crate::client::view::ViewEvent;
use crate::clock;

impl Messenger {
    /// Encrypts what waited for a session, an identity or a connection, in order,
    /// and sends what can be sent.
    pub(super) fn send_postponed(&mut self) -> Result<()> {
        self.look_up_paused()?;
        // Contacts that can't be written to now keep all their messages in order.
        let mut stuck = Vec::new();
        let postponed = self.vault.postponed()?;
        if !postponed.is_empty() {
            // The outbox is read again from an earlier place: without what is
            // answered already.
            self.save_progress()?;
        }
        for (seq, contact) in postponed {
            if stuck.contains(&contact) {
                continue;
            }
            if !self.encrypt_postponed(seq, contact)? {
                stuck.push(contact);
            }
        }
        self.pump()
    }

    /// The server is to be asked once more which identity it publishes for a contact.
    pub(super) fn look_again(&mut self, contact: i64) {
        if !self.look_again.contains(&contact) {
            self.look_again.push(contact);
        }
    }

    /// Asks the server about those for whom it published another identity when it was
    /// asked last: if it publishes the known one now, nothing is held any more.
    fn look_up_paused(&mut self) -> Result<()> {
        for contact in std::mem::take(&mut self.look_again) {
            let contact = self.vault.contact_by_id(contact);
            let Some(name) = contact.filter(|c| c.paused).map(|c| c.name) else {
                continue;
            };
            if let SessionStart::None(NoSession::Paused(warning)) = self.start_session(&name)? {
                self.say(ViewEvent::warning(warning));
            }
        }
        Ok(())
    }

    /// Encrypts one; `false` if it and all behind it to the same contact have to wait.
    fn encrypt_postponed(&mut self, seq: i64, contact: i64) -> Result<bool> {
        let Some(contact) = self.vault.contact_by_id(contact).cloned() else {
            return Ok(false);
        };
        if contact.paused {
            return Ok(false);
        }
        let mut sessions = self.usable_sessions(&contact)?;
        if sessions.is_none() {
            match self.start_session(&contact.name)? {
                SessionStart::Ready => {}
                SessionStart::None(NoSession::Later(_)) => {
                    // Without a connection the next one brings it up again.
                    if self.server.connection.is_some() {
                        self.resend_later();
                    }
                    return Ok(false);
                }
                SessionStart::None(NoSession::Paused(warning)) => {
                    self.say(ViewEvent::warning(warning));
                    return Ok(false);
                }
                SessionStart::None(NoSession::Refused(why)) => {
                    self.fail(seq, &contact.name, &why)?;
                    return Ok(true);
                }
            }
        }
        let contact = self
            .vault
            .contact_by_id(contact.id)
            .cloned()
            .unwrap_or(contact);
        if self.waits_for_word(seq, &contact)? {
            return Ok(true);
        }
        if sessions.is_none() {
            sessions = self.usable_sessions(&contact)?;
        }
        let Some(sessions) = sessions else {
            self.fail(seq, &contact.name, "its session is gone; send it again")?;
            return Ok(true);
        };
        let (me, now) = (&self.me, clock::unix_ms());
        let encrypted = self.vault.transact(|vault| {
            encrypt_postponed(&mut Batch::new(vault, me, now), &contact, sessions, seq)
        })?;
        if let Encrypted::Failed(seq, why) = encrypted {
            self.fail(seq, &contact.name, &why)?;
        }
        // Later messages to others may have been sent while this one waited.
        self.outbox.sent_through = self.outbox.sent_through.min(seq - 1);
        Ok(true)
    }

    /// Whether a message was encrypted to an identity before the one that the contact
    /// is known by: somebody else may have it already, so it goes to this one only
    /// once the person has compared its number.
    fn waits_for_word(&self, seq: i64, contact: &Contact) -> Result<bool> {
        let message = self.vault.message(seq)?;
        Ok(message.is_some_and(|message| {
            message.record.identity.is_some() && !retry::is_for(&message, contact)
        }))
    }

    /// The places of the messages to a contact that wait for the person's word.
    pub(super) fn waiting_for_word(&self, contact: &Contact) -> Result<Vec<i64>> {
        let mut waiting = Vec::new();
        for (seq, to) in self.vault.postponed()? {
            if to == contact.id && self.waits_for_word(seq, contact)? {
                waiting.push(seq);
            }
        }
        Ok(waiting)
    }

    /// Says which messages to a contact wait for the person's word, if any do.
    pub(super) fn say_waiting(&self, contact: i64) -> Result<()> {
        let Some(contact) = self.vault.contact_by_id(contact) else {
            return Ok(());
        };
        let waiting = self.waiting_for_word(contact)?.len() as u64;
        if waiting > 0 {
            self.say(ViewEvent::warning(retry::waits_for_word(contact, waiting)));
        }
        Ok(())
    }

    /// Whether anything is on its way to being accepted by the server: all but what
    /// waits for the person, or for an identity to be published again.
    pub(super) fn is_busy(&self) -> Result<bool> {
        if self.vault.next_in_outbox(0)?.is_some() {
            return Ok(true);
        }
        for (seq, contact) in self.vault.postponed()? {
            let Some(contact) = self.vault.contact_by_id(contact) else {
                continue;
            };
            if !contact.paused && !self.waits_for_word(seq, contact)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
