//! Writing to somebody: lines without a command go to them until `/to` ends it. `commands` parses
//! the lines; the screen remembers whom they go to, since the prompt shows it.

use super::App;
use super::exit_code::FAILED;
use crate::client::messenger::command::{Command, CommandFailure, THAT_IS_YOU};
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

impl App {
    /// Whether this name has an account. It is checked before a text is typed for a name that is
    /// not a contact.
    pub(super) fn exists(&mut self, name: UserName) -> Result<(), CommandFailure> {
        match self.terminal.screen().verified(&name) {
            Some(_) => Ok(()),
            None => self.ask_session(Command::Status(name)),
        }
    }

    /// Sends lines without a command to this person from here on. Without a name, it ends that.
    pub(super) fn talk_to(&mut self, name: Option<UserName>) {
        let Some(name) = name else {
            self.terminal.screen().set_talks_to(None);
            return;
        };
        if self.session.as_ref().is_some_and(|(me, _)| *me == name) {
            return self.fail(THAT_IS_YOU, FAILED);
        }
        if let Err(failure) = self.exists(name) {
            return self.fail(&failure.why, FAILED);
        }
        self.terminal.screen().set_talks_to(Some(name));
        if self.terminal.interactive() {
            let advice = match self.terminal.screen().verified(&name) {
                Some(true) => String::new(),
                _ => format!(", /verify {name} makes sure of them"),
            };
            self.terminal.say(&ViewEvent::quiet(format!(
                "what you type goes to {name}, encrypted, and numbers are text from here on; /to ends it{advice}"
            )));
        }
    }

    /// Sends a message, which shows itself. One that is refused is shown so that it is not lost.
    pub(super) fn send_message(&mut self, command: Command) {
        let text = match &command {
            Command::Send(_, text) | Command::SendUnencrypted(_, text) | Command::Reply(text) => {
                text.clone()
            }
            _ => String::new(),
        };
        if let Err(failure) = self.ask_session(command) {
            if self.terminal.interactive() {
                self.terminal
                    .say(&ViewEvent::quiet(format!("not sent: {text}")));
            }
            self.fail(&failure.why, FAILED);
        }
    }
}
