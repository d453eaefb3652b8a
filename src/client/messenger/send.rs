//! From a typed text to the server's answer: encrypted and stored in one
//! transaction, then sent, and sent again with the same bytes until answered.

use std::collections::BTreeMap;

use super::batch::{Batch, Received};
use super::command::{CommandError, THAT_IS_YOU};
use super::encrypt;
use super::encrypt::{Encrypted, Origin, Outgoing, encrypt_new, outgoing};
use super::identity::fingerprint;
use super::trust::{NoSession, SessionStart};
use super::{Audience, Messenger, random_id};
use crate::client::net::connection;
use crate::client::net::error::{CallError, said};
use crate::client::vault::{
    Contact, DeliveryState, EncryptionStatus, HistoryEntry, MessageRecord, Result, Vault,
};
use crate::client::view::{ViewEvent, not_sent, plural};
use crate::clock;
use crate::crypto::ratchet::session_set::SessionSet;
use crate::protocol::ids::Handle;
use crate::protocol::reply::{Accepted, MessageState};
use crate::protocol::request::Send;
use crate::protocol::{Body, Code, MessageId, Refusal, Request, UserName, limits};

/// How many messages may be under way unanswered; the rest waits in the vault.
const WINDOW: usize = 64;

/// A request whose answer is awaited without waiting for it.
pub(super) enum Awaited {
    /// `send`, of this message.
    Send(Sent),
    /// `send`, of a receipt that confirms these messages.
    Receipt(Vec<Received>),
    /// One whose success says nothing new, and what it was called.
    Quiet(&'static str),
}

/// A message that the server has yet to answer for.
pub(super) struct Sent {
    seq: i64,
    mid: MessageId,
    to: UserName,
    origin: Origin,
}

impl Messenger {
    /// `/msg NAME TEXT`
    pub(super) fn send(
        &mut self,
        to: &UserName,
        text: String,
    ) -> std::result::Result<MessageId, CommandError> {
        if let Err(why) = self.check_text(to, &text) {
            return Err(CommandError::Refused(why));
        }
        let mut sessions = self.sessions_to_send_in(to)?;
        if sessions.is_none() {
            match self.start_session(to)? {
                SessionStart::Ready => sessions = self.sessions_to_send_in(to)?,
                SessionStart::None(NoSession::Refused(why)) => {
                    return Err(CommandError::Refused(why));
                }
                SessionStart::None(NoSession::Paused(warning)) => {
                    self.say(ViewEvent::warning(warning))
                }
                SessionStart::None(NoSession::Later(why) | NoSession::Disconnected(why)) => self
                    .say(ViewEvent::warning(format!(
                        "{why}; the message waits here and goes out by itself"
                    ))),
            }
        }
        let record = outgoing(text, EncryptionStatus::Encrypted);
        let shown = record.clone();
        let (me, now, mid) = (&self.me, clock::unix_ms(), MessageId(random_id()));
        let accepted = std::mem::take(&mut self.outbox.accepted);
        let encrypted = self.vault.transact(|vault| {
            save_accepted(vault, &accepted)?;
            let mut contact = vault.contact_or_new(to)?;
            if !contact.written_to {
                contact.written_to = true;
                vault.save_contact(&contact)?;
            }
            let behind = vault.postponed()?.iter().any(|(_, id)| *id == contact.id);
            if let Some(sessions) = sessions.filter(|_| !behind) {
                let mut batch = Batch::new(vault, me, now);
                return encrypt_new(&mut batch, &contact, sessions, mid, record).map(Some);
            }
            let seq = vault.add_message(contact.id, &mid, now, &record)?;
            vault.postpone(seq, contact.id)?;
            Ok(None)
        })?;
        self.show_sent(to, mid, now, shown);
        match encrypted {
            Some(Encrypted::Queued(outgoing)) => self.pump_from(Some(outgoing))?,
            Some(Encrypted::Failed(seq, why)) => self.fail(seq, to, &why)?,
            Some(Encrypted::Dropped) | None => self.send_postponed()?,
        }
        Ok(mid)
    }

    /// Shows a message that is safe in the vault: here with a mark that follows it, and elsewhere.
    fn show_sent(&mut self, to: &UserName, mid: MessageId, at: u64, record: MessageRecord) {
        self.say(ViewEvent::Sent {
            to: *to,
            text: record.text.clone(),
            at,
            id: mid,
            unencrypted: record.form == EncryptionStatus::Unencrypted,
        });
        self.say_if_blocked(to);
        let Some(contact) = self.vault.contact(to) else {
            return;
        };
        let message = HistoryEntry {
            seq: 0,
            contact: contact.id,
            mid,
            at,
            record,
        };
        let window = match &self.audience {
            Audience::Window(output) => Some(output.number),
            Audience::All | Audience::Own => None,
        };
        self.display.sent(message.event(contact), window);
    }

