//! What the double of the server answers alike, whoever asks.

use crate::crypto::account::login_proof::LoginVerifier;
use crate::crypto::account::password::Argon2Params;
use crate::protocol::reply::AccountSettings;
use crate::protocol::request::KdfParams;
use crate::protocol::{ByteArray, Code, Refusal};

pub(super) fn credentials(kdf: KdfParams, login_key: ByteArray<32>) -> LoginVerifier {
    LoginVerifier {
        login_key: login_key.0,
        salt: kdf.salt.0,
        cost: Argon2Params {
            memory_kib: kdf.memory_kib,
            passes: kdf.passes,
            lanes: kdf.lanes,
        },
    }
}

pub(super) fn settings() -> AccountSettings {
    AccountSettings {
        listed: true,
        presence: true,
        refuse_unencrypted: false,
        blocked: Vec::new(),
    }
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(Code::UnknownUser, "there is no such user")
}
