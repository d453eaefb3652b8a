//! What happens to an arriving message: it is received once, and decrypted, kept as
//! undecryptable, or held because it names an identity that is not the known one.
//!
//! Everything here runs inside one vault transaction with the rest of its batch
//! and touches no network: acknowledging and showing follow the commit.

use super::batch::{Arrival, Batch, received, shown};
use super::claims::Claim;
use super::identity::{identity_keys, wire_identity};
use super::retry::Earlier;
use super::{Trust, claims, confirmations, expired, findings, introduction, renewal, retry, trust};
use crate::client::vault::{
    Contact, EncryptionStatus, MessageRecord, PrekeyReader, Renewal, Result, Vault, unchanged,
};
use crate::client::view::{Mark, ViewEvent, plural};
use crate::crypto::keys::PublicIdentity;
use crate::crypto::message::content::{Content, Id, Payload};
use crate::crypto::ratchet::session_set::{DecryptError, Decrypted, SessionSet, claimed_identity};
use crate::protocol::reply::{Incoming, News, Notice};
use crate::protocol::request::Sender;
use crate::protocol::{Body, ByteArray, MessageId};

/// The server has this number in the list of seen ids; no contact has it.
const SERVER: i64 = 0;

/// Receives a notice of the server.
pub(super) fn receive_notice(batch: &mut Batch, notice: &Notice) -> Result<()> {
    batch.ack(Sender::Server, notice.mid);
    if batch.vault.is_seen(SERVER, &notice.mid)? {
        return Ok(());
    }
    batch.vault.mark_seen(SERVER, &notice.mid)?;
    batch.show(ViewEvent::warning(match &notice.news {
        News::Expired { to, ids } => return expired::receive(batch, to, ids),
        News::Missed { from, count } => return expired::receive_missed(batch, from, *count),
        News::TurnedAway { names, count } => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            format!(
                "while your mailbox was full, the server turned away {count} {} from {}; ask them to send again",
                plural(*count, "message", "messages"),
                names.join(", ")
            )
        }
        News::Announcement { text } => format!("the server's operator announces: {text}"),
        News::Unknown => {
            "the server has news that this version does not understand; update the client".to_owned()
        }
    }));
    Ok(())
}

/// Receives a message, unless its id was seen before.
pub(super) fn receive_message(batch: &mut Batch, message: &Incoming) -> Result<()> {
    batch.ack(message.sender(), message.mid);
    batch.effects.people_changed |= batch.vault.contact(&message.from).is_none();
    let contact = batch.vault.contact_or_new(&message.from)?;
    if batch.vault.is_seen(contact.id, &message.mid)? {
        return Ok(());
    }
    batch.vault.mark_seen(contact.id, &message.mid)?;
    let arrival = Arrival {
        contact,
        message,
        held_at: None,
    };
    match &message.body {
        Body::Plain(text) => receive_plain(batch, &arrival, text),
        Body::Envelope(envelope) => receive_envelope(batch, arrival, &envelope.0),
    }
}

/// Tries a held message again, after its identity was accepted.
pub(super) fn retry_held(batch: &mut Batch, seq: i64, message: &Incoming) -> Result<()> {
    batch.vault.release(seq)?;
    restore_held(batch.vault, seq, message)?;
    let Body::Envelope(envelope) = &message.body else {
        return Ok(());
    };
    let arrival = Arrival {
        contact: batch.vault.contact_or_new(&message.from)?,
        message,
        held_at: Some(seq),
    };
    receive_envelope(batch, arrival, &envelope.0)
}

/// Makes the row of a held message whole that somebody changed: all that it says is in the
/// envelope.
pub(super) fn restore_held(vault: &mut Vault, seq: i64, message: &Incoming) -> Result<()> {
    let Some(contact) = vault.contact_of_message(seq)? else {
        return Ok(());
    };
    if unchanged(vault.message(seq))?.is_some() {
        return Ok(());
    }
    let record = MessageRecord {
        form: EncryptionStatus::Held,
        ..received(message)
    };
    vault.restore_message(seq, contact, message.mid, message.at, &record)
}

fn receive_plain(batch: &mut Batch, arrival: &Arrival, text: &str) -> Result<()> {
    let mark = match arrival.contact.identity {
        Some(_) => Mark::Unproven,
        None => Mark::Unencrypted,
    };
    let record = MessageRecord {
        text: text.to_owned(),
        form: EncryptionStatus::Unencrypted,
        ..received(arrival.message)
    };
    batch.keep(arrival, record, mark).map(drop)
}

/// What trying to decrypt an envelope came to.
enum Attempt {
    /// Nothing says which identity it could be from.
    NoSession,
    /// It names this identity, which is not the known one.
    Claimed(PublicIdentity),
    Failed(SessionSet, DecryptError),
    Decrypted(SessionSet, Decrypted),
}

