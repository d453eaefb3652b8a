//! The commands for scripts: `client send`, `fetch`, `listen` and so on. Each asks for what it needs, logs in
//! for one thing, writes its results to standard output and all else to standard error, and ends
//! with a code that says what happened. How results look is decided in `client::terminal`.
//!
//! | file | what |
//! | --- | --- |
//! | this one | which command runs how, and its exit code |
//! | `display` | what the messenger shows to a script |
//! | `send` | `send` |
//! | `join` | `join` |
//! | `receive` | `fetch`, `listen`, `unread` |

mod display;
mod join;
mod receive;
mod send;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::CommandFactory;

use self::display::ScriptDisplay;
use super::commands::{before, since};
use super::exit_code::{self, DECLINED, MEANINGS, REFUSED, UNREACHABLE, VAULT, WRONG_USAGE};
use super::session::{Opened, Session};
use super::{App, by_options, password, transfer};
use crate::client::args::scripts::{History, Script};
use crate::client::args::{Action, ExportFile, Options};
use crate::client::control::WindowKind;
use crate::client::login::prompt::TerminalPrompt;
use crate::client::login::{LoginError, LoginFlow};
use crate::client::messenger::command::{Answer, Command};
use crate::client::messenger::command::{FindFrom, HistoryQuery};
use crate::client::messenger::session_kind::SessionKind;
use crate::client::terminal::{InputEvent, Routes, Terminal};
use crate::client::view::{Display, End, ViewEvent};
use crate::clock;
use crate::command_line;
use crate::protocol::UserName;
use crate::sync;

/// How many messages `history` prints if it is not told.
const SHOWN: usize = 50;

/// How long to wait before another try to connect.
const TRIES_AGAIN: Duration = Duration::from_millis(500);

/// Why a command ends with another code than 0.
pub(super) struct Failure {
    code: u8,
    /// What to say, unless that was said.
    why: Option<String>,
}

impl Failure {
    fn new(code: u8, why: impl Into<String>) -> Self {
        let why = Some(why.into());
        Failure { code, why }
    }

    fn said(code: u8) -> Self {
        Failure { code, why: None }
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        Failure::new(exit_code::of_login(&error), error.to_string())
    }
}

type Done = Result<(), Failure>;

/// The session that a command needs; the chat's without one.
pub(super) fn session_kind(task: Option<&Action>) -> SessionKind {
    match task {
        Some(Action::Script(Script::Fetch(_))) => SessionKind::Fetch,
        Some(Action::Script(Script::Listen(_))) => SessionKind::Chat,
        Some(Action::Script(_)) => SessionKind::OneShot,
        _ => SessionKind::Chat,
    }
}

/// Whether a command shows no message for the first time.
pub(super) fn only_reads(task: Option<&Action>) -> bool {
    match task {
        Some(Action::Script(script)) => !matches!(script, Script::Fetch(_) | Script::Listen(_)),
        Some(_) => true,
        None => false,
    }
}

/// The terminal as a command needs it.
///
/// # Errors
/// The system has no thread to give, the signals can't be received, or the terminal is gone.
pub(super) fn open_terminal(options: &Options) -> io::Result<Terminal> {
    let (colours, plain) = (options.color, options.plain);
    match &options.task {
        Some(Action::Script(script)) => {
            let me = match script {
                Script::Register { name } | Script::Join { name, .. } => Some(*name),
                _ => options.user,
            };
            let routes = Routes::Data {
                json: me.filter(|_| options.json),
                quiet: options.quiet,
            };
            Terminal::open_for_data(colours, plain, routes)
        }
        Some(Action::Options | Action::ExitCodes) => {
            Terminal::open_for_data(colours, plain, Routes::WarningsAside)
        }
        _ => Terminal::open(colours, plain),
    }
}

/// The rows that a command lists which needs nothing else.
pub(super) fn listing(task: Option<&Action>) -> Option<Vec<(String, String)>> {
    match task {
        Some(Action::Options) => Some(every_option()),
        Some(Action::ExitCodes) => {
            let rows = MEANINGS.iter();
            Some(
                rows.map(|(code, what)| ((*code).to_owned(), (*what).to_owned()))
                    .collect(),
            )
        }
        _ => None,
    }
}

