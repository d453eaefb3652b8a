//! Everything encrypted with one contact: up to eight sessions with one pinned
//! identity, and the rules by which they are started, chosen and dropped.
//!
//! A [`SessionSet`] changes only when an operation succeeds, so a caller may
//! save it (in one transaction with what the operation gave) or throw a clone
//! away. It neither knows the network nor asks whether a contact is trusted;
//! it only refuses every identity but the one it was made for.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;

use std::fmt;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::x3dh;
use super::x3dh::{InitialHeader, SESSION_ID_LEN};
use super::{Ratchet, RatchetMessage, RatchetStep};
use crate::crypto::codec::{Reader, encode_secret};
use crate::crypto::keys::{
    IdentityKeys, KeyError, OneTimePrekeySecret, PublicIdentity, SignedPrekeySecret,
    VerifiedBundle, WeakKey,
};
use crate::crypto::message::associated_data::AssociatedData;
use crate::crypto::message::content::{Content, ContentError};
use crate::crypto::message::envelope::{Envelope, EnvelopeError, Header};
use crate::crypto::message::padding;

pub use super::error::{DecryptError, EncryptError};

/// The most sessions kept with one contact. Two arise when both write first at
/// once; more only through restored backups and replaced devices.
pub const MAX_SESSIONS: usize = 8;

/// Version of the saved form.
const SAVED_VERSION: u8 = 1;

/// Where the private halves of our prekeys are kept.
pub trait Prekeys {
    /// The signed prekey with this id, if it is still kept.
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret>;
    /// The one-time prekey with this id, if it has not been used.
    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret>;
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
    /// Whether the message started a session.
    pub started_session: bool,
    /// How many earlier messages this one has shown to be missing.
    pub missing: u32,
}

/// The sessions with one contact, the one to send in first.
#[derive(Clone)]
pub struct SessionSet {
    theirs: PublicIdentity,
    sessions: Vec<RatchetSession>,
}

#[derive(Clone)]
struct RatchetSession {
    id: [u8; SESSION_ID_LEN],
    /// Sent along until the other side has answered.
    unanswered: Option<InitialHeader>,
    ratchet: Ratchet,
}

