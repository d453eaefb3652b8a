//! Identities between the forms that they have on the wire, in the vault and in the
//! cryptography. Who is trusted is `trust`'s business.

use crate::crypto::keys::PublicIdentity;
use crate::protocol::ByteArray;
use crate::protocol::request::Identity;

/// The identity as the cryptography takes it; `None` if it is no usable key.
pub(super) fn identity_keys(identity: &Identity) -> Option<PublicIdentity> {
    PublicIdentity::from_bytes(&identity.to_bytes()).ok()
}

/// The identity as the wire and the vault write it.
pub(crate) fn wire_identity(keys: &PublicIdentity) -> Identity {
    Identity::from_bytes(&keys.to_bytes())
}

/// The short name of an identity; zeros for one that is no usable key.
pub(super) fn fingerprint(identity: &Identity) -> ByteArray<32> {
    ByteArray(identity_keys(identity).map_or([0; 32], |keys| keys.fingerprint()))
}