fn every_option() -> Vec<(String, String)> {
    let definition = Options::command();
    let mut rows = Vec::new();
    for option in definition.get_arguments() {
        let Some(long) = option.get_long() else {
            continue;
        };
        let value = option.get_value_names().and_then(|names| names.first());
        let mut key = format!("--{long}");
        if option.get_action().takes_values()
            && let Some(value) = value
        {
            key.push_str(&format!(" {value}"));
        }
        let help = option.get_help().map(ToString::to_string);
        let variable = match option.get_env() {
            Some(variable) => format!(" [{}]", variable.to_string_lossy()),
            None => String::new(),
        };
        rows.push((key, help.unwrap_or_default() + &variable));
    }
    rows
}

impl App {
    /// Runs a command to its end.
    pub(super) fn run_script(&mut self, script: &Script) {
        self.conclude(|app| app.script(script));
    }

    /// Does something, ends the session that it has begun, and says why it failed.
    pub(super) fn conclude(&mut self, work: impl FnOnce(&mut Self) -> Done) {
        let done = work(self);
        if let Some((_, session)) = self.session.take() {
            session.end();
        }
        if let Err(failure) = done {
            if let Some(why) = failure.why {
                self.terminal.say(&ViewEvent::bad(why));
            }
            self.code = failure.code;
        }
    }

    fn script(&mut self, script: &Script) -> Done {
        match script {
            Script::Send(send) => self.send_one(send),
            Script::Fetch(fetch) => self.fetch_all(fetch),
            Script::Listen(listen) => self.listen(listen),
            Script::Unread => self.print_unread(),
            Script::WhatTheServerKnows => self.ask_once(Command::WhatTheServerKnows),
            Script::Status { name } => self.ask_once(Command::Status(*name)),
            Script::Search { text } => self.ask_once(Command::Search(text.clone())),
            Script::Verify { name, yes } => self.ask_once(Command::Verify(*name, yes.is_some())),
            Script::History(history) => self.print_history(history),
            Script::Contacts => {
                let name = self.account()?;
                self.read_vault(
                    |flow, prompt| flow.contacts(name, prompt),
                    Command::Contacts,
                )
            }
            Script::Register { name } => self.register_one(*name),
            Script::Join { link, name } => self.join(link, *name),
        }
    }

    /// The account. For all but `vault`, the command line was checked to name it.
    fn account(&self) -> Result<UserName, Failure> {
        self.options.user.ok_or_else(|| {
            let me = command_line::called("client");
            let why = format!("whose? Name the account, as in: {me} --user NAME vault read");
            Failure::new(WRONG_USAGE, why)
        })
    }

    /// Logs in and starts the session.
    fn open_session(&mut self) -> Done {
        self.open_session_by(clock::now())
    }

    /// Logs in and starts the session; tries again until this time where there is no connection.
    fn open_session_by(&mut self, until: Instant) -> Done {
        let name = self.account()?;
        let mut said = false;
        loop {
            let Err(error) = self.try_session(name) else {
                return Ok(());
            };
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() || !error.may_pass() {
                return Err(error.into());
            }
            if !said {
                said = true;
                let seconds = left.as_secs_f64().ceil();
                self.terminal.say(&ViewEvent::quiet(format!(
                    "{error}; trying again for {seconds} s"
                )));
            }
            sync::sleep(TRIES_AGAIN.min(left));
            if self.terminal.signal().is_some() {
                return Err(Failure::said(0));
            }
        }
    }

    fn try_session(&mut self, name: UserName) -> Result<(), LoginError> {
        let display = self.script_display();
        let log_in = |flow: &LoginFlow, prompt: &mut TerminalPrompt<'_>| flow.log_in(name, prompt);
        let session = match self.open(name, WindowKind::Script, &display, log_in)? {
            Opened::Free(account) => self.start(account, display)?,
            Opened::Beside(attached) => Session::Beside(attached),
        };
        self.session = Some((name, session));
        Ok(())
    }

    /// Goes on after the client that this command worked through has ended: with a login of its
    /// own, or as a window of another. Tries again until this time where there is no connection.
    fn reopen_session(&mut self, until: Instant) -> Done {
        if let Some((_, session)) = self.session.take() {
            session.end();
        }
        self.open_session_by(until)
    }

    fn script_display(&self) -> Arc<dyn Display> {
        let screen = Arc::clone(self.terminal.screen());
        let waker = Arc::clone(self.terminal.waker());
        Arc::new(ScriptDisplay::new(screen, waker))
    }

