//! Standard output and standard error, as descriptors.
//!
//! Nothing is buffered: text that was written here has left the process. Unlike the standard
//! library's streams, these report an error for a descriptor that was closed when the program
//! began, because `closed.c` has opened something in its place that can't be written to.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;

/// The columns that a terminal is assumed to have if it does not say.
const DEFAULT_COLUMNS: usize = 80;

/// How long the last sentence waits for room in standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// Why nothing is printed any more.
#[derive(Debug, Clone)]
pub(super) enum OutputError {
    /// Nobody has read the output for as long as it was waited for.
    NotRead,
    /// Writing failed.
    Unwritable(Stream, Arc<io::Error>),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputError::NotRead => write!(f, "{} is not read", Stream::Out.name()),
            OutputError::Unwritable(stream, error) => {
                write!(f, "{} can't be written: {error}", stream.name())
            }
        }
    }
}

impl Error for OutputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OutputError::NotRead => None,
            OutputError::Unwritable(_, error) => Some(&**error),
        }
    }
}

impl Stream {
    fn with<T>(self, what: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        match self {
            Stream::Out => what(io::stdout().as_fd()),
            Stream::Err => what(io::stderr().as_fd()),
        }
    }

    /// Its name in messages to a person.
    pub(super) fn name(self) -> &'static str {
        match self {
            Stream::Out => "the output",
            Stream::Err => "the error output",
        }
    }

    /// The columns of its terminal; `None` if it is not a terminal.
    pub(super) fn columns(self) -> Option<usize> {
        self.with(|fd| {
            fd.is_terminal().then(|| match tcgetwinsize(fd) {
                Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
                _ => DEFAULT_COLUMNS,
            })
        })
    }

    /// The columns and rows of its terminal; `None` if it is not a terminal or does not say.
    pub(super) fn size(self) -> Option<(usize, usize)> {
        self.with(|fd| match tcgetwinsize(fd) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Some((usize::from(size.ws_col), usize::from(size.ws_row)))
            }
            _ => None,
        })
    }

    /// Writes all of a text, and waits for as long as that takes.
    ///
    /// # Errors
    /// Some of it was not written.
    pub(super) fn write(self, text: &str) -> io::Result<()> {
        self.with(|fd| {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                match rustix::io::write(fd, rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => rest = &rest[count..],
                    Err(Errno::INTR) => {}
                    // Another program that shares the terminal or pipe has made it non-blocking.
                    Err(Errno::AGAIN) => wait_for_room(fd, None)?,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })
    }
}

/// Writes a last sentence to standard error, unless that has no room in time.
pub(super) fn last_words(sentence: &str) {
    let room = Stream::Err.with(|fd| wait_for_room(fd, Some(LAST_WORDS)));
    if room.is_ok() {
        // If this fails, there is nowhere else to say it.
        let _written = Stream::Err.write(&format!("{sentence}\n"));
    }
}

fn wait_for_room(fd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let mut wanted = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    match poll(&mut wanted, limit.as_ref()) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
