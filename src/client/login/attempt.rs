//! A login or registration while it is under way: the connection, the account's name and
//! the person to ask. A vault that exists already is opened here; a login without one is
//! in `first_login`.

use serde::de::DeserializeOwned;

use super::LoginFlow;
use super::credentials::{Credentials, derive, login_request, new_kdf, register_request};
use super::error::LoginError;
use super::prompt::{Prompt, known_password, new_password, show_recovery_code};
use super::unlock::{
    Unlocked, create_vault, identity, open, open_unfinished, open_with_former, renew_recovery_code,
};
use crate::client::messenger::account::Account;
use crate::client::messenger::identity::wire_identity;
use crate::client::net::connection::Connection;
use crate::client::net::error::{CallError, said};
use crate::client::net::event_queue::EventQueue;
use crate::client::vault::{Closed, Opened, Vault, VaultError, VaultFile};
use crate::client::view::ViewEvent;
use crate::crypto::account::password::Derived;
use crate::protocol::reply::{Done, Welcome};
use crate::protocol::request::{SessionOptions, UserRef};
use crate::protocol::{ByteArray, Code, Request, UserName};

type Result<T> = std::result::Result<T, LoginError>;

/// A login or registration under way.
pub(super) struct Attempt<'a> {
    /// What the command line decides.
    pub flow: &'a LoginFlow,
    /// The account.
    pub name: UserName,
    /// Whom to ask.
    pub prompt: &'a mut dyn Prompt,
    connection: Connection,
    events: EventQueue,
}

impl<'a> Attempt<'a> {
    /// Connects to the server, whose certificate the person may have to confirm.
    pub(super) fn connect(
        flow: &'a LoginFlow,
        name: UserName,
        prompt: &'a mut dyn Prompt,
    ) -> Result<Self> {
        let opened = flow.endpoint.open(&mut |question| prompt.yes(question))?;
        let mut events = EventQueue::new();
        let connection = Connection::over(opened, &mut events)?;
        Ok(Attempt {
            flow,
            name,
            prompt,
            connection,
            events,
        })
    }

