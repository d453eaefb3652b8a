//! A window's own side: it asks the client that has the vault, and shows what comes from there.
//! The thread `attached` reads, and ends with the connection.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::place;
use super::wire::{
    FromWindow, LineReader, MAX_TO_WINDOW, ToWindow, VERSION, WindowKind, write_line,
};
use crate::client::messenger::command::{Answer, Command, CommandFailure, CommandResult};
use crate::client::view::{Display, End, ViewEvent, Written};
use crate::protocol::UserName;
use crate::sync::{self, JoinHandle};

/// How long the other client may take for its part of a command, beyond what the command itself
/// says: it asks the server, and may be busy with another window's command.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stands for the window that sent a message: windows are counted from 1, and this one shows what
/// it has sent itself.
const NOT_HERE: u64 = 0;

/// Why a process is no window of another.
#[derive(Debug)]
pub(crate) enum NotAttached {
    /// Nobody listens, or the connection has ended.
    Gone,
    /// The other client does not answer.
    Silent,
    /// The other client refuses, for this reason.
    Refused(String),
}

impl From<io::Error> for NotAttached {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => NotAttached::Silent,
            _ => NotAttached::Gone,
        }
    }
}

/// A connection to the client that has the vault.
pub(crate) struct Attached {
    /// That client's process id.
    pub pid: u32,
    stream: UnixStream,
    answers: Receiver<CommandResult>,
    /// This side ends the connection.
    leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Connects, and says hello; gives the lines that follow the welcome.
fn greet(
    socket: &Path,
    account: UserName,
    kind: WindowKind,
    patience: Duration,
) -> Result<(UnixStream, LineReader), NotAttached> {
    let stream = place::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let hello = FromWindow::Hello {
        version: VERSION.to_owned(),
        account,
        kind,
    };
    write_line(&stream, &hello)?;
    let lines = LineReader::new(stream.try_clone()?, MAX_TO_WINDOW);
    Ok((stream, lines))
}

impl Attached {
    /// Becomes a window of the client that listens at `socket`, which may take `patience` to
    /// answer. What is news there is shown on `display`.
    ///
    /// # Errors
    /// There is none, it refuses, or the system has no thread to give.
    pub(crate) fn connect(
        socket: &Path,
        account: UserName,
        kind: WindowKind,
        display: Arc<dyn Display>,
        patience: Duration,
    ) -> Result<Self, NotAttached> {
        let (stream, mut lines) = greet(socket, account, kind, patience)?;
        let pid = match lines.next()? {
            Some(ToWindow::Welcome { pid, people }) => {
                display.people(people);
                pid
            }
            Some(ToWindow::Refused(why)) => return Err(NotAttached::Refused(why)),
            _ => return Err(NotAttached::Gone),
        };
        stream.set_read_timeout(None)?;
        let (tell, answers) = sync_channel(1);
        let leaving = Arc::new(AtomicBool::new(false));
        let leaves = Arc::clone(&leaving);
        let thread = sync::spawn("attached", None, move || {
            let end = show_all(&mut lines, &*display, &tell);
            if leaves.load(Ordering::SeqCst) {
                return;
            }
            // Before the session counts as over, as the messenger does it.
            display.ended(end.unwrap_or_else(|| {
                End::Gone(format!(
                    "the client that has the account (process {pid}) has ended, or has dropped this window"
                ))
            }));
        })?;
        Ok(Attached {
            pid,
            stream,
            answers,
            leaving,
            thread,
        })
    }

    /// Has the other client run a command, and waits until it is done.
    ///
    /// # Errors
    /// What failed, as a sentence.
    pub(crate) fn run(&self, command: Command) -> CommandResult {
        let limit = match command {
            Command::AwaitAnswers(limit) => limit + PATIENCE,
            Command::Passwd { .. }
            | Command::NewRecoveryCode { .. }
            | Command::DeleteAccount { .. } => {
                return Err(format!(
                    "the client that has the account (process {}) has to do that; type it there",
                    self.pid
                )
                .into());
            }
            _ => PATIENCE,
        };
        let gone = || {
            CommandFailure::from(format!(
                "the client that has the account (process {}) is gone",
                self.pid
            ))
        };
        write_line(&self.stream, &FromWindow::Run(command)).map_err(|_| gone())?;
        match self.answers.recv_timeout(limit) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
            Err(RecvTimeoutError::Timeout) => {
                // An answer that comes later must not be taken for the next command's.
                let _ended = self.stream.shutdown(Shutdown::Both);
                Err(format!(
                    "the client that has the account (process {}) does not answer; is it stopped?",
                    self.pid
                )
                .into())
            }
        }
    }

    /// Whether the window is open.
    pub(crate) fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Closes the window.
    pub(crate) fn end(self) {
        self.leaving.store(true, Ordering::SeqCst);
        let _ended = self.stream.shutdown(Shutdown::Both);
        let _joined = self.thread.join();
    }
}

/// Shows what comes until the connection ends; gives the end that was told.
fn show_all(
    lines: &mut LineReader,
    display: &dyn Display,
    tell: &SyncSender<CommandResult>,
) -> Option<End> {
    let mut found: Vec<(i64, ViewEvent)> = Vec::new();
    // A line that is not understood ends the window like a lost connection.
    while let Ok(Some(line)) = lines.next() {
        match line {
            ToWindow::Shows(event) => display.event(event),
            ToWindow::Sent(event) => display.sent(event, Some(NOT_HERE)),
            ToWindow::Message(event) => display.show_unread(event, Written::elsewhere()),
            ToWindow::Found(place, event) => found.push((place, event)),
            ToWindow::People(people) => display.people(people),
            ToWindow::Changed(change) => display.session_changed(change),
            ToWindow::Woken => display.woken(),
            ToWindow::Answer(result) => {
                let result = match result {
                    Ok(Answer::Messages(_)) => Ok(Answer::Messages(std::mem::take(&mut found))),
                    result => result,
                };
                // Nobody waits for an answer that comes too late.
                let _told = tell.try_send(result);
            }
            ToWindow::Ended(end) => return Some(end),
            ToWindow::Welcome { .. } | ToWindow::Refused(_) => return None,
        }
    }
    None
}

/// Has the client that listens at `socket` end its session, and let go of the vault.
///
/// # Errors
/// There is none, or it refuses.
pub(crate) fn take_over(
    socket: &Path,
    account: UserName,
    patience: Duration,
) -> Result<(), NotAttached> {
    let (stream, mut lines) = greet(socket, account, WindowKind::Script, patience)?;
    match lines.next()? {
        Some(ToWindow::Welcome { .. }) => {}
        Some(ToWindow::Refused(why)) => return Err(NotAttached::Refused(why)),
        _ => return Err(NotAttached::Gone),
    }
    write_line(&stream, &FromWindow::TakeOver)?;
    // It answers, or has ended before it could.
    while let Ok(Some(line)) = lines.next() {
        if matches!(line, ToWindow::Answer(_) | ToWindow::Ended(_)) {
            break;
        }
    }
    Ok(())
}
