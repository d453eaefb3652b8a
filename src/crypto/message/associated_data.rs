//! What surrounds a message and must arrive unchanged with it, though none of
//! it is secret: its id, and who writes to whom, by name and by identity.
//!
//! It goes under the MAC as associated data, so that a server which delivers a
//! message under another name or id, or to another account, is found out.

use crate::crypto::codec::put_short;
use crate::crypto::keys::PublicIdentity;

/// The names and the id under which a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssociatedData<'a> {
    /// The message id that the sender's client chose.
    pub message_id: [u8; 16],
    /// Canonical name of the sender's account.
    pub sender: &'a str,
    /// Canonical name of the recipient's account.
    pub recipient: &'a str,
}

impl AssociatedData<'_> {
    /// `envelope's version (1) || message id (16) || length of the sender's name (2) ||
    /// sender's name || length of the recipient's name (2) || recipient's name ||
    /// sender's identity (64) || recipient's identity (64)`, lengths in bytes of
    /// UTF-8, big-endian.
    pub(crate) fn associated_data(
        &self,
        version: u8,
        sender: &PublicIdentity,
        recipient: &PublicIdentity,
    ) -> Vec<u8> {
        let mut out = vec![version];
        out.extend_from_slice(&self.message_id);
        put_short(&mut out, self.sender.as_bytes());
        put_short(&mut out, self.recipient.as_bytes());
        out.extend_from_slice(sender.as_bytes());
        out.extend_from_slice(recipient.as_bytes());
        out
    }
}