impl fmt::Debug for SessionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { theirs, sessions } = self;
        f.debug_struct("SessionSet")
            .field("theirs", theirs)
            .field("sessions", &sessions.len())
            .finish()
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
            sessions: Vec::new(),
        }
    }

    /// The identity that the conversation is pinned to.
    pub fn identity(&self) -> &PublicIdentity {
        &self.theirs
    }

    /// Whether [`encrypt`](Self::encrypt) has a session to use.
    pub fn has_session(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Whether the next message goes into a session that we started and in which
    /// nothing has been decrypted yet.
    pub fn awaits_answer(&self) -> bool {
        let first = self.sessions.first();
        first.is_some_and(|session| session.unanswered.is_some())
    }

    /// How many messages are known to be missing. Those whose keys have expired
    /// count until the next gap clears them away.
    pub fn missing(&self) -> usize {
        self.sessions
            .iter()
            .map(|session| session.ratchet.missing())
            .sum()
    }

    /// Starts a session as its initiator ("X3DH" section 3.3); the next messages
    /// are sent in it.
    ///
    /// Fails with [`EncryptError::IdentityMismatch`] if the bundle is of another
    /// identity than the pinned one, and with [`EncryptError::WeakKey`].
    pub fn start<R: CryptoRng + ?Sized>(
        &mut self,
        our: &IdentityKeys,
        bundle: &VerifiedBundle,
        rng: &mut R,
    ) -> Result<(), EncryptError> {
        if *bundle.identity() != self.theirs {
            return Err(EncryptError::IdentityMismatch {
                offered: *bundle.identity(),
            });
        }
        let weak = |WeakKey| EncryptError::WeakKey;
        let (shared, initial) = x3dh::initiate(our, bundle, rng).map_err(weak)?;
        let ratchet = Ratchet::initiator(shared, bundle.signed_prekey().key, rng).map_err(weak)?;
        self.put_first(RatchetSession {
            id: initial.session_id(&self.theirs),
            unanswered: Some(initial),
            ratchet,
        });
        Ok(())
    }

    /// Encrypts `content`, padded, in the session that last decrypted or was
    /// last started, and gives the envelope's bytes.
    ///
    /// The conversation has then moved on: save it before the envelope leaves.
    /// `context` names us as the sender.
    pub fn encrypt<R: CryptoRng + ?Sized>(
        &mut self,
        our: &IdentityKeys,
        context: &AssociatedData<'_>,
        content: &Content,
        rng: &mut R,
    ) -> Result<Vec<u8>, EncryptError> {
        let plaintext = content.encode().map_err(EncryptError::Content)?;
        let padded =
            padding::pad(&plaintext).map_err(|_| EncryptError::Content(ContentError::Malformed))?;
        let ad = context.associated_data(&our.public(), &self.theirs);
        let session = self.sessions.first_mut().ok_or(EncryptError::NoSession)?;
        let (ratchet, keys) = session.ratchet.next_to_send(rng)?;
        let header = Header {
            session_id: session.id,
            ratchet,
            initial: session.unanswered,
        };
        let mut out = header.to_bytes();
        let encrypted = keys.encrypt(&ad, &out, &padded);
        out.extend_from_slice(&encrypted);
        Ok(out)
    }

    /// Decrypts an envelope, starting a session if it asks for one.
    ///
    /// `context` names the other side as the sender, as the server delivered the
    /// message; `now_ms` is our clock, by which kept keys expire. Without a
    /// one-time prekey a replayed initial message of a session dropped since
    /// would decrypt again ("X3DH" section 4.2), so look the message id up before
    /// decrypting: the id is authenticated.
    pub fn decrypt(
        &mut self,
        our: &IdentityKeys,
        prekeys: &impl Prekeys,
        envelope: &[u8],
        context: &AssociatedData<'_>,
        now_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let envelope = Envelope::parse(envelope)?;
        if let Some(initial) = &envelope.header.initial {
            self.check_initial(our, &envelope, initial)?;
        }
        let ad = context.associated_data(&self.theirs, &our.public());
        let id = &envelope.header.session_id;
        match self.sessions.iter().position(|session| session.id == *id) {
            Some(place) => self.decrypt_in(place, incoming(&envelope, &ad), now_ms),
            None => self.decrypt_first(our, prekeys, &envelope, &ad, now_ms),
        }
    }

    /// The saved form, secrets and all, for the vault: `1 || identity (64) ||
    /// number of sessions (1)`, then for each `session id (16) || initiated and
    /// unanswered (1) [|| initial header (105)] || ratchet`.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        encode_secret(|put| {
            put(&[SAVED_VERSION]);
            put(self.theirs.as_bytes());
            // At most MAX_SESSIONS.
            put(&[self.sessions.len() as u8]);
            for session in &self.sessions {
                session.write(put);
            }
        })
    }

    /// Reads the saved form. Fails with [`KeyError`] if it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != SAVED_VERSION {
            return Err(KeyError::Malformed);
        }
        let theirs = PublicIdentity::from_bytes(reader.array()?)?;
        let count = usize::from(reader.u8()?);
        if count > MAX_SESSIONS {
            return Err(KeyError::Malformed);
        }
        let sessions = (0..count)
            .map(|_| RatchetSession::read(&mut reader))
            .collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { theirs, sessions })
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
        message: RatchetMessage<'_>,
        now_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let session = self
            .sessions
            .get_mut(place)
            .ok_or(DecryptError::UnknownSession)?;
        let received = session.ratchet.decrypt(message, now_ms)?;
        session.unanswered = None;
        if let Some(newer) = self.sessions.get_mut(..=place) {
            newer.rotate_right(1);
        }
        Ok(opened(received, None, false))
    }

    fn decrypt_first(
        &mut self,
        our: &IdentityKeys,
        prekeys: &impl Prekeys,
        envelope: &Envelope<'_>,
        ad: &[u8],
        now_ms: u64,
    ) -> Result<Decrypted, DecryptError> {
        let header = &envelope.header;
        let initial = header.initial.ok_or(DecryptError::UnknownSession)?;
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
        let shared = x3dh::respond(our, &signed, one_time.as_ref(), &initial)?;
        let mut ratchet =
            Ratchet::responder(shared, signed.agreement(), header.ratchet.ratchet_key)?;
        let received = ratchet.decrypt(incoming(envelope, ad), now_ms)?;
        self.put_first(RatchetSession {
            id: header.session_id,
            unanswered: None,
            ratchet,
        });
        Ok(opened(received, initial.one_time_id, true))
    }

    fn put_first(&mut self, session: RatchetSession) {
        self.sessions.insert(0, session);
        self.sessions.truncate(MAX_SESSIONS);
    }
}

impl RatchetSession {
    fn write(&self, put: &mut dyn FnMut(&[u8])) {
        let Self {
            id,
            unanswered,
            ratchet,
        } = self;
        put(id);
        put(&[u8::from(unanswered.is_some())]);
        if let Some(initial) = unanswered {
            initial.write(put);
        }
        ratchet.write(put);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        let id = *reader.array()?;
        let unanswered = if reader.flag()? {
            Some(InitialHeader::read(reader)?)
        } else {
            None
        };
        let ratchet = Ratchet::read(reader)?;
        Ok(Self {
            id,
            unanswered,
            ratchet,
        })
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

fn opened(received: RatchetStep, used_one_time: Option<u32>, started_session: bool) -> Decrypted {
    let content = padding::unpad(&received.plaintext)
        .map_err(|_| ContentError::Malformed)
        .and_then(Content::decode);
    Decrypted {
        content,
        used_one_time,
        started_session,
        missing: received.newly_missing,
    }
}
