//! From a typed text to the server's answer: encrypted and stored in one
//! transaction, then sent, and sent again with the same bytes until answered.

use super::command::CommandResult;
use super::encrypt;
use super::encrypt::encrypt;
use super::identity::fingerprint;
use super::trust::NoSession;
use super::{Messenger, random_id};
use crate::client::net::connection;
use crate::client::net::connection::CallError;
use crate::client::vault::{Contact, Form, Message, Record, Result, State, Vault};
use crate::client::view::{ViewEvent, plural};
use crate::clock;
use crate::protocol::reply::{Accepted, MessageState};
use crate::protocol::request::Send;
use crate::protocol::{Body, Code, MessageId, Refusal, Request, UserName, limits};

/// How many messages may be under way unanswered; the rest waits in the vault.
const WINDOW: usize = 64;

/// A request whose answer is awaited without waiting for it.
pub(super) enum Awaited {
    /// `send`, of the message at this place.
    Send(i64),
    /// One whose success says nothing new, and what it was called.
    Quiet(&'static str),
}

impl Messenger {
    /// `/msg NAME TEXT`
    pub(super) fn send(&mut self, to: &UserName, text: String) -> Result<CommandResult> {
        if let Err(why) = self.check_text(to, &text) {
            return Ok(Err(why));
        }
        let mut ready = self.is_ready(to)?;
        if !ready {
            match self.start_session(to)? {
                Ok(()) => ready = self.is_ready(to)?,
                Err(NoSession::Refused(why)) => return Ok(Err(why)),
                Err(NoSession::Held(warning)) => self.say(ViewEvent::warning(warning)),
                Err(NoSession::Later(why)) => self.say(ViewEvent::warning(format!(
                    "{why}; the message waits here and goes out by itself"
                ))),
            }
        }
        let record = outgoing(text, Form::Encrypted);
        let (now, mid) = (clock::unix_ms(), MessageId(random_id()));
        let me = &self.me;
        let accepted = std::mem::take(&mut self.accepted);
        let (seq, encrypted) = self.vault.transact(|vault| {
            note(vault, &accepted)?;
            let contact = vault.contact_or_new(to)?;
            let behind = vault.postponed()?.iter().any(|(_, id)| *id == contact.id);
            let seq = vault.add_message(contact.id, &mid, now, &record)?;
            vault.postpone(seq, contact.id)?;
            let encrypted = match ready && !behind {
                true => encrypt(vault, me, seq, contact.id)?,
                false => Ok(()),
            };
            Ok((seq, encrypted))
        })?;
        if let Err(why) = encrypted {
            self.fail(seq, to, &why)?;
        }
        self.send_postponed()?;
        Ok(Ok(()))
    }

