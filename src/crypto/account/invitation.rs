//! What an invitation's link carries for two different readers: the server's code, which makes an
//! account, and the inviter's secret, which the server never sees. How a link is written is the
//! protocol's business.

use sha2::{Digest, Sha256};

use crate::crypto::kdf::label;

/// What the server keeps of a code: `SHA-256(INVITATION_CODE || code (16))`. 128 random bits need
/// no Argon2.
pub fn digest(code: &[u8; 16]) -> [u8; 32] {
    Sha256::new()
        .chain_update(label::INVITATION_CODE)
        .chain_update(code)
        .finalize()
        .into()
}
