//! Talking to somebody: lines without a command go to them until `/to` ends it. `commands` parses
//! the lines.

use super::App;
use super::exit_code::FAILED;
use crate::client::messenger::command::Command;
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

impl App {
    /// Whether this name has an account. It is checked before a text is typed for a name that is
    /// not a contact.
    pub(super) fn exists(&mut self, name: UserName) -> Result<(), String> {
        match self.terminal.screen().verified(&name) {
            Some(_) => Ok(()),
            None => self.ask_session(Command::Status(name)),
        }
    }

    /// Sends lines without a command to this person from here on. Without a name, it ends that.
    pub(super) fn talk_to(&mut self, name: Option<UserName>) {
        let Some(name) = name else {
            self.talks_to = None;
            return;
        };
        if let Err(why) = self.exists(name) {
            return self.fail(&why, FAILED);
        }
        self.talks_to = Some(name);
        if self.terminal.interactive() {
            self.terminal.say(&ViewEvent::quiet(format!(
                "what you type goes to {name}, encrypted; /to ends it, /verify {name} makes sure of them"
            )));
        }
    }
}
