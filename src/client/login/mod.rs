//! Getting in: making an account, logging in, and everything that has to be asked
//! or refused on the way. It runs before there is a messenger, in the thread that
//! can ask the person.

pub mod credentials;
pub(crate) mod first_login;
pub(crate) mod prompt;

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use self::credentials::{Credentials, check_new, derive, login_request, new_kdf, register_request};
use super::messenger::account::Account;
use super::messenger::identity::wire_identity;
use super::net::connection::{CallError, Connection, said};
use super::net::endpoint::{Endpoint, EndpointError};
use super::net::event_queue::EventQueue;
use super::vault::{Closed, Vault, VaultError, VaultFile};
use super::view::ViewEvent;
use crate::crypto::account::password::Derived;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::keys::IdentityKeys;
use crate::crypto::os_rng;
use crate::protocol::reply::{Done, Welcome};
use crate::protocol::request::{KdfParams, SessionOptions, UserRef};
use crate::protocol::{ByteArray, Code, Request, UserName, limits};

/// Where and how to get in.
pub(crate) struct LoginFlow {
    /// The way to the server.
    pub endpoint: Endpoint,
    /// The folder of the vaults.
    pub data: PathBuf,
    /// End another session without asking.
    pub take_over: bool,
    /// Replace a published identity without asking.
    pub new_identity: bool,
}

/// Somebody who can be asked.
pub(crate) trait Prompt {
    /// The password, or an earlier one, as the prompt says; `None` if there is none.
    fn password(&mut self, prompt: &str) -> Option<Zeroizing<String>>;
    /// A secret that only a person can type; `None` without one.
    fn secret(&mut self, prompt: &str) -> Option<Zeroizing<String>>;
    /// Yes or no; no without a person.
    fn yes(&mut self, question: &str) -> bool;
    /// Says something.
    fn say(&mut self, event: ViewEvent);
}

/// Why nobody got in.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// The server, or the person's own answer, says no.
    Refused(String),
    /// The server takes no connection at present, or not this one, as it says.
    TurnedAway(String),
    /// There is no server to be reached.
    Unreachable(String),
    /// Nothing says that it is the right server.
    Untrusted(String),
    /// The vault is in the way.
    Vault(VaultError),
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoginError::Refused(why) | LoginError::TurnedAway(why) | LoginError::Untrusted(why) => {
                f.write_str(why)
            }
            LoginError::Unreachable(why) => {
                write!(f, "{why}; check the address and that the server runs")
            }
            LoginError::Vault(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoginError {}

impl From<VaultError> for LoginError {
    fn from(error: VaultError) -> Self {
        LoginError::Vault(error)
    }
}

impl From<CallError> for LoginError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => match refusal.code {
                Code::TlsRequired => LoginError::TurnedAway(format!(
                    "{}. Leave out --tls off, and this client connects with TLS",
                    said(&refusal)
                )),
                Code::ServerFull | Code::TimedOut | Code::ShuttingDown => {
                    LoginError::TurnedAway(said(&refusal))
                }
                _ => LoginError::Refused(said(&refusal)),
            },
            CallError::Lost(why) => LoginError::Unreachable(why),
        }
    }
}

impl From<EndpointError> for LoginError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::TurnedAway(_) => LoginError::TurnedAway(error.to_string()),
            EndpointError::Unreachable(why) => LoginError::Unreachable(why),
            EndpointError::Untrusted(why) => LoginError::Untrusted(why),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, LoginError>;

impl LoginFlow {
    /// Makes an account: the vault first, then the server's side of it, so that
    /// a kill in between loses nothing that counts.
    ///
    /// # Errors
    /// Why there is no account now.
    pub(crate) fn register(&self, name: UserName, ask: &mut dyn Prompt) -> Result<Account> {
        let file = VaultFile::take(&self.data, self.endpoint.place(), &name)?;
        let mut events = EventQueue::new();
        let connection = self.connect(&mut events, ask)?;
        let password = new_password(ask)?;
        let (made, credentials, fresh) = match file.exists() {
            false => {
                let kdf = new_kdf();
                let derived = derive(&password, kdf).map_err(LoginError::Refused)?;
                let made = create_vault(file, kdf, &derived, |_| Ok(()))?;
                let login_key = derived.login_key;
                (made, Credentials { kdf, login_key }, true)
            }
            true => {
                let (vault, credentials) = unfinished(file.read()?, &password)?;
                (renew_recovery_code(vault)?, credentials, false)
            }
        };
        self.finish_registration(name, made, credentials, (connection, events), fresh, ask)
    }

    /// Connects to the server, which the person may have to recognise.
    pub(super) fn connect(
        &self,
        events: &mut EventQueue,
        ask: &mut dyn Prompt,
    ) -> Result<Connection> {
        let opened = self.endpoint.open(&mut |question| ask.yes(question))?;
        Ok(Connection::over(opened, events)?)
    }

