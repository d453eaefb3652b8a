//! The conversation with whoever types: the menu, the questions, the commands.
//! What a command means is decided here; doing it is the messenger's business.

pub(crate) mod commands;
pub(crate) mod settings;
pub(crate) mod transfer;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use self::commands::{Spec, TypedLine, Verb};
use super::login::credentials;
use super::login::{LoginError, LoginFlow};
use super::messenger::SessionHandle;
use super::messenger::account::Account;
use super::messenger::command::{Command, CommandResult};
use super::view::{Display, End, ViewEvent};

use super::args::{Action, Options, VaultTask};
use super::login::prompt::TerminalPrompt;

use super::terminal::{InputEvent, NotWritten, Screen, Terminal};
use crate::protocol::UserName;

/// How long the end of a script waits for the server's last answers.
const SCRIPT_SETTLES: Duration = Duration::from_secs(30);

/// How long a person is kept waiting for them; what is left is sent at the next login.
const PERSON_SETTLES: Duration = Duration::from_secs(3);

/// Something failed.
const FAILED: u8 = 1;
/// The server refused the login.
const REFUSED: u8 = 3;
/// The server could not be reached.
const UNREACHABLE: u8 = 4;
/// The vault is in the way.
const VAULT: u8 = 5;
/// Nothing says that it is the right server.
const UNTRUSTED: u8 = 6;
/// What was to be shown could not be written.
pub const UNWRITTEN: u8 = 7;
/// The command line can't be followed, as clap has it.
pub const WRONG_USAGE: u8 = 2;

/// What to do after a line.
enum Next {
    GoOn,
    Quit,
}

struct Chat {
    terminal: Terminal,
    options: Options,
    login_flow: LoginFlow,
    session: Option<(UserName, SessionHandle)>,
    talks_to: Option<UserName>,
    /// The exit code so far: a script's first failure.
    code: u8,
}

/// Runs the client until it is done; the process's exit code.
pub fn run(options: Options) -> u8 {
    let terminal = match Terminal::open(options.color, options.plain) {
        Ok(terminal) => terminal,
        Err(error) => {
            // There is no terminal to say it with.
            let _said = writeln!(io::stderr(), "client: the terminal can't be used: {error}");
            return FAILED;
        }
    };
    let data = match options.data() {
        Ok(data) => data,
        Err(why) => {
            terminal.say(&ViewEvent::bad(why));
            return end(&terminal, FAILED);
        }
    };
    let endpoint = match options.endpoint(&data) {
        Ok(endpoint) => endpoint,
        Err(why) => {
            terminal.say(&ViewEvent::bad(why));
            return end(&terminal, WRONG_USAGE);
        }
    };
    let login_flow = LoginFlow {
        endpoint,
        data,
        take_over: options.take_over,
        new_identity: options.new_identity,
    };
    let mut chat = Chat {
        terminal,
        options,
        login_flow,
        session: None,
        talks_to: None,
        code: 0,
    };
    match chat.options.task.take() {
        Some(Action::Vault(task)) => chat.move_vault(&task),
        None => chat.begin(),
    }
    end(&chat.terminal, chat.code)
}

/// The exit code, once everything was written. A cause that came before counts.
fn end(terminal: &Terminal, code: u8) -> u8 {
    let written = terminal.finish();
    match (terminal.signal(), written) {
        (_, Err(NotWritten)) if matches!(code, 0 | FAILED) => UNWRITTEN,
        // As a shell counts a program that a signal ended.
        (Some(signal), _) if code == 0 => 128 + signal,
        _ => code,
    }
}

impl Chat {
    fn begin(&mut self) {
        self.screen().banner();
        if let Some(name) = self.options.user {
            let entered = self.enter(&name, Verb::Login);
            if self.failed_for_good(entered) || self.terminal.stopped() {
                return;
            }
        }
        if self.session.is_none() {
            self.menu();
        }
        loop {
            let prompt = self.prompt();
            let next = match self.terminal.line(&prompt) {
                InputEvent::Line(line) => self.line(&line),
                InputEvent::Ended(end) => self.ended(&end),
                InputEvent::Cancelled => Next::GoOn,
                InputEvent::Eof | InputEvent::Stop => Next::Quit,
                InputEvent::Failed(why) => {
                    self.fail(&why, FAILED);
                    // Also a person's: nothing more can be done.
                    self.code = self.code.max(FAILED);
                    Next::Quit
                }
            };
            if matches!(next, Next::Quit) || self.terminal.stopped() {
                break;
            }
        }
        self.wait_for_answers();
        self.leave();
    }