    /// `/send-unencrypted NAME TEXT`
    pub(super) fn send_unencrypted(
        &mut self,
        to: &UserName,
        text: String,
    ) -> std::result::Result<(), CommandError> {
        if let Err(why) = self.check_text(to, &text) {
            return Err(CommandError::Refused(why));
        }
        let known = self.vault.contact(to);
        if known
            .is_some_and(|contact| contact.identity.is_some() || contact.pending_identity.is_some())
        {
            return Err(CommandError::Refused(format!(
                "{to} has an identity that you know, so nothing is ever sent to them unencrypted; use /msg {to} TEXT"
            )));
        }
        let mid = MessageId(random_id());
        let send = Send {
            to: *to,
            mid,
            body: Body::Plain(text.clone().into()),
            identity: None,
            again: false,
            after: None,
        };
        let record = outgoing(text.clone(), EncryptionStatus::Unencrypted);
        let now = clock::unix_ms();
        self.vault.transact(|vault| {
            let contact = vault.contact_or_new(to)?;
            let seq = vault.add_message(contact.id, &mid, now, &record)?;
            let after = contact.last_handle;
            vault.add_to_outbox(seq, &Send { after, ..send }, None)
        })?;
        self.show_sent(to, mid, now, record);
        self.say(ViewEvent::warning(
            "sent unencrypted: the server and the network can read it",
        ));
        self.pump()?;
        Ok(())
    }

    /// The sessions with somebody, if one of them is to be sent in and the server
    /// published the identity that they are with.
    fn sessions_to_send_in(&self, to: &UserName) -> Result<Option<SessionSet>> {
        match self.vault.contact(to) {
            Some(contact) if !contact.paused => self.usable_sessions(contact),
            Some(_) | None => Ok(None),
        }
    }

    /// The sessions with a contact, if one of them is to be sent in and the other side
    /// can decrypt it, as far as is known.
    pub(super) fn usable_sessions(&self, contact: &Contact) -> Result<Option<SessionSet>> {
        if contact.renewal.is_some() {
            return Ok(None);
        }
        let sessions = self.vault.conversation(contact.id)?;
        Ok(sessions.filter(SessionSet::has_session))
    }

    fn check_text(&self, to: &UserName, text: &str) -> std::result::Result<(), String> {
        if *to == self.me.name {
            return Err(THAT_IS_YOU.to_owned());
        }
        if text.len() > limits::MAX_TEXT {
            return Err(format!(
                "the text has {} bytes; the longest that can be sent has {}: cut it in pieces",
                text.len(),
                limits::MAX_TEXT
            ));
        }
        Ok(())
    }

    /// Sends from the outbox as much as may be under way.
    pub(super) fn pump(&mut self) -> Result<()> {
        self.pump_from(None)
    }

    /// Sends from the outbox, and need not read what is in hand from it.
    fn pump_from(&mut self, mut in_hand: Option<Outgoing>) -> Result<()> {
        while self.under_way() < WINDOW && self.outbox.resend_at.is_none() {
            let outgoing = match in_hand.take() {
                Some(out)
                    if self
                        .vault
                        .is_next_in_outbox(self.outbox.sent_through, out.seq) =>
                {
                    out
                }
                _ => match self.next_outgoing()? {
                    Some(outgoing) => outgoing,
                    None => return Ok(()),
                },
            };
            if self.server.connection.is_none() {
                return Ok(());
            }
            self.post(outgoing);
        }
        Ok(())
    }

    /// Reads the next of the outbox that was not sent on this connection.
    fn next_outgoing(&self) -> Result<Option<Outgoing>> {
        let Some((seq, send)) = self.vault.next_in_outbox(self.outbox.sent_through)? else {
            return Ok(None);
        };
        let origin = match self.vault.contact_of_message(seq)? {
            Some(_) => Origin::Person,
            None => Origin::Client,
        };
        Ok(Some(Outgoing { seq, send, origin }))
    }

    fn post(&mut self, outgoing: Outgoing) {
        let Outgoing { seq, send, origin } = outgoing;
        let again = seq <= self.outbox.again_through;
        self.outbox.sent_through = seq;
        self.outbox.posted_through = self.outbox.posted_through.max(seq);
        if self.is_under_way(seq) {
            return;
        }
        let Some(connection) = &mut self.server.connection else {
            return;
        };
        let (to, mid) = (send.to, send.mid);
        // An earlier place to search from means nothing unless the server has to search.
        let after = send.after.filter(|_| again);
        let send = Send {
            again,
            after,
            ..send
        };
        // A connection that is lost just now says so by itself.
        if let Ok(id) = connection.post(&Request::Send(send)) {
            let sent = Awaited::Send(Sent {
                seq,
                mid,
                to,
                origin,
            });
            self.server.awaited.insert(id, sent);
        }
    }

