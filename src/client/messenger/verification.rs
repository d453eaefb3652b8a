//! What the person decides about somebody's identity and the session with them:
//! `/verify`, `/accept`, `/reject` and `/renew`, and what follows from it.
//!
//! Accepting an identity releases what was never encrypted for anybody. What somebody
//! else may have already goes to it only once the person has compared its number.

use super::Messenger;
use super::batch::Batch;
use super::claims::{asked_under, claim_of, claims_of};
use super::command::CommandError;
use super::identity::{fingerprint, identity_keys, wire_identity};
use super::receive;
use super::retry;
use super::trust;
use super::trust::{NoSession, SessionStart, pin_identity};
use crate::client::vault::{Contact, Renewal, Result, Vault};
use crate::client::view::{ViewEvent, plural};
use crate::clock;
use crate::crypto::safety_number::safety_number;
use crate::protocol::UserName;
use crate::protocol::request::Identity;

/// How many rejected identities of one contact are remembered.
const REJECTED: usize = 64;

impl Messenger {
    /// `/accept NAME`
    pub(super) fn accept(&mut self, name: &UserName) -> std::result::Result<(), CommandError> {
        let Some(contact) = self.vault.contact(name).cloned() else {
            return Err(CommandError::Refused(format!(
                "you have no contact {name}; nothing to accept"
            )));
        };
        let Some(offered) = contact.pending_identity else {
            return self.offer_again(contact);
        };
        self.adopt_identity(contact, offered, false)?;
        self.say(ViewEvent::good(format!(
            "{name}'s new identity is accepted, not verified"
        )));
        Ok(())
    }

    /// Nothing is offered, but an identity may have been dropped or rejected that the
    /// person means: it is offered again, to be looked at before it is accepted.
    fn offer_again(&mut self, mut contact: Contact) -> std::result::Result<(), CommandError> {
        let name = contact.name;
        let published = match contact.paused {
            true => Some(self.published(&name)?),
            false => match claims_of(&self.vault, contact.id)?.into_iter().next() {
                None if !contact.rejected.is_empty() => Some(self.published(&name)?),
                claim => claim,
            },
        };
        let Some(identity) = published.filter(|identity| contact.identity != Some(*identity))
        else {
            return Err(CommandError::Refused(format!(
                "{name}'s identity has not changed; nothing to accept"
            )));
        };
        let rejected = trust::is_rejected(&contact, &identity);
        // There is no other identity of theirs that it could be taken for.
        if rejected && contact.identity.is_none() {
            self.adopt_identity(contact, identity, false)?;
            self.say(ViewEvent::good(format!(
                "{name}'s identity, which you had rejected, is accepted, not verified"
            )));
            return Ok(());
        }
        contact.pending_identity = Some(identity);
        contact
            .rejected
            .retain(|fingerprint_of| *fingerprint_of != fingerprint(&identity));
        self.vault.transact(|vault| vault.save_contact(&contact))?;
        Err(CommandError::Refused(format!(
            "{name} has another identity, {}; nothing is accepted yet: \
             compare its number with /verify {name}, or take the risk with /accept {name} once more",
            match rejected {
                true => "and you rejected it before",
                false => "though the one you know was seen after it",
            }
        )))
    }

    /// The identity that the server publishes of somebody.
    fn published(&mut self, name: &UserName) -> std::result::Result<Identity, CommandError> {
        let bundle = self.bundle(name)?;
        Ok(wire_identity(bundle.identity()))
    }

    /// `/reject NAME`
    pub(super) fn reject(&mut self, name: &UserName) -> std::result::Result<(), CommandError> {
        let Some(contact) = self.vault.contact(name).cloned() else {
            return Err(CommandError::Refused(format!(
                "you have no contact {name}; nothing to reject (to keep {name} out: /block {name})"
            )));
        };
        let claims = match contact.pending_identity {
            Some(offered) => vec![offered],
            None => claims_of(&self.vault, contact.id)?,
        };
        if claims.is_empty() {
            return self.decline(&contact);
        }
        let what = match contact.identity {
            Some(_) => format!("the other identity in {name}'s name"),
            None => format!("{name}'s identity"),
        };
        let (dropped, next) = self
            .vault
            .transact(|vault| drop_claims(vault, contact, &claims))?;
        self.publish_people();
        self.say(ViewEvent::good(format!(
            "{what} is rejected; {dropped} {} that came under it {} dropped, and further ones are without a word \
             (/accept {name} takes that back)",
            plural(dropped, "message", "messages"),
            plural(dropped, "is", "are"),
        )));
        if let Some(warning) = next {
            self.say(ViewEvent::warning(warning));
        }
        Ok(())
    }

