//! Messages in a contact's name under another identity than the known one. What
//! proves its claim is held for the person to decide about, within bounds; what does
//! not is kept as undecryptable and changes nothing.
//!
//! What the person decides is `verification`'s; whom a name belongs to is `trust`'s.

use super::receive::{
    Batch, fingerprint, identity_keys, received, shown, take_envelope, undecryptable, wire_identity,
};
use super::{Me, Trust, trust};
use crate::client::vault::{Contact, EncryptionStatus, MessageRecord, PrekeyReader, Result, Vault};
use crate::client::view::{Mark, ViewEvent};
use crate::crypto::keys::PublicIdentity;
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, Payload};
use crate::crypto::ratchet::session_set::{Decrypted, SessionSet, claimed_identity};
use crate::protocol::reply::Incoming;
use crate::protocol::request::Identity;
use crate::protocol::{Body, MessageId};

/// How many messages, and how many bytes of them, are held of one contact's name
/// under identities that are not accepted.
const HELD_MESSAGES: u64 = 256;
const HELD_BYTES: u64 = 1024 * 1024;

/// Takes a message that names another identity than the known one. Nothing is
/// believed of a claim that its message does not prove; what proves it is held.
pub(super) fn take_claim(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    mut contact: Contact,
    message: &Incoming,
    (seq, now): (Option<i64>, u64),
    claimed: PublicIdentity,
) -> Result<()> {
    let identity = wire_identity(&claimed);
    if trust::is_rejected(&contact, &identity) {
        let why = "it came under an identity that you rejected";
        return undecryptable(vault, batch, &contact, message, seq, why);
    }
    if !is_proven(vault, me, message, claimed, now)? {
        let why = "it names an identity that is not known as its sender's, and does not prove it";
        return undecryptable(vault, batch, &contact, message, seq, why);
    }
    if me.trust == Trust::Always && contact.identity.is_some() && !contact.verified {
        batch.shows.push(ViewEvent::warning(format!(
            "{}'s identity has changed and was accepted, as --trust always says",
            contact.name
        )));
        trust::replace_identity(vault, &mut contact, identity)?;
        batch.people_changed = true;
        return take_envelope(vault, me, batch, contact, message, now, seq);
    }
    let (count, bytes) = vault.held_size(contact.id)?;
    if count >= HELD_MESSAGES || bytes >= HELD_BYTES {
        let why = "too many messages under identities that you have not accepted are held already";
        return undecryptable(vault, batch, &contact, message, seq, why);
    }
    hold(vault, batch, contact, message, seq, identity)
}

/// Whether a message comes from whoever holds the identity that it names.
fn is_proven(
    vault: &Vault,
    me: &Me,
    message: &Incoming,
    claimed: PublicIdentity,
    now: u64,
) -> Result<bool> {
    let mut trial = SessionSet::new(claimed);
    Ok(open_on_trial(vault, me, &mut trial, message, now)?.is_some())
}

/// Opens a message in a conversation that is thrown away afterwards.
fn open_on_trial(
    vault: &Vault,
    me: &Me,
    trial: &mut SessionSet,
    message: &Incoming,
    now: u64,
) -> Result<Option<Decrypted>> {
    let Body::Envelope(envelope) = &message.body else {
        return Ok(None);
    };
    let context = AssociatedData {
        message_id: message.mid.0,
        sender: message.from.as_str(),
        recipient: me.name.as_str(),
    };
    let prekeys = PrekeyReader::new(vault);
    let opened = trial.decrypt(&me.keys, &prekeys, &envelope.0, &context, now);
    prekeys.finish()?;
    Ok(opened.ok())
}

/// The ids that an identity asks for in what is held under it.
pub(super) fn asked_under(
    vault: &Vault,
    me: &Me,
    contact: i64,
    identity: Identity,
    now: u64,
) -> Result<Vec<MessageId>> {
    let Some(keys) = identity_keys(&identity) else {
        return Ok(Vec::new());
    };
    let mut trial = SessionSet::new(keys);
    let mut asked = Vec::new();
    for (_, message) in vault.held(contact)? {
        if claim_of(&message) != Some(identity) {
            continue;
        }
        let opened = open_on_trial(vault, me, &mut trial, &message, now)?;
        if let Some(Ok(Content {
            body: Payload::RetryRequest(ids),
            ..
        })) = opened.map(|opened| opened.content)
        {
            asked.extend(ids.into_iter().map(MessageId));
        }
    }
    Ok(asked)
}

/// The known identity was heard: another is not offered any more, and if the server
/// published another, it is asked once more.
pub(super) fn seen(vault: &mut Vault, batch: &mut Batch, contact: &mut Contact) -> Result<()> {
    if contact.paused {
        // Whether another identity counts is the server's next answer's to say.
        batch.seen.push(contact.id);
        batch.controls = true;
    } else if trust::seen(contact) {
        vault.save_contact(contact)?;
        batch.shows.push(ViewEvent::quiet(format!(
            "{0} was heard under the identity you know; what came under the other one stays held: /reject {0} drops it",
            contact.name
        )));
    }
    Ok(())
}

fn hold(
    vault: &mut Vault,
    batch: &mut Batch,
    mut contact: Contact,
    message: &Incoming,
    seq: Option<i64>,
    claimed: Identity,
) -> Result<()> {
    let warning = trust::claimed(vault, &mut contact, claimed)?;
    batch.shows.extend(warning.map(ViewEvent::warning));
    let record = MessageRecord {
        form: EncryptionStatus::Held,
        identity: Some(fingerprint(&claimed)),
        ..received(message)
    };
    let seq = match seq {
        Some(seq) => {
            vault.save_message(seq, &record)?;
            seq
        }
        None => vault.add_message(contact.id, &message.mid, message.at, &record)?,
    };
    batch.unread.push((batch.shows.len(), seq));
    vault.mark_unread(seq)?;
    batch
        .shows
        .push(shown(&contact, message.at, &record, Mark::Held));
    vault.hold(seq, contact.id, message)
}

/// The identity that a message names, if it names one.
pub(super) fn claim_of(message: &Incoming) -> Option<Identity> {
    match &message.body {
        Body::Envelope(envelope) => claimed_identity(&envelope.0)
            .ok()?
            .as_ref()
            .map(wire_identity),
        Body::Plain(_) => None,
    }
}

/// The identities that messages are held under, in the order they came.
pub(super) fn claims_of(vault: &Vault, contact: i64) -> Result<Vec<Identity>> {
    let mut claims = Vec::new();
    for (_, message) in vault.held(contact)? {
        if let Some(claim) = claim_of(&message).filter(|claim| !claims.contains(claim)) {
            claims.push(claim);
        }
    }
    Ok(claims)
}
