//! Why a session was started, and its place among the sessions with one contact: what an
//! initial envelope says of it, signed by the identity of whoever started it.
//!
//! A session between people who talk already takes in a link ([`super::link`]). One that
//! does not has a cause on the device that started it, and the signature proves that the
//! holder of the identity says so: no server can bring it about.

use crate::crypto::codec::{Malformed, Reader};
use crate::crypto::kdf::label;
use crate::crypto::keys::{IdentityKeys, PublicIdentity};

/// Bytes in the name of a session.
pub const SESSION_ID_LEN: usize = 16;

/// Bytes in the name of a link.
pub const LINK_ID_LEN: usize = 16;

/// Why a session was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// It goes on from an earlier one, whose link it takes in.
    Linked = 0,
    /// It is the first with this contact.
    First = 1,
    /// The vault is new, from an import for instance, and has no session.
    NewVault = 2,
    /// The vault was put back to an older copy, or another copy of it was used.
    RolledBack = 3,
    /// The person said so.
    Person = 4,
    /// The other side has started one for a cause of its own, and it could not be opened.
    Answer = 5,
    /// The sessions before it are of version 1.
    Upgrade = 6,
}

impl Cause {
    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        Ok(match byte {
            0 => Self::Linked,
            1 => Self::First,
            2 => Self::NewVault,
            3 => Self::RolledBack,
            4 => Self::Person,
            5 => Self::Answer,
            6 => Self::Upgrade,
            _ => return Err(Malformed),
        })
    }
}

/// What an initial envelope says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Later sessions have higher ones: more than every session that the initiator
    /// knew, and at least its clock in milliseconds.
    pub generation: u64,
    /// Why it was started.
    pub cause: Cause,
    /// The link that it takes in; zeros without one.
    pub link: [u8; LINK_ID_LEN],
    /// The initiator's Ed25519 signature.
    pub signature: [u8; 64],
}

impl Origin {
    /// Signs what is said of the session with this id, which binds both identities and
    /// the ephemeral key.
    pub(crate) fn sign(
        our: &IdentityKeys,
        session: &[u8; SESSION_ID_LEN],
        generation: u64,
        cause: Cause,
        link: [u8; LINK_ID_LEN],
    ) -> Self {
        let signature = our.sign(&statement(session, generation, cause, &link));
        Self {
            generation,
            cause,
            link,
            signature,
        }
    }

    /// Whether the holder of `initiator` said this of the session.
    pub(crate) fn is_signed_by(
        &self,
        initiator: &PublicIdentity,
        session: &[u8; SESSION_ID_LEN],
    ) -> bool {
        let statement = statement(session, self.generation, self.cause, &self.link);
        initiator.has_signed(&statement, &self.signature)
    }

    /// `generation (8) || cause (1) || link id (16) || signature (64)`.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(&self.generation.to_be_bytes());
        put(&[self.cause as u8]);
        put(&self.link);
        put(&self.signature);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let generation = reader.u64()?;
        let cause = Cause::from_byte(reader.u8()?)?;
        let link = *reader.array()?;
        if (cause == Cause::Linked) == (link == [0; LINK_ID_LEN]) {
            return Err(Malformed);
        }
        Ok(Self {
            generation,
            cause,
            link,
            signature: *reader.array()?,
        })
    }
}

fn statement(
    session: &[u8; SESSION_ID_LEN],
    generation: u64,
    cause: Cause,
    link: &[u8; LINK_ID_LEN],
) -> Vec<u8> {
    let mut out = label::NEW_SESSION.to_vec();
    out.extend_from_slice(session);
    out.extend_from_slice(&generation.to_be_bytes());
    out.push(cause as u8);
    out.extend_from_slice(link);
    out
}
