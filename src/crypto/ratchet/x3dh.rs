//! X3DH: a first shared secret with somebody who may be offline, after Signal's
//! "X3DH Key Agreement Protocol", sections 2.2 and 3.3.
//!
//! The curve is X25519 and the hash SHA-256. Where the specification uses one
//! identity key for both, an identity here has an Ed25519 key to sign prekeys
//! and an X25519 key for the exchange, so nothing is converted between curves.
//! Storing prekeys and deleting used ones is the caller's part.
//!
//! ```text
//! DH1 = X25519(initiator's identity, responder's signed prekey)
//! DH2 = X25519(initiator's ephemeral, responder's identity)
//! DH3 = X25519(initiator's ephemeral, responder's signed prekey)
//! DH4 = X25519(initiator's ephemeral, responder's one-time prekey), if one was given
//! SK  = HKDF(32 zero bytes, 32 bytes FF || DH1 || DH2 || DH3 [|| DH4], "secure-chat/1 x3dh", 32)
//! ```

use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::origin::{Origin, SESSION_ID_LEN};
use crate::crypto::codec::Reader;
use crate::crypto::kdf;
use crate::crypto::kdf::label;
use crate::crypto::keys::{
    AgreementKey, IdentityKeys, KeyError, OneTimePrekeySecret, PublicIdentity, SignedPrekeySecret,
    VerifiedBundle, WeakKey,
};
use crate::crypto::secret::Secret;

/// What the initiator's first messages carry so that the responder can compute
/// the same secret ("X3DH" section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialHeader {
    /// Who says to have started the session: a claim until the message is
    /// authenticated.
    pub identity: PublicIdentity,
    /// X25519 public key made for this session alone.
    pub ephemeral: [u8; 32],
    /// Which of the responder's signed prekeys was used.
    pub signed_prekey_id: u32,
    /// Which of the responder's one-time prekeys was used, if any.
    pub one_time_id: Option<u32>,
    /// Why the session was started, and its place among the others; missing in
    /// version 1 of the envelope.
    pub origin: Option<Origin>,
}

impl InitialHeader {
    /// The name of the session that this header starts with `responder`: the
    /// first 16 bytes of `SHA-256("secure-chat/1 session" || initiator's
    /// identity (64) || responder's identity (64) || ephemeral (32))`.
    pub fn session_id(&self, responder: &PublicIdentity) -> [u8; SESSION_ID_LEN] {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(label::SESSION)
            .chain_update(self.identity.as_bytes())
            .chain_update(responder.as_bytes())
            .chain_update(self.ephemeral)
            .finalize()
            .into();
        std::array::from_fn(|i| digest[i])
    }

    /// `identity (64) || ephemeral (32) || signed prekey id (4) || one-time
    /// prekey given (1) || its id, or 0 (4)`, 105 bytes, then the 89 of the origin.
    pub(crate) fn write(&self, put: &mut dyn FnMut(&[u8])) {
        put(self.identity.as_bytes());
        put(&self.ephemeral);
        put(&self.signed_prekey_id.to_be_bytes());
        put(&[u8::from(self.one_time_id.is_some())]);
        put(&self.one_time_id.unwrap_or(0).to_be_bytes());
        if let Some(origin) = &self.origin {
            origin.write(put);
        }
    }

    /// Reads what [`write`](Self::write) wrote, with an origin or without.
    pub(crate) fn read(reader: &mut Reader<'_>, has_origin: bool) -> Result<Self, KeyError> {
        let identity = reader.array()?;
        let ephemeral = *reader.array()?;
        let signed_prekey_id = reader.u32()?;
        let one_time_id = match (reader.flag()?, reader.u32()?) {
            (true, id) => Some(id),
            (false, 0) => None,
            (false, _) => return Err(KeyError::Malformed),
        };
        let origin = match has_origin {
            true => Some(Origin::read(reader)?),
            false => None,
        };
        Ok(Self {
            identity: PublicIdentity::from_bytes(identity)?,
            ephemeral,
            signed_prekey_id,
            one_time_id,
            origin,
        })
    }
}

/// The initiator's side: a fresh ephemeral key, the secret, and the header to
/// send along, still without its origin. Fails with [`WeakKey`] if a key in the bundle has low order.
pub fn initiate<R: CryptoRng + ?Sized>(
    our: &IdentityKeys,
    bundle: &VerifiedBundle,
    rng: &mut R,
) -> Result<(Secret<32>, InitialHeader), WeakKey> {
    let ephemeral = AgreementKey::generate(rng);
    let prekey = bundle.signed_prekey();
    let shared = combine(
        our.agreement().agree(&prekey.key)?,
        ephemeral.agree(&bundle.identity().agreement())?,
        ephemeral.agree(&prekey.key)?,
        bundle
            .one_time()
            .map(|one_time| ephemeral.agree(&one_time.key))
            .transpose()?,
    );
    let header = InitialHeader {
        identity: our.public(),
        ephemeral: ephemeral.public(),
        signed_prekey_id: prekey.id,
        one_time_id: bundle.one_time().map(|one_time| one_time.id),
        origin: None,
    };
    Ok((shared, header))
}

