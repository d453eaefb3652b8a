//! Accounts: registering, logging in, passwords, deletion.
//!
//! A client proves its password with a signature over this connection's nonce;
//! the password itself arrives only from the console, where a person has no
//! program to derive the key. The server does that for them, when it is their turn.

use std::time::{Duration, Instant};

use crate::crypto::account::login_proof::{Credentials, ProofContext, Purpose, verify_proof};
use crate::crypto::account::password::{Argon2Params, Derived, derive, fake_salt};
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::{MAX_PASSWORD, MIN_PASSWORD};
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{KdfParams, Login, Passwd, Password, PasswordLogin, Register};
use crate::server::delivery::writer::Writer;
use crate::server::delivery::{Now, store_failed};
use crate::server::limits::Limits;
use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::limits::kdf_queue::KdfQueue;
use crate::server::net::send_queue::SendQueue;
use crate::store::{Account, Change, Changed, NewAccount, Store};
use crate::transport::socket::PeerState;

/// A login key that nobody has: checked for unknown users, so that the answer
/// takes as long as for known ones. The point is the curve's base point.
const NOBODY: [u8; 32] = [
    0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
];

/// What a proof on one connection has to sign.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    /// The nonce; used up by one attempt.
    pub nonce: [u8; 32],
    /// The certificate's fingerprint, empty over plain TCP.
    pub certificate: Vec<u8>,
}

/// How long whoever asks can wait for an answer: as long as its connection lives.
pub(crate) struct Patience<'a> {
    /// The connection's.
    pub send_queue: &'a SendQueue,
    /// When the connection ends, whatever it is waiting for.
    pub deadline: Option<Instant>,
}

impl Patience<'_> {
    fn is_over(&self, now: Instant) -> bool {
        let peer = PeerState::HalfClosed; // One that may still read its answer.
        self.deadline.is_some_and(|deadline| now >= deadline)
            || self.send_queue.socket().watch_peer(peer, Duration::ZERO) == PeerState::Gone
    }
}

/// Accounts over a store.
pub(crate) struct Accounts<'a> {
    /// To read.
    pub store: &'a dyn Store,
    /// To change.
    pub writer: &'a Writer,
    /// WaitingLine for the console's derivations.
    pub kdf_queue: &'a KdfQueue,
    /// How long whoever asks can wait for one.
    pub patience: Patience<'a>,
    /// How much one address may ask for.
    pub limits: &'a Limits,
    /// As which address whoever asks counts.
    pub from: Option<IpPrefix>,
    /// The moment of the request.
    pub now: Now,
    /// Whether new accounts are welcome.
    pub registration: bool,
}

fn cost(kdf: &KdfParams) -> Argon2Params {
    Argon2Params {
        memory_kib: kdf.memory_kib,
        passes: kdf.passes,
        lanes: kdf.lanes,
    }
}

fn credentials(kdf: &KdfParams, login_key: &ByteArray<32>) -> Credentials {
    Credentials {
        login_key: login_key.0,
        salt: kdf.salt.0,
        cost: cost(kdf),
    }
}

fn wrong_login() -> Refusal {
    Refusal::new(
        Code::WrongLogin,
        "the name or the password is wrong; try again",
    )
}

