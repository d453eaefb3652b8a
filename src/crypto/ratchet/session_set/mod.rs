//! Everything encrypted with one contact: up to eight sessions with one pinned
//! identity, the rules by which they are started, chosen and dropped, and the numbers of
//! the conversation that goes through all of them.
//!
//! Sending is done in the session of the highest generation, and of two of the same in that
//! with the lower id. Both sides rank alike, so two that start a session at once agree
//! once each has heard of the other's. A session in which the other side has written
//! supersedes all that rank below it, and starting one supersedes all there are. A
//! superseded session only reads, for 30 days, and never sends again: whoever stole the
//! state of an old session can't bring it back.
//!
//! A [`SessionSet`] changes only when an operation succeeds, so a caller may
//! save it (in one transaction with what the operation gave) or throw a clone
//! away. It neither knows the network nor asks whether a contact is trusted;
//! it only refuses every identity but the one it was made for. Things age by a clock of
//! the caller's, `age_ms`, in milliseconds.

mod accept;
#[cfg(test)]
mod convergence;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod schedules;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;

use rand::CryptoRng;
use zeroize::Zeroizing;

use self::session::{Rank, RatchetSession};
use super::counters::{Findings, MessageNumber, ReceivedNumbers, SentNumbers};
use super::link::{Links, linked_root};
use super::origin::{Cause, LINK_ID_LEN, Origin};
use super::x3dh;
use super::x3dh::InitialHeader;
use super::{Ratchet, RatchetMessage, RatchetStep};
use crate::crypto::codec::{Reader, encode_secret};
use crate::crypto::keys::{
    IdentityKeys, KeyError, OneTimePrekeySecret, PublicIdentity, SignedPrekeySecret,
    VerifiedBundle, WeakKey,
};
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, ContentError};
use crate::crypto::message::envelope::{Envelope, EnvelopeError, Header, OLD_VERSION, VERSION};
use crate::crypto::message::padding;
use crate::crypto::message::position::Position;

pub use super::error::{DecryptError, EncryptError};

/// The most sessions kept with one contact. Two arise when both write first at
/// once; more only through restored backups and replaced devices.
pub const MAX_SESSIONS: usize = 8;

/// How long a superseded session reads: 30 days, in milliseconds.
pub const MAX_SUPERSEDED_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// Version of the saved form.
const SAVED_VERSION: u8 = 2;

/// Where the private halves of our prekeys are kept.
pub trait Prekeys {
    /// The signed prekey with this id, if it is still kept.
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret>;
    /// The one-time prekey with this id, if it has not been used.
    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret>;
}

/// A message that was encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// What the server carries.
    pub envelope: Vec<u8>,
    /// Its number in the conversation, for [`SessionSet::void`] if it never goes out; a
    /// receipt has none.
    pub number: Option<MessageNumber>,
}

/// A message that authenticated and was decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decrypted {
    /// What was inside. An error here means that the sender's client wrote
    /// something that this version can't read; the session has moved on, and
    /// the message will not decrypt a second time.
    pub content: Result<Content, ContentError>,
    /// The one-time prekey that the message used up: delete it in the same
    /// transaction that saves the conversation.
    pub used_one_time: Option<u32>,
    /// The session that the message started, if it did.
    pub started: Option<Started>,
    /// What its number shows of other messages.
    pub findings: Findings,
}

/// A session that the other side started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Why, as the other side's identity has signed; `None` in version 1.
    pub cause: Option<Cause>,
    /// Whether there was a conversation before.
    pub goes_on: bool,
    /// Whether it ranks below another in which the other side has written, so that it is
    /// only read in: it was late, or the clock that started it is far behind.
    pub is_outranked: bool,
}

/// The sessions with one contact.
#[derive(Clone)]
pub struct SessionSet {
    theirs: PublicIdentity,
    /// The highest generation of a session that was seen.
    generation: u64,
    sent: SentNumbers,
    received: ReceivedNumbers,
    links: Links,
    sessions: Vec<RatchetSession>,
}

impl fmt::Debug for SessionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSet")
            .field("theirs", &self.theirs)
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

