//! Talking to somebody: plain lines go to them until `/to` ends it. Parsing the lines is
//! the business of `commands`.

use super::App;
use super::exit_code::FAILED;
use crate::client::messenger::command::Command;
use crate::client::messenger::command::CommandResult;
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

impl App {
    /// Whether somebody has an account. It is asked before a text is typed for a name
    /// that is no contact.
    pub(super) fn exists(&mut self, name: UserName) -> CommandResult {
        match self.terminal.screen().verified(&name) {
            Some(_) => Ok(()),
            None => self.ask_session(Command::Status(name)),
        }
    }

    /// Sends plain lines to this person from here on; to nobody without a name.
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
