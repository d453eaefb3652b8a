//! A login whose password the vault does not know yet: it was changed on another device, or
//! the operator has reset it, and the person has a one-time code that sets another. The vault is open, by the password before or by the recovery
//! code, and takes the new password once the server has.
//!
//! A server that only claims such a change gets no further than a question. What is typed
//! there opens the vault from then on only if it was typed twice and logs in; the cost of
//! its slot is never the server's.

use zeroize::Zeroizing;

use super::attempt::Attempt;
use super::credentials::{Credentials, check_not_lowered, derive, new_kdf};
use super::error::LoginError;
use super::new_password::choose_another;
use super::prompt::changed_password;
use super::unlock::password_key;
use crate::client::messenger::account::Account;
use crate::client::net::error::said;
use crate::client::vault::{ToldGeneration, Vault};
use crate::client::view::ViewEvent;
use crate::command_line;
use crate::crypto::account::reset::ResetCode;
use crate::protocol::reply::Welcome;
use crate::protocol::request::SessionOptions;
use crate::protocol::{ByteArray, Refusal};

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
             and it opens the vault, too. If not, or if the account was deleted, press Ctrl-D and ask the operator."
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

    /// Logs in where the operator's one-time code was typed in place of the password.
    pub(super) fn log_in_after_reset(mut self, code: &ResetCode) -> Result<Account, LoginError> {
        self.prompt.say(ViewEvent::warning(
            "That is the operator's one-time code. It sets a new password; the vault on this device opens \
             with the old password or with the recovery code.",
        ));
        let Some(secret) = self.prompt.secret("Old password, or recovery code: ") else {
            return Err(LoginError::Refused(format!(
                "the vault was not opened, so the code was not used and nothing was changed; without the old \
                 password and the recovery code, move {} away, and log in with the code to begin with a new \
                 identity (in a script: the code in --reset-code-file, what opens the vault in \
                 --password-file)",
                self.flow.vault_file(&self.name)?.path().display()
            )));
        };
        let (unlocked, _) = self.unlock(secret)?;
        self.set_password(unlocked.vault, code)
    }

    /// Sets another password with the operator's code, and logs in. The vault takes it once the
    /// server has; until then, what has opened it still does.
    pub(super) fn set_password(
        mut self,
        mut vault: Vault,
        code: &ResetCode,
    ) -> Result<Account, LoginError> {
        let session = vault.device()?.session;
        let told = vault.generation_to_tell()?;
        let (password, credentials, welcome) = self.use_code(code, session, told)?;
        let key = password_key(&vault, &password)?;
        vault.replace_passwords(&key, credentials.kdf)?;
        if !vault.recovery_unseen()? {
            self.prompt.say(ViewEvent::plain(
                "the vault on this device opens with the new password, and with its recovery code as before",
            ));
        }
        self.finish_log_in(vault, credentials, welcome)
    }

    /// Asks for a new password, has the server set it, and logs in.
    pub(super) fn use_code(
        &mut self,
        code: &ResetCode,
        last: Option<ByteArray<16>>,
        told: Option<ToldGeneration>,
    ) -> Result<(Zeroizing<String>, Credentials, Welcome), LoginError> {
        let Some(password) = choose_another(&self.name, self.prompt)? else {
            return Err(LoginError::Refused(
                "there is no new password, so the code was not used and nothing was changed; type one, or \
                 name its file with --new-password-file"
                    .to_owned(),
            ));
        };
        let kdf = new_kdf();
        let login_key = derive(&password, kdf)?.login_key;
        let credentials = Credentials { kdf, login_key };
        let options = SessionOptions {
            // The operator has ended the sessions of before.
            take_over: true,
            replaces: last,
            vault: told.map(|told| told.generation),
            vault_proof: told.and_then(|told| told.proof),
            ..self.flow.kind.options()
        };
        let welcome = self.reset(code, &credentials, options)?;
        self.prompt.say(ViewEvent::good("the password is changed"));
        Ok((password, credentials, welcome))
    }

    /// `what` begins the sentence if there is no new password.
    fn log_in_with_changed(mut self, mut vault: Vault, what: &str) -> Result<Account, LoginError> {
        let given = self.prompt.reset_code();
        if let Some(code) = given {
            return self.set_password(vault, &code);
        }
        let asked = changed_password(self.prompt, "The account's new password: ")?;
        if let Some(typed) = &asked
            && let Ok(code) = ResetCode::parse(typed)
        {
            return self.set_password(vault, &code);
        }
        let Some(password) = asked else {
            return Err(LoginError::Refused(format!(
                "{what}; nothing was changed. If there is a new password, type it, or name its file with --new-password-file; if there is none, the account may have been deleted"
            )));
        };
        let kdf = self.ask_kdf()?;
        check_not_lowered(kdf, &vault.account_kdfs()?)?;
        let login_key = derive(&password, kdf)?.login_key;
        let credentials = Credentials { kdf, login_key };
        let session = vault.device()?.session;
        let told = vault.generation_to_tell()?;
        let welcome = self.log_in_over(&credentials, session, told)?;
        let key = password_key(&vault, &password)?;
        vault.replace_passwords(&key, kdf)?;
        self.finish_log_in(vault, credentials, welcome)
    }
}