impl Accounts<'_> {
    /// How a user's key is derived; for an unknown one an answer that is always
    /// the same and looks like any other.
    pub(crate) fn kdf(&self, name: &UserName) -> Result<KdfParams, Refusal> {
        match self.store.account(name).map_err(store_failed)? {
            Some(account) => Ok(account.kdf),
            None => Ok(self.fake_kdf(name)),
        }
    }

    fn fake_kdf(&self, name: &UserName) -> KdfParams {
        kdf_with(fake_salt(&self.store.secret(), name.as_str()))
    }

    /// Makes an account from a client's key.
    pub(crate) fn register(
        &self,
        register: &Register,
        challenge: &Challenge,
    ) -> Result<Account, Refusal> {
        check_cost(&register.kdf)?;
        let purpose = Purpose::Register(credentials(&register.kdf, &register.login_key));
        check(
            &register.login_key,
            &purpose,
            &register.name,
            challenge,
            &register.proof,
        )
        .map_err(|_| {
            Refusal::new(
                Code::BadKey,
                "the registration is not signed by its own login key",
            )
        })?;
        self.admit(&register.name)?;
        self.create(register.name, register.kdf, register.login_key)
    }

    /// Makes an account from the console's password.
    pub(crate) fn register_password(&self, login: &PasswordLogin) -> Result<Account, Refusal> {
        check_password(&login.password)?;
        // Before the expensive part: a taken name is the usual reason to fail.
        self.admit(&login.name)?;
        let kdf = fresh_kdf()?;
        let derived = self.derive(&login.password, &kdf)?;
        self.create(login.name, kdf, ByteArray(derived.login_key.public()))
    }

    /// Derives a key for the console, when it is its turn.
    fn derive(&self, password: &Password, kdf: &KdfParams) -> Result<Derived, Refusal> {
        // A client may choose to work harder than this; the server must not be
        // made to, by whoever registers such an account.
        let (cost, most) = (cost(kdf), Argon2Params::DEFAULT);
        if cost.memory_kib > most.memory_kib || cost.passes > most.passes {
            return Err(Refusal::new(
                Code::UseJson,
                "this account's password takes more work than the console does; use the client",
            ));
        }
        let _slot = self
            .kdf_queue
            .acquire(self.from, self.now.instant, &|now| {
                self.patience.is_over(now)
            })?;
        derive(&password.0, &kdf.salt.0, cost)
            .map_err(|_| Refusal::new(Code::BadKey, "the account's key derivation can't run"))
    }

    /// Whether an account of this name may be made. Counts it.
    fn admit(&self, name: &UserName) -> Result<(), Refusal> {
        if !self.registration {
            return Err(Refusal::new(
                Code::RegistrationClosed,
                "this server makes no new accounts; ask its operator",
            ));
        }
        match self.store.account(name).map_err(store_failed)? {
            Some(_) => Err(name_taken(name)),
            None => self.limits.register(self.from, self.now.instant),
        }
    }

    fn create(
        &self,
        name: UserName,
        kdf: KdfParams,
        login_key: ByteArray<32>,
    ) -> Result<Account, Refusal> {
        let account = NewAccount {
            name,
            kdf,
            login_key,
            created: self.now.millis,
        };
        match self.writer.change(Change::Register(account))? {
            Changed::Registered(_) => self.existing(&name),
            _ => Err(name_taken(&name)),
        }
    }

    fn existing(&self, name: &UserName) -> Result<Account, Refusal> {
        let account = self.store.account(name).map_err(store_failed)?;
        account.ok_or_else(|| crate::server::delivery::unknown_user(name))
    }

    /// Checks a client's proof.
    pub(crate) fn login(&self, login: &Login, challenge: &Challenge) -> Result<Account, Refusal> {
        let account = self.store.account(&login.name).map_err(store_failed)?;
        let key = account
            .as_ref()
            .map_or(ByteArray(NOBODY), |account| account.login_key);
        let proven = check(&key, &Purpose::Login, &login.name, challenge, &login.proof);
        match (account, proven) {
            (Some(account), Ok(())) => Ok(account),
            _ => Err(wrong_login()),
        }
    }

    /// Checks the console's password.
    pub(crate) fn login_password(
        &self,
        name: &UserName,
        password: &Password,
    ) -> Result<Account, Refusal> {
        if password.0.len() > MAX_PASSWORD {
            return Err(wrong_login());
        }
        let account = self.store.account(name).map_err(store_failed)?;
        let kdf = account
            .as_ref()
            .map_or_else(|| self.fake_kdf(name), |account| account.kdf);
        let derived = self.derive(password, &kdf)?;
        match account {
            Some(account) if account.login_key.0 == derived.login_key.public() => Ok(account),
            _ => Err(wrong_login()),
        }
    }

    /// Changes the key that a client logs in with.
    pub(crate) fn passwd(
        &self,
        name: &UserName,
        passwd: &Passwd,
        challenge: &Challenge,
    ) -> Result<(), Refusal> {
        check_cost(&passwd.kdf)?;
        let account = self.existing(name)?;
        let purpose = Purpose::Passwd(credentials(&passwd.kdf, &passwd.login_key));
        check(&account.login_key, &purpose, name, challenge, &passwd.proof)
            .map_err(|_| wrong_login())?;
        self.writer
            .change(Change::SetLogin(account.id, passwd.kdf, passwd.login_key))
            .map(|_| ())
    }

    /// Changes the password from the console.
    pub(crate) fn passwd_password(
        &self,
        name: &UserName,
        old: &Password,
        new: &Password,
    ) -> Result<(), Refusal> {
        check_password(new)?;
        let account = self.login_password(name, old)?;
        if account.identity.is_some() {
            return Err(Refusal::new(
                Code::UseJson,
                "this account has a client, whose vault must learn the new password too; \
                 type /passwd there",
            ));
        }
        let kdf = fresh_kdf()?;
        let derived = self.derive(new, &kdf)?;
        let login_key = ByteArray(derived.login_key.public());
        self.writer
            .change(Change::SetLogin(account.id, kdf, login_key))
            .map(|_| ())
    }

    /// Checks a deletion's proof.
    pub(crate) fn check_deletion(
        &self,
        name: &UserName,
        proof: &ByteArray<64>,
        challenge: &Challenge,
    ) -> Result<Account, Refusal> {
        let account = self.existing(name)?;
        check(&account.login_key, &Purpose::Delete, name, challenge, proof)
            .map_err(|_| wrong_login())?;
        Ok(account)
    }
}

fn check(
    key: &ByteArray<32>,
    purpose: &Purpose,
    name: &UserName,
    challenge: &Challenge,
    proof: &ByteArray<64>,
) -> Result<(), crate::crypto::account::login_proof::BadProof> {
    let challenge = ProofContext {
        name: name.as_str(),
        nonce: &challenge.nonce,
        certificate: &challenge.certificate,
    };
    verify_proof(&key.0, purpose, &challenge, &proof.0)
}

/// A cost the server would have to spend for a console login, and that clients
/// of this version accept.
fn check_cost(kdf: &KdfParams) -> Result<(), Refusal> {
    match cost(kdf).check() {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::new(Code::BadKey, error.to_string())),
    }
}

fn check_password(password: &Password) -> Result<(), Refusal> {
    let text = password.0.as_str();
    if text.chars().count() < MIN_PASSWORD || text.len() > MAX_PASSWORD {
        return Err(Refusal::new(
            Code::BadPassword,
            "a password has at least 8 characters and at most 256 bytes; choose another",
        ));
    }
    Ok(())
}

fn name_taken(name: &UserName) -> Refusal {
    Refusal::new(
        Code::NameTaken,
        format!("the name {name} is taken; choose another"),
    )
}

fn kdf_with(salt: [u8; 16]) -> KdfParams {
    KdfParams {
        salt: ByteArray(salt),
        memory_kib: Argon2Params::DEFAULT.memory_kib,
        passes: Argon2Params::DEFAULT.passes,
        lanes: Argon2Params::DEFAULT.lanes,
    }
}

fn fresh_kdf() -> Result<KdfParams, Refusal> {
    random().map(kdf_with)
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes)
        .map_err(|_| Refusal::new(Code::Internal, "the server's system gives no randomness"))?;
    Ok(bytes)
}
