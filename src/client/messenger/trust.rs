//! Whom a name belongs to: pinning at first use, changed identities, and
//! comparing safety numbers. Nothing here is accepted without the person, unless
//! they chose `--trust always`.

use super::receiving::{self, Batch, identity_keys, wire_identity};
use super::retries;
use super::show::Show;
use super::{Messenger, Outcome, Trust, now_ms};
use crate::client::link::{CallError, said};
use crate::client::vault::{Contact, Result, Vault};
use crate::crypto::conversation::Conversation;
use crate::crypto::keys::{OneTimePrekey, PrekeyBundle, SignedPrekey, VerifiedBundle};
use crate::crypto::os_rng;
use crate::crypto::safety_number::safety_number;
use crate::protocol::reply::Bundle;
use crate::protocol::request::{Identity, Named};
use crate::protocol::{Code, Request, UserName};

/// Why there is no session to send in.
pub(super) enum NoSession {
    /// The contact's identity waits to be accepted; this says how.
    Held(String),
    /// The server, or the keys it gave, rule it out: sending is given up.
    Refused(String),
    /// The connection is gone, or the server asks for patience: later.
    Later(String),
}

/// The warning about an identity that is not the known one, with the way out.
pub(super) fn changed(contact: &Contact) -> String {
    let name = contact.name;
    match (contact.identity, contact.verified) {
        (None, _) => format!(
            "{name} is new to you, and new identities are not trusted by themselves (--trust never): \
             compare safety numbers with /verify {name}, or trust them with /accept {name}; \
             until then your messages to {name} wait here"
        ),
        (Some(_), false) => format!(
            "{name}'s identity has changed: a new device, or somebody in between. \
             Compare safety numbers with /verify {name}, or take the risk with /accept {name}; \
             until then your messages to {name} wait here"
        ),
        (Some(_), true) => format!(
            "{name}'s identity has changed, and it is NOT the one you verified: a new device, or somebody in between. \
             Compare safety numbers again with /verify {name}, or take the risk with /accept {name}; \
             until then your messages to {name} wait here"
        ),
    }
}

/// Makes the offered identity the known one. Sessions with the old one end.
pub(super) fn replace_identity(
    vault: &mut Vault,
    contact: &mut Contact,
    identity: Identity,
) -> Result<()> {
    contact.identity = Some(identity);
    contact.offered = None;
    contact.verified = false;
    contact.renew = false;
    contact.asked = 0;
    vault.forget_conversation(contact.id)?;
    vault.save_contact(contact)
}

impl Messenger {
    /// Starts a session with somebody from the keys that the server has of them,
    /// pinning their identity if it is the first.
    pub(super) fn start_session(
        &mut self,
        name: &UserName,
    ) -> Result<std::result::Result<(), NoSession>> {
        let bundle = match self.bundle(name) {
            Ok(bundle) => bundle,
            Err(no_session) => return Ok(Err(no_session)),
        };
        let identity = wire_identity(bundle.identity());
        let trust = self.me.trust;
        let known = self
            .vault
            .contact(name)
            .and_then(|contact| contact.identity);
        let verified = self
            .vault
            .contact(name)
            .is_some_and(|contact| contact.verified);
        let acceptable = match known {
            Some(known) => known == identity || (trust == Trust::Always && !verified),
            None => trust != Trust::Never,
        };
        if !acceptable {
            let warning = self.vault.transact(|vault| offer(vault, name, identity))?;
            self.publish_people();
            return Ok(Err(NoSession::Held(warning)));
        }
        let known_here = self.vault.contact(name).filter(|_| known == Some(identity));
        let mut conversation = match known_here.map(|contact| contact.id) {
            Some(id) => self.vault.conversation(id)?,
            None => None,
        }
        .unwrap_or_else(|| Conversation::new(*bundle.identity()));
        // Before anything is pinned: keys that are refused leave no trace.
        let started = conversation.start(&self.me.keys, &bundle, &mut os_rng());
        if let Err(error) = started {
            return Ok(Err(NoSession::Refused(format!(
                "{error}; nothing was sent"
            ))));
        }
        self.vault.transact(|vault| {
            let mut contact = vault.contact_or_new(name)?;
            if contact.identity != Some(identity) {
                replace_identity(vault, &mut contact, identity)?;
            }
            contact.renew = false;
            vault.save_contact(&contact)?;
            vault.save_conversation(contact.id, &conversation)
        })?;
        self.publish_people();
        Ok(Ok(()))
    }

