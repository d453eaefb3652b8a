//! Identities and prekeys, honest and not.

use super::*;
use crate::crypto::testing::{TestRng, low_order_points};

fn bundle(rng: &mut TestRng) -> PrekeyBundle {
    let owner = IdentityKeys::generate(rng);
    PrekeyBundle {
        identity: owner.public(),
        signed_prekey: SignedPrekeySecret::generate(&owner, 5, rng).public(),
        one_time: None,
    }
}

#[test]
fn secrets_come_back_from_the_vault() {
    let mut rng = TestRng::new(1);
    let owner = IdentityKeys::generate(&mut rng);
    let read = IdentityKeys::from_bytes(&owner.to_bytes());
    assert_eq!(
        (read.public(), read.to_bytes()),
        (owner.public(), owner.to_bytes())
    );
    let signed = SignedPrekeySecret::generate(&owner, 9, &mut rng);
    let saved = signed.to_bytes();
    assert_eq!(saved.len(), SignedPrekeySecret::LEN);
    let read = SignedPrekeySecret::from_bytes(&saved).unwrap();
    assert_eq!(
        (read.public(), read.to_bytes()),
        (signed.public(), saved.clone())
    );
    assert!(SignedPrekeySecret::from_bytes(&saved[1..]).is_err());
    let one_time = OneTimePrekeySecret::generate(3, &mut rng);
    let saved = one_time.to_bytes();
    assert_eq!(saved.len(), OneTimePrekeySecret::LEN);
    let read = OneTimePrekeySecret::from_bytes(&saved).unwrap();
    assert_eq!((read.public(), read.to_bytes()), (one_time.public(), saved));
}

#[test]
fn every_part_of_a_signed_prekey_is_signed() {
    let mut rng = TestRng::new(2);
    let good = bundle(&mut rng);
    assert!(good.verify().is_ok());
    let mut other_id = good;
    other_id.signed_prekey.id += 1;
    let mut other_key = good;
    other_key.signed_prekey.key[31] ^= 1;
    let mut other_signature = good;
    other_signature.signed_prekey.signature[0] ^= 1;
    let mut other_agreement = good;
    other_agreement.identity.0[63] ^= 1;
    let mut other_person = good;
    other_person.identity = IdentityKeys::generate(&mut rng).public();
    for bad in [
        other_id,
        other_key,
        other_signature,
        other_agreement,
        other_person,
    ] {
        assert_eq!(bad.verify(), Err(KeyError::BadSignature));
    }
}

#[test]
fn identities_with_unusable_signing_keys_are_refused() {
    let good = IdentityKeys::generate(&mut TestRng::new(3)).public();
    assert_eq!(PublicIdentity::from_bytes(&good.to_bytes()), Ok(good));
    let with = |signing: [u8; 32]| {
        let mut bytes = good.to_bytes();
        bytes[..32].copy_from_slice(&signing);
        PublicIdentity::from_bytes(&bytes)
    };
    let identity_point: [u8; 32] = std::array::from_fn(|i| u8::from(i == 0));
    let off_the_curve: [u8; 32] = std::array::from_fn(|i| if i == 0 { 2 } else { 0 });
    assert_eq!(with(identity_point), Err(KeyError::BadSigningKey));
    assert_eq!(with([0; 32]), Err(KeyError::BadSigningKey));
    assert_eq!(with(off_the_curve), Err(KeyError::BadSigningKey));
}

#[test]
fn exchanges_with_low_order_points_are_refused() {
    let key = AgreementKey::generate(&mut TestRng::new(4));
    for point in low_order_points() {
        assert_eq!(key.agree(&point).map(|_| ()), Err(WeakKey));
    }
}

#[test]
fn debug_output_shows_public_halves_only() {
    let keys = IdentityKeys::from_bytes(&[1; 64]);
    let signed = SignedPrekeySecret::generate(&keys, 1, &mut TestRng::new(5));
    let shown = format!("{keys:?} {signed:?}");
    assert!(shown.starts_with(
        "IdentityKeys { signing: [redacted], agreement: AgreementKey([redacted]), public: PublicIdentity(8a88e3dd7409f195"
    ), "{shown}");
    assert!(shown.contains("SignedPrekeySecret { secret: AgreementKey([redacted]), public: "));
    let one_time = OneTimePrekeySecret::of(1, AgreementKey(Secret::from_bytes(&[1; 32])));
    assert!(format!("{one_time:?}").starts_with(
        "OneTimePrekeySecret { secret: AgreementKey([redacted]), public: PublicOneTimePrekey { id: 1, key: ["
    ));
}

#[test]
fn a_bundle_of_low_order_keys_starts_nothing_even_if_signed() {
    let mut rng = TestRng::new(6);
    let our = IdentityKeys::generate(&mut rng);
    for point in low_order_points() {
        let owner = IdentityKeys::generate(&mut rng);
        let mut weak_owner = owner.clone();
        weak_owner.public.0[32..].copy_from_slice(&point);
        let prekey = SignedPrekeySecret::generate(&owner, 1, &mut rng).public();
        for (owner, key) in [(owner, point), (weak_owner, prekey.key)] {
            let signature = owner.sign(&prekey_statement(&owner.public, 1, &key));
            let bundle = PrekeyBundle {
                identity: owner.public,
                signed_prekey: PublicSignedPrekey {
                    id: 1,
                    key,
                    signature,
                },
                one_time: None,
            };
            let bundle = bundle.verify().unwrap();
            let started = crate::crypto::ratchet::x3dh::initiate(&our, &bundle, &mut rng);
            assert_eq!(started.map(|_| ()), Err(WeakKey));
        }
    }
}