    fn move_vault(&mut self, task: &VaultTask) {
        let moved = transfer::run(task, &self.options, &self.login_flow, &mut self.terminal);
        if let Err(error) = moved {
            self.terminal.say(&ViewEvent::bad(error.to_string()));
            self.code = code(&error);
        }
    }

    fn screen(&self) -> Arc<Screen> {
        Arc::clone(self.terminal.screen())
    }

    fn prompt(&self) -> String {
        let Some((me, _)) = &self.session else {
            return "> ".to_owned();
        };
        match self.talks_to {
            None => format!("{me}> "),
            Some(name) => {
                let verified = match self.terminal.screen().verified(&name) {
                    Some(true) => " (verified)",
                    _ => "",
                };
                format!("{me} > {name}{verified}> ")
            }
        }
    }

    fn menu(&self) {
        if !self.terminal.interactive() {
            return;
        }
        let rows: Vec<_> = commands::usable(self.session.is_some())
            .filter_map(|spec| spec.menu)
            .map(|(number, name)| (number.to_owned(), name))
            .collect();
        self.terminal.screen().table(&rows);
    }

    fn fail(&mut self, why: &str, code: u8) {
        self.terminal.say(&ViewEvent::bad(why));
        if self.code == 0 && !self.terminal.interactive() {
            self.code = code;
        }
    }

    /// Before a session ends, what was sent is to be answered.
    fn wait_for_answers(&mut self) {
        let limit = match self.terminal.interactive() {
            true => PERSON_SETTLES,
            false => SCRIPT_SETTLES,
        };
        if let Some((_, session)) = &self.session
            && session.goes_on()
            && let Err(why) = session.run(Command::Settle(limit))
        {
            self.fail(&why, FAILED);
        }
    }

    fn ended(&mut self, end: &End) -> Next {
        let code = match end {
            End::ShutOut(_) => REFUSED,
            End::Vault(_) => VAULT,
        };
        self.leave();
        if self.terminal.interactive() {
            self.menu();
            return Next::GoOn;
        }
        self.code = code;
        Next::Quit
    }

    fn leave(&mut self) {
        if let Some((_, session)) = self.session.take() {
            session.end();
        }
        self.talks_to = None;
        self.terminal.screen().log(false);
    }

