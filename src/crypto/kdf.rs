//! HKDF and HMAC over SHA-256, and every label that separates their uses.
//!
//! A key derived for one purpose must be useless for every other, so each purpose has its own label.
//! The labels stand in one list, and a test checks that no two are equal. Numbers are big-endian,
//! `||` joins bytes, and HKDF(salt, ikm, info, n) is RFC 5869's extract and expand with SHA-256.
//! Other modules decide what is derived from what.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::Secret;

/// The labels, one for each purpose. All are ASCII and begin with the protocol's name and version, so
/// a later version derives other keys.
pub mod label {
    /// `SK = HKDF(32 zero bytes, 32 bytes FF || DH1 || DH2 || DH3 [|| DH4], X3DH, 32)`.
    pub const X3DH: &[u8] = b"secure-chat/1 x3dh";
    /// `session id = SHA-256(SESSION || initiator's identity || responder's identity || ephemeral)[..16]`.
    pub const SESSION: &[u8] = b"secure-chat/1 session";
    /// `first root key = HKDF(link secret, or 32 zero bytes, SK, LINKED_ROOT, 32)`.
    pub const LINKED_ROOT: &[u8] = b"secure-chat/1 linked-root";
    /// `link id || link secret = HKDF(32 zero bytes, root key, LINK, 48)`.
    pub const LINK: &[u8] = b"secure-chat/1 link";
    /// Signed with the Ed25519 identity key by whoever starts a session:
    /// `NEW_SESSION || session id || generation (8) || cause (1) || link id`.
    pub const NEW_SESSION: &[u8] = b"secure-chat/1 new-session";
    /// `root key || chain key = HKDF(root key, DH output, ROOT, 64)`.
    pub const ROOT: &[u8] = b"secure-chat/1 root";
    /// `AES key || MAC key || IV = HKDF(32 zero bytes, message key, MESSAGE, 80)`.
    pub const MESSAGE: &[u8] = b"secure-chat/1 message";
    /// `AES key || MAC key || IV = HKDF(salt, vault key, VAULT, 80)`.
    pub const VAULT: &[u8] = b"secure-chat/1 vault";
    /// `MAC key of the vault's rows and root = HKDF(32 zero bytes, vault key, VAULT_MACS, 32)`.
    pub const VAULT_MACS: &[u8] = b"secure-chat/1 vault-macs";
    /// `AES key of what the root sums up = HKDF(32 zero bytes, vault key, VAULT_WEIGHTS, 32)`.
    pub const VAULT_WEIGHTS: &[u8] = b"secure-chat/1 vault-weights";
    /// `key of the proof of a generation = HKDF(32 zero bytes, private identity (64), TOLD, 32)`.
    pub const TOLD: &[u8] = b"secure-chat/1 told";
    /// `AES key || MAC key || IV = HKDF(salt, wrapping key, WRAP, 80)`.
    pub const WRAP: &[u8] = b"secure-chat/1 wrap";
    /// `wrapping key = HKDF(32 zero bytes, 16 bytes of the recovery code, RECOVERY, 32)`.
    pub const RECOVERY: &[u8] = b"secure-chat/1 recovery";
    /// `checksum = SHA-256(RECOVERY_CHECK || 16 bytes of the recovery code)[..4]`.
    pub const RECOVERY_CHECK: &[u8] = b"secure-chat/1 recovery-check";
    /// `seed of the key after a reset = HKDF(32 zero bytes, 16 bytes of the reset code, RESET_KEY, 32)`.
    pub const RESET_KEY: &[u8] = b"secure-chat/1 reset-key";
    /// `checksum = SHA-256(RESET_CHECK || 16 bytes of the reset code)[..4]`.
    pub const RESET_CHECK: &[u8] = b"secure-chat/1 reset-check";
    /// `what the server keeps of a code = SHA-256(INVITATION_CODE || code (16))`.
    pub const INVITATION_CODE: &[u8] = b"secure-chat/1 invitation-code";
    /// `key of the secrets of somebody's invitations = HKDF(32 zero bytes, private identity (64), INVITER, 32)`.
    pub const INVITER: &[u8] = b"secure-chat/1 inviter";
    /// `key of a newcomer's proof = HKDF(32 zero bytes, secret of the invitation (16), INTRODUCTION, 32)`.
    pub const INTRODUCTION: &[u8] = b"secure-chat/1 introduction";
    /// Signed with the Ed25519 identity key:
    /// `SIGNED_PREKEY || X25519 identity key || prekey id (4 bytes) || prekey`.
    pub const SIGNED_PREKEY: &[u8] = b"secure-chat/1 signed-prekey";
    /// `fingerprint = SHA-256(IDENTITY || identity)`.
    pub const IDENTITY: &[u8] = b"secure-chat/1 identity";
    /// The first input of the iterated SHA-512 that makes a safety number.
    pub const SAFETY_NUMBER: &[u8] = b"secure-chat/1 safety-number";
    /// The first field that a registration signs.
    pub const REGISTER: &[u8] = b"secure-chat/1 register";
    /// The first field that a login signs.
    pub const LOGIN: &[u8] = b"secure-chat/1 login";
    /// The first field that a change of the password signs.
    pub const PASSWD: &[u8] = b"secure-chat/1 passwd";
    /// The first field that a new password signs after a reset.
    pub const RESET: &[u8] = b"secure-chat/1 reset";
    /// The first field that the deletion of an account signs.
    pub const DELETE: &[u8] = b"secure-chat/1 delete";
    /// `salt = HMAC-SHA-256(server's secret, FAKE_SALT || name)[..16]`.
    pub const FAKE_SALT: &[u8] = b"secure-chat/1 fake-salt";
    /// `pair key || place key = HKDF(32 zero bytes, server's secret, HANDLE, 64)`.
    pub const HANDLE: &[u8] = b"secure-chat/1 handle";
    /// The first bytes of what two servers on one store prove to each other:
    /// `proof = HMAC-SHA-256(store's secret, PEER || …)`, as `crypto/peer_proof.rs` lists it.
    pub const PEER: &[u8] = b"secure-chat/1 peer";

