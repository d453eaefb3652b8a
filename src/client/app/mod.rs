//! The conversation with the person or the script. What a command means is decided here; the
//! messenger runs it, and the terminal shows the result.
//!
//! | file | what |
//! | --- | --- |
//! | this one | start and end of the program and of a session |
//! | `commands` | the table of commands, parsing, completion and help |
//! | `dispatch` | from a typed line to what runs it |
//! | `operations` | commands that the program runs itself, or asks about first |
//! | `session` | the session that commands go to: this process's, or another one's |
//! | `talk` | `/to`: plain lines go to one person |
//! | `password` | secrets from the options, `/passwd` and `/recovery` |
//! | `transfer` | `client vault export` and `import` |
//! | `files` | the names of files that are typed |
//! | `exit_code` | the exit codes |
//! | `manual` | what the manual page has besides options and commands |
//! | `hook` | runs the command of `--on-message` |
//! | `scripts` | `client send`, `listen` and the other commands for scripts |
//! | `hardening` | keeps the process's memory from core dumps and debuggers |

pub(crate) mod commands;
mod dispatch;
mod exit_code;
mod files;
mod hardening;
mod hook;
mod manual;
mod operations;
mod password;
mod scripts;
mod session;
mod talk;
mod transfer;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use self::commands::Operation;
use self::exit_code::{DECLINED, FAILED, REFUSED, UNWRITTEN, VAULT, WRONG_USAGE};
use self::session::{Opened, Session};
use super::args::{Action, Options, OptionsError, VaultTask};
use super::control::WindowKind;
use super::login::prompt::TerminalPrompt;
use super::login::{LoginError, LoginFlow};
use super::messenger::command::Command;
use super::terminal::{Alerts, InputEvent, NotWritten, Screen, Terminal};
use super::view::{Display, End, ViewEvent};
use crate::command_line;
use crate::command_line::Loaded;
use crate::protocol::UserName;

/// How long the end of a script waits for the server's last answers.
const SCRIPT_WAITS: Duration = Duration::from_secs(30);

/// How long a person waits for them; what is unanswered is sent again at the next login.
const PERSON_WAITS: Duration = Duration::from_secs(3);

/// What to do after a line.
enum Next {
    GoOn,
    Quit,
}

/// The program's state.
struct App {
    terminal: Terminal,
    options: Options,
    login_flow: LoginFlow,
    /// The running session and its account.
    session: Option<(UserName, Session)>,
    /// The number of the line of standard input that is being run; 0 before the first.
    line_number: u64,
    /// Whether that line failed.
    line_failed: bool,
    /// Runs the command of `--on-message`, in the chat.
    hook: Option<hook::HookThread>,
    /// The exit code so far, which a script's first failure sets.
    code: u8,
}

/// Runs the client's program as its command line says.
pub fn main() -> ExitCode {
    match command_line::parse::<Options>(UNWRITTEN) {
        Ok(Loaded { options, .. }) => match &options.task {
            Some(Action::Man) => print(&manual::page()),
            Some(Action::Completions { shell }) => {
                print(&command_line::completions::<Options>(*shell))
            }
            _ => ExitCode::from(run(options)),
        },
        Err(code) => code,
    }
}

fn print(text: &str) -> ExitCode {
    command_line::print("client", text, UNWRITTEN)
}

/// Runs the client to its end, and returns the process's exit code.
fn run(options: Options) -> u8 {
    // Before anything secret is read.
    let private = hardening::keep_memory_private();
    let terminal = match scripts::open_terminal(&options) {
        Ok(terminal) => terminal,
        Err(error) => {
            // Without a terminal, standard error is all there is.
            let me = command_line::called("client");
            let _said = writeln!(io::stderr(), "{me}: the terminal can't be used: {error}");
            return FAILED;
        }
    };
    if let Err(why) = private {
        terminal.say(&ViewEvent::warning(why));
    }
    if scripts::only_reads(options.task.as_ref()) {
        terminal.screen().only_reads();
    }
    if let Some(rows) = scripts::listing(options.task.as_ref()) {
        terminal.screen().table(rows);
        return end(&terminal, 0);
    }
    let data = match options.data() {
        Ok(data) => data,
        Err(error) => {
            terminal.say(&ViewEvent::bad(error.to_string()));
            return end(&terminal, FAILED);
        }
    };
    let endpoint = match options.endpoint(&data) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            terminal.say(&ViewEvent::bad(error.to_string()));
            return end(&terminal, WRONG_USAGE);
        }
    };
    let login_flow = LoginFlow {
        endpoint,
        data,
        take_over: options.take_over,
        new_identity: options.new_identity,
        claim: options.claim,
        kind: scripts::session_kind(options.task.as_ref()),
    };
    let mut app = App {
        terminal,
        options,
        login_flow,
        session: None,
        line_number: 0,
        line_failed: false,
        hook: None,
        code: 0,
    };
    match app.options.task.take() {
        Some(Action::Vault(task)) => app.move_vault(&task),
        Some(Action::Script(script)) => app.run_script(&script),
        // These were done before.
        Some(Action::Options | Action::ExitCodes | Action::Man | Action::Completions { .. }) => {}
        None => app.begin(),
    }
    end(&app.terminal, app.code)
}