fn receive_envelope(batch: &mut Batch, mut arrival: Arrival, envelope: &[u8]) -> Result<()> {
    match decrypt(batch, &arrival, envelope)? {
        Attempt::NoSession => {
            let why = "it belongs to a session that this device doesn't have";
            batch.keep_undecryptable(&arrival, why)?;
            retry::want(batch, &arrival.contact, &arrival.message.mid)
        }
        Attempt::Failed(sessions, DecryptError::UnknownSession)
            if is_of_before_the_import(&arrival, &sessions) =>
        {
            keep_of_before_the_import(batch, &arrival)
        }
        Attempt::Claimed(identity) => receive_claim(batch, arrival, envelope, identity),
        Attempt::Failed(mut sessions, error) => {
            batch.keep_undecryptable(&arrival, &error.to_string())?;
            let proven = sessions.proves_cause(&batch.me.keys, envelope);
            renewal::after_failure(batch, &mut arrival.contact, &sessions, &error, proven)?;
            // A contact of whom no identity is known has no sessions to keep.
            if arrival.contact.identity.is_some() {
                batch.keep_sessions(arrival.contact.id, sessions, proven);
            }
            match retry::curable(&error) {
                true => retry::want(batch, &arrival.contact, &arrival.message.mid),
                false => Ok(()),
            }
        }
        Attempt::Decrypted(sessions, decrypted) => {
            let identity = *sessions.identity();
            batch.keep_sessions(arrival.contact.id, sessions, true);
            if let Some(id) = decrypted.used_one_time {
                batch.vault.use_up(id)?;
            }
            if let Some(started) = &decrypted.started {
                findings::report_started(batch, &arrival, started);
            }
            findings::report(batch, &mut arrival, &decrypted.findings)?;
            pin_if_first(batch, &mut arrival.contact, &identity)?;
            heard_from(batch, &mut arrival.contact)?;
            let from = ByteArray(identity.fingerprint());
            match decrypted.content {
                Ok(content) => receive_content(batch, &arrival, from, content),
                Err(error) => batch.keep_undecryptable(&arrival, &error.to_string()),
            }
        }
    }
}

/// Whether a message that no session here opens can be for one that stayed behind with the vault
/// that was exported: its sender's client has answered in none that began here, or the server had
/// it before the import.
fn is_of_before_the_import(arrival: &Arrival, sessions: &SessionSet) -> bool {
    let contact = &arrival.contact;
    contact.imported_at.is_some_and(|imported_at| {
        contact.renewal == Some(Renewal::Imported)
            || sessions.awaits_answer()
            || arrival.message.at < imported_at
    })
}

/// Keeps what was encrypted in a session that stayed behind with the vault that was exported. It
/// may be no more than a receipt, so it is not shown and not unread: the sender's client is asked,
/// and sends again what has words.
fn keep_of_before_the_import(batch: &mut Batch, arrival: &Arrival) -> Result<()> {
    let why = "it was encrypted for the vault before the import, and may be no more than a receipt";
    batch.keep_quietly_undecryptable(arrival, why)?;
    findings::report_of_before_the_import(batch, arrival);
    retry::want(batch, &arrival.contact, &arrival.message.mid)
}

/// Decrypts an envelope in the sessions with the known identity, or with the one that
/// it names if none is known.
fn decrypt(batch: &mut Batch, arrival: &Arrival, envelope: &[u8]) -> Result<Attempt> {
    let contact = &arrival.contact;
    let sender = match contact.identity {
        Some(known) => known,
        None => match claimed_identity(envelope) {
            Ok(Some(claimed)) if batch.me.trust == Trust::Never => {
                return Ok(Attempt::Claimed(claimed));
            }
            Ok(Some(claimed)) => wire_identity(&claimed),
            Ok(None) | Err(_) => return Ok(Attempt::NoSession),
        },
    };
    let saved = batch.take_sessions(contact.id)?;
    let saved = saved.filter(|sessions| wire_identity(sessions.identity()) == sender);
    let empty = || {
        let mut sessions = identity_keys(&sender).map(SessionSet::new)?;
        if contact.renewal == Some(Renewal::Imported) {
            sessions.lose_count();
        }
        Some(sessions)
    };
    let Some(mut sessions) = saved.or_else(empty) else {
        return Ok(Attempt::NoSession);
    };
    let context = batch.me.context_of(arrival.message);
    let prekeys = PrekeyReader::new(batch.vault);
    let decrypted = sessions.decrypt(&batch.me.keys, &prekeys, envelope, &context, batch.me.age);
    prekeys.finish()?;
    Ok(match decrypted {
        Ok(decrypted) => Attempt::Decrypted(sessions, decrypted),
        Err(DecryptError::IdentityMismatch { claimed }) => {
            batch.keep_sessions(contact.id, sessions, false);
            Attempt::Claimed(claimed)
        }
        Err(error) => Attempt::Failed(sessions, error),
    })
}

