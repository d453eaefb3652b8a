//! Whom a name belongs to: pinning at first use, other identities that turn up, and
//! starting sessions. Nothing is accepted here without the person, unless they chose
//! `--trust always`; what they decide is `verification`'s.
//!
//! An identity turns up in two ways. A message may *claim* it: if it proves the
//! claim, the identity is offered to the person and its messages are held, and
//! nothing else changes. The server may *publish* it: then it delivers nothing made
//! for the known one, so what is sent is held, too, until the server publishes the
//! known one again or the person has decided.

use super::command::CommandError;
use super::identity::{fingerprint, identity_keys, wire_identity};
use super::{Messenger, Trust, findings, renewal};
use crate::client::net::error::{CallError, said};
use crate::client::vault::{Contact, Renewal, Result, Vault};
use crate::clock;
use crate::crypto::keys::{PrekeyBundle, PublicOneTimePrekey, PublicSignedPrekey, VerifiedBundle};
use crate::crypto::os_rng;
use crate::crypto::ratchet::origin::Cause;
use crate::crypto::ratchet::session_set::SessionSet;
use crate::protocol::reply::Bundle;
use crate::protocol::request::{Identity, UserRef};
use crate::protocol::{Code, Request, UserName};

/// Whether there is a session to send in.
pub(super) enum SessionStart {
    /// There is one.
    Ready,
    /// There is none, for this reason.
    None(NoSession),
}

/// Why there is no session to send in.
pub(super) enum NoSession {
    /// Sending waits for the person's word, or for time to pass; this says why.
    Paused(String),
    /// The server, or the keys it gave, rule it out: sending is given up.
    Refused(String),
    /// The server asks for patience: later.
    Later(String),
    /// The connection is gone: later.
    Disconnected(String),
}

impl From<NoSession> for CommandError {
    fn from(no_session: NoSession) -> Self {
        match no_session {
            NoSession::Paused(why) | NoSession::Refused(why) | NoSession::Later(why) => {
                CommandError::Refused(why)
            }
            NoSession::Disconnected(why) => CommandError::Disconnected(why),
        }
    }
}

/// The warning about an identity that is not the known one, with the ways out.
pub(super) fn changed(contact: &Contact) -> String {
    let name = contact.name;
    let until = match (contact.paused, contact.identity) {
        (true, _) => format!("until then your messages to {name} wait here"),
        (false, Some(_)) => {
            "until then what comes under it is held, and your messages go to the identity you know"
                .to_owned()
        }
        (false, None) => "until then what comes under it is held".to_owned(),
    };
    match (contact.identity, contact.verified) {
        (None, _) => format!(
            "{name} is new to you, and new identities are not trusted by themselves (--trust never): \
             compare safety numbers with /verify {name}, trust them with /accept {name}, or /reject {name}; {until}"
        ),
        (Some(_), false) => format!(
            "{name}'s identity has changed: a new device, or somebody in between. \
             Compare safety numbers with /verify {name}, take the risk with /accept {name}, or /reject {name}; {until}"
        ),
        (Some(_), true) => format!(
            "{name}'s identity has changed, and it is NOT the one you verified: a new device, or somebody in between. \
             Compare safety numbers again with /verify {name}, take the risk with /accept {name}, or /reject {name}; {until}"
        ),
    }
}

/// A message has proven another identity than the known one. Offers it to the person, once; further
/// ones wait until they have decided. Gives the warning, if there is something new to say.
pub(super) fn claimed(
    vault: &mut Vault,
    contact: &mut Contact,
    identity: Identity,
) -> Result<Option<String>> {
    if contact.pending_identity.is_some() {
        return Ok(None);
    }
    contact.pending_identity = Some(identity);
    vault.save_contact(contact)?;
    Ok(Some(changed(contact)))
}

/// The server publishes another identity than the known one: what is sent is held.
/// Gives what to say about it.
fn published(vault: &mut Vault, name: &UserName, identity: Identity) -> Result<String> {
    let mut contact = vault.contact_or_new(name)?;
    let rejected = is_rejected(&contact, &identity);
    let told = contact.paused && contact.pending_identity == Some(identity);
    contact.paused = true;
    if !rejected {
        contact.pending_identity = Some(identity);
    }
    vault.save_contact(&contact)?;
    Ok(match (rejected, told) {
        (true, _) => format!(
            "the server still gives {name} the identity that you rejected, so your messages to {name} wait here \
             until it gives the one you know; if the rejection was a mistake: /accept {name}"
        ),
        (false, true) => format!(
            "the server still gives {name} another identity than the one you know: your messages to {name} wait here \
             until you /verify {name} or /accept {name}, or until the server gives the one you know"
        ),
        (false, false) => changed(&contact),
    })
}

/// Whether the person rejected this identity of theirs.
pub(super) fn is_rejected(contact: &Contact, identity: &Identity) -> bool {
    contact.rejected.contains(&fingerprint(identity))
}

