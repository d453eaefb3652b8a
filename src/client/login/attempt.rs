//! A login or registration while it is under way: the connection, the account's name and
//! the person to ask. A vault that exists already is opened here; a login without one is
//! in `first_login`, one with a password that the vault does not know in `changed_password`.

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::LoginFlow;
use super::credentials::{
    Credentials, derive, login_request, new_kdf, register_request, reset_request,
};
use super::error::LoginError;
use super::new_password;
use super::prompt::{Prompt, cancelled, known_password};
use super::recovery_code::{NewCode, check_file};
use super::unlock::{
    OpenedBy, Unlocked, create_vault, identity, open, open_unfinished, password_key,
};
use crate::client::messenger::account::Account;
use crate::client::messenger::identity::wire_identity;
use crate::client::net::connection::Connection;
use crate::client::net::endpoint::REPLACED;
use crate::client::net::error::{CallError, said};
use crate::client::net::event_queue::EventQueue;
use crate::client::vault::{
    Export, NewSecrets, Opened, PasswordKey, ToldGeneration, Vault, VaultError, VaultFile,
};
use crate::client::view::{ViewEvent, rotation_progress};
use crate::clock;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::account::reset::ResetCode;
use crate::crypto::os_rng;
use crate::protocol::reply::{Done, Welcome};
use crate::protocol::request::{KdfParams, SessionOptions, UserRef};
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
        let opened = flow.endpoint.open(&mut |first| match first.proven {
            true => prompt.yes_by_default(&first.question),
            false => prompt.yes(&first.question),
        })?;
        if opened.is_replaced {
            prompt.say(ViewEvent::quiet(REPLACED));
        }
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
    /// a kill in between loses nothing that counts. `export` is what the vault begins with, if not
    /// with a new identity.
    pub(super) fn register(
        mut self,
        invitation: Option<ByteArray<16>>,
        export: Option<&Export>,
    ) -> Result<Account> {
        check_file(self.prompt.recovery_file().as_deref()).map_err(LoginError::Refused)?;
        let known = self.flow.vault_file(&self.name)?;
        let created = !known.exists();
        let path = known.path().to_owned();
        drop(known);
        match self.check_name(invitation.is_some()) {
            // The account was made, and a login finishes what is missing.
            Err(LoginError::NameTaken(_)) if !created => {
                return Err(VaultError::Exists(path).into());
            }
            checked => checked?,
        }
        let password = new_password::choose(&self.name, self.prompt)?;
        // Another process may have made a vault, or removed it; creating and reading refuse then.
        let file = self.flow.vault_file(&self.name)?;
        let code = self.new_code()?;
        let (mut vault, credentials) = match created {
            true => {
                let kdf = new_kdf();
                let login_key = derive(&password, kdf)?.login_key;
                let vault = create_vault(file, &password, kdf, &code.code, |vault| {
                    export.map_or(Ok(()), |export| vault.import(export, clock::unix_ms()))
                })?;
                (vault, Credentials { kdf, login_key })
            }
            false => {
                let unlocked = open_unfinished(file.read()?, &password)?;
                let credentials = unlocked.credentials(&password)?;
                let mut vault = unlocked.vault;
                let credentials =
                    credentials.ok_or_else(|| VaultError::Exists(vault.path().to_owned()))?;
                vault.replace_recovery(&code.code.wrapping_key())?;
                (vault, credentials)
            }
        };
        // Made before the server hears of the account, so that it survives a kill.
        identity(&mut vault)?;
        let challenge = self.connection.challenge();
        let request = register_request(
            &self.name,
            &credentials,
            &challenge,
            invitation,
            self.flow.kind.options(),
        );
        let welcome = match self.call(&request) {
            Ok(welcome) => welcome,
            Err(CallError::Refused(refusal)) if created => {
                code.discard();
                VaultFile::discard(vault)?;
                return Err(match refusal.code {
                    Code::NameTaken => LoginError::NameTaken(said(&refusal)),
                    _ => CallError::Refused(refusal).into(),
                });
            }
            Err(CallError::Refused(refusal)) if refusal.code == Code::NameTaken => {
                let said = said(&refusal);
                return Err(LoginError::Refused(format!(
                    "{said}; if it is yours, log in instead"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        self.show_code(&mut vault, &code)?;
        self.into_account(vault, credentials, welcome, false)
    }

    /// Refuses a name that is taken before a password is thought of for it.
    fn check_name(&mut self, is_invited: bool) -> Result<()> {
        let request = Request::Available(UserRef { name: self.name });
        match self.call::<Done>(&request) {
            Ok(Done {}) => Ok(()),
            // The registration shows the invitation.
            Err(CallError::Refused(refusal))
                if refusal.code == Code::InvitationRequired && is_invited =>
            {
                Ok(())
            }
            // An earlier server says so at the registration.
            Err(CallError::Refused(refusal)) if refusal.code == Code::UnknownOp => Ok(()),
            Err(CallError::Refused(refusal)) if refusal.code == Code::NameTaken => {
                Err(LoginError::NameTaken(said(&refusal)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Logs in with the vault that is on this device. The server hears nothing of a password
    /// that does not open the vault: it is probably a slip, and so close to the right one.
    pub(super) fn log_in(mut self) -> Result<Account> {
        // What is no vault needs no password.
        drop(self.flow.vault_file(&self.name)?.read()?);
        let typed = known_password(&self.name, self.prompt)?;
        if let Ok(code) = ResetCode::parse(&typed) {
            return self.log_in_after_reset(&code);
        }
        let (mut unlocked, password) = self.unlock(typed)?;
        unlocked.vault.note_login_tried()?;
        if let Some(code) = self.prompt.reset_code() {
            return self.set_password(unlocked.vault, &code);
        }
        let Some(credentials) = unlocked.credentials(&password)? else {
            return self.log_in_with_code(unlocked.vault);
        };
        let device = unlocked.vault.device()?;
        let told = unlocked.vault.generation_to_tell()?;
        match self.log_in_over(&credentials, device.session, told) {
            Ok(welcome) => {
                self.settle_slots(&mut unlocked, &password, credentials.kdf)?;
                self.finish_log_in(unlocked.vault, credentials, welcome)
            }
            Err(LoginError::Call(CallError::Refused(refusal)))
                if refusal.code == Code::WrongLogin =>
            {
                self.log_in_after_change(unlocked.vault, &refusal)
            }
            // This device has logged in before, so it is not asked for the password of then.
            Err(error) if error.is_imported() && device.registered => {
                Err(LoginError::Refused(format!(
                    "the server says that {name} was imported from another program and that nobody has logged in \
                     to it there, although this device has. It was set up anew, or that is not true; no password \
                     was sent to it. Ask the operator for a one-time code",
                    name = self.name
                )))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the vault with what was typed, or with what is typed instead.
    pub(super) fn unlock(
        &mut self,
        mut secret: Zeroizing<String>,
    ) -> Result<(Unlocked, Zeroizing<String>)> {
        loop {
            let closed = self.flow.vault_file(&self.name)?.read()?;
            match open(closed, &secret)? {
                Opened::Open(unlocked) => return Ok((unlocked, secret)),
                // The question may stand for long.
                Opened::WrongKey(closed) => drop(closed),
            }
            let question =
                "That does not open the vault. Password, the one before it, or recovery code: ";
            let typed = self.prompt.secret(question);
            secret = typed.ok_or_else(|| match self.prompt.is_cancelled() {
                true => cancelled(),
                false => LoginError::WrongPassword,
            })?;
        }
    }

    /// Logged in with the vault open: what follows whichever secret opened it.
    pub(super) fn finish_log_in(
        mut self,
        mut vault: Vault,
        credentials: Credentials,
        welcome: Welcome,
    ) -> Result<Account> {
        // The code was made, but a kill may have come before it was shown.
        if vault.recovery_unseen()? || !vault.device()?.registered {
            let code = self.new_code()?;
            vault.replace_recovery(&code.code.wrapping_key())?;
            self.show_code(&mut vault, &code)?;
        }
        self.choose_identity(vault, credentials, welcome)
    }

    /// Settles the key slots after a login with the password that opened the vault: no other
    /// one opens it any more, and its slot has a derivation of its own.
    fn settle_slots(
        &mut self,
        unlocked: &mut Unlocked,
        password: &str,
        account: KdfParams,
    ) -> Result<()> {
        let vault = &mut unlocked.vault;
        let OpenedBy::Password(slot, derived) = &unlocked.by else {
            return Ok(());
        };
        let has_own = vault.account_kdf(*slot)?.is_some();
        let key = match has_own {
            true => PasswordKey::of(*slot, derived.wrapping_key.clone()),
            false => password_key(vault, password)?,
        };
        if vault.is_change_to(*slot)? {
            if let Err(why) = self.finish_change(vault, &key, account)? {
                self.prompt.say(ViewEvent::warning(format!(
                    "the vault's key was not changed yet: {why}. The old password opens the vault, too, \
                     until the next login changes the key"
                )));
            }
            return Ok(());
        }
        Ok(match has_own {
            true => vault.keep_only_password(account),
            false => vault.replace_passwords(&key, account),
        }?)
    }

    /// Finishes a change of password that ended after the server had taken it: the vault gets
    /// another key. The recovery code of then is not known here, so a new one is to be shown.
    fn finish_change(
        &mut self,
        vault: &mut Vault,
        password: &PasswordKey,
        account: KdfParams,
    ) -> Result<std::result::Result<(), VaultError>> {
        self.prompt.say(ViewEvent::plain(
            "finishing the change of the password: everything in the vault is encrypted anew",
        ));
        let code = RecoveryCode::generate(&mut os_rng());
        let secrets = NewSecrets {
            password,
            account,
            recovery: &code.wrapping_key(),
            recovery_unseen: true,
        };
        let prompt = &mut self.prompt;
        let rotated = vault.rotate_key(&secrets, &mut |done, total| {
            prompt.say(rotation_progress(done, total));
        });
        match rotated {
            // Without space one can still log in.
            Err(error @ (VaultError::Database(_) | VaultError::Io(..))) => Ok(Err(error)),
            rotated => Ok(Ok(rotated?)),
        }
    }

    /// A new recovery code, for the screen or for the file that the options name.
    pub(super) fn new_code(&self) -> Result<NewCode> {
        let file = self.prompt.recovery_file();
        NewCode::make(file.as_deref()).map_err(LoginError::Refused)
    }

    /// Hands over a recovery code that opens the vault, and notes that it was.
    pub(super) fn show_code(&mut self, vault: &mut Vault, code: &NewCode) -> Result<()> {
        for line in code.lines() {
            self.prompt.say(line);
        }
        Ok(vault.note_recovery_seen()?)
    }

    /// Logged in with an open vault: if another identity is published, the person
    /// decides whether this device's replaces it.
    fn choose_identity(
        mut self,
        mut vault: Vault,
        credentials: Credentials,
        welcome: Welcome,
    ) -> Result<Account> {
        let mine = wire_identity(&identity(&mut vault)?.public());
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
        self.into_account(vault, credentials, welcome, replaces)
    }

    /// The derivation that the server keeps for the account.
    pub(super) fn ask_kdf(&mut self) -> Result<KdfParams> {
        Ok(self.call(&Request::Kdf(UserRef { name: self.name }))?)
    }

    /// Sends the login, and asks whether to end another session if there is one.
    /// `last` is this device's last session, which ends without a question; `told` the
    /// generation of its vault, if that is open.
    pub(super) fn log_in_over(
        &mut self,
        credentials: &Credentials,
        last: Option<ByteArray<16>>,
        told: Option<ToldGeneration>,
    ) -> Result<Welcome> {
        let mut options = SessionOptions {
            take_over: self.flow.take_over,
            replaces: last,
            vault: told.map(|told| told.generation),
            vault_proof: told.and_then(|told| told.proof),
            ..self.flow.kind.options()
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

    /// Has the server set another password with the operator's code, and logs in.
    pub(super) fn reset(
        &mut self,
        code: &ResetCode,
        new: &Credentials,
        options: SessionOptions,
    ) -> Result<Welcome> {
        let challenge = self.connection.challenge();
        let request = reset_request(&self.name, &code.key(), new, &challenge, options);
        Ok(self.call(&request)?)
    }

    /// Gets a nonce for another login: the server takes each only once.
    pub(super) fn renew_nonce(&mut self) -> Result<()> {
        Ok(self.connection.hello(&mut self.events)?)
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
                self.renew_nonce()?;
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

    /// Whether the server has shown a certificate, which was checked.
    pub(super) fn has_certificate(&self) -> bool {
        self.connection.challenge().certificate.is_some()
    }

    pub(super) fn call<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> std::result::Result<T, CallError> {
        self.connection.call(&mut self.events, request)
    }

    /// Hands everything over to the session.
    pub(super) fn into_account(
        self,
        mut vault: Vault,
        credentials: Credentials,
        welcome: Welcome,
        new_identity: bool,
    ) -> Result<Account> {
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
            kind: self.flow.kind,
        })
    }
}
