//! `/passwd` and `/recovery`: what opens the account and the vault is replaced. Asking the
//! person is the app's business.

use std::path::Path;

use super::Messenger;
use super::command::{CommandError, NextCode};
use crate::client::login::credentials;
use crate::client::login::credentials::Credentials;
use crate::client::login::recovery_code::{NewCode, check_file};
use crate::client::net::error::{CallError, said};
use crate::client::vault::{NewSecrets, PasswordKey, Result, VaultError};
use crate::client::view::{ViewEvent, rotation_progress};
use crate::crypto::account::recovery::RecoveryCode;
use crate::protocol::reply::Done;
use crate::protocol::request::{KdfParams, Passwd};
use crate::protocol::{ByteArray, Code, Request};

/// A change of password on its way: until a login shows which password the account has,
/// both open the vault.
pub(super) struct PasswordChange {
    /// The new password's key to the vault.
    key: PasswordKey,
    /// How the account's login key is derived from the new password.
    account: KdfParams,
    /// The recovery code to come.
    code: NextCode,
    /// What to log in with if the server refuses the credentials that are tried first.
    pub(super) other: Option<Credentials>,
}

impl Messenger {
    /// Changes the password in four steps: the new one gets a key slot; the server is asked;
    /// a login with the new one proves that the server has taken it; the vault gets a new key,
    /// which the old one does not open. Killed anywhere, the vault opens with whichever
    /// password the server takes, and the next login takes the step that is missing.
    pub(super) fn passwd(
        &mut self,
        old: &str,
        new: &str,
        code: NextCode,
    ) -> std::result::Result<(), CommandError> {
        let checked = match &code {
            NextCode::New(file) => check_file(file.as_deref()),
            NextCode::Kept(code) => match self.vault.opens_with_code(&code.wrapping_key())? {
                true => Ok(()),
                false => Err("that is not the recovery code of this vault".to_owned()),
            },
        };
        if let Err(why) = checked {
            return Err(CommandError::Refused(format!("{why}; nothing was changed")));
        }
        if !self.vault.opens_with(old)? {
            return Err(CommandError::Refused(format!(
                "{}; nothing was changed",
                wrong_password(old, "the old password is wrong")
            )));
        }
        if !self.vault.may_add_password()? {
            return Err(CommandError::Refused(
                "several changes of the password have begun and none was proven; log in anew, which ends \
                 them; nothing was changed"
                    .to_owned(),
            ));
        }
        let account = credentials::new_kdf();
        let derived = credentials::derive(new, account).map_err(|error| error.to_string());
        let key = PasswordKey::derive(new, self.vault.password_cost()?);
        let (login_key, key) = match (derived, key) {
            (Ok(derived), Ok(key)) => (derived.login_key, key),
            (Err(why), _) => return Err(CommandError::Refused(why)),
            (_, Err(error)) => return Err(CommandError::Refused(error.to_string())),
        };
        let changed = Credentials {
            kdf: account,
            login_key,
        };
        let Some(connection) = &mut self.server.connection else {
            return Err(CommandError::Refused(
                "there is no connection now; nothing was changed".to_owned(),
            ));
        };
        if let Err(error) = connection.hello(&mut self.events) {
            return Err(CommandError::Refused(format!(
                "{error}; nothing was changed"
            )));
        }
        self.vault.add_password(&key, account)?;
        let request = Request::Passwd(Passwd {
            kdf: account,
            login_key: ByteArray(changed.login_key.public()),
            proof: credentials::passwd_proof(
                &self.me.name,
                &self.login.credentials,
                &changed,
                &connection.challenge(),
            ),
        });
        let answer = connection.call::<Done>(&mut self.events, &request);
        let mut change = PasswordChange {
            key,
            account,
            code,
            other: None,
        };
        match answer {
            Ok(Done {}) => {
                change.other = Some(std::mem::replace(&mut self.login.credentials, changed));
                self.login.change = Some(change);
                self.prove_change()
            }
            Err(CallError::Refused(refusal)) => {
                self.keep_password()?;
                Err(CommandError::Refused(format!(
                    "the password stays as it was: {}",
                    said(&refusal)
                )))
            }
            Err(CallError::Lost(why)) => {
                change.other = Some(changed);
                self.login.change = Some(change);
                Err(CommandError::Refused(format!(
                    "{why}; it is not known yet whether the password was changed, and until the next login both open the vault"
                )))
            }
        }
    }

