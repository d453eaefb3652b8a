//! Logging in on a device that has no vault of the account: with a new identity, or with
//! the one from an export of another device. The export's format is the vault's business.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::LoginFlow;
use super::attempt::Attempt;
use super::credentials::{Credentials, derive};
use super::error::LoginError;
use super::prompt::{Prompt, known_password};
use super::unlock::create_vault;
use crate::client::messenger::account::Account;
use crate::client::messenger::identity::wire_identity;
use crate::client::net::error::CallError;
use crate::client::vault::{EXPORT_FIRST_LINE, Export, ExportError, VaultError, VaultFile};
use crate::clock;
use crate::command_line;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::account::reset::ResetCode;
use crate::protocol::{Code, UserName};

/// The largest export that is read.
const MAX_EXPORT: u64 = 1024 * 1024 * 1024;

impl LoginFlow {
    /// Logs in with an export's identity, contacts and history on a device that
    /// has no vault of the account.
    ///
    /// # Errors
    /// The server or the person refuses, or the vault can't be made; there is no vault then.
    pub(crate) fn import(
        &self,
        export: &Export,
        prompt: &mut dyn Prompt,
    ) -> Result<Account, LoginError> {
        let name = export.name;
        self.free_place(&name)?;
        let imported = Attempt::connect(self, name, prompt)?.log_in_without_vault(Some(export));
        match imported {
            // It does not say that it has no such account, so that nobody can try names.
            Err(LoginError::Call(CallError::Refused(refusal)))
                if refusal.code == Code::WrongLogin =>
            {
                let (why, server) = (CallError::Refused(refusal), self.endpoint.place());
                Err(LoginError::Refused(format!(
                    "{why}. If {name} has no account at {} yet, make it with the import: \
                     {} vault import FILE --register",
                    server.as_str(),
                    command_line::called("client")
                )))
            }
            imported => imported,
        }
    }

    /// Makes an account with an export's identity, contacts and history: at a server that has none of
    /// this name.
    ///
    /// # Errors
    /// As for a registration.
    pub(crate) fn register_with(
        &self,
        export: &Export,
        prompt: &mut dyn Prompt,
    ) -> Result<Account, LoginError> {
        self.free_place(&export.name)?;
        Attempt::connect(self, export.name, prompt)?.register(None, Some(export))
    }

    /// The place for a vault, locked for this process, if there is no vault.
    fn free_place(&self, name: &UserName) -> Result<VaultFile, LoginError> {
        let file = self.vault_file(name)?;
        match file.exists() {
            true => Err(VaultError::Exists(file.path().to_owned()).into()),
            false => Ok(file),
        }
    }
}

/// What a login without a vault begins with.
enum Typed {
    Password(Zeroizing<String>),
    /// The operator's, after a reset of the password.
    Code(ResetCode),
}

