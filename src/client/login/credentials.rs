//! The login key: how a password leads to it, and the statements that it signs to prove
//! an account's owner. Asking for the password and keeping keys is done elsewhere.

use std::error::Error;
use std::fmt;

use rand::Rng;
use zeroize::Zeroizing;

use crate::client::net::challenge::Challenge;
use crate::crypto::account::login_proof::{LoginVerifier, ProofContext, Purpose};
use crate::crypto::account::password;
use crate::crypto::account::password::{
    Argon2Params, Argon2ParamsError, Derived, ImpossibleCost, LoginKey,
};
use crate::crypto::os_rng;
use crate::protocol::request::{
    Claim, KdfParams, Login, Password, Register, Reset, SessionOptions,
};
use crate::protocol::{ByteArray, Request, UserName, limits};

/// A login key and how it comes from the password.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// The derivation's salt and cost.
    pub kdf: KdfParams,
    /// What the derivation leads to.
    pub login_key: LoginKey,
}

/// Why a password's keys are not derived.
#[derive(Debug)]
pub(crate) enum DeriveError {
    /// The cost would weaken the password, or exhaust this machine.
    Cost(Argon2ParamsError),
    /// The cost is lower than the one with which this device logged in before.
    Lowered {
        /// What the server asks for.
        asked: Argon2Params,
        /// What it was.
        before: Argon2Params,
    },
    /// Argon2 can't run with the cost.
    Impossible(ImpossibleCost),
}

impl fmt::Display for DeriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeriveError::Cost(error) => error.fmt(f),
            DeriveError::Lowered { asked, before } => write!(
                f,
                "the server asks to protect the password with {asked}, less than {before} before; \
                 the new password was not used, so ask its operator"
            ),
            DeriveError::Impossible(error) => error.fmt(f),
        }
    }
}

impl Error for DeriveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DeriveError::Cost(error) => Some(error),
            DeriveError::Lowered { .. } => None,
            DeriveError::Impossible(error) => Some(error),
        }
    }
}

/// A new random salt with the default cost.
pub(crate) fn new_kdf() -> KdfParams {
    let mut salt = [0; 16];
    os_rng().fill_bytes(&mut salt);
    let cost = Argon2Params::for_new();
    KdfParams {
        salt: ByteArray(salt),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
    }
}

/// Derives a password's keys.
///
/// # Errors
/// The cost, which the server may have named, is too low, too high or impossible.
pub(crate) fn derive(password: &str, kdf: KdfParams) -> Result<Derived, DeriveError> {
    let cost = cost_of(kdf).check().map_err(DeriveError::Cost)?;
    password::derive(password, &kdf.salt.0, cost).map_err(DeriveError::Impossible)
}

/// Refuses a derivation that costs less than those with which this device logged in before:
/// it would make the password cheaper to guess for whoever asks for it.
///
/// # Errors
/// That it costs less in some respect.
pub(super) fn check_not_lowered(asked: KdfParams, before: &[KdfParams]) -> Result<(), DeriveError> {
    let asked = cost_of(asked);
    let costs = before.iter().map(|kdf| cost_of(*kdf));
    let before = costs.fold(Argon2Params::FLOOR, Argon2Params::at_least);
    match asked.at_least(before) == asked {
        true => Ok(()),
        false => Err(DeriveError::Lowered { asked, before }),
    }
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
    challenge: &Challenge,
) -> ByteArray<64> {
    let certificate = challenge.certificate.as_ref();
    ByteArray(key.prove(
        purpose,
        &ProofContext {
            name: name.as_str(),
            nonce: &challenge.nonce.0,
            certificate: certificate.map_or(&[][..], |certificate| &certificate.0),
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

/// The request that makes an account and logs in; proves that the key is known.
pub(crate) fn register_request(
    name: &UserName,
    credentials: &Credentials,
    challenge: &Challenge,
    invitation: Option<ByteArray<16>>,
    session: SessionOptions,
) -> Request {
    let statement = Purpose::Register(signed(credentials));
    Request::Register(Box::new(Register {
        name: *name,
        kdf: credentials.kdf,
        login_key: ByteArray(credentials.login_key.public()),
        proof: prove(name, &credentials.login_key, &statement, challenge),
        invitation,
        session,
    }))
}

/// The request that sets a new password with the operator's code, and logs in.
pub(crate) fn reset_request(
    name: &UserName,
    code: &LoginKey,
    new: &Credentials,
    challenge: &Challenge,
    session: SessionOptions,
) -> Request {
    Request::Reset(Box::new(Reset {
        name: *name,
        kdf: new.kdf,
        login_key: ByteArray(new.login_key.public()),
        proof: prove(name, code, &Purpose::Reset(signed(new)), challenge),
        session,
    }))
}

/// The request that gives the password of an imported account, sets another one and logs in.
pub(crate) fn claim_request(
    name: &UserName,
    then: &str,
    new: &Credentials,
    session: SessionOptions,
) -> Request {
    Request::Claim(Box::new(Claim {
        name: *name,
        password: Password(Zeroizing::new(then.to_owned())),
        kdf: new.kdf,
        login_key: ByteArray(new.login_key.public()),
        session,
    }))
}

/// The request that logs in, with a proof for one connection.
pub(crate) fn login_request(
    name: &UserName,
    credentials: &Credentials,
    challenge: &Challenge,
    session: SessionOptions,
) -> Request {
    Request::Login(Login {
        name: *name,
        proof: prove(name, &credentials.login_key, &Purpose::Login, challenge),
        session,
    })
}

/// The proof that allows a change of password.
pub(crate) fn passwd_proof(
    name: &UserName,
    old: &Credentials,
    new: &Credentials,
    challenge: &Challenge,
) -> ByteArray<64> {
    prove(
        name,
        &old.login_key,
        &Purpose::Passwd(signed(new)),
        challenge,
    )
}

/// The proof that allows the deletion of the account.
pub(crate) fn delete_proof(
    name: &UserName,
    credentials: &Credentials,
    challenge: &Challenge,
) -> ByteArray<64> {
    prove(name, &credentials.login_key, &Purpose::Delete, challenge)
}

/// Checks that a new password is long enough.
///
/// # Errors
/// A sentence that says how long it must be.
pub(crate) fn check_new(password: &str) -> Result<(), String> {
    match password.chars().count() >= limits::MIN_PASSWORD {
        true => Ok(()),
        false => Err(format!(
            "a password needs at least {} characters; choose a longer one",
            limits::MIN_PASSWORD
        )),
    }
}