    /// Logs in with the new password, since a server's word proves nothing.
    fn prove_change(&mut self) -> std::result::Result<(), CommandError> {
        let told = self.vault.note_login_tried()?;
        match self.log_in_again(told) {
            Ok((connection, welcome)) => {
                self.go_on_over(connection, &welcome)?;
                Ok(())
            }
            Err(CallError::Refused(refusal)) if refusal.code == Code::WrongLogin => {
                if let Some(old) = self.login.change.take().and_then(|change| change.other) {
                    self.login.credentials = old;
                }
                Err(CommandError::Refused(format!(
                    "the server said that it changed the password, but does not take the new one ({}); \
                     both open the vault until a login proves which one counts",
                    said(&refusal)
                )))
            }
            Err(error) => {
                self.lost(&error.to_string());
                Err(CommandError::Refused(
                    "the server has changed the password, but the login that proves it failed; it is tried \
                     again, and until then both passwords open the vault"
                        .to_owned(),
                ))
            }
        }
    }

    /// After a login: ends a change of password, as that login has shown.
    pub(super) fn settle_change(&mut self) -> Result<()> {
        let Some(change) = self.login.change.take() else {
            return Ok(());
        };
        if self.login.credentials.kdf != change.account {
            self.say(ViewEvent::warning(
                "the password was not changed; the old one counts",
            ));
            return self.keep_password();
        }
        match self.rotate_key(&change) {
            Ok(()) => Ok(()),
            Err(CommandError::Refused(why) | CommandError::Disconnected(why)) => {
                self.say(ViewEvent::warning(format!(
                    "the password is changed, but not the vault's key: {why}. The old password opens \
                     the vault, too, until the next login changes the key"
                )));
                Ok(())
            }
            Err(CommandError::Vault(error)) => Err(error),
        }
    }

    /// Gives the vault a new key, which the new password and the recovery code open. What
    /// can't be done for want of space or of a file is a sentence.
    fn rotate_key(&mut self, change: &PasswordChange) -> std::result::Result<(), CommandError> {
        let (recovery, new) = match &change.code {
            NextCode::Kept(code) => (code.wrapping_key(), None),
            NextCode::New(file) => match NewCode::make(file.as_deref()) {
                Ok(new) => (new.code.wrapping_key(), Some(new)),
                Err(why) => return Err(CommandError::Refused(why)),
            },
        };
        let secrets = NewSecrets {
            password: &change.key,
            account: change.account,
            recovery: &recovery,
            recovery_unseen: new.is_some(),
        };
        let (display, connection) = (&self.display, &mut self.server.connection);
        let rotated = self.vault.rotate_key(&secrets, &mut |done, total| {
            display.event(rotation_progress(done, total));
            // The server would take a client that is busy for one that is gone.
            if let Some(connection) = connection {
                connection.pong();
            }
        });
        match rotated {
            Ok(()) => {}
            Err(error @ (VaultError::Database(_) | VaultError::Io(..))) => {
                new.into_iter().for_each(NewCode::discard);
                return Err(CommandError::Refused(error.to_string()));
            }
            Err(error) => return Err(CommandError::Vault(error)),
        }
        self.say(ViewEvent::good(
            "the password is changed, and the vault is encrypted under a new key",
        ));
        self.show_code(new.as_ref())?;
        Ok(())
    }

    /// Replaces the recovery code, for whoever knows the password.
    pub(super) fn new_recovery_code(
        &mut self,
        password: &str,
        file: Option<&Path>,
    ) -> std::result::Result<(), CommandError> {
        if !self.vault.opens_with(password)? {
            return Err(CommandError::Refused(format!(
                "{}; the recovery code stays as it was",
                wrong_password(password, "the password is wrong")
            )));
        }
        let new = match NewCode::make(file) {
            Ok(new) => new,
            Err(why) => {
                return Err(CommandError::Refused(format!(
                    "{why}; the recovery code stays as it was"
                )));
            }
        };
        if let Err(error) = self.vault.replace_recovery(&new.code.wrapping_key()) {
            new.discard();
            return Err(CommandError::Vault(error));
        }
        self.show_code(Some(&new))?;
        Ok(())
    }

    /// Shows where a new recovery code is, or the code itself, and notes that it was shown.
    fn show_code(&mut self, new: Option<&NewCode>) -> Result<()> {
        let Some(new) = new else { return Ok(()) };
        for line in new.lines() {
            self.say(line);
        }
        self.display.finish_writing();
        self.vault.note_recovery_seen()
    }

    /// Only the password that logs in is to open the vault.
    fn keep_password(&mut self) -> Result<()> {
        match self.vault.keep_only_password(self.login.credentials.kdf) {
            Err(VaultError::WrongKey) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What to say of a password that does not open the vault.
fn wrong_password(typed: &str, otherwise: &'static str) -> &'static str {
    match RecoveryCode::parse(typed) {
        Ok(_) => "that is a recovery code, and this takes the password",
        Err(_) => otherwise,
    }
}
