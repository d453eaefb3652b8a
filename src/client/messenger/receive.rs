//! What happens to an arriving message: taken exactly once, decrypted or kept as
//! undecryptable, held if it comes under a strange identity.
//!
//! Everything here runs inside one vault transaction with the rest of its batch
//! and touches no network: acknowledging and showing follow the commit.

use super::retry;
use super::retry::Before;
use super::{Me, Trust, claims};
use crate::client::vault::{
    Contact, DeliveryState, EncryptionStatus, MessageRecord, PrekeyReader, Result, Vault,
};
use crate::client::view::{Mark, ViewEvent};
use crate::crypto::keys::PublicIdentity;
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, Id, Payload};
use crate::crypto::ratchet::session_set::{DecryptError, SessionSet, claimed_identity};
use crate::protocol::reply::{Incoming, News, Notice};
use crate::protocol::request::{Identity, Sender};
use crate::protocol::{Body, ByteArray, MessageId};

/// What is to be done once the transaction is durable.
#[derive(Default)]
pub(super) struct Batch {
    /// What to acknowledge, by sender.
    pub(super) acks: Vec<(Sender, Vec<MessageId>)>,
    /// What to show, in order.
    pub(super) shows: Vec<ViewEvent>,
    /// Whether a contact was made or changed.
    pub(super) people_changed: bool,
    /// The contacts of whom messages are wanted.
    pub(super) wanted_of: Vec<i64>,
    /// Whether they are to be asked a second time.
    pub(super) again: bool,
    /// Whether there is something new to be sent.
    pub(super) controls: bool,
    /// The messages among what is to be shown: each one's index there, and its
    /// place in the vault.
    pub(super) unread: Vec<(usize, i64)>,
    /// The contacts whose known identity was seen while what is sent to them was held.
    pub(super) seen: Vec<i64>,
    /// The contacts who asked for what only the person may let go.
    pub(super) asked_for: Vec<i64>,
}

impl Batch {
    fn ack(&mut self, from: Sender, mid: MessageId) {
        match self.acks.iter_mut().find(|(sender, _)| *sender == from) {
            Some((_, ids)) => ids.push(mid),
            None => self.acks.push((from, vec![mid])),
        }
    }

    pub(super) fn wants(&mut self, contact: i64) {
        if !self.wanted_of.contains(&contact) {
            self.wanted_of.push(contact);
        }
    }
}

/// A contact's number for the server itself, which is none.
const SERVER: i64 = 0;

/// Takes a notice of the server.
pub(super) fn take_notice(vault: &mut Vault, batch: &mut Batch, notice: &Notice) -> Result<()> {
    batch.ack(Sender::Server, notice.mid);
    if vault.is_seen(SERVER, &notice.mid)? {
        return Ok(());
    }
    vault.mark_seen(SERVER, &notice.mid)?;
    batch.shows.push(match &notice.news {
        News::TurnedAway { names, count } => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            ViewEvent::warning(format!(
                "while your mailbox was full, the server turned away {count} {} from {}; ask them to send again",
                plural(*count, "message", "messages"),
                names.join(", ")
            ))
        }
        News::Unknown => {
            ViewEvent::warning("the server has news that this version does not understand; update the client")
        }
    });
    Ok(())
}

/// Takes a message, once.
pub(super) fn take_message(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    message: &Incoming,
    now: u64,
) -> Result<()> {
    batch.ack(message.sender(), message.mid);
    let known = vault.contact(&message.from).is_some();
    let contact = vault.contact_or_new(&message.from)?;
    batch.people_changed |= !known;
    if vault.is_seen(contact.id, &message.mid)? {
        return Ok(());
    }
    vault.mark_seen(contact.id, &message.mid)?;
    match &message.body {
        Body::Plain(text) => take_plain(vault, batch, &contact, message, text),
        Body::Envelope(_) => take_envelope(vault, me, batch, contact, message, now, None),
    }
}

/// Tries a held envelope again, after its identity was accepted.
pub(super) fn take_again(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    seq: i64,
    message: &Incoming,
    now: u64,
) -> Result<()> {
    vault.release(seq)?;
    let contact = vault.contact_or_new(&message.from)?;
    take_envelope(vault, me, batch, contact, message, now, Some(seq))
}

