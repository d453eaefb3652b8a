//! What a client signs with its login key, so that the server knows it has the
//! password without ever seeing it.
//!
//! The signature is Ed25519 over fields, each behind its length in two
//! big-endian bytes: the purpose's label, the account's canonical name, the
//! server's nonce of this connection, the SHA-256 fingerprint of the server's
//! certificate (empty over plain TCP), and then what the purpose adds. The nonce
//! keeps a proof from being replayed, the fingerprint from being relayed to
//! another server, the label from being used for something else.
//!
//! Making nonces, using each only once, and storing keys is the server's part.

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

use super::password::{Argon2Params, LoginKey, SALT_LEN};
use crate::crypto::codec::put_short;
use crate::crypto::kdf::label;

/// A login key's public half with the salt and cost that lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginVerifier {
    /// The Ed25519 public login key.
    pub login_key: [u8; 32],
    /// The salt of the derivation.
    pub salt: [u8; SALT_LEN],
    /// The cost of the derivation.
    pub cost: Argon2Params,
}

/// What a proof is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To make an account; signed with the login key that it is to have. Adds
    /// the fields login key (32), salt (16) and cost (12).
    Register(LoginVerifier),
    /// To log in. Adds nothing.
    Login,
    /// To change the password; signed with the login key so far. Adds the new
    /// login key (32), the new salt (16) and the new cost (12).
    Passwd(LoginVerifier),
    /// To set another password after a reset; signed with the key that the operator's code
    /// leads to. Adds the same as `Passwd`.
    Reset(LoginVerifier),
    /// To delete the account. Adds nothing.
    Delete,
}

/// Where and as whom a proof is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofContext<'a> {
    /// Canonical name of the account.
    pub name: &'a str,
    /// The server's nonce of this connection.
    pub nonce: &'a [u8; 32],
    /// SHA-256 fingerprint of the server's certificate; empty over plain TCP.
    pub certificate: &'a [u8],
}

/// The signature is not one by this key over this purpose and challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProof;

impl fmt::Display for BadProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proof of the password is wrong")
    }
}

impl std::error::Error for BadProof {}

impl LoginKey {
    /// The 64-byte proof.
    pub fn prove(&self, purpose: &Purpose, challenge: &ProofContext<'_>) -> [u8; 64] {
        self.sign(&statement(purpose, challenge))
    }
}

/// Checks a proof against the login key's public half, strictly (no low-order
/// keys, no malleable signatures).
pub fn verify_proof(
    login_key: &[u8; 32],
    purpose: &Purpose,
    challenge: &ProofContext<'_>,
    proof: &[u8; 64],
) -> Result<(), BadProof> {
    VerifyingKey::from_bytes(login_key)
        .and_then(|key| {
            key.verify_strict(
                &statement(purpose, challenge),
                &Signature::from_bytes(proof),
            )
        })
        .map_err(|_| BadProof)
}

fn statement(purpose: &Purpose, challenge: &ProofContext<'_>) -> Vec<u8> {
    let (label, credentials) = match purpose {
        Purpose::Register(credentials) => (label::REGISTER, Some(credentials)),
        Purpose::Login => (label::LOGIN, None),
        Purpose::Passwd(credentials) => (label::PASSWD, Some(credentials)),
        Purpose::Reset(credentials) => (label::RESET, Some(credentials)),
        Purpose::Delete => (label::DELETE, None),
    };
    let mut out = Vec::new();
    put_short(&mut out, label);
    put_short(&mut out, challenge.name.as_bytes());
    put_short(&mut out, challenge.nonce);
    put_short(&mut out, challenge.certificate);
    if let Some(credentials) = credentials {
        put_short(&mut out, &credentials.login_key);
        put_short(&mut out, &credentials.salt);
        put_short(&mut out, &credentials.cost.to_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::account::password::{derive, fake_salt};
    use crate::crypto::testing::{array, bytes, text, vectors};

    const CHEAP: Argon2Params = Argon2Params {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    #[test]
    fn proofs_agree_with_pycryptodome_and_fit_nothing_else() {
        let cases = vectors(include_str!("../../../tests/vectors/proof.json"));
        let mut proofs = Vec::new();
        for case in &cases {
            let salt = array(case, "salt");
            let derived = derive(text(case, "password"), &salt, CHEAP).unwrap();
            let login_key = array(case, "login_public");
            assert_eq!(derived.login_key.public(), login_key);
            let purpose = match text(case, "purpose") {
                "register" => Purpose::Register(LoginVerifier {
                    login_key,
                    salt,
                    cost: CHEAP,
                }),
                "login" => Purpose::Login,
                "delete" => Purpose::Delete,
                _ => Purpose::Passwd(LoginVerifier {
                    login_key: array(case, "new_login_public"),
                    salt: array(case, "new_salt"),
                    cost: Argon2Params::DEFAULT,
                }),
            };
            let (nonce, certificate) = (array(case, "nonce"), bytes(case, "certificate"));
            let challenge = ProofContext {
                name: text(case, "name"),
                nonce: &nonce,
                certificate: &certificate,
            };
            let proof = derived.login_key.prove(&purpose, &challenge);
            assert_eq!(proof, array(case, "proof"));
            let fake = fake_salt(&array(case, "fake_salt_secret"), challenge.name);
            assert_eq!(fake, array(case, "fake_salt"));
            let verify = |purpose: &Purpose, challenge: &ProofContext<'_>, proof: &[u8; 64]| {
                verify_proof(&login_key, purpose, challenge, proof)
            };
            assert_eq!(verify(&purpose, &challenge, &proof), Ok(()));
            let other_name = ProofContext {
                name: "bob",
                ..challenge
            };
            let other_nonce = ProofContext {
                nonce: &[0; 32],
                ..challenge
            };
            let other_server = ProofContext {
                certificate: &[1; 32],
                ..challenge
            };
            for other in [other_name, other_nonce, other_server] {
                assert_eq!(verify(&purpose, &other, &proof), Err(BadProof));
            }
            for other in &proofs {
                assert_eq!(verify(&purpose, &challenge, other), Err(BadProof));
            }
            proofs.push(proof);
        }
    }

    #[test]
    fn a_key_that_would_accept_anything_is_refused() {
        let challenge = ProofContext {
            name: "alice",
            nonce: &[0; 32],
            certificate: &[],
        };
        let neutral: [u8; 32] = std::array::from_fn(|i| u8::from(i == 0));
        let mut proof = [0; 64];
        proof[0] = 1;
        assert_eq!(
            verify_proof(&neutral, &Purpose::Login, &challenge, &proof),
            Err(BadProof)
        );
    }
}