    fn line(&mut self, line: &str) -> Next {
        // A session that ended by itself is told of by an arrival of its own; a
        // line that was typed before that must not run into it.
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

    /// Whether a name follows the rules and, before a text is typed for it, exists.
    fn name_is_usable(&mut self, spec: &Spec, name: &str) -> bool {
        let checked = match name.parse::<UserName>() {
            Err(error) => Err(error.to_string()),
            Ok(name) if spec.verb == Verb::Message => self.exists(name),
            Ok(_) => Ok(()),
        };
        checked.map_err(|why| self.fail(&why, FAILED)).is_ok()
    }

    /// Somebody unknown must exist before words are typed at them.
    fn exists(&mut self, name: UserName) -> CommandResult {
        match self.terminal.screen().verified(&name) {
            Some(_) => Ok(()),
            None => self.ask_session(Command::Status(name)),
        }
    }

    fn command(&mut self, spec: &Spec, given: &[String]) -> Next {
        let text = || given.last().cloned().unwrap_or_default();
        match spec.verb {
            Verb::Quit => return Next::Quit,
            Verb::Help => self.help(),
            Verb::Logout => {
                self.wait_for_answers();
                self.leave();
                self.terminal.say(&ViewEvent::good("logged out"));
                self.menu();
            }
            Verb::Fetch => self.run(Command::Fetch),
            Verb::Contacts => self.run(Command::Contacts),
            Verb::Search => self.run(Command::Search(text())),
            Verb::Info => self.run(Command::Info(given.first().cloned())),
            Verb::Settings => match settings::change(given) {
                Ok(change) => self.run(Command::Settings(change)),
                Err(why) => self.fail(&why, FAILED),
            },
            Verb::Passwd => self.passwd(),
            Verb::To if given.is_empty() => self.talks_to = None,
            Verb::History if given.is_empty() => self.run(Command::History(None)),
            verb => match given.first().map(|name| name.parse::<UserName>()) {
                Some(Ok(name)) => return self.about(verb, name, given),
                Some(Err(error)) => self.fail(&error.to_string(), FAILED),
                None => self.fail(&format!("it is used like this: {}", spec.usage()), FAILED),
            },
        }
        Next::GoOn
    }

    /// The commands that are about somebody.
    fn about(&mut self, verb: Verb, name: UserName, given: &[String]) -> Next {
        let text = || given.last().cloned().unwrap_or_default();
        match verb {
            Verb::Register | Verb::Login => {
                let entered = self.enter(&name, verb);
                if self.failed_for_good(entered) {
                    return Next::Quit;
                }
            }
            Verb::To => self.talk_to(name),
            Verb::Message => self.run(Command::Send(name, text())),
            Verb::SendUnencrypted => self.run(Command::SendUnencrypted(name, text())),
            Verb::Status => self.run(Command::Status(name)),
            Verb::History => self.run(Command::History(Some(name))),
            Verb::Accept => self.run(Command::Accept(name)),
            Verb::Reject => self.run(Command::Reject(name)),
            Verb::Block => self.run(Command::Block(name)),
            Verb::Unblock => self.run(Command::Unblock(name)),
            Verb::Verify => match given.get(1).map(String::as_str) {
                None => self.run(Command::Verify(name, false)),
                Some("yes") => self.run(Command::Verify(name, true)),
                Some(_) => self.fail("after comparing, it is: /verify NAME yes", FAILED),
            },
            // The others are about nobody.
            Verb::Search
            | Verb::Fetch
            | Verb::Logout
            | Verb::Contacts
            | Verb::Info
            | Verb::Settings
            | Verb::Passwd
            | Verb::Help
            | Verb::Quit => {}
        }
        Next::GoOn
    }

    fn ask_session(&mut self, command: Command) -> CommandResult {
        match &self.session {
            Some((_, session)) => session.run(command),
            None => Err("log in first".to_owned()),
        }
    }

    fn run(&mut self, command: Command) {
        if let Err(why) = self.ask_session(command) {
            self.fail(&why, FAILED);
        }
    }

    fn talk_to(&mut self, name: UserName) {
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

    fn passwd(&mut self) {
        match (self.given_password(), self.options.new_password()) {
            (Ok(Some(old)), Ok(Some(new))) => return self.change_password(old, new),
            (Err(why), _) | (_, Err(why)) => return self.fail(&why, FAILED),
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
            Some((old, new, _)) => self.change_password(old, new),
        }
    }

    fn change_password(&mut self, old: Zeroizing<String>, new: Zeroizing<String>) {
        match credentials::check_new(&new) {
            Ok(()) => self.run(Command::Passwd(old, new)),
            Err(why) => self.fail(&why, FAILED),
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

    /// The password that the options give. A command that they name may ask for something
    /// on the terminal.
    fn given_password(&self) -> Result<Option<Zeroizing<String>>, String> {
        match self.options.password_command {
            Some(_) => self.terminal.lend(|| self.options.password()),
            None => self.options.password(),
        }
    }

    /// Registers or logs in, and starts the session.
    fn enter(&mut self, name: &UserName, verb: Verb) -> Result<(), LoginError> {
        let password = self.given_password().map_err(LoginError::Refused)?;
        let mut prompt = TerminalPrompt {
            terminal: &mut self.terminal,
            password,
        };
        let account: Account = match verb {
            Verb::Register => self.login_flow.register(*name, &mut prompt)?,
            _ => self.login_flow.log_in(*name, &mut prompt)?,
        };
        let screen = self.screen();
        screen.log(true);
        let done = match verb {
            Verb::Register => format!("account {name} created; you are logged in"),
            _ => format!("logged in as {name}"),
        };
        self.terminal.say(&ViewEvent::good(done));
        let display: Arc<dyn Display> = screen;
        let session = SessionHandle::start(account, self.options.trust, display)
            .map_err(|error| LoginError::Refused(format!("no thread for the session: {error}")))?;
        self.session = Some((*name, session));
        self.menu();
        Ok(())
    }

    /// Says why nobody got in; whether that ends the program, as it does a script's.
    fn failed_for_good(&mut self, entered: Result<(), LoginError>) -> bool {
        let Err(error) = entered else { return false };
        if self.terminal.stopped() {
            return true;
        }
        self.fail(&error.to_string(), code(&error));
        !self.terminal.interactive()
    }
}

fn code(error: &LoginError) -> u8 {
    match error {
        LoginError::Refused(_) => REFUSED,
        LoginError::Unreachable(_) | LoginError::TurnedAway(_) => UNREACHABLE,
        LoginError::Vault(_) => VAULT,
        LoginError::Untrusted(_) => UNTRUSTED,
    }
}