/// Waits until everything is written, and returns the exit code. The first failure counts.
fn end(terminal: &Terminal, code: u8) -> u8 {
    let written = terminal.finish();
    match (terminal.signal(), written) {
        (_, Err(NotWritten)) if matches!(code, 0 | FAILED) => UNWRITTEN,
        // The shells' convention for a program that a signal ended. What a command was given, or asked
        // for, did not come then.
        (Some(signal), _) if matches!(code, 0 | REFUSED | DECLINED | VAULT) => 128 + signal,
        _ => code,
    }
}

/// A login that the options prevent.
fn by_options(error: OptionsError) -> LoginError {
    LoginError::Refused(error.to_string())
}

impl App {
    fn begin(&mut self) {
        if let Some(hook) = hook::Hook::of(&self.options, &self.terminal) {
            match hook::HookThread::start(hook, self.screen()) {
                Ok(thread) => self.hook = Some(thread),
                Err(error) => {
                    return self.fail(&format!("no thread for --on-message: {error}"), FAILED);
                }
            }
        }
        self.screen().set_alerts(Alerts {
            bell: self.options.bell,
            title: self.options.title,
        });
        self.screen().banner();
        if let Some(name) = self.options.user {
            let next = self.start_session(name, Operation::Login);
            if matches!(next, Next::Quit) || self.terminal.stopped() {
                return;
            }
        }
        if self.session.is_none() {
            self.menu();
        }
        loop {
            let next = match self.terminal.line() {
                InputEvent::Line(line) => self.next_line(&line),
                InputEvent::Ended(end) => self.ended(&end),
                InputEvent::Cancelled | InputEvent::Woken => Next::GoOn,
                InputEvent::Eof | InputEvent::Stop => Next::Quit,
                InputEvent::Failed(why) => {
                    self.fail(&why, FAILED);
                    // `fail` leaves a person's exit code alone, but nothing more can be typed.
                    self.code = self.code.max(FAILED);
                    Next::Quit
                }
            };
            if matches!(next, Next::Quit) || self.terminal.stopped() {
                break;
            }
        }
        self.line_number = 0;
        self.wait_for_answers();
        self.leave();
        if let Some(hook) = self.hook.take()
            && !hook.finish()
        {
            self.fail("--on-message failed for a message", FAILED);
        }
    }

    /// Runs a line. A script ends at the first that fails, unless it is to go on.
    fn next_line(&mut self, line: &str) -> Next {
        self.line_number += 1;
        self.line_failed = false;
        let next = self.line(line);
        let stops = self.line_failed && !self.terminal.interactive() && !self.options.keep_going;
        match stops {
            true => Next::Quit,
            false => next,
        }
    }

    fn move_vault(&mut self, task: &VaultTask) {
        match task {
            VaultTask::Export { to, damaged } => {
                self.conclude(|app| app.export_vault(to, *damaged));
            }
            VaultTask::Import { from, register } => self.conclude(|app| {
                let (options, flow) = (&app.options, &app.login_flow);
                let terminal = &mut app.terminal;
                Ok(transfer::import(from, *register, options, flow, terminal)?)
            }),
            VaultTask::Read { with } => self.conclude(|app| app.print_whole_history(*with)),
        }
    }

    fn screen(&self) -> Arc<Screen> {
        Arc::clone(self.terminal.screen())
    }

    fn menu(&self) {
        if !self.terminal.interactive() {
            return;
        }
        let rows: Vec<_> = commands::usable(self.session.is_some())
            .filter_map(|spec| spec.menu)
            .map(|(number, name)| (number.to_owned(), name.to_owned()))
            .collect();
        self.terminal.screen().table(rows);
    }

