//! Proofs and passwords, for the requests that need them.
//!
//! A client proves its password with a signature over this connection's nonce. The password
//! itself arrives only from the console, where a person has no program to derive the login
//! key; the server derives it for them when their turn comes.

use std::time::{Duration, Instant};

use super::Handler;
use crate::crypto::account::login_proof::{
    BadProof, LoginVerifier, ProofContext, Purpose, verify_proof,
};
use crate::crypto::account::password::{Argon2Params, Derived, derive, fake_salt};
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::{MAX_PASSWORD, MIN_PASSWORD};
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{KdfParams, Password};
use crate::server::delivery::Now;
use crate::server::delivery::refusals::{log_uncounted, read_failed};
use crate::server::limits::login_backoff::{FORGIVEN_AFTER, MAX_REMEMBERED};
use crate::store::Account;
use crate::transport::socket::PeerState;

/// What a proof on one connection has to sign.
pub(super) struct Challenge {
    /// The nonce; one attempt uses it up.
    nonce: [u8; 32],
    /// The certificate's fingerprint, empty over plain TCP.
    certificate: Vec<u8>,
}

impl Handler {
    /// Takes the nonce for one attempt.
    pub(super) fn challenge(&mut self) -> Result<Challenge, Refusal> {
        match self.nonce.take() {
            Some(nonce) => Ok(Challenge {
                nonce,
                certificate: self.certificate.clone(),
            }),
            None => Err(Refusal::new(
                Code::NoNonce,
                "there is no unused nonce on this connection; say hello again",
            )),
        }
    }

    /// The derivation that a user who does not exist is said to have: always the same one,
    /// and like any other.
    pub(super) fn fake_kdf(&self, name: &UserName) -> KdfParams {
        kdf_with(fake_salt(&self.shared.store.secret(), name.as_str()))
    }

    /// Derives the keys of a console's password, after waiting for a turn.
    pub(super) fn derive(
        &self,
        password: &Password,
        kdf: &KdfParams,
        now: Now,
    ) -> Result<Derived, Refusal> {
        // A client may choose to work harder than this. Nobody may make the server do so
        // by registering such an account.
        let (cost, most) = (cost(kdf), Argon2Params::DEFAULT);
        if cost.memory_kib > most.memory_kib || cost.passes > most.passes {
            return Err(Refusal::new(
                Code::UseJson,
                "this account's password takes more work than the console does; use the client",
            ));
        }
        let gives_up = |now| self.gives_up(now);
        let kdf_queue = &self.shared.kdf_queue;
        let _slot = kdf_queue.acquire(self.network, now.instant, &gives_up)?;
        derive(&password.0, &kdf.salt.0, cost)
            .map_err(|_| Refusal::new(Code::BadKey, "the account's key derivation can't run"))
    }

    /// Whether the connection has ended or reached its deadline, so that nobody waits for
    /// an answer any more.
    fn gives_up(&self, now: Instant) -> bool {
        // A peer that has closed its half may still read the answer.
        let peer = PeerState::HalfClosed;
        self.deadline.is_some_and(|deadline| now >= deadline)
            || self.send_queue.socket().watch_peer(peer, Duration::ZERO) == PeerState::Gone
    }

    /// The account as it is, if its password is still the one that was `proven` for it.
    pub(super) fn unchanged(&self, proven: &Account) -> Result<Account, Refusal> {
        let account = self
            .shared
            .store
            .account(&proven.name)
            .map_err(read_failed)?;
        account
            .filter(|account| account.login_key == proven.login_key)
            .ok_or_else(wrong_login)
    }

    /// Checks a console's password.
    pub(super) fn authenticate(
        &self,
        name: &UserName,
        password: &Password,
        now: Now,
    ) -> Result<Account, Refusal> {
        if password.0.len() > MAX_PASSWORD {
            return Err(wrong_login());
        }
        let account = self.shared.store.account(name).map_err(read_failed)?;
        if account.as_ref().is_some_and(|it| it.verifier.is_some()) {
            return Err(imported());
        }
        let kdf = account
            .as_ref()
            .map_or_else(|| self.fake_kdf(name), |account| account.kdf);
        let derived = self.derive(password, &kdf, now)?;
        // It has waited for its turn, and the account may have changed meanwhile.
        let account = self.shared.store.account(name).map_err(read_failed)?;
        match account {
            Some(account) if account.login_key.0 == derived.login_key.public() => Ok(account),
            _ => Err(wrong_login()),
        }
    }

