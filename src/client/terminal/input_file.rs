//! Reads what a person or a script names as input: a file, a pipe, standard input. A signal ends
//! the wait for a pipe that gives nothing, and the person is told what is waited for. What the
//! bytes mean is decided where they are used.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Terminal;
use crate::client::view::ViewEvent;
use crate::clock;

/// How often a signal is looked for while nothing comes.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// After this time, the person is told what is waited for.
const SAYS_SO: Duration = Duration::from_secs(1);

/// A source of bytes that may let its reader wait.
pub(crate) struct InputFile<'a> {
    file: File,
    terminal: &'a Terminal,
    /// What to say once if nothing comes.
    waiting: Option<String>,
    /// When the wait for the first byte began.
    since: Instant,
}

impl Terminal {
    /// Opens a file that was named as input. A pipe that nobody writes to yet opens at once.
    ///
    /// # Errors
    /// It can't be opened.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<InputFile<'_>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(path)?;
        let waiting = format!("waiting for {}, which gives nothing yet", path.display());
        Ok(self.input_file(file, Some(waiting)))
    }

    /// Standard input, which nothing else may read.
    ///
    /// # Errors
    /// The system has no descriptor to give.
    pub(crate) fn standard_input(&self) -> io::Result<InputFile<'_>> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(self.input_file(file, None))
    }

    fn input_file(&self, file: File, waiting: Option<String>) -> InputFile<'_> {
        InputFile {
            file,
            terminal: self,
            waiting,
            since: clock::now(),
        }
    }
}

impl InputFile<'_> {
    /// The file itself, to look at its owner and mode.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Waits until there is something to read, or the end.
    fn wait(&mut self) -> io::Result<()> {
        loop {
            if self.terminal.signal().is_some() {
                return Err(io::Error::other("a signal ended the wait for it"));
            }
            let mut wanted = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut wanted, Some(&TICK)) {
                Ok(0) | Err(Errno::INTR) => {}
                polled => return polled.map(drop).map_err(io::Error::from),
            }
            if clock::now() >= self.since + SAYS_SO
                && let Some(waiting) = self.waiting.take()
            {
                self.terminal.say(&ViewEvent::warning(waiting));
            }
        }
    }
}

impl Read for InputFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            match self.file.read(buffer) {
                // Another reader of the pipe was faster.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.waiting = None;
                    return read;
                }
            }
        }
    }
}