/// The responder's side: the same secret from the initiator's header and the
/// prekeys that it names. Fails with [`WeakKey`] if a key in the header has low
/// order. Whether the initiator knows the secret, too, only its first message
/// shows.
pub fn respond(
    our: &IdentityKeys,
    signed_prekey: &SignedPrekeySecret,
    one_time: Option<&OneTimePrekeySecret>,
    header: &InitialHeader,
) -> Result<Secret<32>, WeakKey> {
    let prekey = signed_prekey.agreement();
    Ok(combine(
        prekey.agree(&header.identity.agreement())?,
        our.agreement().agree(&header.ephemeral)?,
        prekey.agree(&header.ephemeral)?,
        one_time
            .map(|one_time| one_time.agreement().agree(&header.ephemeral))
            .transpose()?,
    ))
}

fn combine(
    dh1: Secret<32>,
    dh2: Secret<32>,
    dh3: Secret<32>,
    dh4: Option<Secret<32>>,
) -> Secret<32> {
    let mut input = Zeroizing::new(Vec::with_capacity(5 * 32));
    // The 32 bytes FF keep this input apart from any encoded curve point
    // ("X3DH" section 2.2).
    input.extend_from_slice(&[0xff; 32]);
    for dh in [Some(dh1), Some(dh2), Some(dh3), dh4].iter().flatten() {
        input.extend_from_slice(dh.expose());
    }
    kdf::hkdf(&kdf::NO_SALT, &input, label::X3DH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::PrekeyBundle;
    use crate::crypto::testing::{TestRng, array, bytes, low_order_points, vectors};

    #[test]
    fn both_sides_agree_with_pycryptodome() {
        for case in vectors(include_str!("../../../tests/vectors/x3dh.json")) {
            let initiator = IdentityKeys::from_bytes(&array(&case, "initiator"));
            let responder = IdentityKeys::from_bytes(&array(&case, "responder"));
            assert_eq!(
                initiator.public().to_bytes(),
                array(&case, "initiator_identity")
            );
            assert_eq!(
                responder.public().to_bytes(),
                array(&case, "responder_identity")
            );
            let fingerprint = array(&case, "responder_fingerprint");
            assert_eq!(responder.public().fingerprint(), fingerprint);
            let signed = SignedPrekeySecret::from_bytes(&bytes(&case, "signed_prekey")).unwrap();
            let one_time = OneTimePrekeySecret::from_bytes(&bytes(&case, "one_time_prekey")).ok();
            let bundle = PrekeyBundle {
                identity: responder.public(),
                signed_prekey: signed.public(),
                one_time: one_time.as_ref().map(OneTimePrekeySecret::public),
            };
            let mut rng = TestRng::reading(&bytes(&case, "ephemeral"));
            let bundle = bundle.verify().unwrap();
            let (secret, header) = initiate(&initiator, &bundle, &mut rng).unwrap();
            assert_eq!(*secret.expose(), array(&case, "shared_secret"));
            assert_eq!(
                header.session_id(&responder.public()),
                array(&case, "session_id")
            );
            let secret = respond(&responder, &signed, one_time.as_ref(), &header).unwrap();
            assert_eq!(*secret.expose(), array(&case, "shared_secret"));
        }
    }

    #[test]
    fn low_order_points_are_refused_in_every_exchange() {
        let mut rng = TestRng::new(1);
        let our = IdentityKeys::generate(&mut rng);
        let signed = SignedPrekeySecret::generate(&our, 1, &mut rng);
        let one_time = OneTimePrekeySecret::generate(1, &mut rng);
        for point in low_order_points() {
            let mut weak = our.public().to_bytes();
            weak[32..].copy_from_slice(&point);
            let good = InitialHeader {
                identity: our.public(),
                ephemeral: [9; 32],
                signed_prekey_id: 1,
                one_time_id: None,
                origin: None,
            };
            let identity = InitialHeader {
                identity: PublicIdentity::from_bytes(&weak).unwrap(),
                ..good
            };
            let ephemeral = InitialHeader {
                ephemeral: point,
                ..good
            };
            for header in [identity, ephemeral] {
                for one_time in [None, Some(&one_time)] {
                    let shared = respond(&our, &signed, one_time, &header);
                    assert_eq!(shared.map(|_| ()), Err(WeakKey));
                }
            }
            let mut bundle = PrekeyBundle {
                identity: our.public(),
                signed_prekey: signed.public(),
                one_time: Some(one_time.public()),
            };
            if let Some(one_time) = &mut bundle.one_time {
                one_time.key = point;
            }
            let shared = initiate(&our, &bundle.verify().unwrap(), &mut rng);
            assert_eq!(shared.map(|_| ()), Err(WeakKey));
        }
    }
}