    /// Says what somebody does next who has just made an account.
    fn first_steps(&self) {
        if !self.terminal.interactive() {
            return;
        }
        let rows = [
            ("/search al", "finds people whose names begin with al"),
            (
                "/to NAME",
                "writes to somebody: what you type from then on goes there",
            ),
            (
                "/help",
                "lists all else; the numbers of the menu do the same",
            ),
        ];
        let rows = rows.map(|(key, what)| (key.to_owned(), what.to_owned()));
        self.terminal.say(&ViewEvent::plain("What to do next:"));
        self.terminal.screen().table(rows.to_vec());
    }

    fn fail(&mut self, why: &str, code: u8) {
        let sentence = match (self.terminal.interactive(), self.line_number) {
            (true, _) | (_, 0) => why.to_owned(),
            (false, number) => format!("line {number}: {why}"),
        };
        self.line_failed = true;
        self.terminal.say(&ViewEvent::bad(sentence));
        if self.code == 0 && !self.terminal.interactive() {
            self.code = code;
        }
    }

    /// Waits, for a limited time, for the answers to what was sent before a session ends.
    fn wait_for_answers(&mut self) {
        let limit = match self.terminal.interactive() {
            true => PERSON_WAITS,
            false => SCRIPT_WAITS,
        };
        if let Some((_, session)) = &self.session
            && session.goes_on()
            && let Err(failure) = session.run(Command::AwaitAnswers(limit))
        {
            self.fail(&failure.why, FAILED);
        }
    }

    fn ended(&mut self, end: &End) -> Next {
        let code = match end {
            End::ShutOut(_) => REFUSED,
            End::Vault(_) | End::Gone(_) => VAULT,
        };
        let me = self.session.as_ref().map(|(me, _)| *me);
        let talks_to = self.terminal.screen().talks_to();
        self.leave();
        if let (End::Gone(_), Some(me)) = (end, me) {
            // The vault is free, or another window has it by now.
            let next = self.start_session(me, Operation::Login);
            let talks_to = talks_to.filter(|_| self.session.is_some());
            self.terminal.screen().set_talks_to(talks_to);
            return next;
        }
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
        self.terminal.screen().set_session(None);
    }

    /// Registers or logs in, and starts the session. A person whose name or password was refused is
    /// asked again; a script ends.
    fn start_session(&mut self, mut name: UserName, operation: Operation) -> Next {
        loop {
            let Err(error) = self.log_in(name, operation) else {
                return Next::GoOn;
            };
            if self.terminal.stopped() {
                return Next::Quit;
            }
            self.fail(&error.to_string(), exit_code::of_login(&error));
            if !self.terminal.interactive() {
                return Next::Quit;
            }
            if error.is_unreachable() {
                let me = command_line::called("client");
                self.terminal.say(&ViewEvent::quiet(format!(
                    "/login {name} tries again; without the server, `{me} --user {name} history` shows earlier messages"
                )));
            }
            let other = match error.is_slip() && !self.options.gives_password() {
                true => self.another_name(operation, &name),
                false => None,
            };
            match other {
                Some(other) => name = other,
                None => return Next::GoOn,
            }
        }
    }

    fn log_in(&mut self, name: UserName, operation: Operation) -> Result<(), LoginError> {
        let is_new = matches!(operation, Operation::Register);
        let display: Arc<dyn Display> = match &self.hook {
            Some(hook) => Arc::new(hook.display(self.screen())),
            None => self.screen(),
        };
        let (session, done) = if is_new {
            let prompt = password::prompt(&mut self.terminal, &self.options);
            let account = self
                .login_flow
                .register(name, &mut prompt.map_err(by_options)?)?;
            let done = format!("account {name} created; you are logged in");
            (Opened::Free(account), done)
        } else {
            let log_in =
                |flow: &LoginFlow, prompt: &mut TerminalPrompt<'_>| flow.log_in(name, prompt);
            let opened = self.open(name, WindowKind::Chat, &display, log_in)?;
            let done = match &opened {
                Opened::Free(_) => format!("logged in as {name}"),
                Opened::Beside(other) => format!(
                    "this is another window of {name}, whose client runs as process {}; /quit ends this window only",
                    other.pid
                ),
            };
            (opened, done)
        };
        self.screen().set_session(Some(name));
        self.terminal.say(&ViewEvent::good(done));
        let session = match session {
            Opened::Free(account) => self.start(account, display)?,
            Opened::Beside(attached) => Session::Beside(attached),
        };
        self.session = Some((name, session));
        if is_new {
            self.first_steps();
        }
        self.menu();
        Ok(())
    }

    fn log_out(&mut self) {
        self.wait_for_answers();
        self.leave();
        self.terminal.say(&ViewEvent::good("logged out"));
        self.menu();
    }
}
