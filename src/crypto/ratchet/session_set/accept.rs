//! Sessions that the other side starts: whether one can be opened, and its place among the
//! others.

use super::session::RatchetSession;
use super::{DecryptError, Decrypted, Prekeys, SessionSet, Started, incoming};
use crate::crypto::keys::IdentityKeys;
use crate::crypto::message::envelope::{Envelope, Header, OLD_VERSION};
use crate::crypto::ratchet::Ratchet;
use crate::crypto::ratchet::link::linked_root;
use crate::crypto::ratchet::origin::{Cause, Origin};
use crate::crypto::ratchet::x3dh;
use crate::crypto::ratchet::x3dh::InitialHeader;

impl SessionSet {
    /// Whether an envelope that could not be decrypted proves that the other side has
    /// started a session for a cause of its own, later than all that are known: with its
    /// signature, and nothing else of it is believed. Says so once for each session.
    pub fn proves_cause(&mut self, our: &IdentityKeys, envelope: &[u8]) -> bool {
        let Ok(envelope) = Envelope::parse(envelope) else {
            return false;
        };
        let Some(initial) = &envelope.header.initial else {
            return false;
        };
        let Some(origin) = &initial.origin else {
            return false;
        };
        let of_its_own = !matches!(origin.cause, Cause::Linked | Cause::Answer);
        let proven = of_its_own
            && origin.generation > self.generation
            && self.check_initial(our, &envelope, initial).is_ok()
            && origin.is_signed_by(&self.theirs, &envelope.header.session_id);
        if proven {
            self.generation = origin.generation;
        }
        proven
    }

    /// Decrypts the first message that arrives of a session that is not known.
    pub(super) fn decrypt_first(
        &mut self,
        our: &IdentityKeys,
        prekeys: &impl Prekeys,
        envelope: &Envelope<'_>,
        ad: &[u8],
        age_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let header = &envelope.header;
        let initial = header.initial.ok_or(DecryptError::UnknownSession)?;
        let mut ratchet = self.respond(our, prekeys, header, &initial)?;
        let received = ratchet.decrypt(incoming(envelope, ad), age_ms)?;
        let session = RatchetSession {
            version: header.version,
            id: header.session_id,
            generation: initial.origin.map_or(0, |origin| origin.generation),
            unanswered: None,
            superseded: None,
            ratchet,
        };
        let started = self.add_started(session, initial.origin, age_ms);
        Ok(Decrypted {
            used_one_time: initial.one_time_id,
            started: Some(started),
            ..self.opened(header.version, received)
        })
    }

    /// The ratchet of a session that the other side starts.
    fn respond(
        &self,
        our: &IdentityKeys,
        prekeys: &impl Prekeys,
        header: &Header,
        initial: &InitialHeader,
    ) -> Result<Ratchet, DecryptError> {
        let link = match &initial.origin {
            None if !self.received.is_empty() => return Err(DecryptError::Outdated),
            None => None,
            Some(origin) if !origin.is_signed_by(&self.theirs, &header.session_id) => {
                return Err(DecryptError::NotAuthentic);
            }
            Some(origin) if origin.cause == Cause::Linked => {
                let link = self.links.named(&origin.link);
                Some(link.ok_or(DecryptError::UnknownLink)?)
            }
            Some(_) => None,
        };
        let signed = prekeys
            .signed(initial.signed_prekey_id)
            .ok_or(DecryptError::MissingSignedPrekey(initial.signed_prekey_id))?;
        let one_time = initial
            .one_time_id
            .map(|id| {
                prekeys
                    .one_time(id)
                    .ok_or(DecryptError::MissingOneTimePrekey(id))
            })
            .transpose()?;
        let agreed = x3dh::respond(our, &signed, one_time.as_ref(), initial)?;
        let root = match initial.origin {
            Some(_) => linked_root(&agreed, link),
            None => agreed,
        };
        let first_key = header.ratchet.ratchet_key;
        Ok(Ratchet::responder(root, signed.agreement(), first_key)?)
    }

    /// Adds a session that the other side started, in its place among the others.
    fn add_started(
        &mut self,
        mut session: RatchetSession,
        origin: Option<Origin>,
        age_ms: u64,
    ) -> Started {
        let outdated = |session: &RatchetSession| session.version == OLD_VERSION;
        let goes_on = !self.received.is_empty() || self.sessions.iter().any(outdated);
        let rank = session.rank();
        // Also by a session that was superseded since: its links came later than this one's.
        let is_outranked = self
            .sessions
            .iter()
            .any(|other| other.is_answered() && other.rank() > rank);
        if is_outranked || origin.is_none() {
            session.superseded = Some(age_ms);
        } else {
            self.links.heard(&session.id, session.ratchet.root());
            self.supersede_below(rank, age_ms);
        }
        self.generation = self.generation.max(session.generation);
        self.add(session);
        Started {
            cause: origin.map(|origin| origin.cause),
            goes_on,
            is_outranked,
        }
    }
}