    fn is_under_way(&self, seq: i64) -> bool {
        let this = |awaited: &Awaited| matches!(awaited, Awaited::Send(sent) if sent.seq == seq);
        self.server.awaited.values().any(this)
    }

    pub(super) fn under_way(&self) -> usize {
        let sends = |awaited: &&Awaited| matches!(awaited, Awaited::Send(_));
        self.server.awaited.values().filter(sends).count()
    }

    /// The server's answer for a message.
    pub(super) fn answered(
        &mut self,
        sent: &Sent,
        answer: std::result::Result<serde_json::Value, Refusal>,
    ) -> Result<()> {
        let Sent {
            seq,
            mid,
            to,
            origin,
        } = sent;
        let answer = connection::typed::<Accepted>(answer);
        if *origin == Origin::Client {
            return self.answered_control(*seq, answer);
        }
        match answer {
            Ok(accepted) => self.accepted(to, *mid, *seq, accepted),
            Err(CallError::Refused(refusal)) if refusal.code.retry() => {
                if self.outbox.resend_at.is_none() {
                    self.say(ViewEvent::warning(format!(
                        "a message to {to} waits here and will be sent again: {}",
                        said(&refusal)
                    )));
                }
                self.resend_later();
                Ok(())
            }
            Err(CallError::Refused(refusal)) if refusal.code == Code::Expired => {
                self.expired_unanswered(to, *seq)
            }
            Err(CallError::Refused(refusal)) if refusal.code == Code::IdentityChanged => {
                let message = self.vault.message(*seq)?;
                match message.filter(|message| message.record.form == EncryptionStatus::Encrypted) {
                    Some(message) => self.refused_for_identity(to, message),
                    // Without encryption no identity was named that could be another.
                    None => self.give_up(*seq, to, &said(&refusal), encrypt::remove_unsent),
                }
            }
            Err(CallError::Refused(refusal)) => {
                self.give_up(*seq, to, &said(&refusal), encrypt::remove_unsent)
            }
            Err(CallError::Lost(why)) => self.fail(*seq, to, &why.to_string()),
        }
    }

    /// The person did not send a control message and hears nothing of it. One that is
    /// refused is given up: the other side asks again for what it still lacks.
    fn answered_control(
        &mut self,
        seq: i64,
        answer: std::result::Result<Accepted, CallError>,
    ) -> Result<()> {
        match answer {
            Ok(accepted) => {
                self.outbox.accepted.push((seq, accepted));
                Ok(())
            }
            Err(CallError::Refused(refusal)) if refusal.code.retry() => {
                self.resend_later();
                Ok(())
            }
            Err(CallError::Refused(_)) => {
                let remove = |vault: &mut Vault| encrypt::remove_unsent(vault, seq);
                self.vault.transact(remove)
            }
            Err(CallError::Lost(_)) => self.vault.transact(|vault| vault.remove_from_outbox(seq)),
        }
    }

    fn accepted(
        &mut self,
        to: &UserName,
        mid: MessageId,
        seq: i64,
        accepted: Accepted,
    ) -> Result<()> {
        let state = match accepted.state {
            MessageState::Stored => "stored",
            MessageState::Delivered => "delivered",
        };
        // A receipt or a `delivered` event may have been faster than the answer.
        let message = self.vault.message(seq)?;
        if !message.is_some_and(|message| message.record.state.has_arrived()) {
            self.say(ViewEvent::Receipt {
                to: *to,
                state,
                ids: vec![mid],
                at: accepted.at,
            });
        }
        self.outbox.accepted.push((seq, accepted));
        match self.outbox.accepted.len() < WINDOW {
            true => Ok(()),
            false => self.save_progress(),
        }
    }

    /// Writes down what the server accepted and what was shown. It may wait for the
    /// next transaction: a message that is sent again for want of it is recognised
    /// by its id, and one that is shown again is marked as such.
    pub(super) fn save_progress(&mut self) -> Result<()> {
        self.screen.is_writing = false;
        let shown: Vec<i64> = self.screen.written.try_iter().collect();
        if self.outbox.accepted.is_empty() && shown.is_empty() {
            return Ok(());
        }
        let accepted = std::mem::take(&mut self.outbox.accepted);
        self.vault.transact(|vault| {
            vault.mark_read(&shown)?;
            save_accepted(vault, &accepted)
        })
    }

