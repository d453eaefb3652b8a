//! Links between the sessions with one contact: secrets from the ratchet of a session
//! that a later one takes in, so that a session between people who talk already can't
//! be opened with long-lived keys alone.
//!
//! Every Diffie-Hellman step gives a link. Its id names it in the header of the session
//! that takes it in, where the MAC covers it.
//!
//! ```text
//! link id (16) || link secret (32) = HKDF(32 zero bytes, root key after the step, "secure-chat/1 link", 48)
//! ```
//!
//! Whoever starts a session uses the link of the last step of the other side's that
//! decrypted: the other side has it, since it made that step. Whoever is to open such a
//! session keeps the links of its own steps until a later one was answered.

use super::chain::RootKey;
use super::origin::{LINK_ID_LEN, SESSION_ID_LEN};
use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::secret::Secret;

/// The most own steps whose links are kept. One is usual, two while an answer is on the
/// way; more come of sessions that are started before an answer to the last.
const MAX_SAID: usize = 8;

/// What a new session takes in of an earlier one.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) id: [u8; LINK_ID_LEN],
    pub(crate) secret: Secret<32>,
}

/// The first root key of a session: what X3DH agreed on, with the link that the session
/// takes in.
///
/// `HKDF(link secret, or 32 zero bytes, SK, "secure-chat/1 linked-root", 32)`.
pub(crate) fn linked_root(agreed: &Secret<32>, link: Option<&Link>) -> Secret<32> {
    let salt = link.map_or(&kdf::NO_SALT, |link| link.secret.expose());
    kdf::hkdf(salt, agreed.expose(), label::LINKED_ROOT)
}

impl Link {
    /// The link of the step that made this root key.
    pub(crate) fn of(root: &RootKey) -> Self {
        let joined: Secret<48> = kdf::hkdf(&kdf::NO_SALT, root.expose(), label::LINK);
        let (id, secret) = joined.expose().split_at(LINK_ID_LEN);
        Self {
            id: std::array::from_fn(|i| id[i]),
            secret: Secret::filled_by(|place| place.copy_from_slice(secret)),
        }
    }

    fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(&self.id);
        put(self.secret.expose());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = *reader.array()?;
        let secret = reader.secret()?;
        Ok(Self { id, secret })
    }
}

/// A step of ours, in the session that it was made in.
#[derive(Clone)]
struct Said {
    session: [u8; SESSION_ID_LEN],
    /// Its number among all our steps with this contact, from 1.
    step: u32,
    link: Link,
}

/// The links with one contact.
#[derive(Clone, Default)]
pub(crate) struct Links {
    /// Of the last step of theirs that decrypted here.
    heard: Option<Link>,
    /// Of our own steps, the latest last.
    said: Vec<Said>,
    /// How many steps we have made.
    steps: u32,
}

impl Links {
    /// The link that a session started here takes in.
    pub(crate) fn to_start_with(&self) -> Option<&Link> {
        self.heard.as_ref()
    }

    /// The link that a session of theirs takes in.
    pub(crate) fn named(&self, id: &[u8; LINK_ID_LEN]) -> Option<&Link> {
        let said = self.said.iter().find(|said| said.link.id == *id)?;
        Some(&said.link)
    }

    /// How many steps we have made.
    pub(crate) fn steps(&self) -> u32 {
        self.steps
    }

    /// Notes a step of ours in a session.
    pub(crate) fn said(&mut self, session: [u8; SESSION_ID_LEN], root: &RootKey) {
        self.steps = self.steps.saturating_add(1);
        let (step, link) = (self.steps, Link::of(root));
        self.said.push(Said {
            session,
            step,
            link,
        });
        let surplus = self.said.len().saturating_sub(MAX_SAID);
        self.said.drain(..surplus);
    }

    /// Notes a step of theirs in a session: it answers our latest step there, whose
    /// number this gives, so links of steps before that one are not needed any more.
    pub(crate) fn heard(&mut self, session: &[u8; SESSION_ID_LEN], root: &RootKey) -> Option<u32> {
        self.heard = Some(Link::of(root));
        let answered = self
            .said
            .iter()
            .rposition(|said| said.session == *session)?;
        self.said.drain(..answered);
        self.said.first().map(|said| said.step)
    }

    /// A session that goes on from none is started: nothing is heard in it yet. A session
    /// of theirs that is on the way may still go on from an earlier step of ours.
    pub(crate) fn start_anew(&mut self) {
        self.heard = None;
    }

    /// `heard (1) [|| link (48)] || steps (4) || number of own steps (1)`, then for each
    /// `session id (16) || step (4) || link (48)`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(&[u8::from(self.heard.is_some())]);
        if let Some(link) = &self.heard {
            link.write(put);
        }
        put(&self.steps.to_be_bytes());
        // At most MAX_SAID.
        put(&[self.said.len() as u8]);
        for said in &self.said {
            put(&said.session);
            put(&said.step.to_be_bytes());
            said.link.write(put);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let heard = match reader.flag()? {
            true => Some(Link::read(reader)?),
            false => None,
        };
        let steps = reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_SAID {
            return Err(Malformed);
        }
        let said = (0..count).map(|_| {
            Ok(Said {
                session: *reader.array()?,
                step: reader.u32()?,
                link: Link::read(reader)?,
            })
        });
        let said = said.collect::<Result<_, Malformed>>()?;
        Ok(Self { heard, said, steps })
    }
}
