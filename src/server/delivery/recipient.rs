//! What a sender has to respect of a recipient: settings, blocks, the published identity,
//! and whether the mailbox is open at all. It is kept in memory with the mailbox.

use std::collections::HashSet;

use super::mailbox::Discretion;
use super::refusals::damaged;
use crate::crypto::keys::PublicIdentity;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{Body, Identity, Sender};
use crate::store::Account;

/// What a sender has to respect.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recipient {
    /// Takes encrypted messages only.
    pub refuse_unencrypted: bool,
    /// The published identity's fingerprint.
    pub identity: Option<[u8; 32]>,
    /// Others see when the user is online. Without it they must not learn it from their
    /// messages either.
    pub presence: bool,
    /// The users whose messages are dropped.
    pub blocked: HashSet<UserName>,
    /// The account was deleted.
    pub deleted: bool,
    /// What the store holds of this mailbox is damaged. It takes and gives nothing until
    /// a server is started on a database that was mended.
    pub damaged: bool,
}

impl Recipient {
    /// As the store has it.
    pub(super) fn new(account: &Account, blocked: Vec<UserName>) -> Self {
        let identity = account.identity.as_ref().and_then(public_identity);
        Recipient {
            refuse_unencrypted: account.flags.refuse_unencrypted,
            identity: identity.map(|identity| identity.fingerprint()),
            presence: account.flags.presence,
            blocked: blocked.into_iter().collect(),
            deleted: false,
            damaged: false,
        }
    }

    /// What a sender may learn of the owner, whose name is `owner`.
    pub(super) fn discretion(&self, sender: &UserName, owner: &UserName) -> Discretion {
        match (self.blocked.contains(sender), self.presence) {
            _ if sender == owner => Discretion::Open,
            (true, _) => Discretion::Blocked,
            (false, false) => Discretion::Hidden,
            (false, true) => Discretion::Open,
        }
    }

    /// Whether it is kept from a sender that the owner has acknowledged.
    pub(super) fn hides_from(&self, sender: &Sender, owner: &UserName) -> bool {
        match sender {
            Sender::User(name) => self.discretion(name, owner) != Discretion::Open,
            Sender::Server => false,
        }
    }

    /// Why the mailbox takes no messages at all; `None` if it does.
    pub(super) fn closed(&self) -> Option<Refusal> {
        if self.deleted {
            return Some(Refusal::new(
                Code::UnknownUser,
                "the recipient has deleted their account",
            ));
        }
        self.damaged.then(damaged)
    }

    /// Checks a message against the recipient's settings and identity. `identity` is the
    /// fingerprint of the identity that the sender encrypted to.
    pub(super) fn check(
        &self,
        body: &Body,
        identity: Option<ByteArray<32>>,
        server_accepts_unencrypted: bool,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = self.closed() {
            return Err(refusal);
        }
        if let Body::Plain(_) = body {
            return match server_accepts_unencrypted && !self.refuse_unencrypted {
                true => Ok(()),
                false => Err(Refusal::new(
                    Code::UnencryptedRefused,
                    "only encrypted messages are taken here; send it with the client",
                )),
            };
        }
        match (identity, self.identity) {
            (Some(_), None) => Err(Refusal::new(
                Code::NoKeys,
                "the recipient has no keys published any more; try again when they have logged in",
            )),
            (Some(named), Some(published)) if named.0 != published => Err(Refusal::new(
                Code::IdentityChanged,
                "the recipient has another identity now; get their keys and check who it is",
            )),
            _ => Ok(()),
        }
    }
}

/// An identity's keys; `None` if they are not valid.
pub(crate) fn public_identity(identity: &Identity) -> Option<PublicIdentity> {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&identity.signing.0);
    bytes[32..].copy_from_slice(&identity.dh.0);
    PublicIdentity::from_bytes(&bytes).ok()
}