fn take_plain(
    vault: &mut Vault,
    batch: &mut Batch,
    contact: &Contact,
    message: &Incoming,
    text: &str,
) -> Result<()> {
    let mark = match contact.identity {
        Some(_) => Mark::Unproven,
        None => Mark::Unencrypted,
    };
    let record = MessageRecord {
        text: text.to_owned(),
        form: EncryptionStatus::Unencrypted,
        ..received(message)
    };
    keep(vault, batch, contact, message, None, record, mark)
}

pub(super) fn take_envelope(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    mut contact: Contact,
    message: &Incoming,
    now: u64,
    seq: Option<i64>,
) -> Result<()> {
    let Body::Envelope(envelope) = &message.body else {
        return Ok(());
    };
    let first_use = contact.identity.is_none();
    let pinned = match contact.identity {
        Some(identity) => identity_keys(&identity),
        None => match claimed_identity(&envelope.0) {
            Ok(Some(claimed)) if me.trust == Trust::Never => {
                return claims::take_claim(vault, me, batch, contact, message, (seq, now), claimed);
            }
            Ok(claimed) => claimed,
            Err(_) => None,
        },
    };
    let Some(pinned) = pinned else {
        let why = "it belongs to a session that this device doesn't have";
        undecryptable(vault, batch, &contact, message, seq, why)?;
        return retry::want(vault, batch, &mut contact, &message.mid, false);
    };
    let mut conversation = match vault.conversation(contact.id)? {
        Some(conversation) if *conversation.identity() == pinned => conversation,
        _ => SessionSet::new(pinned),
    };
    let context = AssociatedData {
        message_id: message.mid.0,
        sender: message.from.as_str(),
        recipient: me.name.as_str(),
    };
    let prekeys = PrekeyReader::new(vault);
    let opened = conversation.decrypt(&me.keys, &prekeys, &envelope.0, &context, now);
    prekeys.finish()?;
    match opened {
        Err(DecryptError::IdentityMismatch { claimed }) => {
            claims::take_claim(vault, me, batch, contact, message, (seq, now), claimed)
        }
        Err(error) => {
            undecryptable(vault, batch, &contact, message, seq, &error.to_string())?;
            if !retry::curable(&error) {
                return Ok(());
            }
            // A session that we started has yet to reach them: another would not
            // reach them sooner.
            let renew = conversation.has_session() && !conversation.awaits_answer();
            retry::want(vault, batch, &mut contact, &message.mid, renew)
        }
        Ok(opened) => {
            vault.save_conversation(contact.id, &conversation)?;
            if let Some(id) = opened.used_one_time {
                vault.use_up(id)?;
            }
            if first_use {
                contact.identity = Some(wire_identity(&pinned));
                vault.save_contact(&contact)?;
                batch.people_changed = true;
                batch.shows.push(ViewEvent::quiet(format!(
                    "{0} is new to you; to be sure it is them, compare safety numbers: /verify {0}",
                    contact.name
                )));
            }
            claims::seen(vault, batch, &mut contact)?;
            retry::understood(vault, batch, &mut contact)?;
            if opened.missing > 0 {
                batch.shows.push(ViewEvent::warning(format!(
                    "{} {} from {} {} not arrived",
                    opened.missing,
                    plural(u64::from(opened.missing), "message", "messages"),
                    contact.name,
                    if opened.missing == 1 { "has" } else { "have" },
                )));
            }
            match opened.content {
                Ok(content) => {
                    take_content(vault, me, batch, &contact, message, (seq, now), content)
                }
                Err(error) => {
                    undecryptable(vault, batch, &contact, message, seq, &error.to_string())
                }
            }
        }
    }
}

fn take_content(
    vault: &mut Vault,
    me: &Me,
    batch: &mut Batch,
    contact: &Contact,
    message: &Incoming,
    (seq, now): (Option<i64>, u64),
    content: Content,
) -> Result<()> {
    let record = |text| MessageRecord {
        text,
        sent_at: Some(content.sent_at_ms),
        identity: contact.identity.map(|identity| fingerprint(&identity)),
        verified: contact.verified,
        ..received(message)
    };
    match content.body {
        Payload::Text(text) => {
            return keep(
                vault,
                batch,
                contact,
                message,
                seq,
                record(text),
                Mark::None,
            );
        }
        Payload::Again { sent_as, text } => {
            take_sent_again(vault, batch, contact, message, &sent_as, record(text))?;
        }
        Payload::RetryRequest(ids) => retry::answer(vault, me, batch, contact, &ids, now)?,
        Payload::NothingThere(ids) => retry::forget(vault, contact, &ids)?,
        Payload::Receipt(_) => {}
        Payload::Unknown(_) => {
            let why = "a newer client sent something that this version can't show";
            return undecryptable(vault, batch, contact, message, seq, why);
        }
    }
    // It was held, and shown as a message.
    seq.map_or(Ok(()), |seq| vault.remove_message(seq))
}

