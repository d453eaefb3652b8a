//! Requests about an account's password: how an account begins, is logged in to, and ends.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::object;

/// A password on its way to the key derivation. It is wiped on drop and never shown.
pub struct Password(pub Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Password(Zeroizing::new(text)))
    }
}

fn yes() -> bool {
    true
}

/// The parameters that turn a password into keys. They are public, and the client chooses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfParams {
    /// Argon2id's salt.
    pub salt: ByteArray<16>,
    /// The memory that Argon2id uses, in KiB.
    pub memory_kib: u32,
    /// How many passes Argon2id makes.
    pub passes: u32,
    /// How many lanes Argon2id has.
    pub lanes: u32,
}

/// Fields of `register`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Register {
    /// The new account's name.
    pub name: UserName,
    /// How the login key is derived.
    #[serde(deserialize_with = "object::one")]
    pub kdf: KdfParams,
    /// The login key's public half (Ed25519).
    pub login_key: ByteArray<32>,
    /// The login key's signature over the registration.
    pub proof: ByteArray<64>,
    /// The code of an invitation, for a server that asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<ByteArray<16>>,
    /// What kind of session to begin.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// Fields of `login`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// The account to log in to.
    pub name: UserName,
    /// The login key's signature over the server's nonce.
    pub proof: ByteArray<64>,
    /// What kind of session to begin.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// What kind of session a login begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionOptions {
    /// Ends the account's other session, wherever it is.
    #[serde(default)]
    pub take_over: bool,
    /// The secret of the session that this one replaces. A client whose connection died proves
    /// by it that the session is its own, and needs no `take_over`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ByteArray<16>>,
    /// Whether messages are pushed as they come. Scripts that only send or `fetch` say `false`.
    #[serde(default = "yes")]
    pub receive: bool,
    /// Whether the account is shown as online. Scripts say `false`.
    #[serde(default = "yes")]
    pub presence: bool,
    /// The generation of the client's vault. The server keeps the greatest of an account,
    /// so that a vault which was put back from a copy learns that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<u64>,
    /// What the client recognises that generation by. The server keeps it with the generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_proof: Option<ByteArray<16>>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            take_over: false,
            replaces: None,
            receive: true,
            presence: true,
            vault: None,
            vault_proof: None,
        }
    }
}

/// Fields of the console's ways to log in.
#[derive(Debug)]
pub struct PasswordLogin {
    /// The account to log in to.
    pub name: UserName,
    /// The password as it was typed.
    pub password: Password,
    /// Ends the account's other session.
    pub take_over: bool,
}

/// Fields of `passwd`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Passwd {
    /// How the new login key is derived.
    #[serde(deserialize_with = "object::one")]
    pub kdf: KdfParams,
    /// The new login key's public half.
    pub login_key: ByteArray<32>,
    /// The old login key's signature over the change.
    pub proof: ByteArray<64>,
}

/// Fields of `reset`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reset {
    /// The account whose password the operator has reset.
    pub name: UserName,
    /// How the new login key is derived.
    #[serde(deserialize_with = "object::one")]
    pub kdf: KdfParams,
    /// The new login key's public half.
    pub login_key: ByteArray<32>,
    /// The signature over the change by the key that the operator's code leads to.
    pub proof: ByteArray<64>,
    /// What kind of session to begin.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// Fields of `claim`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The account, which was imported.
    pub name: UserName,
    /// Its password in the program that it was imported from.
    pub password: Password,
    /// How the new login key is derived.
    #[serde(deserialize_with = "object::one")]
    pub kdf: KdfParams,
    /// The new login key's public half.
    pub login_key: ByteArray<32>,
    /// What kind of session to begin.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// Fields of `delete_account`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteAccount {
    /// The login key's signature over the deletion.
    pub proof: ByteArray<64>,
}