    /// No other identity waits for a decision, so this rejects what the known one has asked for.
    fn decline(&mut self, contact: &Contact) -> std::result::Result<(), CommandError> {
        let name = contact.name;
        let waiting = self.waiting_for_word(contact)?;
        let asked = retry::asked_for(&self.vault, contact, clock::unix_ms())?;
        if waiting.is_empty() && asked == 0 {
            return Err(CommandError::Refused(format!(
                "there is no other identity of {name} and no request; nothing to reject (to keep {name} out: /block {name})"
            )));
        }
        self.vault
            .transact(|vault| vault.forget_requests(contact.id))?;
        self.say(ViewEvent::good(format!(
            "what {name}'s client asked for is not sent again"
        )));
        for seq in waiting {
            self.fail(
                seq,
                &name,
                "it was encrypted for an earlier identity, and you decided not to send it to this one",
            )?;
        }
        Ok(())
    }

    /// `/renew NAME`
    pub(super) fn renew(&mut self, name: &UserName) -> std::result::Result<(), CommandError> {
        let Some(mut contact) = self.vault.contact(name).cloned() else {
            return Err(CommandError::Refused(format!(
                "you have no contact {name}; nothing to renew"
            )));
        };
        if contact.identity.is_none() {
            return Err(CommandError::Refused(format!(
                "no identity of {name} is known yet, so there is no session to renew"
            )));
        }
        contact.renewal = Some(Renewal::Person);
        contact.asked = 0;
        self.vault.transact(|vault| vault.save_contact(&contact))?;
        match self.start_session(name)? {
            SessionStart::Ready => {}
            SessionStart::None(NoSession::Paused(why) | NoSession::Refused(why)) => {
                return Err(CommandError::Refused(why));
            }
            SessionStart::None(NoSession::Later(why) | NoSession::Disconnected(why)) => {
                self.say(ViewEvent::warning(format!(
                    "{why}; the new session starts when that is over"
                )));
            }
        }
        let (me, now) = (&self.me, clock::unix_ms());
        let effects = self.vault.transact(|vault| {
            let mut batch = Batch::new(vault, me, now);
            batch.wants(contact.id);
            batch.ask_again = true;
            retry::ask_for_all(&mut batch)?;
            batch.finish()
        })?;
        self.carry_out(effects);
        self.send_postponed()?;
        Ok(())
    }

    /// `/verify NAME` and `/verify NAME yes`
    pub(super) fn verify(
        &mut self,
        name: &UserName,
        confirmed: bool,
    ) -> std::result::Result<(), CommandError> {
        let (contact, identity) = self.identity_to_compare(name)?;
        // The yes is about the number that was compared, and about no other.
        let shown = Some(fingerprint(&identity));
        let compared = contact.number_shown == shown;
        if confirmed && compared {
            self.adopt_identity(contact, identity, true)?;
            self.say(ViewEvent::good(format!("{name} is verified")));
            return Ok(());
        }
        let Some(theirs) = identity_keys(&identity) else {
            return Err(CommandError::Refused(format!(
                "{name}'s identity is not a usable key; don't accept it"
            )));
        };
        let mine = self.me.keys.public();
        let number = safety_number(self.me.name.as_str(), &mine, name.as_str(), &theirs);
        if contact.pending_identity.is_some() && contact.identity.is_some() {
            self.say(ViewEvent::warning(format!(
                "this is the number of {name}'s NEW identity"
            )));
        }
        self.say(ViewEvent::SafetyNumber {
            name: *name,
            number: number.to_string(),
            verified: contact.verified && contact.pending_identity.is_none(),
        });
        if !compared {
            let mut contact = contact.clone();
            contact.number_shown = shown;
            self.vault.transact(|vault| vault.save_contact(&contact))?;
        }
        self.say_what_waits(&contact, identity)?;
        self.say(ViewEvent::quiet(if contact.verified && contact.pending_identity.is_none() {
            format!("{name} is verified")
        } else {
            format!(
                "compare it with {name} by voice or in person; if all 60 digits are the same: /verify {name} yes"
            )
        }));
        if confirmed {
            return Err(CommandError::Refused(format!(
                "{name} is NOT verified: this number was not shown before; compare it first"
            )));
        }
        Ok(())
    }