    fn finish_registration(
        &self,
        name: UserName,
        (mut vault, code): (Vault, RecoveryCode),
        credentials: Credentials,
        (mut connection, mut events): (Connection, EventQueue),
        fresh: bool,
        ask: &mut dyn Prompt,
    ) -> Result<Account> {
        let keys = identity(&mut vault)?;
        let request = register_request(&name, &credentials, &connection);
        let welcome = match connection.call(&mut events, &request) {
            Ok(welcome) => Box::new(welcome),
            Err(CallError::Refused(refusal)) => {
                if fresh {
                    VaultFile::discard(vault)?;
                }
                let next = match refusal.code {
                    Code::NameTaken if !fresh => "; if it is yours, log in instead",
                    _ => "",
                };
                return Err(LoginError::Refused(format!("{}{next}", said(&refusal))));
            }
            Err(lost) => return Err(lost.into()),
        };
        show_recovery_code(&code, ask);
        Ok(Account {
            name,
            endpoint: self.endpoint.clone(),
            keys,
            vault,
            credentials,
            connection,
            events,
            welcome,
            new_identity: false,
        })
    }

    /// Logs in, with the vault that is here, or making one.
    ///
    /// # Errors
    /// Why nobody got in.
    pub(crate) fn log_in(&self, name: UserName, ask: &mut dyn Prompt) -> Result<Account> {
        let file = VaultFile::take(&self.data, self.endpoint.place(), &name)?;
        let mut events = EventQueue::new();
        let connection = self.connect(&mut events, ask)?;
        if file.exists() {
            return self.log_in_here(name, file.read()?, connection, events, ask);
        }
        self.log_in_fresh(name, file, (connection, events), None, ask)
    }

    fn log_in_here(
        &self,
        name: UserName,
        closed: Closed,
        mut connection: Connection,
        mut events: EventQueue,
        ask: &mut dyn Prompt,
    ) -> Result<Account> {
        let password = known_password(&name, ask)?;
        let mut closed = match open(closed, &password)? {
            Ok((vault, credentials)) => {
                return self.log_in_opened(name, vault, credentials, connection, events, ask);
            }
            Err(closed) => *closed,
        };
        // The password may have been changed elsewhere, or reset by the operator:
        // then the server knows this one, and the vault an earlier one.
        let kdf: KdfParams = connection.call(&mut events, &Request::Kdf(UserRef { name }))?;
        let derived = derive(&password, kdf).map_err(LoginError::Refused)?;
        let login_key = derived.login_key.clone();
        let credentials = Credentials { kdf, login_key };
        let welcome = self.enter(&name, &credentials, None, &mut connection, &mut events, ask)?;
        let mut vault = loop {
            let prompt = "The password was changed elsewhere. To open this device's vault, \
                          type the password before, or the recovery code: ";
            let Some(secret) = ask.secret(prompt) else {
                let _answer = connection.call::<Done>(&mut events, &Request::Logout);
                return Err(VaultError::WrongKey.into());
            };
            closed = match open_with_former(closed, &secret)? {
                Ok(vault) => break vault,
                Err(closed) => *closed,
            };
            ask.say(ViewEvent::bad(
                "that does not open it; try again, or press Ctrl-D to give up",
            ));
        };
        vault.add_password(kdf, &derived.wrapping_key)?;
        self.with_vault(name, vault, credentials, connection, events, welcome, ask)
    }

    fn log_in_opened(
        &self,
        name: UserName,
        mut vault: Vault,
        credentials: Credentials,
        mut connection: Connection,
        mut events: EventQueue,
        ask: &mut dyn Prompt,
    ) -> Result<Account> {
        vault.note_login_tried()?;
        let device = vault.device()?;
        let last = device.session;
        let welcome = self.enter(&name, &credentials, last, &mut connection, &mut events, ask)?;
        if !device.registered {
            // The account was made, and the answer lost on its way: its code was
            // never shown.
            let (renewed, code) = renew_recovery_code(vault)?;
            vault = renewed;
            show_recovery_code(&code, ask);
        }
        self.with_vault(name, vault, credentials, connection, events, welcome, ask)
    }

