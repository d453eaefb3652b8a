//! The first client's side of one window, in two threads: `window` reads what it asks for and has
//! the messenger do it, `window-out` writes. Both end with the connection.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::place;
use super::windows::{Outgoing, Place, QUEUE, Windows};
use super::wire::{FromWindow, LineReader, MAX_FROM_WINDOW, ToWindow, VERSION, write_line};
use crate::client::messenger::SessionPort;
use crate::client::messenger::command::{Answer, Command, CommandResult, WindowOutput};
use crate::client::view::ViewEvent;
use crate::protocol::UserName;
use crate::sync;

/// How long a connection has for its first line, and for taking a line.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a window's threads need of the session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) account: UserName,
    pub(super) port: SessionPort,
    pub(super) windows: Arc<Windows>,
}

/// Serves a connection in threads of its own.
///
/// # Errors
/// The system has no thread to give.
pub(super) fn serve(session: Session, stream: UnixStream, place: Place) -> io::Result<()> {
    sync::spawn("window", None, move || {
        // A window that breaks the rules is dropped, and notices that.
        let _served = converse(&session, &stream);
        let _ended = stream.shutdown(Shutdown::Read);
        drop(place);
    })?;
    Ok(())
}

fn converse(session: &Session, stream: &UnixStream) -> io::Result<()> {
    place::check_peer(stream)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = LineReader::new(stream.try_clone()?, MAX_FROM_WINDOW);
    let kind = match lines.next()? {
        Some(FromWindow::Hello {
            version,
            account,
            kind,
        }) if version == VERSION && account == session.account => kind,
        Some(FromWindow::Hello { version, .. }) if version != VERSION => {
            return refuse(
                stream,
                "the client that has the account is of another version; end it first",
            );
        }
        _ => return refuse(stream, "the client there has another account"),
    };
    // A window may be idle for days.
    stream.set_read_timeout(None)?;
    let (queue, waiting) = sync_channel(QUEUE);
    let woken = Arc::new(AtomicBool::new(false));
    let writes = (stream.try_clone()?, Arc::clone(&woken));
    sync::spawn("window-out", None, move || {
        let _written = write_all(&waiting, &writes);
        let _ended = writes.0.shutdown(Shutdown::Both);
    })?;
    let opened = session
        .windows
        .open(kind, queue.clone(), stream.try_clone()?, woken);
    let Some(number) = opened else {
        return Ok(());
    };
    let conversed = answer_all(session, number, &mut lines, &queue);
    session.windows.close(number);
    conversed
}

fn refuse(stream: &UnixStream, why: &str) -> io::Result<()> {
    write_line(stream, &ToWindow::Refused(why.to_owned()))
}

/// Answers what a window asks for until it ends.
fn answer_all(
    session: &Session,
    number: u64,
    lines: &mut LineReader,
    queue: &SyncSender<Outgoing>,
) -> io::Result<()> {
    while let Some(line) = lines.next()? {
        let (shows, shown) = channel();
        let result = match line {
            FromWindow::Run(command) => {
                let output = WindowOutput { number, shows };
                session.port.run(command, Some(output))
            }
            FromWindow::TakeOver => session.port.run(Command::Yield, None),
            FromWindow::Hello { .. } => Err("the window is open already".to_owned()),
        };
        let answer = Outgoing::Answer(shown.try_iter().collect(), result);
        if queue.send(answer).is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes what is in a window's queue until nobody puts anything there.
fn write_all(
    waiting: &Receiver<Outgoing>,
    (stream, woken): &(UnixStream, Arc<AtomicBool>),
) -> io::Result<()> {
    for outgoing in waiting {
        match outgoing {
            Outgoing::Line(line) => write_line(stream, &line)?,
            Outgoing::Woken => {
                woken.store(false, Ordering::SeqCst);
                write_line(stream, &ToWindow::Woken)?;
            }
            Outgoing::Answer(shown, result) => write_answer(stream, shown, result)?,
        }
    }
    Ok(())
}

fn write_answer(
    stream: &UnixStream,
    shown: Vec<ViewEvent>,
    result: CommandResult,
) -> io::Result<()> {
    for event in shown {
        write_line(stream, &ToWindow::Shows(event))?;
    }
    let result = match result {
        Ok(Answer::Messages(messages)) => {
            for (place, message) in messages {
                write_line(stream, &ToWindow::Found(place, message))?;
            }
            Ok(Answer::Messages(Vec::new()))
        }
        result => result,
    };
    write_line(stream, &ToWindow::Answer(result))
}