    /// The identity whose number is compared: the one that is offered, or else the known one. One
    /// that was rejected stays so until the person says that its number is right.
    fn identity_to_compare(
        &mut self,
        name: &UserName,
    ) -> std::result::Result<(Contact, Identity), CommandError> {
        let known = |contact: &Contact| contact.pending_identity.or(contact.identity);
        if self.vault.contact(name).and_then(known).is_none() {
            match self.start_session(name)? {
                SessionStart::Ready | SessionStart::None(NoSession::Paused(_)) => {}
                SessionStart::None(no_session) => return Err(no_session.into()),
            }
        }
        let Some(contact) = self.vault.contact(name).cloned() else {
            return Err(CommandError::Refused(format!(
                "no identity of {name} is known yet"
            )));
        };
        if let Some(identity) = known(&contact) {
            return Ok((contact, identity));
        }
        let identity = self.published(name)?;
        if trust::is_rejected(&contact, &identity) {
            self.say(ViewEvent::warning(format!(
                "you rejected this identity of {name}; it stays rejected unless you confirm its number"
            )));
        }
        Ok((contact, identity))
    }

    /// Says how many messages would be released if the person confirms the number.
    fn say_what_waits(&self, contact: &Contact, identity: Identity) -> Result<()> {
        let now = clock::unix_ms();
        let known = contact.identity == Some(identity);
        if known && contact.verified {
            return Ok(());
        }
        let asked = match known {
            true => retry::asked_for(&self.vault, contact, now)?,
            false => {
                let ids = asked_under(&self.vault, &self.me, contact.id, identity)?;
                retry::count_asked(&self.vault, contact, &ids, now)?
            }
        };
        let taken_on = Contact {
            identity: Some(identity),
            verified: false,
            ..contact.clone()
        };
        let count = asked + self.waiting_for_word(&taken_on)?.len() as u64;
        if count > 0 {
            self.say(ViewEvent::warning(retry::waits_for_word(contact, count)));
        }
        Ok(())
    }

    /// Makes an identity the known one, tries again what was held under it, and
    /// releases what may go to it.
    fn adopt_identity(
        &mut self,
        mut contact: Contact,
        identity: Identity,
        verified: bool,
    ) -> Result<()> {
        let me = &self.me;
        let now = clock::unix_ms();
        let effects = self.vault.transact(|vault| {
            let mut batch = Batch::new(vault, me, now);
            let new = contact.identity != Some(identity);
            if new {
                pin_identity(batch.vault, &mut contact, identity)?;
            }
            contact.pending_identity = None;
            contact.verified = verified;
            batch.vault.save_contact(&contact)?;
            for (seq, message) in batch.vault.held(contact.id)? {
                if claim_of(&message) == Some(identity) {
                    receive::retry_held(&mut batch, seq, &message)?;
                }
            }
            if verified {
                retry::release_requested(&mut batch, &contact)?;
            }
            batch.wants(contact.id);
            batch.ask_again |= new;
            retry::ask_for_all(&mut batch)?;
            batch.finish()
        })?;
        self.carry_out(effects);
        self.publish_people();
        self.look_again(contact.id);
        self.send_postponed()?;
        self.say_waiting(contact.id)
    }
}

/// Remembers identities as rejected and drops what came under them: how many
/// messages. If something is held under yet another identity, that one is offered
/// next; what to say then.
fn drop_claims(
    vault: &mut Vault,
    mut contact: Contact,
    claims: &[Identity],
) -> Result<(u64, Option<String>)> {
    contact.rejected.extend(claims.iter().map(fingerprint));
    let surplus = contact.rejected.len().saturating_sub(REJECTED);
    contact.rejected.drain(..surplus);
    contact.pending_identity = None;
    let mut dropped = 0;
    for (seq, message) in vault.held(contact.id)? {
        if claim_of(&message).is_some_and(|claim| claims.contains(&claim)) {
            vault.release(seq)?;
            receive::restore_held(vault, seq, &message)?;
            vault.remove_message(seq)?;
            dropped += 1;
        }
    }
    vault.save_contact(&contact)?;
    let next = match claims_of(vault, contact.id)?.into_iter().next() {
        Some(claim) => trust::claimed(vault, &mut contact, claim)?,
        None => None,
    };
    Ok((dropped, next))
}
