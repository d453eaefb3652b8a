//! A running session as others hold it: the way in for commands, and its end. What the session
//! does is the messenger's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::account::Account;
use super::command::{Asker, Command, CommandResult, WindowOutput};
use super::{Messenger, Trust};
use crate::client::net::event_queue::QueuedEvent;
use crate::client::view::Display;
use crate::sync::{self, JoinHandle};

/// A running session, as the person's side holds it.
pub(crate) struct SessionHandle {
    port: SessionPort,
    thread: JoinHandle<()>,
}

/// Where commands for a running session are put.
#[derive(Clone)]
pub(crate) struct SessionPort(SyncSender<QueuedEvent>);

impl SessionPort {
    /// Runs a command and waits until it is done.
    ///
    /// # Errors
    /// What failed, as a sentence.
    pub(crate) fn run(&self, command: Command, window: Option<WindowOutput>) -> CommandResult {
        let over = || "the session is over; log in again".to_owned();
        let (done, result) = sync_channel(1);
        self.0
            .send(QueuedEvent::Command(command, Asker { done, window }))
            .map_err(|_| over())?;
        result.recv().map_err(|_| over())?
    }
}

impl SessionHandle {
    /// Starts the thread. It ends on [`Command::Logout`], or by itself after
    /// telling [`Display::ended`].
    ///
    /// # Errors
    /// That there is no thread to be had.
    pub(crate) fn start(
        account: Account,
        trust: Trust,
        display: Arc<dyn Display>,
    ) -> io::Result<Self> {
        let port = SessionPort(account.events.sender());
        let mut messenger = Messenger::new(account, trust, display);
        let thread = sync::spawn("messenger", None, move || messenger.run())?;
        Ok(SessionHandle { port, thread })
    }

    /// Runs a command and waits until it is done.
    ///
    /// # Errors
    /// What failed, as a sentence.
    pub(crate) fn run(&self, command: Command) -> CommandResult {
        self.port.run(command, None)
    }

    /// Where other threads put commands.
    pub(crate) fn port(&self) -> &SessionPort {
        &self.port
    }

    /// Whether the session goes on.
    pub(crate) fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Logs out and waits for the thread's end.
    pub(crate) fn end(self) {
        // If the session is over already, there is nothing to end.
        let _outcome = self.run(Command::Logout);
        let _ended = self.thread.join();
    }
}