    /// Logged in, and with an open vault: whose identity counts?
    #[allow(
        clippy::too_many_arguments,
        reason = "these are the fields of the Account that it makes"
    )]
    fn with_vault(
        &self,
        name: UserName,
        mut vault: Vault,
        credentials: Credentials,
        mut connection: Connection,
        mut events: EventQueue,
        welcome: Box<Welcome>,
        ask: &mut dyn Prompt,
    ) -> Result<Account> {
        vault.keep_only_password(credentials.kdf)?;
        let keys = identity(&mut vault)?;
        let differs = |published| published != wire_identity(&keys.public());
        let question = format!(
            "{name} has used another device since, and that one's identity is published now. \
             Going back to this device's identity makes everybody you talk to see a warning. Go back to it?"
        );
        let new_identity = welcome.identity.is_some_and(differs);
        if new_identity && !self.may_replace(&question, ask) {
            let _answer = connection.call::<Done>(&mut events, &Request::Logout);
            return Err(LoginError::Refused(
                "nothing was changed; use the other device, or log in with --new-identity"
                    .to_owned(),
            ));
        }
        Ok(Account {
            name,
            endpoint: self.endpoint.clone(),
            keys,
            vault,
            credentials,
            connection,
            events,
            welcome,
            new_identity,
        })
    }

    fn may_replace(&self, question: &str, ask: &mut dyn Prompt) -> bool {
        self.new_identity || ask.yes(question)
    }

    /// The login itself, and the question about another session.
    pub(super) fn enter(
        &self,
        name: &UserName,
        credentials: &Credentials,
        last: Option<ByteArray<16>>,
        connection: &mut Connection,
        events: &mut EventQueue,
        ask: &mut dyn Prompt,
    ) -> Result<Box<Welcome>> {
        let mut wish = SessionOptions {
            take_over: self.take_over,
            replaces: last,
            ..SessionOptions::default()
        };
        loop {
            let request = login_request(name, credentials, connection, wish.clone());
            match connection.call(events, &request) {
                Ok(welcome) => return Ok(Box::new(welcome)),
                Err(CallError::Refused(refusal)) if refusal.code == Code::AlreadyOnline => {
                    let question = format!("{name} is logged in elsewhere. End that session?");
                    if wish.take_over || !ask.yes(&question) {
                        return Err(LoginError::Refused(format!(
                            "{name} is logged in elsewhere; log out there, or use --take-over to end that session"
                        )));
                    }
                    wish.take_over = true;
                    connection.hello(events)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(super) fn known_password(name: &UserName, ask: &mut dyn Prompt) -> Result<Zeroizing<String>> {
    ask.password(&format!("Password for {name}: "))
        .ok_or_else(no_password)
}

fn no_password() -> LoginError {
    LoginError::Refused(
        "no password was given, so nothing was done; type it on a terminal, or use --password-file or --password-command"
            .to_owned(),
    )
}

fn new_password(ask: &mut dyn Prompt) -> Result<Zeroizing<String>> {
    let prompt = format!(
        "New password (at least {} characters): ",
        limits::MIN_PASSWORD
    );
    let password = ask.password(&prompt).ok_or_else(no_password)?;
    check_new(&password).map_err(LoginError::Refused)?;
    let again = ask
        .password("The same password again: ")
        .ok_or_else(no_password)?;
    match *again == *password {
        true => Ok(password),
        false => Err(LoginError::Refused(
            "the two passwords are not the same; try again".to_owned(),
        )),
    }
}

pub(super) fn create_vault(
    file: VaultFile,
    kdf: KdfParams,
    derived: &Derived,
    fill: impl FnOnce(&mut Vault) -> super::vault::Result<()>,
) -> Result<(Vault, RecoveryCode)> {
    let code = RecoveryCode::generate(&mut os_rng());
    let vault = file.create(kdf, &derived.wrapping_key, &code.wrapping_key(), fill)?;
    Ok((vault, code))
}

/// A code in place of one that was never shown.
fn renew_recovery_code(mut vault: Vault) -> Result<(Vault, RecoveryCode)> {
    let code = RecoveryCode::generate(&mut os_rng());
    vault.replace_recovery(&code.wrapping_key())?;
    Ok((vault, code))
}

/// Shows it once there is an account that it can be of use for.
pub(super) fn show_recovery_code(code: &RecoveryCode, ask: &mut dyn Prompt) {
    ask.say(ViewEvent::warning(
        "Write down this recovery code. It opens your messages and keys on this device if the \
         password is lost, it is shown only now, and whoever has it and this device needs no password:",
    ));
    ask.say(ViewEvent::plain(format!("    {}", *code.to_text())));
}

pub(super) fn identity(vault: &mut Vault) -> Result<IdentityKeys> {
    match vault.identity()? {
        Some(keys) => Ok(keys),
        None => Ok(vault.make_identity()?),
    }
}

/// Opens with a password, whichever of its derivations it is.
pub(super) type Tried<T> = std::result::Result<T, Box<Closed>>;

pub(super) fn open(closed: Closed, password: &str) -> Result<Tried<(Vault, Credentials)>> {
    let mut closed = Box::new(closed);
    let kdfs: Vec<KdfParams> = closed.passwords().collect();
    for kdf in kdfs {
        let derived = derive(password, kdf).map_err(LoginError::Refused)?;
        closed = match closed.open(&derived.wrapping_key) {
            Ok(vault) => {
                let login_key = derived.login_key;
                return Ok(Ok((vault?, Credentials { kdf, login_key })));
            }
            Err(closed) => closed,
        };
    }
    Ok(Err(closed))
}

fn open_with_former(closed: Closed, secret: &str) -> Result<Tried<Vault>> {
    if let Ok(code) = RecoveryCode::parse(secret) {
        return match closed.open(&code.wrapping_key()) {
            Ok(vault) => Ok(Ok(vault?)),
            Err(closed) => Ok(Err(closed)),
        };
    }
    Ok(open(closed, secret)?.map(|(vault, _)| vault))
}

/// A vault from a registration that was cut off before the server answered.
fn unfinished(closed: Closed, password: &str) -> Result<(Vault, Credentials)> {
    let path = closed.path().to_owned();
    match open(closed, password)? {
        Ok((vault, credentials)) if !vault.device()?.registered => Ok((vault, credentials)),
        _ => Err(VaultError::Exists(path).into()),
    }
}
