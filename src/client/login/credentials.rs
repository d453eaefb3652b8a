//! What proves who one is: a login key, how it comes from a password, and the
//! statements it signs. Asks nobody and keeps nothing.

use rand::Rng;

use crate::client::net::connection::Link;
use crate::crypto::account::login_proof::{Challenge, Credentials as Signed, Purpose};
use crate::crypto::account::password;
use crate::crypto::account::password::{Cost, Derived, LoginKey};
use crate::crypto::os_rng;
use crate::protocol::request::{Kdf, Login, Register, SessionWish};
use crate::protocol::{Fixed, Request, UserName, limits};

/// A login key and how it comes from the password.
#[derive(Clone)]
pub struct Credentials {
    /// The derivation.
    pub kdf: Kdf,
    /// The key.
    pub login_key: LoginKey,
}

/// A fresh salt at today's cost.
pub fn new_kdf() -> Kdf {
    let mut salt = [0; 16];
    os_rng().fill_bytes(&mut salt);
    let cost = Cost::DEFAULT;
    Kdf {
        salt: Fixed(salt),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
    }
}

/// Derives a password's keys, at a cost that neither weakens nor exhausts us.
///
/// # Errors
/// A sentence about the cost.
pub fn derive(password: &str, kdf: Kdf) -> std::result::Result<Derived, String> {
    let cost = cost_of(kdf).check().map_err(|error| error.to_string())?;
    password::derive(password, &kdf.salt.0, cost).map_err(|error| error.to_string())
}

fn cost_of(kdf: Kdf) -> Cost {
    Cost {
        memory_kib: kdf.memory_kib,
        passes: kdf.passes,
        lanes: kdf.lanes,
    }
}

fn prove(name: &UserName, key: &LoginKey, purpose: &Purpose, link: &Link) -> Fixed<64> {
    // What this connection has shown, whatever the server says: a proof that names
    // another certificate could be used at the server whose certificate that is.
    let shown = link.certificate();
    let certificate = shown.as_ref().map_or(&[][..], |shown| &shown.0);
    let greeting = link.greeting();
    Fixed(key.prove(
        purpose,
        &Challenge {
            name: name.as_str(),
            nonce: &greeting.nonce.0,
            certificate,
        },
    ))
}

fn signed(credentials: &Credentials) -> Signed {
    Signed {
        login_key: credentials.login_key.public(),
        salt: credentials.kdf.salt.0,
        cost: cost_of(credentials.kdf),
    }
}

/// The request that makes an account and logs in, with its proof.
pub fn register_request(name: &UserName, credentials: &Credentials, link: &Link) -> Request {
    let statement = Purpose::Register(signed(credentials));
    Request::Register(Register {
        name: *name,
        kdf: credentials.kdf,
        login_key: Fixed(credentials.login_key.public()),
        proof: prove(name, &credentials.login_key, &statement, link),
        session: SessionWish::default(),
    })
}

/// The request that logs in, with a proof for the connection's nonce.
pub fn login_request(
    name: &UserName,
    credentials: &Credentials,
    link: &Link,
    session: SessionWish,
) -> Request {
    Request::Login(Login {
        name: *name,
        proof: prove(name, &credentials.login_key, &Purpose::Login, link),
        session,
    })
}

/// The proof that allows a change of password.
pub fn passwd_proof(
    name: &UserName,
    old: &Credentials,
    new: &Credentials,
    link: &Link,
) -> Fixed<64> {
    prove(name, &old.login_key, &Purpose::Passwd(signed(new)), link)
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
