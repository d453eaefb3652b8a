//! Long-lived keys: a device's identity and the prekeys that it publishes, with X25519 (RFC 7748)
//! and Ed25519 (RFC 8032).
//!
//! All keys that come from the server are parsed into types here. A bundle of prekeys becomes a
//! [`VerifiedBundle`], which X3DH demands, only by the check of its signature. The caller decides
//! whom an identity belongs to, and whether it is the pinned one.

#[cfg(test)]
mod tests;

use std::fmt;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::codec::{Malformed, Reader, encode_secret};
use super::kdf::label;
use super::secret::Secret;

/// Bytes in a public identity.
pub const IDENTITY_LEN: usize = 64;

/// An X25519 exchange gave all zeros. The other side's key is then one of the few points of low
/// order, with which anybody could compute the result (RFC 7748 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakKey;

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side's key is one that gives no secrecy")
    }
}

impl std::error::Error for WeakKey {}

/// Why bytes are not a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The number of bytes or a field is wrong.
    Malformed,
    /// The Ed25519 half is not a point of the curve, or has low order.
    BadSigningKey,
    /// The signed prekey was not signed by the identity that it is published with.
    BadSignature,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the key is not in the expected form",
            Self::BadSigningKey => "the identity's signing key is not a usable Ed25519 key",
            Self::BadSignature => "the prekey was not signed by the identity it came with",
        })
    }
}

impl std::error::Error for KeyError {}

impl From<Malformed> for KeyError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// An X25519 private key. The only way to use it is [`agree`](Self::agree).
#[derive(Clone, Debug)]
pub(crate) struct AgreementKey(Secret<32>);

impl AgreementKey {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::random(rng))
    }

    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*self.0.expose())).to_bytes()
    }

    /// The one X25519 exchange of the crate, which refuses an all-zero result.
    pub(crate) fn agree(&self, theirs: &[u8; 32]) -> Result<Secret<32>, WeakKey> {
        let shared = StaticSecret::from(*self.0.expose()).diffie_hellman(&PublicKey::from(*theirs));
        if shared.was_contributory() {
            Ok(Secret::from_bytes(shared.as_bytes()))
        } else {
            Err(WeakKey)
        }
    }
}

/// A person's public identity: an Ed25519 key and an X25519 key.
///
/// Its 64 bytes are `Ed25519 (32) || X25519 (32)`. A value of this type has a usable Ed25519 key.
/// Only a signature, or a message that decrypts, proves that somebody owns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicIdentity([u8; IDENTITY_LEN]);

impl PublicIdentity {
    /// Reads the 64 bytes. Fails with [`KeyError::BadSigningKey`] if the first half is not a point
    /// of the curve or has low order, because signatures under it would prove nothing.
    pub fn from_bytes(bytes: &[u8; IDENTITY_LEN]) -> Result<Self, KeyError> {
        let identity = Self(*bytes);
        match identity.verifying_key() {
            Ok(key) if !key.is_weak() => Ok(identity),
            _ => Err(KeyError::BadSigningKey),
        }
    }

    /// The 64 bytes.
    pub fn to_bytes(&self) -> [u8; IDENTITY_LEN] {
        self.0
    }

    /// `SHA-256("secure-chat/1 identity" || the 64 bytes)`, a short name for the
    /// identity in databases and on screens. People compare safety numbers.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(label::IDENTITY)
            .chain_update(self.0)
            .finalize()
            .into()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; IDENTITY_LEN] {
        &self.0
    }

    pub(crate) fn agreement(&self) -> [u8; 32] {
        self.half(32)
    }

    /// Whether the holder signed the message, checked strictly.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.verifying_key()
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    fn verifying_key(&self) -> Result<VerifyingKey, ed25519_dalek::SignatureError> {
        VerifyingKey::from_bytes(&self.half(0))
    }

    fn half(&self, at: usize) -> [u8; 32] {
        std::array::from_fn(|i| self.0[at + i])
    }
}

impl fmt::Debug for PublicIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicIdentity({})", HEXLOWER.encode(&self.0))
    }
}

/// A device's own identity: the private halves of an [`PublicIdentity`].
#[derive(Clone, Debug)]
pub struct IdentityKeys {
    signing: Secret<32>,
    agreement: AgreementKey,
    public: PublicIdentity,
}

impl IdentityKeys {
    /// A new identity.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::of(Secret::random(rng), AgreementKey::generate(rng))
    }

    /// The identity that [`to_bytes`](Self::to_bytes) gave:
    /// `Ed25519 seed (32) || X25519 private key (32)`.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (signing, agreement) = bytes.split_at(32);
        Self::of(
            Secret::filled_by(|place| place.copy_from_slice(signing)),
            AgreementKey(Secret::filled_by(|place| place.copy_from_slice(agreement))),
        )
    }

    /// The private halves, for the vault.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut out = Zeroizing::new([0; 64]);
        let (signing, agreement) = out.split_at_mut(32);
        signing.copy_from_slice(self.signing.expose());
        agreement.copy_from_slice(self.agreement.expose());
        out
    }

    /// The public identity, by which others know it.
    pub fn public(&self) -> PublicIdentity {
        self.public
    }

    pub(crate) fn agreement(&self) -> &AgreementKey {
        &self.agreement
    }

    fn of(signing: Secret<32>, agreement: AgreementKey) -> Self {
        let mut public = [0; IDENTITY_LEN];
        let (first, second) = public.split_at_mut(32);
        first.copy_from_slice(
            SigningKey::from_bytes(signing.expose())
                .verifying_key()
                .as_bytes(),
        );
        second.copy_from_slice(&agreement.public());
        Self {
            signing,
            agreement,
            public: PublicIdentity(public),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(self.signing.expose())
            .sign(message)
            .to_bytes()
    }
}

