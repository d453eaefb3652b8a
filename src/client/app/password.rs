//! Secrets that the options give or the person types: for a login, for `/passwd` and for
//! `/recovery`. The messenger changes them in the vault and on the server.

use zeroize::Zeroizing;

use super::App;
use super::exit_code::FAILED;
use crate::client::args::{Options, OptionsError};
use crate::client::login::credentials;
use crate::client::login::prompt::TerminalPrompt;
use crate::client::messenger::command::{Command, NextCode};
use crate::client::terminal::{InputEvent, Terminal};
use crate::crypto::account::recovery::RecoveryCode;

/// Where the answers come from when there is no terminal.
const MISSING: &str =
    "a password is missing, so nothing was changed; type it on a terminal, or use --password-file";

/// What asks the person, with the answers that the options give.
///
/// # Errors
/// A secret that the options name can't be read.
pub(super) fn prompt<'a>(
    terminal: &'a mut Terminal,
    options: &Options,
) -> Result<TerminalPrompt<'a>, OptionsError> {
    Ok(TerminalPrompt {
        password: given_password(terminal, options)?,
        typed: None,
        new_password: options.new_password(terminal)?,
        reset_code: options.reset_code(terminal)?,
        recovery_file: options.recovery_file.clone(),
        terminal,
    })
}

/// The password that the options give. A command that they name gets the terminal,
/// since it may ask for something there.
fn given_password(
    terminal: &Terminal,
    options: &Options,
) -> Result<Option<Zeroizing<String>>, OptionsError> {
    match options.password_command {
        Some(_) => terminal.lend(|| options.password(terminal)),
        None => options.password(terminal),
    }
}

impl App {
    /// Changes the password to one that the options give, or that is typed twice.
    pub(super) fn change_password(&mut self) {
        if self.only_elsewhere() {
            return;
        }
        let given = given_password(&self.terminal, &self.options);
        match (given, self.options.new_password(&self.terminal)) {
            (Ok(Some(old)), Ok(Some(new))) => {
                let code = NextCode::New(self.options.recovery_file.clone());
                self.send_passwords(old, new, code);
            }
            (Err(error), _) | (_, Err(error)) => self.fail(&error.to_string(), FAILED),
            _ => match self.type_passwords() {
                Ok((old, new, code)) => self.send_passwords(old, new, code),
                Err(why) => self.fail(&why, FAILED),
            },
        }
    }

    /// Says so if another process has the vault, which alone can change its secrets.
    pub(super) fn only_elsewhere(&mut self) -> bool {
        let other = self
            .session
            .as_ref()
            .and_then(|(_, session)| session.other());
        let Some(pid) = other else {
            return false;
        };
        self.fail(
            &format!(
                "this is a window of the client that runs as process {pid}; change that there"
            ),
            FAILED,
        );
        true
    }

    /// Has the old password, the new one and the recovery code typed.
    fn type_passwords(
        &mut self,
    ) -> Result<(Zeroizing<String>, Zeroizing<String>, NextCode), String> {
        let missing = || format!("{MISSING} and --new-password-file");
        let old = self.secret("Old password: ").ok_or_else(missing)?;
        let new = self.secret("New password: ").ok_or_else(missing)?;
        let again = self
            .secret("The new password again: ")
            .ok_or_else(missing)?;
        if *new != *again {
            return Err("the two passwords are not the same; nothing was changed".to_owned());
        }
        let code = self
            .secret("Recovery code, to keep it (Enter makes a new one): ")
            .ok_or("nothing was changed")?;
        let code = match code.trim() {
            "" => NextCode::New(self.options.recovery_file.clone()),
            typed => RecoveryCode::parse(typed)
                .map(NextCode::Kept)
                .map_err(|error| format!("{error}; nothing was changed"))?,
        };
        Ok((old, new, code))
    }

    fn send_passwords(&mut self, old: Zeroizing<String>, new: Zeroizing<String>, code: NextCode) {
        match credentials::check_new(&new) {
            Ok(()) => self.run(Command::Passwd { old, new, code }),
            Err(why) => self.fail(&why, FAILED),
        }
    }

    /// Makes a new recovery code, for whoever knows the password.
    pub(super) fn renew_recovery_code(&mut self) {
        if self.only_elsewhere() {
            return;
        }
        match self.known_password() {
            Some(password) => {
                let file = self.options.recovery_file.clone();
                self.run(Command::NewRecoveryCode { password, file });
            }
            None => self.fail(MISSING, FAILED),
        }
    }

    /// The account's password, from the options or typed; `None` if neither gives one.
    pub(super) fn known_password(&mut self) -> Option<Zeroizing<String>> {
        match given_password(&self.terminal, &self.options) {
            Ok(Some(password)) => Some(password),
            Ok(None) => self.secret("Password: "),
            Err(error) => {
                self.fail(&error.to_string(), FAILED);
                None
            }
        }
    }

    fn secret(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match self.terminal.secret(prompt) {
            InputEvent::Line(line) => Some(line),
            _ => None,
        }
    }
}
