//! What getting in has to ask, asked on the terminal.

use zeroize::Zeroizing;

use super::Prompt;
use crate::client::terminal::{InputEvent, Terminal};
use crate::client::view::ViewEvent;

/// Asks the person, or gives the password that the options name.
pub(crate) struct TerminalPrompt<'a> {
    /// Where to ask.
    pub terminal: &'a mut Terminal,
    /// What the options give.
    pub password: Option<Zeroizing<String>>,
}

impl Prompt for TerminalPrompt<'_> {
    fn password(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        match &self.password {
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

    fn yes(&mut self, question: &str) -> bool {
        if !self.terminal.interactive() {
            return false;
        }
        self.terminal.say(&ViewEvent::warning(question));
        match self.terminal.question("y/N> ") {
            InputEvent::Line(line) => matches!(line.trim(), "y" | "Y" | "yes"),
            _ => false,
        }
    }

    fn say(&mut self, event: ViewEvent) {
        self.terminal.say(&event);
    }
}
