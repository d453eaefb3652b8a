//! Getting in: making an account, logging in, and everything that has to be asked
//! or refused on the way. It runs before there is a messenger, in the thread that
//! can ask the person.
//!
//! | file | what |
//! | --- | --- |
//! | `attempt` | a registration, or a login with the vault that is on this device |
//! | `first_login` | a login without a vault: with a new identity or an export's |
//! | `claim` | the first login to an imported account |
//! | `changed_password` | a login with a password that the vault does not know yet |
//! | `unlock` | opening and making a vault |
//! | `credentials` | the login key, and what it signs |
//! | `offline` | reading and exporting the vault without a server, also a damaged one |
//! | `new_password` | choosing a password for a new account |
//! | `prompt` | what the person is asked |
//! | `recovery_code` | handing over a recovery code |
//! | `error` | why there is no session |

mod attempt;
mod changed_password;
mod claim;
pub(crate) mod credentials;
mod error;
pub(crate) mod first_login;
mod new_password;
pub(crate) mod offline;
pub(crate) mod prompt;
pub(crate) mod recovery_code;
mod unlock;

use std::path::PathBuf;

pub(crate) use self::error::LoginError;
pub(crate) use self::prompt::Prompt;
#[cfg(test)]
pub(crate) use self::unlock::{Unlocked, open};

use self::attempt::Attempt;
use super::messenger::account::Account;
use super::messenger::session_kind::SessionKind;
use super::net::endpoint::Endpoint;
use super::vault::{VaultError, VaultFile};
use crate::protocol::{ByteArray, UserName};

/// What the command line decides about a login.
pub(crate) struct LoginFlow {
    /// The server.
    pub endpoint: Endpoint,
    /// The folder of the vaults.
    pub data: PathBuf,
    /// End another session without asking.
    pub take_over: bool,
    /// Replace a published identity without asking.
    pub new_identity: bool,
    /// Give the server the password of an imported account without asking.
    pub claim: bool,
    /// What the session is for.
    pub kind: SessionKind,
}

impl LoginFlow {
    /// Makes an account and logs in.
    ///
    /// # Errors
    /// The server or the person refuses, or the vault can't be made. There is an account
    /// only if the server's answer was lost; then registering again finishes it.
    pub(crate) fn register(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
    ) -> Result<Account, LoginError> {
        self.check_free(&name)?;
        Attempt::connect(self, name, prompt)?.register(None, None)
    }

    /// Makes an account with an invitation's code, if the server needs one. If this device has the
    /// account already, logs in instead: an earlier try was cut off behind the registration.
    ///
    /// # Errors
    /// As for a registration and a login.
    pub(crate) fn join(
        &self,
        name: UserName,
        invitation: Option<ByteArray<16>>,
        prompt: &mut dyn Prompt,
    ) -> Result<Account, LoginError> {
        let exists = self.vault_file(&name)?.exists();
        match Attempt::connect(self, name, prompt)?.register(invitation, None) {
            Err(LoginError::Vault(VaultError::Exists(_))) if exists => self.log_in(name, prompt),
            joined => joined,
        }
    }

    /// Logs in with the vault that is on this device; without one, makes it.
    ///
    /// # Errors
    /// The server or the person refuses, or the vault can't be used.
    pub(crate) fn log_in(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
    ) -> Result<Account, LoginError> {
        let exists = self.vault_file(&name)?.exists();
        let attempt = Attempt::connect(self, name, prompt)?;
        match exists {
            true => attempt.log_in(),
            false => attempt.log_in_without_vault(None),
        }
    }

    /// That no other process has the account's vault on this device.
    ///
    /// # Errors
    /// One has it ([`LoginError::holder`] says which), or the vault has no place here.
    pub(crate) fn check_free(&self, name: &UserName) -> Result<(), LoginError> {
        self.vault_file(name).map(drop)
    }

    /// The account's vault on this device, which may not exist yet, locked for this process. It is
    /// not kept while a password is asked for: a window that nobody looks at must not keep the
    /// account's scripts from their work.
    fn vault_file(&self, name: &UserName) -> Result<VaultFile, LoginError> {
        let place = self.endpoint.place().as_str();
        Ok(VaultFile::take(&self.data, place, name)?)
    }
}
