//! A login whose password the vault does not know yet: it was changed on another device, or
//! the operator has reset it. The vault is open, by the password before or by the recovery
//! code, and takes the new password once the server has.
//!
//! A server that only claims such a change gets no further than a question. What is typed
//! there opens the vault from then on only if it was typed twice and logs in; the cost of
//! its slot is never the server's.

use super::attempt::Attempt;
use super::credentials::{Credentials, check_not_lowered, derive};
use super::error::LoginError;
use super::prompt::changed_password;
use super::unlock::password_key;
use crate::client::messenger::account::Account;
use crate::client::net::error::said;
use crate::client::vault::Vault;
use crate::client::view::ViewEvent;
use crate::command_line;
use crate::protocol::Refusal;

impl Attempt<'_> {
    /// Logs in where the server refuses the password that opens the vault.
    pub(super) fn log_in_after_change(
        mut self,
        vault: Vault,
        refusal: &Refusal,
    ) -> Result<Account, LoginError> {
        let what = format!(
            "{}, although this password opens the vault on this device",
            said(refusal)
        );
        self.prompt.say(ViewEvent::warning(format!(
            "{what}. If it was changed elsewhere or reset by the operator, type the new one, \
             and it opens the vault, too. If not, press Ctrl-D and ask the operator."
        )));
        self.renew_nonce()?;
        self.log_in_with_changed(vault, &what)
    }

    /// Logs in where the recovery code has opened the vault.
    pub(super) fn log_in_with_code(self, vault: Vault) -> Result<Account, LoginError> {
        self.prompt.say(ViewEvent::warning(format!(
            "That is the recovery code, and it opens the vault; to log in takes a password. If the \
             operator has reset it, type the one that you were given. If not, press Ctrl-D: to read and \
             to export, `{me} vault read` and `{me} vault export FILE` take the code.",
            me = command_line::called("client")
        )));
        self.log_in_with_changed(
            vault,
            "the recovery code opens the vault but does not log in",
        )
    }

    /// `what` begins the sentence if there is no new password.
    fn log_in_with_changed(mut self, mut vault: Vault, what: &str) -> Result<Account, LoginError> {
        let Some(password) = changed_password(self.prompt)? else {
            return Err(LoginError::Refused(format!(
                "{what}; nothing was changed. If there is a new password, type it, or name its file with --new-password-file"
            )));
        };
        let kdf = self.ask_kdf()?;
        check_not_lowered(kdf, &vault.account_kdfs()?)?;
        let login_key = derive(&password, kdf)?.login_key;
        let credentials = Credentials { kdf, login_key };
        let session = vault.device()?.session;
        let generation = Some(vault.generation());
        let welcome = self.log_in_over(&credentials, session, generation)?;
        let key = password_key(&vault, &password)?;
        vault.replace_passwords(&key, kdf)?;
        self.finish_log_in(vault, credentials, welcome)
    }
}
