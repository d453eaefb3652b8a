//! What opens an account and its vault: the password's keys, the proof that a
//! client holds them, the recovery code, and the code after a reset. Knows no message and no ratchet.

pub mod code;
pub mod invitation;
pub mod login_proof;
pub mod password;
pub mod recovery;
pub mod reset;