    /// Counts a wrong password or proof, and slows the connection down for it. It counts
    /// wherever it is given: at a login, a change of the password, a deletion.
    pub(super) fn count_failure<T>(
        &mut self,
        result: Result<T, Refusal>,
        account: UserName,
        now: Now,
    ) -> Result<T, Refusal> {
        if let Err(refusal) = &result
            && refusal.code == Code::WrongLogin
        {
            self.failed_logins += 1;
            let of_account = self.count_guess(account, now);
            let limits = &self.shared.limits;
            let failed = self.failed_logins;
            self.pause += limits.wrong_login(of_account, self.network, failed, now.instant);
        }
        result
    }

    /// Counts a wrong login for an account, and returns how many are remembered of it: at all servers,
    /// where several share the store. One that can't be counted there waits as long as any does.
    fn count_guess(&self, account: UserName, now: Now) -> u32 {
        let store = &self.shared.store;
        match store.count_guess(&account, FORGIVEN_AFTER, MAX_REMEMBERED) {
            Ok(Some(remembered)) => remembered,
            Ok(None) => self.shared.limits.count_guess(account, now.instant),
            Err(error) => {
                log_uncounted(&error);
                MAX_REMEMBERED
            }
        }
    }
}

fn cost(kdf: &KdfParams) -> Argon2Params {
    Argon2Params {
        memory_kib: kdf.memory_kib,
        passes: kdf.passes,
        lanes: kdf.lanes,
    }
}

pub(super) fn credentials(kdf: &KdfParams, login_key: &ByteArray<32>) -> LoginVerifier {
    LoginVerifier {
        login_key: login_key.0,
        salt: kdf.salt.0,
        cost: cost(kdf),
    }
}

pub(super) fn wrong_login() -> Refusal {
    Refusal::new(
        Code::WrongLogin,
        "the name or the password is wrong; try again",
    )
}

/// The account waits for its owner to give the password of then.
pub(super) fn imported() -> Refusal {
    Refusal::new(
        Code::Imported,
        "this account comes from the program before this one, and nobody has logged in to it here; do \
         that with a client of this version over TLS, or ask the operator for a code",
    )
}

pub(super) fn check_proof(
    key: &ByteArray<32>,
    purpose: &Purpose,
    name: &UserName,
    challenge: &Challenge,
    proof: &ByteArray<64>,
) -> Result<(), BadProof> {
    let context = ProofContext {
        name: name.as_str(),
        nonce: &challenge.nonce,
        certificate: &challenge.certificate,
    };
    verify_proof(&key.0, purpose, &context, &proof.0)
}

/// Checks that clients of this version accept a derivation's cost.
pub(super) fn check_cost(kdf: &KdfParams) -> Result<(), Refusal> {
    match cost(kdf).check() {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::new(Code::BadKey, error.to_string())),
    }
}

/// Checks that a password may be set.
pub(super) fn check_password(password: &Password) -> Result<(), Refusal> {
    let text = password.0.as_str();
    if text.chars().count() < MIN_PASSWORD || text.len() > MAX_PASSWORD {
        return Err(Refusal::new(
            Code::BadPassword,
            "a password has at least 8 characters and at most 256 bytes; choose another",
        ));
    }
    Ok(())
}

fn kdf_with(salt: [u8; 16]) -> KdfParams {
    KdfParams {
        salt: ByteArray(salt),
        memory_kib: Argon2Params::DEFAULT.memory_kib,
        passes: Argon2Params::DEFAULT.passes,
        lanes: Argon2Params::DEFAULT.lanes,
    }
}

/// The derivation of a new password from the console.
pub(super) fn new_kdf() -> Result<KdfParams, Refusal> {
    random().map(kdf_with)
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes)
        .map_err(|_| Refusal::new(Code::Internal, "the server's system gives no randomness"))?;
    Ok(bytes)
}