    /// Reads the vault without a server, or has the client that has it run a command.
    fn read_vault(
        &mut self,
        read: impl Fn(&LoginFlow, &mut TerminalPrompt<'_>) -> Result<Vec<ViewEvent>, LoginError>,
        command: Command,
    ) -> Done {
        let name = self.account()?;
        let display = self.script_display();
        match self.open(name, WindowKind::Script, &display, read)? {
            Opened::Free(events) => self.print_all(&events),
            Opened::Beside(attached) => {
                self.session = Some((name, Session::Beside(attached)));
                match self.ask_script_session(command)? {
                    Answer::Messages(messages) => {
                        let events: Vec<_> = messages.into_iter().map(|(_, event)| event).collect();
                        self.print_all(&events)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Has the session run a command.
    fn ask_script_session(&mut self, command: Command) -> Result<Answer, Failure> {
        match self.ask_for(command) {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(match self.why_ended() {
                Some(code) => Failure::said(code),
                None if failure.disconnected => Failure::new(UNREACHABLE, failure.why),
                None => Failure::new(DECLINED, failure.why),
            }),
        }
    }

    /// The code for the end of the session, if it ended by itself.
    fn why_ended(&mut self) -> Option<u8> {
        while let Some(heard) = self.terminal.wait(Some(clock::now())) {
            if let InputEvent::Ended(end) = heard {
                return Some(code_of(&end));
            }
        }
        None
    }

    fn ask_once(&mut self, command: Command) -> Done {
        self.open_session()?;
        self.ask_script_session(command).map(drop)
    }

    fn print_all(&mut self, events: &[ViewEvent]) -> Done {
        for event in events {
            self.terminal.say(event);
        }
        Ok(())
    }

    fn print_history(&mut self, history: &History) -> Done {
        let usage = |why: String| Failure::new(WRONG_USAGE, why);
        let (with, count) = history.whom_and_count().map_err(usage)?;
        let from = history.since.as_deref().map(since);
        let from = from.transpose().map_err(usage)?;
        let before = history.before.as_deref().map(before);
        let before = before.transpose().map_err(usage)?;
        let shown = from.is_none().then_some(SHOWN);
        let query = HistoryQuery {
            with,
            count: count.map(|count| count as usize).or(shown),
            from,
            before,
            containing: None,
        };
        let name = self.account()?;
        self.read_vault(
            |flow, prompt| flow.history(name, &query, prompt),
            Command::Earlier(query.clone()),
        )
    }

    /// `vault read`
    pub(super) fn print_whole_history(&mut self, with: Option<UserName>) -> Done {
        let query = HistoryQuery {
            with,
            from: Some(FindFrom::Time(0)),
            ..HistoryQuery::default()
        };
        let name = self.account()?;
        self.read_vault(
            |flow, prompt| flow.history(name, &query, prompt),
            Command::Earlier(query.clone()),
        )
    }

    /// `vault export`. The identity's keys leave through no socket, so another client has to end.
    pub(super) fn export_vault(&mut self, file: &ExportFile, damaged: bool) -> Done {
        let name = self.account()?;
        if let Err(error) = self.wait_until_free(&name) {
            return Err(match error.holder() {
                Some(_) => Failure::new(
                    VAULT,
                    format!(
                        "{error}: an export takes the account's keys, which leave through no socket"
                    ),
                ),
                None => error.into(),
            });
        }
        let (options, flow) = (&self.options, &self.login_flow);
        Ok(transfer::export(
            name,
            file,
            damaged,
            options,
            flow,
            &mut self.terminal,
        )?)
    }

    /// The file for a new account's recovery code; `None` for the screen.
    fn new_code_goes_to(&self) -> Result<Option<PathBuf>, Failure> {
        let file = self.options.recovery_file.clone();
        if file.is_none() && !io::stderr().is_terminal() {
            return Err(Failure::new(
                WRONG_USAGE,
                "where does the recovery code go? Name a new file with --recovery-file FILE, so that no log has it",
            ));
        }
        Ok(file)
    }

    fn register_one(&mut self, name: UserName) -> Done {
        let file = self.new_code_goes_to()?;
        let prompt = password::prompt(&mut self.terminal, &self.options);
        let account = self
            .login_flow
            .register(name, &mut prompt.map_err(by_options)?)?;
        let session = self.start(account, self.script_display())?;
        self.session = Some((name, session));
        self.terminal.say(&ViewEvent::Registered {
            name,
            recovery_file: file,
        });
        Ok(())
    }
}

fn code_of(end: &End) -> u8 {
    match end {
        End::ShutOut(_) => REFUSED,
        End::Vault(_) | End::Gone(_) => VAULT,
    }
}