/// Whom an envelope claims to come from: the identity in an initial envelope,
/// nothing in an ordinary one. For deciding with whom to make a
/// [`SessionSet`]; nothing has been authenticated.
pub fn claimed_identity(envelope: &[u8]) -> Result<Option<PublicIdentity>, EnvelopeError> {
    let header = Envelope::parse(envelope)?.header;
    Ok(header.initial.map(|initial| initial.identity))
}

impl SessionSet {
    /// A conversation with whoever holds `theirs`, without a session yet.
    pub fn new(theirs: PublicIdentity) -> Self {
        Self {
            theirs,
            generation: 0,
            sent: SentNumbers::default(),
            received: ReceivedNumbers::default(),
            links: Links::default(),
            sessions: Vec::new(),
        }
    }

    /// The identity that the conversation is pinned to.
    pub fn identity(&self) -> &PublicIdentity {
        &self.theirs
    }

    /// Notes that this vault has no count of what the other side sent before, since it is
    /// new, if nothing was decrypted here yet.
    pub fn lose_count(&mut self) {
        self.received.lose_count();
    }

    /// Whether [`encrypt`](Self::encrypt) has a session to use.
    pub fn has_session(&self) -> bool {
        self.current().is_some()
    }

    /// Whether all sessions are of version 1, in which nothing is sent.
    pub fn is_outdated(&self) -> bool {
        !self.sessions.is_empty() && self.sessions.iter().all(|s| s.version == OLD_VERSION)
    }

    /// Whether a session can be started that goes on from an earlier one.
    pub fn has_link(&self) -> bool {
        self.links.to_start_with().is_some()
    }

    /// Whether the next message goes into a session that we started and in which
    /// nothing has been decrypted yet.
    pub fn awaits_answer(&self) -> bool {
        let current = self.current().and_then(|place| self.sessions.get(place));
        current.is_some_and(|session| !session.is_answered())
    }

    /// How many keys of messages that have not arrived are kept. Those that have expired
    /// count until they are erased.
    pub fn kept_keys(&self) -> usize {
        self.sessions
            .iter()
            .map(|session| session.ratchet.missing())
            .sum()
    }

    /// How many messages of the other side are known to be missing.
    pub fn missing(&self) -> u64 {
        self.received.missing()
    }

    /// Starts a session as its initiator ("X3DH" section 3.3); the next messages
    /// are sent in it, and no earlier session is sent in again. `now_ms` is the clock on
    /// the wall, in milliseconds since 1970.
    ///
    /// Fails with [`EncryptError::IdentityMismatch`] if the bundle is of another
    /// identity than the pinned one, with [`EncryptError::NoLink`] if the session is to go
    /// on from an earlier one and can't, and with [`EncryptError::WeakKey`].
    pub fn start<R: CryptoRng + ?Sized>(
        &mut self,
        our: &IdentityKeys,
        bundle: &VerifiedBundle,
        cause: Cause,
        now_ms: u64,
        age_ms: u64,
        rng: &mut R,
    ) -> Result<(), EncryptError> {
        if *bundle.identity() != self.theirs {
            return Err(EncryptError::IdentityMismatch {
                offered: *bundle.identity(),
            });
        }
        let link = match cause {
            Cause::Linked => {
                let link = self.links.to_start_with();
                Some(link.ok_or(EncryptError::NoLink)?.clone())
            }
            _ => None,
        };
        let weak = |WeakKey| EncryptError::WeakKey;
        let (agreed, mut initial) = x3dh::initiate(our, bundle, rng).map_err(weak)?;
        let root = linked_root(&agreed, link.as_ref());
        let ratchet = Ratchet::initiator(root, bundle.signed_prekey().key, rng).map_err(weak)?;
        let id = initial.session_id(&self.theirs);
        let generation = self.generation.saturating_add(1).max(now_ms);
        let link = link.map_or([0; LINK_ID_LEN], |link| link.id);
        initial.origin = Some(Origin::sign(our, &id, generation, cause, link));

        self.generation = generation;
        match cause {
            Cause::RolledBack => self.sent.renew(),
            Cause::NewVault => self.lose_count(),
            _ => {}
        }
        if cause != Cause::Linked {
            self.links.start_anew();
        }
        for session in &mut self.sessions {
            session.superseded.get_or_insert(age_ms);
        }
        self.links.said(id, ratchet.root());
        self.add(RatchetSession {
            version: VERSION,
            id,
            generation,
            unanswered: Some(initial),
            superseded: None,
            ratchet,
        });
        self.expire(age_ms);
        Ok(())
    }

