//! New sessions with somebody who is known: what brings one about, and for which cause.
//!
//! A linked session includes a secret of the one before, and is as safe. An unlinked one could be
//! opened by a thief of the long-lived keys, so the network must not be able to force one: it needs
//! a cause on this device, a cause that the other side has signed with its identity, or `/renew`.
//! Without `/renew` there is at most one a day.

use super::batch::Batch;
use crate::client::vault::{Contact, Renewal, Result};
use crate::crypto::ratchet::origin::Cause;
use crate::crypto::ratchet::session_set::{DecryptError, SessionSet};
use crate::protocol::UserName;

/// How long after a session that the person had not asked for another may be started:
/// a day, in milliseconds.
const NEXT_AFTER_MS: u64 = 24 * 3600 * 1000;

/// Whether a session may be started without the person's word.
pub(super) fn may_renew(contact: &Contact, now: u64) -> bool {
    now.saturating_sub(contact.renewed_at) >= NEXT_AFTER_MS
}

/// What a message that could not be decrypted does to the sessions: next to nothing, since
/// anybody on the way can make one.
pub(super) fn after_failure(
    batch: &mut Batch,
    contact: &mut Contact,
    sessions: &SessionSet,
    error: &DecryptError,
    proven: bool,
) -> Result<()> {
    let renewal = match error {
        _ if proven => Renewal::Answer,
        // Their chain went on without us, and starts anew only in another session.
        DecryptError::TooFarAhead { .. } if sessions.has_link() && !sessions.awaits_answer() => {
            Renewal::Stuck
        }
        _ => return Ok(()),
    };
    if contact.renewal.is_none() && may_renew(contact, batch.now) {
        contact.renewal = Some(renewal);
        batch.vault.save_contact(contact)?;
    }
    Ok(())
}

/// Something of theirs was decrypted: they can be asked again for what is missing, and a
/// session that was to be started for want of one is not needed.
pub(super) fn understood(batch: &mut Batch, contact: &mut Contact) -> Result<()> {
    let for_want = matches!(
        contact.renewal,
        Some(Renewal::Stuck | Renewal::Answer | Renewal::Imported)
    );
    if for_want || contact.asked > 0 {
        if for_want {
            contact.renewal = None;
        }
        contact.asked = 0;
        batch.vault.save_contact(contact)?;
        batch.wants(contact.id);
    }
    Ok(())
}

/// The cause of a session that is about to be started with somebody.
pub(super) fn cause(contact: Option<&Contact>, sessions: &SessionSet) -> Cause {
    match contact.and_then(|contact| contact.renewal) {
        Some(Renewal::Stuck) => Cause::Linked,
        Some(Renewal::Imported) => Cause::NewVault,
        Some(Renewal::RolledBack) => Cause::RolledBack,
        Some(Renewal::Person) => Cause::Person,
        Some(Renewal::Answer) => Cause::Answer,
        None if sessions.is_outdated() => Cause::Upgrade,
        None => Cause::First,
    }
}

/// Notes that the session for which there was a cause is started.
pub(super) fn started(contact: &mut Contact, now: u64) {
    match contact.renewal.take() {
        Some(Renewal::Stuck | Renewal::RolledBack | Renewal::Answer) => contact.renewed_at = now,
        Some(Renewal::Imported | Renewal::Person) | None => {}
    }
}

/// What to say when a session is due and none may be started yet.
pub(super) fn too_soon(name: &UserName) -> String {
    format!(
        "a new session with {name} is needed, and one was started less than a day ago: your messages to {name} wait \
         here; if you know why (this account is used on two machines, say): /renew {name} starts one now"
    )
}
