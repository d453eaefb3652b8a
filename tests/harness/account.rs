//! Accounts as the wire has them: passwords, and the proofs and requests made of them.

use std::sync::OnceLock;

use data_encoding::BASE64;
use secure_chat::crypto::account::login_proof::{LoginVerifier, ProofContext, Purpose};
use secure_chat::crypto::account::password::{Argon2Params, LoginKey, derive};
use serde_json::{Value, json};

/// What a connection's proofs sign: the server's nonce, and the certificate that
/// it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32], pub Vec<u8>);

/// A login key with the derivation that leads to it. Deriving costs real time
/// even at the least cost allowed, so there are two, shared by all accounts.
pub struct Password {
    key: LoginKey,
    credentials: LoginVerifier,
}

impl Password {
    fn derive(password: &str, salt: [u8; 16]) -> Self {
        let cost = Argon2Params::FLOOR;
        let key = derive(password, &salt, cost).unwrap().login_key;
        let credentials = LoginVerifier {
            login_key: key.public(),
            salt,
            cost,
        };
        Password { key, credentials }
    }

    /// `kdf` as it stands on the wire.
    pub fn kdf(&self) -> Value {
        let LoginVerifier { salt, cost, .. } = self.credentials;
        json!({"salt": BASE64.encode(&salt), "memory_kib": cost.memory_kib,
               "passes": cost.passes, "lanes": cost.lanes})
    }

    /// The login key's public half, as on the wire.
    pub fn login_key(&self) -> String {
        BASE64.encode(&self.credentials.login_key)
    }

    /// The salt and the login key, as a server stores them.
    pub fn stored(&self) -> ([u8; 16], [u8; 32]) {
        (self.credentials.salt, self.credentials.login_key)
    }

    /// The fields of a valid `register`.
    pub fn registration(&self, name: &str, nonce: &Nonce) -> Value {
        json!({"name": name, "kdf": self.kdf(), "login_key": self.login_key(),
               "proof": self.prove_register(&name.to_ascii_lowercase(), nonce)})
    }

    /// The fields of a valid `login`.
    pub fn login(&self, name: &str, nonce: &Nonce) -> Value {
        json!({"name": name, "proof": self.prove_login(&name.to_ascii_lowercase(), nonce)})
    }

    fn prove(&self, purpose: &Purpose, name: &str, nonce: &Nonce) -> String {
        let challenge = ProofContext {
            name,
            nonce: &nonce.0,
            certificate: &nonce.1,
        };
        BASE64.encode(&self.key.prove(purpose, &challenge))
    }

    /// The proof that makes an account.
    pub fn prove_register(&self, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Register(self.credentials), name, nonce)
    }

    /// The proof that logs in.
    pub fn prove_login(&self, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Login, name, nonce)
    }

    /// The proof that makes `new` the password.
    pub fn prove_passwd(&self, new: &Password, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Passwd(new.credentials), name, nonce)
    }

    /// The proof that deletes the account.
    pub fn prove_delete(&self, name: &str, nonce: &Nonce) -> String {
        self.prove(&Purpose::Delete, name, nonce)
    }
}

/// The password of every test account, and another one to change to.
pub fn credentials() -> &'static [Password; 2] {
    static BOTH: OnceLock<[Password; 2]> = OnceLock::new();
    BOTH.get_or_init(|| {
        [
            Password::derive("correct horse", [1; 16]),
            Password::derive("battery staple", [2; 16]),
        ]
    })
}