/// The words of a message that was asked for: they take its place.
fn take_sent_again(
    vault: &mut Vault,
    batch: &mut Batch,
    contact: &Contact,
    message: &Incoming,
    sent_as: &[Id],
    record: MessageRecord,
) -> Result<()> {
    let (seq, at) = match retry::before(vault, contact, sent_as)? {
        Before::Read => return Ok(()),
        Before::Lost(lost) => {
            vault.save_message(lost.seq, &record)?;
            (lost.seq, lost.at)
        }
        Before::Nothing => {
            let own = sent_as.first().map_or(message.mid, |id| MessageId(*id));
            if !vault.is_seen(contact.id, &own)? {
                vault.mark_seen(contact.id, &own)?;
            }
            let seq = vault.add_message(contact.id, &own, message.at, &record)?;
            (seq, message.at)
        }
    };
    batch.unread.push((batch.shows.len(), seq));
    let mut event = shown(contact, at, &record, Mark::None);
    if let ViewEvent::Message { state, .. } = &mut event {
        *state = "sent again";
    }
    batch.shows.push(event);
    vault.mark_unread(seq)
}

pub(super) fn undecryptable(
    vault: &mut Vault,
    batch: &mut Batch,
    contact: &Contact,
    message: &Incoming,
    seq: Option<i64>,
    why: &str,
) -> Result<()> {
    let record = MessageRecord {
        form: EncryptionStatus::Undecryptable(why.to_owned()),
        ..received(message)
    };
    let mark = Mark::Undecryptable(why.to_owned());
    keep(vault, batch, contact, message, seq, record, mark)
}

fn keep(
    vault: &mut Vault,
    batch: &mut Batch,
    contact: &Contact,
    message: &Incoming,
    seq: Option<i64>,
    record: MessageRecord,
    mark: Mark,
) -> Result<()> {
    let seq = match seq {
        Some(seq) => {
            vault.save_message(seq, &record)?;
            seq
        }
        None => vault.add_message(contact.id, &message.mid, message.at, &record)?,
    };
    batch.unread.push((batch.shows.len(), seq));
    batch.shows.push(shown(contact, message.at, &record, mark));
    vault.mark_unread(seq)
}

pub(super) fn received(message: &Incoming) -> MessageRecord {
    MessageRecord {
        outgoing: false,
        text: String::new(),
        form: EncryptionStatus::Encrypted,
        state: DeliveryState::Received,
        sent_at: None,
        stored_at: Some(message.at),
        delivered_at: None,
        identity: None,
        verified: false,
        resends: Vec::new(),
    }
}

pub(super) fn shown(contact: &Contact, at: u64, record: &MessageRecord, mark: Mark) -> ViewEvent {
    ViewEvent::Message {
        name: contact.name,
        outgoing: false,
        text: record.text.clone(),
        at,
        mark,
        state: "",
    }
}

/// The identity as the cryptography takes it; `None` if it is no usable key.
pub(super) fn identity_keys(identity: &Identity) -> Option<PublicIdentity> {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&identity.signing.0);
    bytes[32..].copy_from_slice(&identity.dh.0);
    PublicIdentity::from_bytes(&bytes).ok()
}

/// The identity as the wire and the vault spell it.
pub(crate) fn wire_identity(keys: &PublicIdentity) -> Identity {
    let bytes = keys.to_bytes();
    Identity {
        signing: ByteArray(std::array::from_fn(|i| bytes[i])),
        dh: ByteArray(std::array::from_fn(|i| bytes[32 + i])),
    }
}

/// The short name of an identity; zeros for one that is no usable key.
pub(super) fn fingerprint(identity: &Identity) -> ByteArray<32> {
    ByteArray(identity_keys(identity).map_or([0; 32], |keys| keys.fingerprint()))
}

/// One form or the other, by a count.
pub(super) fn plural<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}
