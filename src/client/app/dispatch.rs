//! Runs a typed line: finds its command, asks for missing arguments, and runs the operation or has
//! the session run it. What the session does with a command is decided in the messenger.

use super::commands;
use super::commands::{Operation, Spec, TypedLine};
use super::exit_code::FAILED;
use super::{App, Next, files};
use crate::client::messenger::command::{Command, CommandFailure, CommandResult};
use crate::client::terminal::InputEvent;
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

impl App {
    /// Does what a typed line says.
    pub(super) fn line(&mut self, line: &str) -> Next {
        // `InputEvent::Ended` reports a session that ended by itself. A line that is read before
        // that event must not reach the dead session.
        if self
            .session
            .as_ref()
            .is_some_and(|(_, session)| !session.goes_on())
        {
            self.leave();
        }
        let talks_to = self.terminal.screen().talks_to();
        match commands::parse(line, self.session.is_some(), talks_to.is_some()) {
            Ok(TypedLine::Empty) => Next::GoOn,
            Ok(TypedLine::Text(text)) => {
                if let Some(name) = talks_to {
                    self.send_message(Command::Send(name, text));
                }
                Next::GoOn
            }
            Ok(TypedLine::Command {
                spec,
                mut given,
                by_number,
            }) => {
                if by_number && !self.complete(spec, &mut given) {
                    return Next::GoOn;
                }
                self.command(spec, &given)
            }
            Err(why) => {
                self.fail(&why, FAILED);
                Next::GoOn
            }
        }
    }

    /// Asks for the arguments that a number in the menu left out.
    fn complete(&mut self, spec: &Spec, given: &mut Vec<String>) -> bool {
        for argument in spec.required().skip(given.len()) {
            match self.answer(spec, argument, String::new()) {
                Some(answer) => given.push(answer),
                None => return false,
            }
        }
        true
    }

    /// Asks for another name than `name` to make an account or to log in, until it is a name.
    pub(super) fn another_name(
        &mut self,
        operation: Operation,
        name: &UserName,
    ) -> Option<UserName> {
        let command = match operation {
            Operation::Register => "/register",
            _ => "/login",
        };
        let answer = self.answer(commands::find(command)?, "NAME", name.to_string())?;
        answer.parse().ok()
    }

    /// Asks for an argument of a command until the answer can be used. `typed` is what was typed
    /// before, to be changed. `None` if there is no answer, which was said.
    fn answer(&mut self, spec: &Spec, argument: &str, mut typed: String) -> Option<String> {
        let prompt = match argument {
            "NAME" => "Name: ",
            "PART" => "Beginning of the name: ",
            _ => "Text: ",
        };
        loop {
            match self.question_again(prompt, spec.names[0], &typed) {
                InputEvent::Line(line) if !line.trim().is_empty() => {
                    // A text keeps its indentation.
                    let answer = match argument {
                        "NAME" | "PART" => line.trim(),
                        _ => line.as_str(),
                    };
                    if argument != "NAME" || self.name_is_usable(spec, answer) {
                        return Some(answer.to_owned());
                    }
                    // A script has no second answer.
                    if !self.terminal.interactive() {
                        return None;
                    }
                    typed = answer.to_owned();
                }
                InputEvent::Line(_) | InputEvent::Cancelled => {
                    self.terminal.say(&ViewEvent::quiet("never mind"));
                    return None;
                }
                _ => {
                    let word = prompt.trim_end_matches(": ").to_lowercase();
                    self.fail(&format!("there was no {word}; nothing was done"), FAILED);
                    return None;
                }
            }
        }
    }

    /// Whether a name follows the rules and, before a text is typed for it, has an account.
    fn name_is_usable(&mut self, spec: &Spec, name: &str) -> bool {
        let checked = match name.parse::<UserName>() {
            Err(error) => Err(error.to_string()),
            Ok(name) if spec.sends() => self.exists(name).map_err(|failure| failure.why),
            Ok(_) => Ok(()),
        };
        match checked {
            Ok(()) => true,
            Err(why) => {
                self.fail(&why, FAILED);
                false
            }
        }
    }

    fn command(&mut self, spec: &Spec, given: &[String]) -> Next {
        match spec.operation {
            Operation::Quit => return Next::Quit,
            Operation::Help => self.help(given.first().map(String::as_str)),
            Operation::Unread => self.show_unread(),
            Operation::Clear => self.terminal.screen().clear(),
            Operation::ExportHistory => {
                self.export_history(&files::path(given.first().map_or("", String::as_str)));
            }
            Operation::DeleteAccount => self.delete_account(given.first().map(String::as_str)),
            Operation::Delete => match commands::delete(given) {
                Ok(command) => self.delete(command),
                Err(why) => self.fail(&why, FAILED),
            },
            Operation::Keep => match commands::keep(given) {
                Ok(days) => self.keep(days),
                Err(why) => self.fail(&why, FAILED),
            },
            Operation::Logout => self.log_out(),
            Operation::ChangePassword => self.change_password(),
            Operation::RenewRecoveryCode => self.renew_recovery_code(),
            Operation::Talk => match commands::optional_name(given) {
                Ok(name) => self.talk_to(name),
                Err(why) => self.fail(&why, FAILED),
            },
            Operation::Register | Operation::Login => match commands::name(given) {
                Ok(name) => return self.start_session(name, spec.operation),
                Err(why) => self.fail(&why, FAILED),
            },
            Operation::Message(command) => match command(given) {
                Ok(command) => self.send_message(command),
                Err(why) => self.fail(&why, FAILED),
            },
            Operation::Session(command) => match command(given) {
                Ok(command) => self.run(command),
                Err(why) => self.fail(&why, FAILED),
            },
        }
        Next::GoOn
    }

    /// Has the session run a command, and waits for its result.
    pub(super) fn ask_session(&mut self, command: Command) -> Result<(), CommandFailure> {
        self.ask_for(command).map(drop)
    }

    /// Has the session run a command, and waits for what it is answered with.
    pub(super) fn ask_for(&mut self, command: Command) -> CommandResult {
        match &self.session {
            Some((_, session)) => session.run(command),
            None => Err("log in first".to_owned().into()),
        }
    }

    /// Has the session run a command, and shows why it failed.
    pub(super) fn run(&mut self, command: Command) {
        if let Err(failure) = self.ask_session(command) {
            self.fail(&failure.why, FAILED);
        }
    }
}