/// The published half of a signed prekey ("X3DH" section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicSignedPrekey {
    /// The number that its owner has given it.
    pub id: u32,
    /// The X25519 public key.
    pub key: [u8; 32],
    /// The Ed25519 signature by the owner's identity over `"secure-chat/1
    /// signed-prekey" || X25519 identity key (32) || id (4, big-endian) || key (32)`.
    pub signature: [u8; 64],
}

/// The private half of a signed prekey.
#[derive(Clone, Debug)]
pub struct SignedPrekeySecret {
    secret: AgreementKey,
    public: PublicSignedPrekey,
}

impl SignedPrekeySecret {
    /// The number of bytes that [`to_bytes`](Self::to_bytes) gives.
    pub const LEN: usize = 100;

    /// A new prekey, numbered by the caller and signed by `owner`.
    pub fn generate<R: CryptoRng + ?Sized>(owner: &IdentityKeys, id: u32, rng: &mut R) -> Self {
        let secret = AgreementKey::generate(rng);
        let key = secret.public();
        let signature = owner.sign(&prekey_statement(&owner.public, id, &key));
        Self {
            secret,
            public: PublicSignedPrekey { id, key, signature },
        }
    }

    /// The half to publish.
    pub fn public(&self) -> PublicSignedPrekey {
        self.public
    }

    /// `id (4) || X25519 private key (32) || signature (64)`, for the vault.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        encode_secret(|put| {
            put(&self.public.id.to_be_bytes());
            put(self.secret.expose());
            put(&self.public.signature);
        })
    }

    /// The prekey that [`to_bytes`](Self::to_bytes) gave. Fails with
    /// [`KeyError::Malformed`] if there are not [`LEN`](Self::LEN) bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(bytes);
        let id = reader.u32()?;
        let secret = AgreementKey(reader.secret()?);
        let signature = *reader.array()?;
        reader.finish()?;
        let key = secret.public();
        let public = PublicSignedPrekey { id, key, signature };
        Ok(Self { secret, public })
    }

    pub(crate) fn agreement(&self) -> &AgreementKey {
        &self.secret
    }
}

/// The published half of a one-time prekey ("X3DH" section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicOneTimePrekey {
    /// The number that its owner has given it.
    pub id: u32,
    /// The X25519 public key.
    pub key: [u8; 32],
}

/// The private half of a one-time prekey. It is deleted as soon as a message that used it was
/// decrypted and saved.
#[derive(Clone, Debug)]
pub struct OneTimePrekeySecret {
    secret: AgreementKey,
    public: PublicOneTimePrekey,
}

impl OneTimePrekeySecret {
    /// The number of bytes that [`to_bytes`](Self::to_bytes) gives.
    pub const LEN: usize = 36;

    /// A new prekey, numbered by the caller.
    pub fn generate<R: CryptoRng + ?Sized>(id: u32, rng: &mut R) -> Self {
        Self::of(id, AgreementKey::generate(rng))
    }

    /// The half to publish.
    pub fn public(&self) -> PublicOneTimePrekey {
        self.public
    }

    /// `id (4) || X25519 private key (32)`, for the vault.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        encode_secret(|put| {
            put(&self.public.id.to_be_bytes());
            put(self.secret.expose());
        })
    }

    /// The prekey that [`to_bytes`](Self::to_bytes) gave. Fails with
    /// [`KeyError::Malformed`] if there are not [`LEN`](Self::LEN) bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(bytes);
        let id = reader.u32()?;
        let secret = AgreementKey(reader.secret()?);
        reader.finish()?;
        Ok(Self::of(id, secret))
    }

    pub(crate) fn agreement(&self) -> &AgreementKey {
        &self.secret
    }

    fn of(id: u32, secret: AgreementKey) -> Self {
        let key = secret.public();
        Self {
            secret,
            public: PublicOneTimePrekey { id, key },
        }
    }
}

/// The keys of a person to write to, as the server hands them out and nobody has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrekeyBundle {
    /// The identity that the server claims is theirs.
    pub identity: PublicIdentity,
    /// Their current signed prekey.
    pub signed_prekey: PublicSignedPrekey,
    /// One of their one-time prekeys, unless all are used up.
    pub one_time: Option<PublicOneTimePrekey>,
}

impl PrekeyBundle {
    /// Checks strictly (no low-order points, no malleable signatures) that the identity has signed
    /// the prekey ("X3DH" section 3.3). Fails with [`KeyError::BadSignature`]. The caller has to
    /// compare the identity with the pinned one.
    pub fn verify(self) -> Result<VerifiedBundle, KeyError> {
        let prekey = &self.signed_prekey;
        let statement = prekey_statement(&self.identity, prekey.id, &prekey.key);
        match self.identity.has_signed(&statement, &prekey.signature) {
            true => Ok(VerifiedBundle(self)),
            false => Err(KeyError::BadSignature),
        }
    }
}

/// A bundle whose signed prekey was signed by its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedBundle(PrekeyBundle);

impl VerifiedBundle {
    /// The identity that has signed the bundle.
    pub fn identity(&self) -> &PublicIdentity {
        &self.0.identity
    }

    pub(crate) fn signed_prekey(&self) -> &PublicSignedPrekey {
        &self.0.signed_prekey
    }

    pub(crate) fn one_time(&self) -> Option<&PublicOneTimePrekey> {
        self.0.one_time.as_ref()
    }
}

fn prekey_statement(owner: &PublicIdentity, id: u32, key: &[u8; 32]) -> Vec<u8> {
    [
        label::SIGNED_PREKEY,
        &owner.agreement(),
        &id.to_be_bytes(),
        key,
    ]
    .concat()
}