/// The known identity was seen: another is not offered any more.
pub(super) fn seen(contact: &mut Contact) -> bool {
    contact.pending_identity.take().is_some()
}

/// Pins an identity: makes it the known one. Sessions with the one before end, and what it
/// asked for is forgotten. The identity of somebody who writes first is pinned by
/// `receive::pin_if_first`.
pub(super) fn pin_identity(
    vault: &mut Vault,
    contact: &mut Contact,
    identity: Identity,
) -> Result<()> {
    contact.identity = Some(identity);
    contact.pending_identity = None;
    contact.paused = false;
    contact.verified = false;
    contact.renewal = None;
    contact.asked = 0;
    let accepted = fingerprint(&identity);
    contact.rejected.retain(|rejected| *rejected != accepted);
    contact.dropped = 0;
    vault.forget_conversation(contact.id)?;
    vault.forget_requests(contact.id)?;
    vault.save_contact(contact)
}

impl Messenger {
    /// Starts a session with somebody from the keys that the server has of them,
    /// pinning their identity if it is the first. If there is a session already and
    /// only their published identity was in doubt, it is kept.
    pub(super) fn start_session(&mut self, name: &UserName) -> Result<SessionStart> {
        let bundle = match self.bundle(name) {
            Ok(bundle) => bundle,
            Err(no_session) => return Ok(SessionStart::None(no_session)),
        };
        let identity = wire_identity(bundle.identity());
        let contact = self.vault.contact(name).cloned();
        let known = contact.as_ref().and_then(|contact| contact.identity);
        if !self.acceptable(contact.as_ref(), identity) {
            let warning = self
                .vault
                .transact(|vault| published(vault, name, identity))?;
            self.publish_people();
            return Ok(SessionStart::None(NoSession::Paused(warning)));
        }
        let known_here = contact.filter(|_| known == Some(identity));
        let mut conversation = match &known_here {
            Some(contact) => self.vault.conversation(contact.id)?,
            None => None,
        }
        .unwrap_or_else(|| SessionSet::new(*bundle.identity()));
        let now = clock::unix_ms();
        let renewal = known_here.as_ref().and_then(|contact| contact.renewal);
        let mut cause = None;
        if renewal.is_some() || !conversation.has_session() {
            let too_soon = |contact: &Contact| !renewal::may_renew(contact, now);
            if renewal == Some(Renewal::RolledBack) && known_here.as_ref().is_some_and(too_soon) {
                let why = renewal::too_soon(name);
                return Ok(SessionStart::None(NoSession::Paused(why)));
            }
            let why = *cause.insert(renewal::cause(known_here.as_ref(), &conversation));
            let (keys, age) = (&self.me.keys, self.me.age);
            // Before anything is pinned: keys that are refused leave no trace.
            let started = conversation.start(keys, &bundle, why, now, age, &mut os_rng());
            if let Err(error) = started {
                let why = format!("{error}; nothing was sent");
                return Ok(SessionStart::None(NoSession::Refused(why)));
            }
        }
        self.vault.transact(|vault| {
            let mut contact = vault.contact_or_new(name)?;
            if contact.identity != Some(identity) {
                pin_identity(vault, &mut contact, identity)?;
            }
            seen(&mut contact);
            contact.paused = false;
            renewal::started(&mut contact, now);
            vault.save_contact(&contact)?;
            vault.save_conversation(contact.id, &conversation)
        })?;
        if let Some(cause) = cause.filter(|cause| !matches!(cause, Cause::First | Cause::Linked)) {
            self.say(findings::started_here(name, cause));
        }
        self.publish_people();
        Ok(SessionStart::Ready)
    }

    /// Whether messages may go to this identity without asking the person.
    fn acceptable(&self, contact: Option<&Contact>, identity: Identity) -> bool {
        let Some(contact) = contact else {
            return self.me.trust != Trust::Never;
        };
        if contact.identity == Some(identity) {
            return true;
        }
        let wanted = match contact.identity {
            Some(_) => self.me.trust == Trust::Always && !contact.verified,
            None => self.me.trust != Trust::Never,
        };
        wanted && !is_rejected(contact, &identity)
    }

    /// Asks the server for somebody's keys, and checks that they are signed.
    pub(super) fn bundle(
        &mut self,
        name: &UserName,
    ) -> std::result::Result<VerifiedBundle, NoSession> {
        let pinned = self
            .vault
            .contact(name)
            .is_some_and(|contact| contact.identity.is_some());
        let answer = self.call::<Bundle>(&Request::Keys(UserRef { name: *name }));
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
            CallError::Lost(why) => NoSession::Disconnected(why.to_string()),
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
            signed_prekey: PublicSignedPrekey {
                id: signed.id,
                key: signed.key.0,
                signature: signed.signature.0,
            },
            one_time: bundle.one_time.map(|prekey| PublicOneTimePrekey {
                id: prekey.id,
                key: prekey.key.0,
            }),
        }
        .verify()
        .map_err(|_| bad())
    }
}
