//! The lines of the control socket: JSON, one object a line. They are no format for others: both
//! ends are the same version of this program, which the first line makes sure of.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::client::messenger::command::{Command, CommandResult};
use crate::client::view::{End, Person, SessionChange, ViewEvent};
use crate::protocol::UserName;
use crate::protocol::line_buffer::LineBuffer;

/// The version of these lines. Both ends must have the same version of the program, too.
pub(super) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// The longest line that a window may send: the longest text, with each character escaped.
pub(super) const MAX_FROM_WINDOW: usize = 256 * 1024;

/// The longest line that the first client sends: the names of all contacts.
pub(super) const MAX_TO_WINDOW: usize = 16 * 1024 * 1024;

/// What a window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WindowKind {
    /// A person reads it: news are shown as they come.
    Chat,
    /// A script asks for what it wants, and is only woken by news.
    Script,
}

/// A line of a window.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromWindow {
    /// The first line.
    Hello {
        version: String,
        account: UserName,
        kind: WindowKind,
    },
    /// Run a command. The next line comes after its answer.
    Run(Command),
    /// End the session, and give the vault to another process.
    TakeOver,
}

/// A line to a window.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToWindow {
    /// The answer to the first line, with whom completion knows.
    Welcome { pid: u32, people: Vec<Person> },
    /// The window is refused, for this reason; the last line.
    Refused(String),
    /// Something to show.
    Shows(ViewEvent),
    /// A message that was sent from another window.
    Sent(ViewEvent),
    /// A message that has arrived.
    Message(ViewEvent),
    /// A message that belongs to the answer which follows.
    Found(i64, ViewEvent),
    /// What a command came to.
    Answer(CommandResult),
    /// Whom completion knows from here on.
    People(Vec<Person>),
    /// The prompt shows something else.
    Changed(SessionChange),
    /// Something may have come.
    Woken,
    /// The session has ended by itself; the last line.
    Ended(End),
}

/// Writes a value as a line.
///
/// # Errors
/// The value can't be sent, or the other side does not take it.
pub(super) fn write_line(stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    // Messages are in it.
    let mut line = Zeroizing::new(serde_json::to_vec(value)?);
    line.push(b'\n');
    let mut stream = stream;
    stream.write_all(&line)
}

/// Reads lines of a bounded length.
pub(super) struct LineReader {
    stream: UnixStream,
    buffer: LineBuffer,
}

impl LineReader {
    pub(super) fn new(stream: UnixStream, longest: usize) -> Self {
        LineReader {
            stream,
            buffer: LineBuffer::new(longest),
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Reading failed, or the line is too long or is not understood.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(line) = self.buffer.next_line() {
                let line = line.map_err(|_| io::Error::other("the line is too long"))?;
                return Ok(Some(serde_json::from_slice(line)?));
            }
            let count = self.stream.read(self.buffer.space())?;
            if count == 0 {
                return Ok(None);
            }
            self.buffer.filled(count);
        }
    }
}