    /// All labels, for the test that no two are equal.
    #[cfg(test)]
    pub(crate) const ALL: [&[u8]; 30] = [
        X3DH,
        SESSION,
        LINKED_ROOT,
        LINK,
        NEW_SESSION,
        ROOT,
        MESSAGE,
        VAULT,
        VAULT_MACS,
        VAULT_WEIGHTS,
        TOLD,
        WRAP,
        RECOVERY,
        RECOVERY_CHECK,
        RESET_KEY,
        RESET_CHECK,
        INVITATION_CODE,
        INVITER,
        INTRODUCTION,
        SIGNED_PREKEY,
        IDENTITY,
        SAFETY_NUMBER,
        REGISTER,
        LOGIN,
        PASSWD,
        RESET,
        DELETE,
        FAKE_SALT,
        HANDLE,
        PEER,
    ];
}

/// The salt for an HKDF without a salt (RFC 5869 section 2.2).
pub(crate) const NO_SALT: [u8; 32] = [0; 32];

/// HKDF-SHA-256, extract then expand (RFC 5869), to `N` bytes.
#[allow(
    clippy::expect_used,
    reason = "expand fails only past 255 * 32 bytes, which the assertion rules out at compile time"
)]
pub(crate) fn hkdf<const N: usize>(salt: &[u8], ikm: &[u8], info: &[u8]) -> Secret<N> {
    const { assert!(N <= 255 * 32) };
    let expander = Hkdf::<Sha256>::new(Some(salt), ikm);
    Secret::filled_by(|place| expander.expand(info, place).expect("length is in range"))
}

/// An HMAC-SHA-256 (RFC 2104) that has its key and no message yet.
#[allow(
    clippy::expect_used,
    reason = "HMAC takes keys of every length; only the trait it shares with others can refuse"
)]
pub(crate) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// HMAC-SHA-256 of one byte, as the chains of the Double Ratchet use it.
pub(crate) fn hmac_of_byte(key: &Secret<32>, byte: u8) -> Secret<32> {
    let mut mac = hmac(key.expose());
    mac.update(&[byte]);
    let mut output = mac.finalize().into_bytes();
    let secret = Secret::filled_by(|place| place.copy_from_slice(&output));
    zeroize::Zeroize::zeroize(output.as_mut_slice());
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_all_different() {
        for (i, a) in label::ALL.iter().enumerate() {
            assert!(a.starts_with(b"secure-chat/1 "));
            assert!(label::ALL[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn hkdf_agrees_with_rfc_5869_case_3() {
        let output: Secret<42> = hkdf(&[], &[0x0b; 22], &[]);
        assert_eq!(
            data_encoding::HEXLOWER.encode(output.expose()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
    }
}