impl Attempt<'_> {
    /// Logs in, then makes the vault: with an export's contents, or with a new identity.
    pub(super) fn log_in_without_vault(
        mut self,
        export: Option<&Export>,
    ) -> Result<Account, LoginError> {
        let code = match self.prompt.reset_code() {
            Some(code) => Typed::Code(code),
            None => {
                let typed = known_password(&self.name, self.prompt)?;
                if RecoveryCode::parse(&typed).is_ok() {
                    return Err(LoginError::Refused(format!(
                        "that is a recovery code. It opens the vault that it was made for, and there is none of {} \
                         here, so the server was not asked: type the account's password",
                        self.name
                    )));
                }
                match ResetCode::parse(&typed) {
                    Ok(code) => Typed::Code(code),
                    Err(_) => Typed::Password(typed),
                }
            }
        };
        // Before anything changes on the server.
        let file = self.flow.free_place(&self.name)?;
        let mut confirmed = false;
        let (password, credentials, welcome) = match code {
            Typed::Code(code) => self.use_code(&code, None, None)?,
            Typed::Password(password) => 'typed: {
                let kdf = match self.ask_kdf() {
                    Err(error) if error.is_imported() && export.is_none() => {
                        break 'typed self.claim(&password)?;
                    }
                    kdf => kdf?,
                };
                let login_key = derive(&password, kdf)?.login_key;
                let credentials = Credentials { kdf, login_key };
                let welcome = match self.try_log_in(&credentials, self.flow.kind.options())? {
                    Some(welcome) => welcome,
                    None => {
                        // The device that is online has keys that this one lacks: its session is
                        // not ended before the person has agreed to replace them.
                        if export.is_none() {
                            self.confirm_new_identity(None)?;
                            confirmed = true;
                        }
                        self.log_in_over(&credentials, None, None)?
                    }
                };
                (password, credentials, welcome)
            }
        };
        let mine = match export {
            Some(export) => {
                let keys = export.identity();
                Some(keys.map_err(|error| LoginError::Refused(error.to_string()))?)
            }
            None => None,
        };
        let mine = mine.map(|keys| wire_identity(&keys.public()));
        let replaces = welcome.identity.is_some() && welcome.identity != mine;
        if replaces
            && !confirmed
            && let Err(refused) = self.confirm_new_identity(export)
        {
            self.log_out();
            return Err(refused);
        }
        let code = self.new_code()?;
        let mut vault =
            create_vault(
                file,
                &password,
                credentials.kdf,
                &code.code,
                |vault| match export {
                    Some(export) => vault.import(export, clock::unix_ms()),
                    None => vault.make_identity().map(drop),
                },
            )?;
        self.show_code(&mut vault, &code)?;
        self.into_account(vault, credentials, welcome, replaces)
    }

    /// Asks whether this device's identity may replace the published one.
    fn confirm_new_identity(&mut self, export: Option<&Export>) -> Result<(), LoginError> {
        let name = self.name;
        let question = match export {
            None => format!(
                "{name} has used another device, and its keys are not on this one. A new identity \
                 makes everybody you talk to see a warning, and messages encrypted to the old one \
                 can't be read here before their senders send them again. \
                 Make a new identity on this device?"
            ),
            Some(_) => format!(
                "{name} has made a new identity since this export, and that one is published now. \
                 Going back to the exported one makes everybody you talk to see a warning. Go back to it?"
            ),
        };
        match self.flow.new_identity || self.prompt.yes(&question) {
            true => Ok(()),
            false => Err(LoginError::Refused(format!(
                "nothing was changed about the identity; bring the one from the other device with \
                 `{me} vault export` there and `{me} vault import` here, or use --new-identity",
                me = command_line::called("client")
            ))),
        }
    }
}

/// Writes an export to a new file that only its owner can read.
///
/// # Errors
/// A sentence that names the file: it exists already, or can't be written.
pub(crate) fn write_export(path: &Path, bytes: &[u8]) -> Result<(), String> {
    crate::fs::write_new(path, bytes).map_err(|error| {
        format!(
            "{}: {error}; name a file that does not exist, in a folder that you can write to",
            path.display()
        )
    })
}

/// Reads an export and opens it.
///
/// # Errors
/// It can't be read, is no export, or has another passphrase.
pub(crate) fn read_export(
    path: &Path,
    mut source: impl Read,
    passphrase: &str,
) -> Result<Export, LoginError> {
    let named = |error: ExportError| LoginError::Export(path.to_owned(), error);
    let mut bytes = Vec::new();
    let mut read = |bytes: &mut Vec<u8>, most| {
        let read = source.by_ref().take(most).read_to_end(bytes);
        read.map_err(|error| LoginError::NoExport(path.to_owned(), error))
    };
    read(&mut bytes, EXPORT_FIRST_LINE.len() as u64)?;
    // Whatever is something else may have no end.
    Export::check_first_line(&bytes).map_err(named)?;
    read(&mut bytes, MAX_EXPORT)?;
    if bytes.len() as u64 > MAX_EXPORT {
        return Err(named(ExportError::Damaged("it is too large".to_owned())));
    }
    Export::open(&bytes, passphrase).map_err(named)
}