    /// `/send-unencrypted NAME TEXT`
    pub(super) fn send_unencrypted(
        &mut self,
        to: &UserName,
        text: String,
    ) -> Result<CommandResult> {
        if let Err(why) = self.check_text(to, &text) {
            return Ok(Err(why));
        }
        let known = self.vault.contact(to);
        if known.is_some_and(|contact| contact.identity.is_some() || contact.offered.is_some()) {
            return Ok(Err(format!(
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
        };
        let record = outgoing(text, Form::Unencrypted);
        let now = clock::unix_ms();
        self.vault.transact(|vault| {
            let contact = vault.contact_or_new(to)?;
            let seq = vault.add_message(contact.id, &mid, now, &record)?;
            vault.put_out(seq, &send)
        })?;
        self.say(ViewEvent::warning(
            "sent unencrypted: the server and the network can read it",
        ));
        self.pump()?;
        Ok(Ok(()))
    }

    /// Whether there is a session to send in, and the server published the identity
    /// that it is with.
    fn is_ready(&self, to: &UserName) -> Result<bool> {
        match self.vault.contact(to) {
            Some(contact) => Ok(!contact.held && self.usable_session(contact)?),
            None => Ok(false),
        }
    }

    /// Whether there is a session to send in that the other side can decrypt, as
    /// far as is known.
    pub(super) fn usable_session(&self, contact: &Contact) -> Result<bool> {
        let session = self.vault.conversation(contact.id)?;
        Ok(!contact.renew && session.is_some_and(|conversation| conversation.has_session()))
    }

    fn check_text(&self, to: &UserName, text: &str) -> std::result::Result<(), String> {
        if *to == self.me.name {
            return Err("that is you; name somebody else".to_owned());
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
        let mut foreign = 0;
        let pumped = self.pump_counting(&mut foreign);
        self.say_foreign(foreign);
        pumped
    }

    fn pump_counting(&mut self, foreign: &mut u64) -> Result<()> {
        while self.under_way() < WINDOW && self.resend_at.is_none() {
            let Some((seq, send)) = self.vault.next_out(self.sent_through)? else {
                return Ok(());
            };
            let ours = match &send {
                Some(send) => encrypt::is_out_here(&self.vault, seq, send)?,
                None => false,
            };
            let Some(mut send) = send.filter(|_| ours) else {
                self.drop_foreign(seq)?;
                self.again_through = self.again_through.min(self.vault.last_out()?);
                *foreign += 1;
                continue;
            };
            let again = seq <= self.again_through;
            let under_way = self.is_under_way(seq);
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            self.sent_through = seq;
            if under_way {
                continue;
            }
            send.again = again;
            // A connection that is lost just now says so by itself.
            if let Ok(id) = connection.post(&Request::Send(send)) {
                self.awaited.insert(id, Awaited::Send(seq));
            }
        }
        Ok(())
    }

    fn is_under_way(&self, seq: i64) -> bool {
        let this = |awaited: &Awaited| matches!(awaited, Awaited::Send(other) if *other == seq);
        self.awaited.values().any(this)
    }

    pub(super) fn under_way(&self) -> usize {
        let sends = |awaited: &&Awaited| matches!(awaited, Awaited::Send(_));
        self.awaited.values().filter(sends).count()
    }

    /// The server's answer for the message at `seq`.
    pub(super) fn answered(
        &mut self,
        seq: i64,
        answer: std::result::Result<serde_json::Value, Refusal>,
    ) -> Result<()> {
        let Some(message) = self.vault.message(seq)? else {
            return self.answered_errand(seq, answer);
        };
        let contact = self.vault.contact_by_id(message.contact);
        let Some(to) = contact.map(|contact| contact.name) else {
            return Ok(());
        };
        match connection::typed::<Accepted>(answer) {
            Ok(accepted) => self.accepted(&to, seq, accepted),
            Err(CallError::Refused(refusal)) if refusal.code.retry() => {
                if self.resend_at.is_none() {
                    self.say(ViewEvent::warning(format!(
                        "a message to {to} waits here and will be sent again: {}",
                        connection::said(&refusal)
                    )));
                }
                self.resend_later();
                Ok(())
            }
            Err(CallError::Refused(refusal)) if refusal.code == Code::IdentityChanged => {
                self.refused_for_identity(&to, message)
            }
            Err(CallError::Refused(refusal)) => self.fail(seq, &to, &connection::said(&refusal)),
            Err(CallError::Lost(why)) => self.fail(seq, &to, &why),
        }
    }

    /// The person did not send it and hears nothing of it. One that is refused is
    /// given up: whoever still lacks something asks again.
    fn answered_errand(
        &mut self,
        seq: i64,
        answer: std::result::Result<serde_json::Value, Refusal>,
    ) -> Result<()> {
        match connection::typed::<Accepted>(answer) {
            Ok(accepted) => {
                self.accepted.push((seq, accepted));
                Ok(())
            }
            Err(CallError::Refused(refusal)) if refusal.code.retry() => {
                self.resend_later();
                Ok(())
            }
            Err(_) => self.vault.transact(|vault| vault.answered(seq)),
        }
    }

    fn accepted(&mut self, to: &UserName, seq: i64, accepted: Accepted) -> Result<()> {
        let state = match accepted.state {
            MessageState::Stored => "stored",
            MessageState::Delivered => "delivered",
        };
        self.say(ViewEvent::Receipt {
            to: *to,
            state,
            count: 1,
        });
        self.accepted.push((seq, accepted));
        match self.accepted.len() < WINDOW {
            true => Ok(()),
            false => self.note_done(),
        }
    }

    /// Writes down what the server accepted and what was shown. It may wait for the
    /// next transaction: a message that is sent again for want of it is recognised
    /// by its id, and one that is shown again is marked as such.
    pub(super) fn note_done(&mut self) -> Result<()> {
        self.showing = false;
        let shown: Vec<i64> = self.shown.try_iter().collect();
        if self.accepted.is_empty() && shown.is_empty() {
            return Ok(());
        }
        let accepted = std::mem::take(&mut self.accepted);
        self.vault.transact(|vault| {
            vault.shown(&shown)?;
            note(vault, &accepted)
        })
    }

    /// The envelope was made for an identity that is not published any more. It
    /// was not accepted, so it waits until the known one is published again, or the
    /// person has compared the number of another.
    fn refused_for_identity(&mut self, to: &UserName, message: Message) -> Result<()> {
        let (seq, contact) = (message.seq, message.contact);
        if message.record.state == State::Delivered {
            // The server contradicts itself, and said before that they have it.
            return self.vault.transact(|vault| vault.answered(seq));
        }
        let made_for = message.record.identity;
        self.vault.transact(|vault| {
            vault.answered(seq)?;
            vault.postpone(seq, contact)
        })?;
        let known = |vault: &Vault| {
            let contact = vault.contact(to)?;
            Some((contact.identity.map(|id| fingerprint(&id)), contact.held))
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
            Ok(()) if known(&self.vault).is_some_and(|(identity, _)| identity == made_for) => self
                .fail(
                    seq,
                    to,
                    "the server contradicts itself about the recipient's identity",
                ),
            Ok(()) => {
                self.send_postponed()?;
                self.say_waiting(contact)
            }
            Err(NoSession::Held(warning)) => {
                self.say(ViewEvent::warning(warning));
                Ok(())
            }
            Err(NoSession::Later(_)) => Ok(()),
            Err(NoSession::Refused(why)) => self.fail(seq, to, &why),
        }
    }

    pub(super) fn fail(&mut self, seq: i64, to: &UserName, why: &str) -> Result<()> {
        let message = self.vault.message(seq)?;
        let control = message.is_none();
        self.vault.transact(|vault| {
            if let Some(Message { mut record, .. }) = message {
                record.state = State::Failed(why.to_owned());
                vault.save_message(seq, &record)?;
            }
            vault.unpostpone(seq)?;
            vault.answered(seq)
        })?;
        if control {
            return Ok(());
        }
        self.failed += 1;
        self.say(ViewEvent::bad(format!(
            "the message to {to} was not sent: {why}"
        )));
        Ok(())
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

fn outgoing(text: String, form: Form) -> Record {
    Record {
        outgoing: true,
        text,
        form,
        state: State::Waiting,
        sent_at: Some(clock::unix_ms()),
        stored_at: None,
        delivered_at: None,
        identity: None,
        verified: false,
        again: Vec::new(),
    }
}

/// The server has these; they leave the outbox.
fn note(vault: &mut Vault, accepted: &[(i64, Accepted)]) -> Result<()> {
    for (seq, accepted) in accepted {
        vault.answered(*seq)?;
        let Some(Message { mut record, .. }) = vault.message(*seq)? else {
            continue;
        };
        record.stored_at = Some(accepted.at);
        if accepted.state == MessageState::Delivered {
            record.delivered_at = Some(clock::unix_ms());
            record.state = State::Delivered;
        } else if record.state != State::Delivered {
            // A `delivered` event may have been faster than the answer.
            record.state = State::Stored;
        }
        vault.save_message(*seq, &record)?;
    }
    Ok(())
}
