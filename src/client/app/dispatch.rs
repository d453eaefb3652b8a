//! Runs a typed line: finds its command, asks for missing arguments, and runs the operation or has
//! the session run it. What the session does with a command is decided in the messenger.

use super::commands;
use super::commands::{Operation, Spec, TypedLine};
use super::exit_code::FAILED;
use super::{App, Next};
use crate::client::messenger::command::{Command, CommandResult};
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
        match commands::parse(line, self.session.is_some(), self.talks_to.is_some()) {
            Ok(TypedLine::Empty) => Next::GoOn,
            Ok(TypedLine::Text(text)) => {
                if let Some(name) = self.talks_to {
                    self.run(Command::Send(name, text));
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
            let prompt = match argument {
                "NAME" => "Name: ",
                _ => "Text: ",
            };
            match self.terminal.question(prompt) {
                InputEvent::Line(line) if !line.trim().is_empty() => {
                    // A text keeps its indentation.
                    let answer = match argument {
                        "NAME" => line.trim(),
                        _ => line.as_str(),
                    };
                    if argument == "NAME" && !self.name_is_usable(spec, answer) {
                        return false;
                    }
                    given.push(answer.to_owned());
                }
                InputEvent::Line(_) | InputEvent::Cancelled => {
                    self.terminal.say(&ViewEvent::quiet("never mind"));
                    return false;
                }
                _ => {
                    let word = prompt.trim_end_matches(": ").to_lowercase();
                    self.fail(&format!("there was no {word}; nothing was done"), FAILED);
                    return false;
                }
            }
        }
        true
    }

    /// Whether a name follows the rules and, before a text is typed for it, has an account.
    fn name_is_usable(&mut self, spec: &Spec, name: &str) -> bool {
        let checked = match name.parse::<UserName>() {
            Err(error) => Err(error.to_string()),
            Ok(name) if spec.arguments.contains(&"TEXT") => self.exists(name),
            Ok(_) => Ok(()),
        };
        checked.map_err(|why| self.fail(&why, FAILED)).is_ok()
    }

    fn command(&mut self, spec: &Spec, given: &[String]) -> Next {
        match spec.operation {
            Operation::Quit => return Next::Quit,
            Operation::Help => self.help(),
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
            Operation::Session(command) => match command(given) {
                Ok(command) => self.run(command),
                Err(why) => self.fail(&why, FAILED),
            },
        }
        Next::GoOn
    }

    /// Has the session run a command, and waits for its result.
    pub(super) fn ask_session(&mut self, command: Command) -> Result<(), String> {
        self.ask_for(command).map(drop)
    }

    /// Has the session run a command, and waits for what it is answered with.
    pub(super) fn ask_for(&mut self, command: Command) -> CommandResult {
        match &self.session {
            Some((_, session)) => session.run(command),
            None => Err("log in first".to_owned()),
        }
    }

    /// Has the session run a command, and shows why it failed.
    pub(super) fn run(&mut self, command: Command) {
        if let Err(why) = self.ask_session(command) {
            self.fail(&why, FAILED);
        }
    }

    fn help(&self) {
        let rows: Vec<_> = commands::usable(self.session.is_some())
            .map(|spec| {
                let number = match spec.menu {
                    Some((number, _)) => format!(" or {number}"),
                    None => String::new(),
                };
                (format!("{}{number}", spec.usage()), spec.help)
            })
            .collect();
        self.terminal.screen().table(&rows);
        if self.session.is_some() {
            self.terminal.say(&ViewEvent::quiet(
                "after /to NAME, what has no slash is sent; begin with // to send a slash",
            ));
        }
    }
}
