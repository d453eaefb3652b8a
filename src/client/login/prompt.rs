//! What getting in has to ask, asked on the terminal.

use zeroize::Zeroizing;

use super::Ask;
use crate::client::terminal::{Heard, Terminal};
use crate::client::view::Show;

/// Asks the person, or gives the password that the options name.
pub struct Asker<'a> {
    /// Where to ask.
    pub terminal: &'a mut Terminal,
    /// What the options give.
    pub password: Option<Zeroizing<String>>,
}

impl Ask for Asker<'_> {
    fn password(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match &self.password {
            Some(password) => Some(password.clone()),
            None => self.secret(prompt),
        }
    }

    fn secret(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match self.terminal.secret(prompt) {
            Heard::Line(line) if !line.is_empty() => Some(line),
            _ => None,
        }
    }

    fn yes(&mut self, question: &str) -> bool {
        if !self.terminal.interactive() {
            return false;
        }
        self.terminal.say(&Show::warning(question));
        match self.terminal.question("y/N> ") {
            Heard::Line(line) => matches!(line.trim(), "y" | "Y" | "yes"),
            _ => false,
        }
    }

    fn say(&mut self, show: Show) {
        self.terminal.say(&show);
    }
}