    /// The envelope was made for an identity that is not published any more. The server
    /// did not accept it, so it waits until the known one is published again, or the
    /// person has compared the number of another.
    fn refused_for_identity(&mut self, to: &UserName, message: HistoryEntry) -> Result<()> {
        let (seq, contact) = (message.seq, message.contact);
        if message.record.state.has_arrived() {
            // The server contradicts itself, and said before that they have it.
            return self.vault.transact(|vault| vault.remove_from_outbox(seq));
        }
        let made_for = message.record.identity;
        self.vault.transact(|vault| {
            encrypt::remove_unsent(vault, seq)?;
            vault.postpone(seq, contact)
        })?;
        let known = |vault: &Vault| {
            let contact = vault.contact(to)?;
            Some((contact.identity.map(|id| fingerprint(&id)), contact.paused))
        };
        match known(&self.vault) {
            // Held, or replaced, since it was sent.
            Some((_, true)) => return Ok(()),
            Some((identity, false)) if identity != made_for => {
                self.send_postponed()?;
                return self.say_waiting(contact);
            }
            _ => {}
        }
        match self.start_session(to)? {
            SessionStart::Ready
                if known(&self.vault).is_some_and(|(identity, _)| identity == made_for) =>
            {
                self.fail(
                    seq,
                    to,
                    "the server contradicts itself about the recipient's identity",
                )
            }
            SessionStart::Ready => {
                self.send_postponed()?;
                self.say_waiting(contact)
            }
            SessionStart::None(NoSession::Paused(warning)) => {
                self.say(ViewEvent::warning(warning));
                Ok(())
            }
            SessionStart::None(NoSession::Later(_) | NoSession::Disconnected(_)) => Ok(()),
            SessionStart::None(NoSession::Refused(why)) => self.fail(seq, to, &why),
        }
    }

    /// Gives up a message of which it is not known that it never went out.
    pub(super) fn fail(&mut self, seq: i64, to: &UserName, why: &str) -> Result<()> {
        self.give_up(seq, to, why, Vault::remove_from_outbox)
    }

    fn give_up(
        &mut self,
        seq: i64,
        to: &UserName,
        why: &str,
        remove: fn(&mut Vault, i64) -> Result<()>,
    ) -> Result<()> {
        let mid = self.vault.transact(|vault| {
            vault.unpostpone(seq)?;
            remove(vault, seq)?;
            let Some(mut message) = vault.message(seq)? else {
                return Ok(None);
            };
            message.record.state = DeliveryState::Failed(why.to_owned());
            vault.update_message(&message)?;
            Ok(Some(message.mid))
        })?;
        let Some(mid) = mid else {
            return Ok(());
        };
        self.outbox.failed += 1;
        self.say_not_sent(to, mid);
        self.say(ViewEvent::bad(not_sent(to, why)));
        Ok(())
    }

    /// Has the mark of a message say that it was given up.
    pub(super) fn say_not_sent(&self, to: &UserName, mid: MessageId) {
        self.say(ViewEvent::Receipt {
            to: *to,
            state: "not sent",
            ids: vec![mid],
            at: clock::unix_ms(),
        });
    }

    /// What to say about messages that are not accepted yet; nothing if all are.
    pub(super) fn unanswered_sentence(&self) -> Result<Option<String>> {
        let count = self.vault.unanswered()?;
        Ok((count > 0).then(|| {
            format!(
                "{count} {} not sent yet and {} here for the next login",
                plural(count, "message is", "messages are"),
                plural(count, "waits", "wait"),
            )
        }))
    }
}

/// Removes from the outbox what the server has accepted, and keeps where it says that it is.
pub(super) fn save_accepted(vault: &mut Vault, accepted: &[(i64, Accepted)]) -> Result<()> {
    let mut last_handles: BTreeMap<i64, Handle> = BTreeMap::new();
    for (seq, accepted) in accepted {
        vault.remove_from_outbox(*seq)?;
        let message = vault.message(*seq)?;
        let contact = match &message {
            Some(message) => Some(message.contact),
            None => vault.control(*seq)?.map(|control| control.contact),
        };
        if let (Some(contact), Some(handle)) = (contact, accepted.handle) {
            last_handles.insert(contact, handle);
        }
        let Some(mut message) = message else {
            continue;
        };
        let record = &mut message.record;
        record.stored_at = Some(accepted.at);
        record.handle = accepted.handle;
        if accepted.state == MessageState::Delivered {
            record.delivered_at = Some(clock::unix_ms());
        }
        // A receipt or a `delivered` event may have been faster than the answer.
        match accepted.state {
            MessageState::Delivered if record.state != DeliveryState::Confirmed => {
                record.state = DeliveryState::Delivered;
            }
            MessageState::Stored if !record.state.has_arrived() => {
                record.state = DeliveryState::Stored;
            }
            MessageState::Delivered | MessageState::Stored => {}
        }
        vault.update_message(&message)?;
    }
    for (contact, handle) in last_handles {
        if let Some(mut contact) = vault.contact_by_id(contact).cloned() {
            contact.last_handle = Some(handle);
            vault.save_contact(&contact)?;
        }
    }
    Ok(())
}