    /// Encrypts `content` behind its position, padded, and gives the envelope.
    ///
    /// The conversation has then moved on: save it before the envelope leaves.
    /// `context` names us as the sender.
    pub fn encrypt<R: CryptoRng + ?Sized>(
        &mut self,
        our: &IdentityKeys,
        context: &AssociatedData<'_>,
        content: &Content,
        age_ms: u64,
        rng: &mut R,
    ) -> Result<Encrypted, EncryptError> {
        let plaintext = content.encode().map_err(EncryptError::Content)?;
        let place = self.current().ok_or(EncryptError::NoSession)?;
        let mut sent = self.sent.clone();
        let position = sent.position(content.is_counted(), rng);
        let plaintext = encode_secret(|put| {
            position.write(put);
            put(&plaintext);
        });
        let padded =
            padding::pad(&plaintext).map_err(|_| EncryptError::Content(ContentError::Malformed))?;
        let ad = context.associated_data(VERSION, &our.public(), &self.theirs);
        let session = self
            .sessions
            .get_mut(place)
            .ok_or(EncryptError::NoSession)?;
        let next = session.ratchet.next_to_send(rng)?;
        let header = Header {
            version: VERSION,
            session_id: session.id,
            ratchet: next.header,
            initial: session.unanswered,
        };
        if next.stepped {
            self.links.said(session.id, session.ratchet.root());
        }
        let number = sent.used(&position);
        self.sent = sent;
        self.expire(age_ms);
        let mut envelope = header.to_bytes();
        let encrypted = next.keys.encrypt(&ad, &envelope, &padded);
        envelope.extend_from_slice(&encrypted);
        Ok(Encrypted { envelope, number })
    }

    /// Notes that a message never went out, and never will: those that follow say so.
    pub fn void(&mut self, message: &MessageNumber) {
        self.sent.void(message, self.links.steps());
    }

    /// Decrypts an envelope, starting a session if it asks for one.
    ///
    /// `context` names the other side as the sender, as the server delivered the
    /// message. Without a one-time prekey a replayed initial message of a session dropped
    /// since would decrypt again ("X3DH" section 4.2), so look the message id up before
    /// decrypting: the id is authenticated.
    pub fn decrypt(
        &mut self,
        our: &IdentityKeys,
        prekeys: &impl Prekeys,
        envelope: &[u8],
        context: &AssociatedData<'_>,
        age_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let envelope = Envelope::parse(envelope)?;
        if let Some(initial) = &envelope.header.initial {
            self.check_initial(our, &envelope, initial)?;
        }
        let ad = context.associated_data(envelope.header.version, &self.theirs, &our.public());
        let id = &envelope.header.session_id;
        let known = |session: &RatchetSession| session.id == *id && !session.has_expired(age_ms);
        let decrypted = match self.sessions.iter().position(known) {
            Some(place) => self.decrypt_in(place, &envelope, &ad, age_ms),
            None => self.decrypt_first(our, prekeys, &envelope, &ad, age_ms),
        }?;
        self.expire(age_ms);
        Ok(decrypted)
    }

    /// Erases what is too old: superseded sessions, and the keys of messages that have
    /// not arrived.
    pub fn expire(&mut self, age_ms: u64) {
        self.sessions.retain(|session| !session.has_expired(age_ms));
        for session in &mut self.sessions {
            session.ratchet.expire(age_ms);
            // Saved before there was a version 2.
            if session.version == OLD_VERSION {
                session.superseded.get_or_insert(age_ms);
            }
        }
    }