    /// Makes the account: the vault first, then the server's side of it, so that
    /// a kill in between loses nothing that counts.
    pub(super) fn register(mut self, file: VaultFile) -> Result<Account> {
        let password = new_password(self.prompt)?;
        let created = !file.exists();
        let (mut unlocked, code) = match created {
            true => {
                let kdf = new_kdf();
                let derived = derive(&password, kdf)?;
                let (vault, code) = create_vault(file, kdf, &derived, |_| Ok(()))?;
                let login_key = derived.login_key;
                let credentials = Credentials { kdf, login_key };
                (Unlocked { vault, credentials }, code)
            }
            false => {
                let mut unlocked = open_unfinished(file.read()?, &password)?;
                let code = renew_recovery_code(&mut unlocked.vault)?;
                (unlocked, code)
            }
        };
        // Made before the server hears of the account, so that it survives a kill.
        identity(&mut unlocked.vault)?;
        let challenge = self.connection.challenge();
        let request = register_request(&self.name, &unlocked.credentials, &challenge);
        let welcome = match self.call(&request) {
            Ok(welcome) => welcome,
            Err(CallError::Refused(refusal)) if created => {
                VaultFile::discard(unlocked.vault)?;
                return Err(CallError::Refused(refusal).into());
            }
            Err(CallError::Refused(refusal)) if refusal.code == Code::NameTaken => {
                let said = said(&refusal);
                return Err(LoginError::Refused(format!(
                    "{said}; if it is yours, log in instead"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        show_recovery_code(&code, self.prompt);
        self.into_account(unlocked, welcome, false)
    }

    /// Logs in with the vault that is on this device.
    pub(super) fn log_in(self, closed: Closed) -> Result<Account> {
        let password = known_password(&self.name, self.prompt)?;
        match open(closed, &password)? {
            Opened::Open(unlocked) => self.log_in_unlocked(unlocked),
            Opened::WrongKey(closed) => self.log_in_after_reset(*closed, &password),
        }
    }

    fn log_in_unlocked(mut self, mut unlocked: Unlocked) -> Result<Account> {
        unlocked.vault.note_login_tried()?;
        let device = unlocked.vault.device()?;
        let generation = Some(unlocked.vault.generation());
        let welcome = self.log_in_over(&unlocked.credentials, device.session, generation)?;
        if !device.registered {
            // The account was made, but the answer was lost on its way, so that the
            // recovery code was never shown.
            let code = renew_recovery_code(&mut unlocked.vault)?;
            show_recovery_code(&code, self.prompt);
        }
        self.choose_identity(unlocked, welcome)
    }

    /// Logs in where the password does not open the vault. It may have been changed
    /// elsewhere or reset by the operator: then the server knows this one, and the
    /// vault an earlier one.
    fn log_in_after_reset(mut self, closed: Closed, password: &str) -> Result<Account> {
        let (credentials, derived) = self.derive_as_server_says(password)?;
        let welcome = self.log_in_over(&credentials, None, None)?;
        let mut vault = self.open_with_former_secret(closed)?;
        vault.add_password(credentials.kdf, &derived.wrapping_key)?;
        self.choose_identity(Unlocked { vault, credentials }, welcome)
    }

    fn open_with_former_secret(&mut self, mut closed: Closed) -> Result<Vault> {
        let question = "The password was changed elsewhere. To open this device's vault, \
                        type the password before, or the recovery code: ";
        loop {
            let Some(secret) = self.prompt.secret(question) else {
                self.log_out();
                return Err(VaultError::WrongKey.into());
            };
            closed = match open_with_former(closed, &secret)? {
                Opened::Open(vault) => return Ok(vault),
                Opened::WrongKey(closed) => *closed,
            };
            self.prompt.say(ViewEvent::bad(
                "that does not open it; try again, or press Ctrl-D to give up",
            ));
        }
    }

    /// Logged in with an open vault: if another identity is published, the person
    /// decides whether this device's replaces it.
    fn choose_identity(mut self, mut unlocked: Unlocked, welcome: Welcome) -> Result<Account> {
        let kdf = unlocked.credentials.kdf;
        unlocked.vault.keep_only_password(kdf)?;
        let mine = wire_identity(&identity(&mut unlocked.vault)?.public());
        let replaces = welcome.identity.is_some_and(|published| published != mine);
        let question = format!(
            "{} has used another device since, and that one's identity is published now. \
             Going back to this device's identity makes everybody you talk to see a warning. Go back to it?",
            self.name
        );
        if replaces && !self.flow.new_identity && !self.prompt.yes(&question) {
            self.log_out();
            return Err(LoginError::Refused(
                "nothing was changed; use the other device, or log in with --new-identity"
                    .to_owned(),
            ));
        }
        self.into_account(unlocked, welcome, replaces)
    }

    /// Derives the password's keys with the parameters that the server keeps.
    pub(super) fn derive_as_server_says(
        &mut self,
        password: &str,
    ) -> Result<(Credentials, Derived)> {
        let kdf = self.call(&Request::Kdf(UserRef { name: self.name }))?;
        let derived = derive(password, kdf)?;
        let login_key = derived.login_key.clone();
        Ok((Credentials { kdf, login_key }, derived))
    }

    /// Sends the login, and asks whether to end another session if there is one.
    /// `last` is this device's last session, which ends without a question; `vault` the
    /// generation of its vault, if that is open.
    pub(super) fn log_in_over(
        &mut self,
        credentials: &Credentials,
        last: Option<ByteArray<16>>,
        vault: Option<u64>,
    ) -> Result<Welcome> {
        let mut options = SessionOptions {
            take_over: self.flow.take_over,
            replaces: last,
            vault,
            ..SessionOptions::default()
        };
        loop {
            if let Some(welcome) = self.try_log_in(credentials, options.clone())? {
                return Ok(welcome);
            }
            let name = self.name;
            let question = format!("{name} is logged in elsewhere. End that session?");
            if options.take_over || !self.prompt.yes(&question) {
                return Err(LoginError::Refused(format!(
                    "{name} is logged in elsewhere; log out there, or use --take-over to end that session"
                )));
            }
            options.take_over = true;
        }
    }

    /// Sends the login; `None` if another session prevents it.
    pub(super) fn try_log_in(
        &mut self,
        credentials: &Credentials,
        options: SessionOptions,
    ) -> Result<Option<Welcome>> {
        let challenge = self.connection.challenge();
        let request = login_request(&self.name, credentials, &challenge, options);
        match self.call(&request) {
            Ok(welcome) => Ok(Some(welcome)),
            Err(CallError::Refused(refusal)) if refusal.code == Code::AlreadyOnline => {
                // The next proof needs a nonce of its own.
                self.connection.hello(&mut self.events)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the session of a login that is given up.
    pub(super) fn log_out(&mut self) {
        // Without an answer the server notices the closed connection.
        let _answer = self.call::<Done>(&Request::Logout);
    }

    fn call<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> std::result::Result<T, CallError> {
        self.connection.call(&mut self.events, request)
    }

    /// Hands everything over to the session.
    pub(super) fn into_account(
        self,
        unlocked: Unlocked,
        welcome: Welcome,
        new_identity: bool,
    ) -> Result<Account> {
        let Unlocked {
            mut vault,
            credentials,
        } = unlocked;
        Ok(Account {
            name: self.name,
            endpoint: self.flow.endpoint.clone(),
            keys: identity(&mut vault)?,
            vault,
            credentials,
            connection: self.connection,
            events: self.events,
            welcome: Box::new(welcome),
            new_identity,
        })
    }
}
