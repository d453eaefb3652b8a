//! Invitations: `/invite` makes a link, `client join` follows one, and the two are then sure of each
//! other without comparing numbers. The proof is in `crypto::introduction`; joining the server itself is the
//! login's business.

use super::batch::Batch;
use super::command::CommandError;
use super::identity::{fingerprint, identity_keys, wire_identity};
use super::trust::pin_identity;
use super::{Messenger, random_id, retry};
use crate::client::vault::{Contact, ControlKind, Result};
use crate::client::view::ViewEvent;
use crate::clock;
use crate::crypto::introduction::{self, InvitationId, Side, invitation_secret};
use crate::protocol::reply::Invited;
use crate::protocol::{ByteArray, MessageId, Request};
use crate::transport::invitation::{InvitationLink, Inviter};

/// How long after an invitation's end its introduction is still taken, in ms: a newcomer may have
/// used it on the last day, and the message waits until the inviter is online.
const GRACE: u64 = 30 * 24 * 3600 * 1000;

/// The sentence about an invitation that has ended.
pub(crate) fn expired(inviter: &Inviter) -> Option<String> {
    let name = inviter.name;
    (inviter.expires < clock::unix_ms())
        .then(|| format!("this invitation has expired; ask {name} for a new one"))
}

impl Messenger {
    /// `/invite`
    pub(super) fn invite(&mut self) -> std::result::Result<(), CommandError> {
        let invited: Invited = self.ask(&Request::Invite)?;
        let nonce = random_id();
        let id = InvitationId {
            nonce: std::array::from_fn(|at| nonce[at]),
            expires: invited.expires,
        };
        let certificate = match &self.server.connection {
            Some(connection) => connection.challenge().certificate,
            None => None,
        };
        let link = InvitationLink {
            address: self.login.endpoint.public_address(certificate),
            code: invited.code.map(|code| zeroize::Zeroizing::new(code.0)),
            inviter: Some(Inviter {
                name: self.me.name,
                identity: self.me.keys.public().fingerprint(),
                nonce: id.nonce,
                expires: id.expires,
                secret: invitation_secret(&self.me.keys, &id),
            }),
        };
        self.say(ViewEvent::warning(
            "This link is for one person. Whoever has it can make an account and is taken for somebody you \
             know, so send it on a way that only that person reads; they run `client join LINK`:",
        ));
        let link = link.to_text();
        self.say(ViewEvent::plain(link.to_string()));
        self.say(ViewEvent::QrCode(link.to_string()));
        Ok(())
    }

    /// Follows a member's link, and does nothing for the operator's.
    pub(super) fn follow_invitation(
        &mut self,
        link: &str,
    ) -> std::result::Result<(), CommandError> {
        let link: std::result::Result<InvitationLink, _> = link.parse();
        match link.map_err(|why| why.to_string())?.inviter {
            Some(inviter) => self.introduce(&inviter),
            None => Ok(()),
        }
    }

    /// Takes on the identity that an invitation names, and tells the inviter who has joined.
    fn introduce(&mut self, inviter: &Inviter) -> std::result::Result<(), CommandError> {
        let name = inviter.name;
        if let Some(why) = expired(inviter) {
            return Err(CommandError::Refused(why));
        }
        let named = ByteArray(inviter.identity);
        let known = self
            .vault
            .contact(&name)
            .and_then(|contact| contact.identity);
        let identity = match known {
            Some(known) if fingerprint(&known) == named => known,
            Some(_) => {
                return Err(CommandError::Refused(format!(
                    "the invitation names ANOTHER IDENTITY of {name} than the one that you know: somebody else may \
                     have made it, or {name} has a new device. Nothing was sent and nothing is changed; ask {name} \
                     on another way, and compare safety numbers with /verify {name}"
                )));
            }
            None => match self.bundle(&name) {
                Ok(bundle) => wire_identity(bundle.identity()),
                Err(no_session) => return Err(no_session.into()),
            },
        };
        let keys = identity_keys(&identity).filter(|_| fingerprint(&identity) == named);
        let Some(keys) = keys else {
            return Err(CommandError::Refused(format!(
                "the server gives {name} ANOTHER IDENTITY than the invitation names: somebody may be in \
                 between, or {name} has a new device. Nothing was sent and {name} is not verified; ask {name} \
                 on another way than this server"
            )));
        };
        let id = InvitationId {
            nonce: inviter.nonce,
            expires: inviter.expires,
        };
        let mine = self.me.keys.public();
        let side = |name, identity| Side { name, identity };
        let proof = introduction::prove(
            &inviter.secret,
            &id,
            side(name.as_str(), &keys),
            side(self.me.name.as_str(), &mine),
        );
        let now = clock::unix_ms();
        self.vault.transact(|vault| {
            let mut contact = vault.contact_or_new(&name)?;
            if contact.identity != Some(identity) {
                pin_identity(vault, &mut contact, identity)?;
            }
            contact.pending_identity = None;
            contact.verified = true;
            let told = contact.introduced.replace(ByteArray(id.nonce)) == Some(ByteArray(id.nonce));
            vault.save_contact(&contact)?;
            if told {
                return Ok(());
            }
            let introduction =
                ControlKind::Introduction(ByteArray(id.nonce), id.expires, ByteArray(proof));
            vault.add_control_message(contact.id, &MessageId(random_id()), now, &introduction)
        })?;
        self.publish_people();
        self.say(ViewEvent::good(format!(
            "{name} has invited you and is verified by the invitation"
        )));
        self.send_postponed()?;
        Ok(())
    }
}

/// Somebody proves to have joined by an invitation of this account. The message was decrypted, so it
/// comes from the identity that the contact is known by.
pub(super) fn introduced(
    batch: &mut Batch,
    contact: &Contact,
    id: &InvitationId,
    proof: &[u8; 32],
) -> Result<()> {
    let name = contact.name;
    let nonce = ByteArray(id.nonce);
    if contact.introduced == Some(nonce) {
        return Ok(());
    }
    let Some(theirs) = contact.identity.as_ref().and_then(identity_keys) else {
        return Ok(());
    };
    let mine = batch.me.keys.public();
    let side = |name, identity| Side { name, identity };
    let secret = invitation_secret(&batch.me.keys, id);
    let from = side(batch.me.name.as_str(), &mine);
    let to = side(name.as_str(), &theirs);
    let refuse = |why: String| {
        ViewEvent::warning(format!(
            "{why}, so {name} is NOT verified; compare safety numbers with /verify {name}"
        ))
    };
    if !introduction::verify(&secret, id, from, to, proof) {
        batch.show(refuse(format!(
            "{name} says to have joined by your invitation, and the proof is wrong"
        )));
        return Ok(());
    }
    if id.expires.saturating_add(GRACE) < batch.now {
        batch.show(refuse(format!(
            "{name} has joined by an invitation of yours that ended long ago"
        )));
        return Ok(());
    }
    let contacts = batch.vault.contacts();
    if let Some(other) = contacts
        .iter()
        .find(|other| other.introduced == Some(nonce))
    {
        let other = other.name;
        batch.show(refuse(format!(
            "{name} has your invitation that {other} has used"
        )));
        return Ok(());
    }
    let mut contact = contact.clone();
    contact.introduced = Some(nonce);
    contact.verified = true;
    contact.pending_identity = None;
    batch.vault.save_contact(&contact)?;
    batch.effects.people_changed = true;
    batch.show(ViewEvent::good(format!(
        "{name} has joined by your invitation and is verified"
    )));
    retry::release_requested(batch, &contact)
}
