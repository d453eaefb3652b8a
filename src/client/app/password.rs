//! The passwords that the options give or the person types, for a login and for `/passwd`. The
//! messenger changes them in the vault and on the server.

use zeroize::Zeroizing;

use super::App;
use super::exit_code::FAILED;
use crate::client::args::OptionsError;
use crate::client::login::credentials;
use crate::client::messenger::command::Command;
use crate::client::terminal::InputEvent;

impl App {
    /// The password that the options give. A command that they name gets the terminal,
    /// since it may ask for something there.
    pub(super) fn given_password(&self) -> Result<Option<Zeroizing<String>>, OptionsError> {
        match self.options.password_command {
            Some(_) => self.terminal.lend(|| self.options.password()),
            None => self.options.password(),
        }
    }

    /// Changes the password to one that the options give, or that is typed twice.
    pub(super) fn change_password(&mut self) {
        match (self.given_password(), self.options.new_password()) {
            (Ok(Some(old)), Ok(Some(new))) => return self.send_passwords(old, new),
            (Err(error), _) | (_, Err(error)) => return self.fail(&error.to_string(), FAILED),
            _ => {}
        }
        let mut ask = |prompt: &str| match self.terminal.secret(prompt) {
            InputEvent::Line(line) => Some(line),
            _ => None,
        };
        let typed = ask("Old password: ").and_then(|old| {
            let new = ask("New password: ")?;
            let again = ask("The new password again: ")?;
            Some((old, new, again))
        });
        match typed {
            None => self.fail(
                "a password is missing, so nothing was changed; type it on a terminal, or use --password-file and --new-password-file",
                FAILED,
            ),
            Some((_, new, again)) if *new != *again => {
                self.fail(
                    "the two passwords are not the same; nothing was changed",
                    FAILED,
                );
            }
            Some((old, new, _)) => self.send_passwords(old, new),
        }
    }

    fn send_passwords(&mut self, old: Zeroizing<String>, new: Zeroizing<String>) {
        match credentials::check_new(&new) {
            Ok(()) => self.run(Command::Passwd(old, new)),
            Err(why) => self.fail(&why, FAILED),
        }
    }
}
