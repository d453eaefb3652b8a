//! Messages in a contact's name under another identity than the known one. What
//! proves its claim is held for the person to decide about, within bounds; what does
//! not is kept as undecryptable and changes nothing.
//!
//! What the person decides is `verification`'s; whom a name belongs to is `trust`'s.

use super::batch::{Arrival, Batch, received};
use super::identity::{fingerprint, identity_keys, wire_identity};
use super::{Me, Trust, trust};
use crate::client::vault::{Contact, EncryptionStatus, MessageRecord, PrekeyReader, Result, Vault};
use crate::client::view::{Mark, ViewEvent};
use crate::crypto::keys::PublicIdentity;
use crate::crypto::message::content::{Content, Payload};
use crate::crypto::ratchet::session_set::{Decrypted, SessionSet, claimed_identity};
use crate::protocol::reply::Incoming;
use crate::protocol::request::Identity;
use crate::protocol::{Body, MessageId};

/// How many messages, and how many bytes of them, are held of one contact's name
/// under identities that are not accepted.
const HELD_MESSAGES: u64 = 256;
const HELD_BYTES: u64 = 1024 * 1024;

/// What becomes of a message that names another identity than the known one.
pub(super) enum Claim {
    /// It is kept as undecryptable, for this reason, and changes nothing.
    Refused(&'static str),
    /// The person has rejected the identity: the message is dropped and counted.
    Rejected,
    /// The identity replaces the known one, as `--trust always` says.
    Accepted,
    /// It waits for the person's decision.
    Held,
}

/// Decides about a message that names another identity than the known one. Nothing is
/// believed of a claim that its message does not prove.
pub(super) fn judge(batch: &Batch, arrival: &Arrival, claimed: PublicIdentity) -> Result<Claim> {
    let contact = &arrival.contact;
    if trust::is_rejected(contact, &wire_identity(&claimed)) {
        return Ok(Claim::Rejected);
    }
    let mut trial = SessionSet::new(claimed);
    let vault = &*batch.vault;
    let proof = decrypt_on_trial(vault, batch.me, &mut trial, arrival.message)?;
    if proof.is_none() {
        return Ok(Claim::Refused(
            "it names an identity that is not known as its sender's, and does not prove it",
        ));
    }
    if batch.me.trust == Trust::Always && contact.identity.is_some() && !contact.verified {
        return Ok(Claim::Accepted);
    }
    let (count, bytes) = vault.held_size(contact.id)?;
    if count >= HELD_MESSAGES || bytes >= HELD_BYTES {
        return Ok(Claim::Refused(
            "too many messages under identities that you have not accepted are held already",
        ));
    }
    Ok(Claim::Held)
}

/// Decrypts a message in sessions that are thrown away afterwards.
fn decrypt_on_trial(
    vault: &Vault,
    me: &Me,
    trial: &mut SessionSet,
    message: &Incoming,
) -> Result<Option<Decrypted>> {
    let Body::Envelope(envelope) = &message.body else {
        return Ok(None);
    };
    let prekeys = PrekeyReader::new(vault);
    let context = me.context_of(message);
    let decrypted = trial.decrypt(&me.keys, &prekeys, &envelope.0, &context, me.age);
    prekeys.finish()?;
    Ok(decrypted.ok())
}

/// The ids that an identity asks for in what is held under it.
pub(super) fn asked_under(
    vault: &Vault,
    me: &Me,
    contact: i64,
    identity: Identity,
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
        let decrypted = decrypt_on_trial(vault, me, &mut trial, &message)?;
        if let Some(Ok(Content {
            body: Payload::RetryRequest(ids),
            ..
        })) = decrypted.map(|decrypted| decrypted.content)
        {
            asked.extend(ids.into_iter().map(MessageId));
        }
    }
    Ok(asked)
}

/// A message came under the known identity: another is not offered any more, and if
/// the server published another, it is asked once more.
pub(super) fn seen(batch: &mut Batch, contact: &mut Contact) -> Result<()> {
    if contact.paused {
        // The server's next answer says whether another identity counts.
        batch.effects.seen.push(contact.id);
        batch.effects.postponed = true;
    } else if trust::seen(contact) {
        batch.vault.save_contact(contact)?;
        batch.show(ViewEvent::quiet(format!(
            "{0} was heard under the identity you know; what came under the other one stays held: /reject {0} drops it",
            contact.name
        )));
    }
    Ok(())
}

/// Keeps a message until the person decides about the identity that it names.
pub(super) fn hold(batch: &mut Batch, mut arrival: Arrival, claimed: Identity) -> Result<()> {
    if let Some(warning) = trust::claimed(batch.vault, &mut arrival.contact, claimed)? {
        batch.show(ViewEvent::warning(warning));
    }
    let record = MessageRecord {
        form: EncryptionStatus::Held,
        identity: Some(fingerprint(&claimed)),
        ..received(arrival.message)
    };
    let mark = held_mark(&arrival.contact);
    let seq = batch.keep(&arrival, record, mark)?;
    batch.vault.hold(seq, arrival.contact.id, arrival.message)
}

/// How a held message of a contact is marked: nothing has changed if no identity is known.
pub(super) fn held_mark(contact: &Contact) -> Mark {
    match contact.identity {
        Some(_) => Mark::Held,
        None => Mark::HeldNew,
    }
}

/// Drops a message under an identity that the person has rejected, without a word: `/contacts`
/// shows how many there were.
pub(super) fn drop_rejected(batch: &mut Batch, mut arrival: Arrival) -> Result<()> {
    arrival.contact.dropped += 1;
    batch.vault.save_contact(&arrival.contact)?;
    match arrival.held_at {
        Some(seq) => batch.vault.remove_message(seq),
        None => Ok(()),
    }
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