    fn bundle(&mut self, name: &UserName) -> std::result::Result<VerifiedBundle, NoSession> {
        let pinned = self
            .vault
            .contact(name)
            .is_some_and(|contact| contact.identity.is_some());
        let answer = self.call::<Bundle>(&Request::Keys(Named { name: *name }));
        let bundle = answer.map_err(|error| match error {
            CallError::Refused(refusal) if refusal.code == Code::NoKeys => {
                NoSession::Refused(if pinned {
                    format!(
                        "the server says that {name} has no keys, though you know their identity: \
                         nothing was sent. Ask them in another way what happened"
                    )
                } else {
                    format!(
                        "{name} has no keys, so only unencrypted messages reach them, which the \
                         server and the network can read; if that is fine: /send-unencrypted {name} TEXT"
                    )
                })
            }
            CallError::Refused(refusal) if refusal.code.retry() => {
                NoSession::Later(said(&refusal))
            }
            CallError::Refused(refusal) => NoSession::Refused(said(&refusal)),
            CallError::Lost(why) => NoSession::Later(why),
        })?;
        let bad = || {
            NoSession::Refused(format!(
                "the keys that the server gave for {name} are forged or damaged; nothing was sent"
            ))
        };
        let identity = identity_keys(&bundle.identity).ok_or_else(bad)?;
        let signed = bundle.signed_prekey;
        PrekeyBundle {
            identity,
            signed_prekey: SignedPrekey {
                id: signed.id,
                key: signed.key.0,
                signature: signed.signature.0,
            },
            one_time: bundle.one_time.map(|prekey| OneTimePrekey {
                id: prekey.id,
                key: prekey.key.0,
            }),
        }
        .verify()
        .map_err(|_| bad())
    }

    /// `/accept NAME`
    pub(super) fn accept(&mut self, name: &UserName) -> Result<Outcome> {
        let Some(contact) = self.vault.contact(name).cloned() else {
            return Ok(Err(format!(
                "you have no contact {name}; nothing to accept"
            )));
        };
        let Some(offered) = contact.offered else {
            return Ok(Err(format!(
                "{name}'s identity has not changed; nothing to accept"
            )));
        };
        self.take_on(contact, offered, false)?;
        self.say(Show::good(format!(
            "{name}'s new identity is accepted, not verified"
        )));
        Ok(Ok(()))
    }

    /// `/verify NAME` and `/verify NAME yes`
    pub(super) fn verify(&mut self, name: &UserName, confirmed: bool) -> Result<Outcome> {
        let known = |contact: &Contact| contact.offered.or(contact.identity);
        if self.vault.contact(name).and_then(known).is_none() {
            match self.start_session(name)? {
                Ok(()) | Err(NoSession::Held(_)) => {}
                Err(NoSession::Refused(why) | NoSession::Later(why)) => return Ok(Err(why)),
            }
        }
        let contact = self.vault.contact(name).cloned();
        let Some((contact, identity)) = contact.and_then(|contact| {
            let identity = known(&contact)?;
            Some((contact, identity))
        }) else {
            return Ok(Err(format!("no identity of {name} is known yet")));
        };
        // The yes is about the number that was compared, and about no other.
        let compared = self.number_shown == Some((*name, identity));
        if confirmed && compared {
            self.take_on(contact, identity, true)?;
            self.say(Show::good(format!("{name} is verified")));
            return Ok(Ok(()));
        }
        if confirmed {
            self.say(Show::warning(format!(
                "{name} is NOT verified: this number was not shown before; compare it first"
            )));
        }
        self.number_shown = Some((*name, identity));
        let Some(theirs) = identity_keys(&identity) else {
            return Ok(Err(format!(
                "{name}'s identity is not a usable key; don't accept it"
            )));
        };
        let mine = self.me.keys.public();
        let number = safety_number(self.me.name.as_str(), &mine, name.as_str(), &theirs);
        if contact.offered.is_some() && contact.identity.is_some() {
            self.say(Show::warning(format!(
                "this is the number of {name}'s NEW identity"
            )));
        }
        self.say(Show::plain(format!("safety number with {name}:")));
        for line in number.to_string().lines() {
            self.say(Show::plain(format!("    {line}")));
        }
        self.say(Show::quiet(if contact.verified && contact.offered.is_none() {
            format!("{name} is verified")
        } else {
            format!(
                "compare it with {name} by voice or in person; if all 60 digits are the same: /verify {name} yes"
            )
        }));
        Ok(Ok(()))
    }

    /// Makes an identity the known one, tries what was held under it, and lets
    /// go what waited for it.
    fn take_on(&mut self, mut contact: Contact, identity: Identity, verified: bool) -> Result<()> {
        let me = &self.me;
        let now = now_ms();
        let batch = self.vault.transact(|vault| {
            let mut batch = Batch::default();
            let new = contact.identity != Some(identity);
            if new {
                replace_identity(vault, &mut contact, identity)?;
            }
            contact.offered = None;
            contact.verified = verified;
            vault.save_contact(&contact)?;
            for (seq, message) in vault.held(contact.id)? {
                receiving::take_again(vault, me, &mut batch, seq, &message, now)?;
            }
            batch.wants(contact.id);
            batch.again |= new;
            retries::ask_for_all(vault, &mut batch, now)?;
            Ok(batch)
        })?;
        self.finish(batch);
        self.publish_people();
        self.send_postponed()
    }
}

fn offer(vault: &mut Vault, name: &UserName, identity: Identity) -> Result<String> {
    let mut contact = vault.contact_or_new(name)?;
    contact.offered = Some(identity);
    vault.save_contact(&contact)?;
    Ok(changed(&contact))
}
