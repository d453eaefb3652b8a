//! What a login asks the person, and how the terminal asks it. What follows from the
//! answers is decided by the callers.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::credentials::check_new;
use super::error::LoginError;
use crate::client::terminal::{InputEvent, Terminal};
use crate::client::view::ViewEvent;
use crate::crypto::account::reset::ResetCode;
use crate::protocol::UserName;

/// A person, or the options in a person's place.
pub(crate) trait Prompt {
    /// A password; `None` if neither the options nor a person gives one.
    fn password(&mut self, prompt: &str) -> Option<Zeroizing<String>>;
    /// The password that the account has been given; `None` if neither the options nor a
    /// person gives one.
    fn new_password(&mut self, prompt: &str) -> Option<Zeroizing<String>>;
    /// A secret that only a person can type; `None` without a person.
    fn secret(&mut self, prompt: &str) -> Option<Zeroizing<String>>;
    /// A password that is being chosen.
    fn choose(&mut self, prompt: &str) -> Chosen {
        match self.password(prompt) {
            Some(password) => Chosen::Given(password),
            None => Chosen::Nothing,
        }
    }
    /// A password that is being chosen for an account that has one.
    fn choose_another(&mut self, prompt: &str) -> Chosen {
        match self.new_password(prompt) {
            Some(password) => Chosen::Given(password),
            None => Chosen::Nothing,
        }
    }
    /// Yes or no; no without a person.
    fn yes(&mut self, question: &str) -> bool;
    /// Yes or no, where Enter alone means yes; no without a person.
    fn yes_by_default(&mut self, question: &str) -> bool {
        self.yes(question)
    }
    /// The operator's one-time code, if the options give it.
    fn reset_code(&mut self) -> Option<ResetCode> {
        None
    }
    /// The file for a new recovery code; `None` for the screen.
    fn recovery_file(&self) -> Option<PathBuf> {
        None
    }
    /// Shows something.
    fn say(&mut self, event: ViewEvent);
}

/// A password that is being chosen.
pub(crate) enum Chosen {
    /// The options give it, so nobody can be asked for another.
    Given(Zeroizing<String>),
    /// It was typed; perhaps Enter alone.
    Typed(Zeroizing<String>),
    /// Neither gives one.
    Nothing,
}

/// The terminal as a prompt.
pub(crate) struct TerminalPrompt<'a> {
    /// Where to ask.
    pub terminal: &'a mut Terminal,
    /// The password that the options give, which is not asked for.
    pub password: Option<Zeroizing<String>>,
    /// The password that was typed.
    pub typed: Option<Zeroizing<String>>,
    /// The password of the account after a change, if the options give it.
    pub new_password: Option<Zeroizing<String>>,
    /// The operator's one-time code, if the options give it.
    pub reset_code: Option<ResetCode>,
    /// The file for a new recovery code, if the options name one.
    pub recovery_file: Option<PathBuf>,
}

impl Prompt for TerminalPrompt<'_> {
    fn password(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match &self.password {
            Some(password) => Some(password.clone()),
            None => {
                self.typed = self.secret(prompt);
                self.typed.clone()
            }
        }
    }

    fn new_password(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match &self.new_password {
            Some(password) => Some(password.clone()),
            None => self.secret(prompt),
        }
    }

    fn secret(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match self.terminal.secret(prompt) {
            InputEvent::Line(line) if !line.is_empty() => Some(line),
            _ => None,
        }
    }

    fn choose(&mut self, prompt: &str) -> Chosen {
        self.chosen(prompt, self.password.clone())
    }

    fn choose_another(&mut self, prompt: &str) -> Chosen {
        self.chosen(prompt, self.new_password.clone())
    }

    fn yes(&mut self, question: &str) -> bool {
        if !self.terminal.can_confirm() {
            return false;
        }
        self.terminal.say(&ViewEvent::warning(question));
        self.yes_or_no("y/N> ", false)
    }

    fn yes_by_default(&mut self, question: &str) -> bool {
        if !self.terminal.can_confirm() {
            return false;
        }
        // A warning is seen in `client | tee log`, too.
        self.terminal.say(&ViewEvent::warning(question));
        self.yes_or_no("Y/n> ", true)
    }

    fn reset_code(&mut self) -> Option<ResetCode> {
        self.reset_code.take()
    }

    fn recovery_file(&self) -> Option<PathBuf> {
        self.recovery_file.clone()
    }

    fn say(&mut self, event: ViewEvent) {
        self.terminal.say(&event);
    }
}

impl TerminalPrompt<'_> {
    /// The password that the options give, or what is typed.
    fn chosen(&mut self, prompt: &str, given: Option<Zeroizing<String>>) -> Chosen {
        if let Some(password) = given {
            return Chosen::Given(password);
        }
        match self.terminal.secret(prompt) {
            InputEvent::Line(line) => Chosen::Typed(line),
            _ => Chosen::Nothing,
        }
    }

    /// Asks until the answer is yes, no, or Enter alone.
    fn yes_or_no(&mut self, prompt: &str, enter: bool) -> bool {
        loop {
            let InputEvent::Line(line) = self.terminal.confirm(prompt) else {
                return false;
            };
            match line.trim().to_ascii_lowercase().as_str() {
                "" => return enter,
                "y" | "yes" => return true,
                "n" | "no" => return false,
                _ => self.terminal.say(&ViewEvent::quiet(
                    "type y and Enter to agree; n and Enter changes nothing",
                )),
            }
        }
    }
}

/// Asks for the password of an account.
pub(super) fn known_password(
    name: &UserName,
    prompt: &mut dyn Prompt,
) -> Result<Zeroizing<String>, LoginError> {
    let password = prompt.password(&format!("Password for {name}: "));
    password.ok_or_else(no_password)
}

/// Asks, twice, for the password that the account has now, where the vault was opened with
/// another secret. `None` if there is none.
pub(super) fn changed_password(
    prompt: &mut dyn Prompt,
    question: &str,
) -> Result<Option<Zeroizing<String>>, LoginError> {
    let Some(password) = prompt.new_password(question) else {
        return Ok(None);
    };
    // The operator's code is checked as it is.
    if ResetCode::parse(&password).is_ok() {
        return Ok(Some(password));
    }
    check_new(&password).map_err(LoginError::Refused)?;
    match prompt.new_password("The same password again: ") {
        Some(again) => same(password, &again).map(Some),
        None => Ok(None),
    }
}

fn same(password: Zeroizing<String>, again: &str) -> Result<Zeroizing<String>, LoginError> {
    match *again == *password {
        true => Ok(password),
        false => Err(LoginError::Refused(
            "the two passwords are not the same; nothing was changed, so try again".to_owned(),
        )),
    }
}

pub(super) fn no_password() -> LoginError {
    LoginError::Refused(
        "no password was given, so nothing was done; type it on a terminal, or use --password-file or --password-command"
            .to_owned(),
    )
}
