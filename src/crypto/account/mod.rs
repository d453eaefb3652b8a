//! What opens an account and its vault: the password's keys, the proof that a
//! client holds them, and the recovery code. Knows no message and no ratchet.

pub mod login_proof;
pub mod password;
pub mod recovery;
