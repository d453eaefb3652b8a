//! What proves who one is: a login key, how it comes from a password, and the
//! statements it signs. Asks nobody and keeps nothing.

use rand::Rng;

use crate::client::net::connection::Connection;
use crate::crypto::account::login_proof::{LoginVerifier, ProofContext, Purpose};
use crate::crypto::account::password;
use crate::crypto::account::password::{Argon2Params, Derived, LoginKey};
use crate::crypto::os_rng;
use crate::protocol::request::{KdfParams, Login, Register, SessionOptions};
use crate::protocol::{ByteArray, Request, UserName, limits};

/// A login key and how it comes from the password.
#[derive(Clone)]
pub struct Credentials {
    /// The derivation.
    pub kdf: KdfParams,
    /// The key.
    pub login_key: LoginKey,
}

/// A fresh salt at today's cost.
pub fn new_kdf() -> KdfParams {
    let mut salt = [0; 16];
    os_rng().fill_bytes(&mut salt);
    let cost = Argon2Params::NEW;
    KdfParams {
        salt: ByteArray(salt),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
    }
}

/// Derives a password's keys, at a cost that neither weakens nor exhausts us.
///
/// # Errors
/// A sentence about the cost.
pub fn derive(password: &str, kdf: KdfParams) -> std::result::Result<Derived, String> {
    let cost = cost_of(kdf).check().map_err(|error| error.to_string())?;
    password::derive(password, &kdf.salt.0, cost).map_err(|error| error.to_string())
}

fn cost_of(kdf: KdfParams) -> Argon2Params {
    Argon2Params {
        memory_kib: kdf.memory_kib,
        passes: kdf.passes,
        lanes: kdf.lanes,
    }
}

fn prove(
    name: &UserName,
    key: &LoginKey,
    purpose: &Purpose,
    connection: &Connection,
) -> ByteArray<64> {
    // What this connection has shown, whatever the server says: a proof that names
    // another certificate could be used at the server whose certificate that is.
    let shown = connection.certificate();
    let certificate = shown.as_ref().map_or(&[][..], |shown| &shown.0);
    let greeting = connection.greeting();
    ByteArray(key.prove(
        purpose,
        &ProofContext {
            name: name.as_str(),
            nonce: &greeting.nonce.0,
            certificate,
        },
    ))
}

fn signed(credentials: &Credentials) -> LoginVerifier {
    LoginVerifier {
        login_key: credentials.login_key.public(),
        salt: credentials.kdf.salt.0,
        cost: cost_of(credentials.kdf),
    }
}

/// The request that makes an account and logs in, with its proof.
pub fn register_request(
    name: &UserName,
    credentials: &Credentials,
    connection: &Connection,
) -> Request {
    let statement = Purpose::Register(signed(credentials));
    Request::Register(Register {
        name: *name,
        kdf: credentials.kdf,
        login_key: ByteArray(credentials.login_key.public()),
        proof: prove(name, &credentials.login_key, &statement, connection),
        session: SessionOptions::default(),
    })
}

/// The request that logs in, with a proof for the connection's nonce.
pub fn login_request(
    name: &UserName,
    credentials: &Credentials,
    connection: &Connection,
    session: SessionOptions,
) -> Request {
    Request::Login(Login {
        name: *name,
        proof: prove(name, &credentials.login_key, &Purpose::Login, connection),
        session,
    })
}

/// The proof that allows a change of password.
pub fn passwd_proof(
    name: &UserName,
    old: &Credentials,
    new: &Credentials,
    connection: &Connection,
) -> ByteArray<64> {
    prove(
        name,
        &old.login_key,
        &Purpose::Passwd(signed(new)),
        connection,
    )
}

/// Whether a new password is long enough.
///
/// # Errors
/// A sentence.
pub fn check_new(password: &str) -> std::result::Result<(), String> {
    match password.chars().count() >= limits::MIN_PASSWORD {
        true => Ok(()),
        false => Err(format!(
            "a password needs at least {} characters; choose a longer one",
            limits::MIN_PASSWORD
        )),
    }
}