fn receive_claim(
    batch: &mut Batch,
    mut arrival: Arrival,
    envelope: &[u8],
    claimed: PublicIdentity,
) -> Result<()> {
    let identity = wire_identity(&claimed);
    match claims::judge(batch, &arrival, claimed)? {
        Claim::Refused(why) => batch.keep_undecryptable(&arrival, why),
        Claim::Rejected => claims::drop_rejected(batch, arrival),
        Claim::Held => claims::hold(batch, arrival, identity),
        Claim::Accepted => {
            batch.show(ViewEvent::warning(format!(
                "{}'s identity has changed and was accepted, as --trust always says",
                arrival.contact.name
            )));
            trust::pin_identity(batch.vault, &mut arrival.contact, identity)?;
            batch.drop_sessions(arrival.contact.id);
            batch.effects.people_changed = true;
            receive_envelope(batch, arrival, envelope)
        }
    }
}

/// Pins the identity that wrote the first message of somebody whose identity is not known.
fn pin_if_first(batch: &mut Batch, contact: &mut Contact, identity: &PublicIdentity) -> Result<()> {
    if contact.identity.is_some() {
        return Ok(());
    }
    contact.identity = Some(wire_identity(identity));
    batch.vault.save_contact(contact)?;
    batch.effects.people_changed = true;
    batch.show(ViewEvent::quiet(format!(
        "{0} is new to you; to be sure it is them, compare safety numbers: /verify {0}",
        contact.name
    )));
    Ok(())
}

/// What follows from a message that the known identity provably wrote.
fn heard_from(batch: &mut Batch, contact: &mut Contact) -> Result<()> {
    if contact.was_blocked && !contact.blocked {
        contact.was_blocked = false;
        batch.vault.save_contact(contact)?;
    }
    claims::seen(batch, contact)?;
    renewal::understood(batch, contact)
}

fn receive_content(
    batch: &mut Batch,
    arrival: &Arrival,
    from: ByteArray<32>,
    content: Content,
) -> Result<()> {
    let Arrival {
        contact, message, ..
    } = arrival;
    let record = |text| MessageRecord {
        text,
        sent_at: Some(content.sent_at_ms),
        identity: Some(from),
        verified: contact.verified,
        ..received(message)
    };
    match content.body {
        Payload::Text(text) => {
            batch.effects.received.push((contact.id, message.mid));
            return batch.keep(arrival, record(text), Mark::None).map(drop);
        }
        Payload::Again { sent_as, text } => {
            let own = sent_as.first().map_or(message.mid, |id| MessageId(*id));
            batch.effects.received.push((contact.id, own));
            receive_sent_again(batch, arrival, &sent_as, record(text))?;
        }
        Payload::RetryRequest(ids) => retry::answer(batch, contact, &ids)?,
        Payload::NothingThere(ids) => retry::forget(batch.vault, contact, &ids)?,
        Payload::Receipt(ids) => confirmations::confirmed(batch, contact, from, &ids)?,
        Payload::Introduction { invitation, proof } => {
            introduction::introduced(batch, contact, &invitation, &proof)?;
        }
        Payload::Unknown(_) => {
            let why = "a newer client sent something that this version can't show";
            return batch.keep_undecryptable(arrival, why);
        }
    }
    // While it was held, it was shown as a message.
    match arrival.held_at {
        Some(seq) => batch.vault.remove_message(seq),
        None => Ok(()),
    }
}

/// The words of a message that was asked for: they replace its undecryptable row.
fn receive_sent_again(
    batch: &mut Batch,
    arrival: &Arrival,
    sent_as: &[Id],
    record: MessageRecord,
) -> Result<()> {
    let Arrival {
        contact, message, ..
    } = arrival;
    let (seq, mid, at) = match retry::earlier(batch.vault, contact, sent_as)? {
        Earlier::Read => return Ok(()),
        Earlier::Undecryptable(lost) => {
            batch.vault.save_message(lost.seq, &record)?;
            (lost.seq, lost.mid, lost.at)
        }
        Earlier::Nothing => {
            let own = sent_as.first().map_or(message.mid, |id| MessageId(*id));
            // It came before, and was deleted since.
            if batch.vault.is_seen(contact.id, &own)? {
                return Ok(());
            }
            batch.vault.mark_seen(contact.id, &own)?;
            batch.gaps.fill(contact.id);
            let at = message.at;
            (
                batch.vault.add_message(contact.id, &own, at, &record)?,
                own,
                message.at,
            )
        }
    };
    let event = shown(contact, mid, at, record.text, Mark::None, "sent again");
    batch.show_message(seq, event)
}