    /// The saved form, secrets and all, for the vault: `2 || identity (64) || highest
    /// generation (8) || numbers sent || numbers received || links || number of sessions
    /// (1) || sessions`.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        encode_secret(|put| {
            put(&[SAVED_VERSION]);
            put(self.theirs.as_bytes());
            put(&self.generation.to_be_bytes());
            self.sent.write(put);
            self.received.write(put);
            self.links.write(put);
            // At most MAX_SESSIONS.
            put(&[self.sessions.len() as u8]);
            for session in &self.sessions {
                session.write(put);
            }
        })
    }

    /// Reads the saved form, also that of version 1: `1 || identity (64) || number of
    /// sessions (1) || sessions`. Fails with [`KeyError`] if it is neither.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        let theirs = PublicIdentity::from_bytes(reader.array()?)?;
        let mut set = Self::new(theirs);
        let read_session = match version {
            1 => RatchetSession::read_version_1,
            SAVED_VERSION => {
                set.generation = reader.u64()?;
                set.sent = SentNumbers::read(&mut reader)?;
                set.received = ReceivedNumbers::read(&mut reader)?;
                set.links = Links::read(&mut reader)?;
                RatchetSession::read
            }
            _ => return Err(KeyError::Malformed),
        };
        let count = usize::from(reader.u8()?);
        if count > MAX_SESSIONS {
            return Err(KeyError::Malformed);
        }
        set.sessions = (0..count)
            .map(|_| read_session(&mut reader))
            .collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(set)
    }

    /// The session to send in.
    fn current(&self) -> Option<usize> {
        let all = self.sessions.iter().enumerate();
        let live = all.filter(|(_, session)| session.is_live());
        let best = live.max_by_key(|(_, session)| session.rank());
        best.map(|(place, _)| place)
    }

    fn check_initial(
        &self,
        our: &IdentityKeys,
        envelope: &Envelope<'_>,
        initial: &InitialHeader,
    ) -> Result<(), DecryptError> {
        if initial.identity != self.theirs {
            return Err(DecryptError::IdentityMismatch {
                claimed: initial.identity,
            });
        }
        if initial.session_id(&our.public()) != envelope.header.session_id {
            return Err(DecryptError::NotOurIdentity);
        }
        Ok(())
    }

    fn decrypt_in(
        &mut self,
        place: usize,
        envelope: &Envelope<'_>,
        ad: &[u8],
        age_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let session = self
            .sessions
            .get_mut(place)
            .ok_or(DecryptError::UnknownSession)?;
        let received = session.ratchet.decrypt(incoming(envelope, ad), age_ms)?;
        session.unanswered = None;
        if session.is_live() {
            if received.stepped
                && let Some(step) = self.links.heard(&session.id, session.ratchet.root())
            {
                self.sent.answered(step);
            }
            let rank = session.rank();
            self.supersede_below(rank, age_ms);
        }
        Ok(self.opened(envelope.header.version, received))
    }

    /// The other side has written in a session of this rank: those below only read.
    fn supersede_below(&mut self, rank: Rank, age_ms: u64) {
        for session in &mut self.sessions {
            if session.is_live() && session.rank() < rank {
                session.superseded = Some(age_ms);
            }
        }
    }

    /// Adds a session. The one superseded longest ago makes room.
    fn add(&mut self, session: RatchetSession) {
        if self.sessions.len() >= MAX_SESSIONS {
            let oldest = |(_, session): &(usize, &RatchetSession)| {
                let since = session.superseded.unwrap_or(u64::MAX);
                (session.is_live(), since, session.rank())
            };
            let oldest = self.sessions.iter().enumerate().min_by_key(oldest);
            if let Some((place, _)) = oldest {
                self.sessions.remove(place);
            }
        }
        self.sessions.push(session);
    }

    /// What was inside a message of this version.
    fn opened(&mut self, version: u8, received: RatchetStep) -> Decrypted {
        let unpadded = padding::unpad(&received.plaintext).map_err(|_| ContentError::Malformed);
        let mut findings = Findings::default();
        let content = match version {
            OLD_VERSION => {
                findings.missing = u64::from(received.newly_missing);
                unpadded.and_then(Content::decode)
            }
            _ => unpadded.and_then(|bytes| {
                let mut reader = Reader::new(bytes);
                let position = Position::read(&mut reader).map_err(|_| ContentError::Malformed)?;
                findings = self.received.take(&position);
                Content::decode(reader.rest())
            }),
        };
        Decrypted {
            content,
            used_one_time: None,
            started: None,
            findings,
        }
    }
}

fn incoming<'a>(envelope: &'a Envelope<'a>, ad: &'a [u8]) -> RatchetMessage<'a> {
    RatchetMessage {
        header: &envelope.header.ratchet,
        header_bytes: envelope.header_bytes,
        ad,
        ciphertext: envelope.ciphertext,
        mac: envelope.mac,
    }
}
