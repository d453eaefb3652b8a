//! The session that commands go to: one of this process, or that of another client on this
//! machine which has the account's vault, of which this process becomes a window.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{App, by_options, password};
use crate::client::control::{Attached, Host, NotAttached, WindowKind, take_over};
use crate::client::login::prompt::TerminalPrompt;
use crate::client::login::{LoginError, LoginFlow};
use crate::client::messenger::SessionHandle;
use crate::client::messenger::account::Account;
use crate::client::messenger::command::{Command, CommandResult};
use crate::client::view::{Display, ViewEvent};
use crate::clock;
use crate::protocol::UserName;
use crate::sync;

/// How often the vault and the other client are tried.
const TRIES: Duration = Duration::from_millis(100);

/// How long another client may take to answer, however short one is willing to wait for the vault.
const ANSWERS: Duration = Duration::from_secs(5);

/// After this time, the person is told what is waited for.
const SAYS_SO: Duration = Duration::from_secs(1);

/// A running session.
pub(super) enum Session {
    /// This process has the vault. Others may work through it.
    Own(SessionHandle, Option<Host>),
    /// Another process has it.
    Beside(Attached),
}

/// What a vault leads to.
pub(super) enum Opened<T> {
    /// It is free, and was used.
    Free(T),
    /// Another process has it, and this one is its window.
    Beside(Attached),
}

impl Session {
    /// Runs a command and waits until it is done.
    ///
    /// # Errors
    /// What failed, as a sentence.
    pub(super) fn run(&self, command: Command) -> CommandResult {
        match self {
            Session::Own(handle, _) => handle.run(command),
            Session::Beside(attached) => attached.run(command),
        }
    }

    /// Whether the session goes on.
    pub(super) fn goes_on(&self) -> bool {
        match self {
            Session::Own(handle, _) => handle.goes_on(),
            Session::Beside(attached) => attached.goes_on(),
        }
    }

    /// The process that has the vault, if it is another one.
    pub(super) fn other(&self) -> Option<u32> {
        match self {
            Session::Own(..) => None,
            Session::Beside(attached) => Some(attached.pid),
        }
    }

    /// Logs out, or closes the window.
    pub(super) fn end(self) {
        match self {
            Session::Own(handle, host) => {
                drop(host);
                handle.end();
            }
            Session::Beside(attached) => attached.end(),
        }
    }
}

impl App {
    /// Starts a session of this process, which others may work through if it stays.
    pub(super) fn start(
        &self,
        mut account: Account,
        display: Arc<dyn Display>,
    ) -> Result<Session, LoginError> {
        let mut host = None;
        if account.kind.stays() && !self.options.no_socket {
            match Host::open(&mut account) {
                Ok(opened) => host = Some(opened),
                Err(why) => self.terminal.say(&ViewEvent::warning(format!(
                    "other commands can't work beside this client: {why}"
                ))),
            }
        }
        let display = match &host {
            Some(host) => host.display(display),
            None => display,
        };
        let handle = SessionHandle::start(account, self.options.trust, display)
            .map_err(LoginError::Thread)?;
        if let Some(host) = &mut host {
            host.serve(handle.port().clone())
                .map_err(LoginError::Thread)?;
        }
        Ok(Session::Own(handle, host))
    }

    /// Waits for a while until no other process has the account's vault.
    ///
    /// # Errors
    /// One still has it, which the error names, or there is no place for vaults.
    pub(super) fn wait_until_free(&self, name: &UserName) -> Result<(), LoginError> {
        let begun = clock::now();
        let until = begun + Duration::from_secs(self.options.wait.into());
        let mut said = false;
        loop {
            let Err(error) = self.login_flow.check_free(name) else {
                return Ok(());
            };
            let now = clock::now();
            if error.holder().is_none() || now >= until || self.terminal.signal().is_some() {
                return Err(error);
            }
            self.say_what_holds(&error, begun, &mut said);
            sync::sleep(TRIES);
        }
    }

    /// Says once, after a while, which process is waited for.
    fn say_what_holds(&self, error: &LoginError, begun: Instant, said: &mut bool) {
        if !*said && clock::now() >= begun + SAYS_SO {
            *said = true;
            self.terminal
                .say(&ViewEvent::quiet(format!("{error}; waiting for it")));
        }
    }

    /// Uses the account's vault, or becomes a window of the client that has it. Waits for a while
    /// if neither works.
    pub(super) fn open<T>(
        &mut self,
        name: UserName,
        kind: WindowKind,
        display: &Arc<dyn Display>,
        mut free: impl FnMut(&LoginFlow, &mut TerminalPrompt<'_>) -> Result<T, LoginError>,
    ) -> Result<Opened<T>, LoginError> {
        let begun = clock::now();
        let until = begun + Duration::from_secs(self.options.wait.into());
        let mut said = false;
        let mut typed = None;
        loop {
            // A password command is run only if a password is needed.
            let mut opened = self.login_flow.check_free(&name);
            if opened.is_ok() {
                let prompt = password::prompt(&mut self.terminal, &self.options);
                let mut prompt = prompt.map_err(by_options)?;
                // While it was typed, another process took the vault for a while.
                prompt.password = prompt.password.or_else(|| typed.take());
                match free(&self.login_flow, &mut prompt) {
                    Ok(found) => return Ok(Opened::Free(found)),
                    Err(error) => opened = Err(error),
                }
                typed = prompt.typed.take();
            }
            let Err(error) = opened else { continue };
            let Some(socket) = error.holder() else {
                return Err(error);
            };
            let left = until.saturating_duration_since(clock::now());
            let mut refused = None;
            if let Some(socket) = socket {
                let patience = left.max(ANSWERS);
                let attached = match self.login_flow.take_over {
                    true => take_over(socket, name, patience).map(|()| None),
                    false => Attached::connect(socket, name, kind, Arc::clone(display), patience)
                        .map(Some),
                };
                match attached {
                    Ok(Some(attached)) => return Ok(Opened::Beside(attached)),
                    // The vault is free soon.
                    Ok(None) => {}
                    Err(NotAttached::Refused(why)) => refused = Some(why),
                    Err(NotAttached::Silent) => {
                        refused = Some(format!("{error}, which does not answer: is it stopped?"))
                    }
                    // It is just beginning or ending, or is none to work through.
                    Err(NotAttached::Gone) => {}
                }
            }
            let now = clock::now();
            if now >= until || self.terminal.signal().is_some() {
                return Err(match refused {
                    Some(why) => LoginError::Occupied(why),
                    None => error,
                });
            }
            self.say_what_holds(&error, begun, &mut said);
            sync::sleep(TRIES);
        }
    }
}
