//! What the endpoints compute: keys, X3DH, the Double Ratchet and its cipher.
//!
//! Bytes come in and bytes go out. There is no network, no file, no clock and no source
//! of randomness here; the caller passes the last two. Names arrive as text and message
//! ids as 16 bytes, because this folder imports nothing of the crate.
//!
//! | folder or file | what |
//! | --- | --- |
//! | [`ratchet`] | the Double Ratchet; begin at [`ratchet::session_set`], which encrypts and decrypts for one contact |
//! | [`message`] | the bytes of one message, from the outside in |
//! | [`keys`] | identities and prekeys |
//! | [`account`] | what opens an account and its vault: password, login proof, recovery code |
//! | [`archive`] | a file of any size, sealed under a passphrase |
//! | [`original`] | what the Python program before this one kept |
//! | [`handle`] | how a server names a message's place to its sender |
//! | [`peer_proof`] | how two servers on one store know each other |
//! | [`safety_number`] | what two people compare |
//! | [`cipher`], [`kdf`] | AES-CBC then HMAC; HKDF and the list of its labels |
//! | [`secret`], `codec` | how secrets are held and wiped; how bytes are read and written |

pub mod account;
pub mod archive;
pub mod cipher;
mod codec;
pub mod handle;
pub mod introduction;
pub mod kdf;
pub mod keys;
pub mod message;
pub mod original;
pub mod peer_proof;
pub mod ratchet;
pub mod safety_number;
pub mod secret;
#[cfg(test)]
pub(crate) mod testing;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

/// The operating system's randomness, for the `rng` parameters of this module.
///
/// It panics if the system gives none, which on Linux and macOS happens only
/// where the system call is forbidden: no key could be made there in any way.
pub fn os_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
