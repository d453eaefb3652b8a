//! How an invitation makes two people sure of each other. The inviter's link carries a secret that
//! the server never sees, and the inviter's fingerprint. The newcomer takes on the identity that has this
//! fingerprint, and proves itself with a MAC over both identities under a key of the secret, within an
//! encrypted message: whoever stands in between would need the secret to speak for either.
//!
//! The inviter keeps nothing: the secret follows from the inviter's identity, the invitation's
//! number and its end, so it lives as long as the identity. What a link looks like is in
//! `transport::invitation`.

use hmac::Mac;
use zeroize::Zeroizing;

use super::codec::put_short;
use super::kdf;
use super::kdf::label;
use super::keys::{IdentityKeys, PublicIdentity};
use super::secret::Secret;

/// Which invitation of somebody's it is, and until when it works: `number (8) || end (8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvitationId {
    /// A random number.
    pub nonce: [u8; 8],
    /// Its end, ms since 1970 UTC.
    pub expires: u64,
}

/// One side of an introduction.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The canonical name of the account.
    pub name: &'a str,
    /// The identity.
    pub identity: &'a PublicIdentity,
}

/// The secret of an invitation: `HMAC(HKDF(32 zero bytes, Ed25519 seed || X25519 private key of the
/// inviter, INVITER, 32), number || end)[..16]`.
pub fn invitation_secret(inviter: &IdentityKeys, id: &InvitationId) -> Zeroizing<[u8; 16]> {
    let keys = inviter.to_bytes();
    let key: Secret<32> = kdf::hkdf(&kdf::NO_SALT, &*keys, label::INVITER);
    let mut mac = kdf::hmac(key.expose());
    mac.update(&id.nonce);
    mac.update(&id.expires.to_be_bytes());
    let output = mac.finalize().into_bytes();
    Zeroizing::new(std::array::from_fn(|at| output[at]))
}

/// The newcomer's proof: HMAC-SHA-256 under `HKDF(32 zero bytes, secret, INTRODUCTION, 32)` over the
/// inviter's name and identity, the newcomer's name and identity, and `number || end`, each behind its
/// length in two bytes.
pub fn prove(
    secret: &[u8; 16],
    id: &InvitationId,
    inviter: Side<'_>,
    newcomer: Side<'_>,
) -> [u8; 32] {
    mac(secret, id, inviter, newcomer)
        .finalize()
        .into_bytes()
        .into()
}

/// Whether a proof is the newcomer's, compared in constant time.
pub fn verify(
    secret: &[u8; 16],
    id: &InvitationId,
    inviter: Side<'_>,
    newcomer: Side<'_>,
    proof: &[u8; 32],
) -> bool {
    mac(secret, id, inviter, newcomer)
        .verify_slice(proof)
        .is_ok()
}

fn mac(
    secret: &[u8; 16],
    id: &InvitationId,
    inviter: Side<'_>,
    newcomer: Side<'_>,
) -> hmac::Hmac<sha2::Sha256> {
    let key: Secret<32> = kdf::hkdf(&kdf::NO_SALT, secret, label::INTRODUCTION);
    let mut fields = Vec::new();
    for side in [inviter, newcomer] {
        put_short(&mut fields, side.name.as_bytes());
        put_short(&mut fields, &side.identity.to_bytes());
    }
    put_short(
        &mut fields,
        &[&id.nonce[..], &id.expires.to_be_bytes()].concat(),
    );
    let mut mac = kdf::hmac(key.expose());
    mac.update(&fields);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::TestRng;

    #[test]
    fn a_proof_fits_one_pair_one_direction_and_one_invitation() {
        let mut rng = TestRng::new(1);
        let [alice, bob, mallory] = [(); 3].map(|()| IdentityKeys::generate(&mut rng));
        let id = InvitationId {
            nonce: [1; 8],
            expires: 2,
        };
        let secret = invitation_secret(&alice, &id);
        let (a, b, m) = (alice.public(), bob.public(), mallory.public());
        let side = |name, identity| Side { name, identity };
        let (from, to) = (side("alice", &a), side("bob", &b));
        let proof = prove(&secret, &id, from, to);
        assert!(verify(&secret, &id, from, to, &proof));
        let other = InvitationId {
            nonce: [2; 8],
            ..id
        };
        let later = InvitationId { expires: 3, ..id };
        for (id, from, to) in [
            (id, to, from),
            (id, from, side("carol", &b)),
            (id, from, side("bob", &m)),
            (id, side("alice", &m), to),
            (other, from, to),
            (later, from, to),
        ] {
            assert!(!verify(&secret, &id, from, to, &proof));
        }
        for id in [other, later] {
            assert_ne!(*invitation_secret(&alice, &id), *secret);
        }
        assert_ne!(*invitation_secret(&mallory, &id), *secret);
    }
}
