//! What the endpoints compute: keys, X3DH, the Double Ratchet and its cipher.
//!
//! Bytes come in and bytes go out: there is no network, no file, no clock and no
//! randomness of its own here; the last two are given by the caller. Names come
//! as text and message ids as 16 bytes, because nothing of the crate's other
//! modules is known.
//!
//! To read it, begin at [`conversation`], which everything below serves:
//!
//! - [`conversation`]: sessions with one contact; encrypts and decrypts.
//! - [`envelope`], [`content`], [`padding`], [`context`]: the bytes of a message,
//!   from the outside in.
//! - `ratchet`, `chain`, `skipped`: the Double Ratchet of one session.
//! - [`x3dh`]: a session's first secret; [`keys`]: identities and prekeys.
//! - [`password`], [`proof`], [`recovery`]: what opens an account and its vault.
//! - [`safety_number`]: what two people compare.
//! - [`cipher`], [`kdf`], [`secret`]: AES-CBC then HMAC, HKDF and its labels, and
//!   how secrets are held.

pub mod account;
pub mod cipher;
mod codec;
pub mod kdf;
pub mod keys;
pub mod message;
pub mod ratchet;
pub mod safety_number;
pub mod secret;
#[cfg(test)]
mod testing;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

/// The operating system's randomness, for the `rng` parameters of this module.
///
/// It panics if the system gives none, which on Linux and macOS happens only
/// where the system call is forbidden: no key could be made there in any way.
pub fn os_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
