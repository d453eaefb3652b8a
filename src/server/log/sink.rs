//! Where the log's lines go: standard error, or a file that is opened again when its name was
//! given to another one, as logrotate does it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use termcolor::Buffer;

use crate::appearance;

/// Where lines are written.
pub(super) struct Sink {
    file: Option<(PathBuf, File)>,
}

impl Sink {
    /// A file to append to, which is made for its owner alone if it is missing, or standard error.
    ///
    /// # Errors
    /// The file can't be opened.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| Ok::<_, io::Error>((path.to_owned(), append_to(path)?)));
        Ok(Sink {
            file: file.transpose()?,
        })
    }

    /// Opens the file again. The old one stays in use if that fails.
    ///
    /// # Errors
    /// It can't be opened.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some((path, file)) = &mut self.file {
            *file = append_to(path)?;
        }
        Ok(())
    }

    /// Writes whole lines. Returns how many of them could not be written.
    pub(super) fn write(&self, lines: &[u8]) -> u64 {
        let written = match &self.file {
            Some((_, file)) => write_all(file, lines),
            None => write_all(&io::stderr(), lines),
        };
        let left = lines.get(written..).unwrap_or_default();
        left.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

/// A pipe that nobody reads is an error: to wait for a reader would keep the file that takes its place
/// from being opened.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
}

/// Whether lines on standard error are coloured.
pub(super) fn stderr_has_colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| appearance::colours(io::stderr().is_terminal()))
}

/// An empty buffer for text, with or without colours.
pub(crate) fn buffer(colours: bool) -> Buffer {
    match colours {
        true => Buffer::ansi(),
        false => Buffer::no_color(),
    }
}

/// Writes to a descriptor and waits for its reader for as long as that takes. It bypasses the
/// standard library's handle, whose lock a panicking thread would wait for. An error ends it,
/// because there is nobody left to tell. Returns how many bytes were written.
pub(crate) fn write_all(to: &impl AsFd, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(to, rest) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            // Another program has made the terminal or pipe non-blocking, which it shares.
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(to, PollFlags::OUT)];
                let _ = poll(&mut fds, None);
            }
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_moved_aside_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut sink = Sink::open(Some(&path)).unwrap();
        assert_eq!(sink.write(b"one\n"), 0);
        let aside = folder.path().join("log.1");
        fs::rename(&path, &aside).unwrap();
        sink.write(b"two\n");
        sink.reopen().unwrap();
        sink.write(b"three\n");
        assert_eq!(fs::read(&aside).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn lines_that_a_full_disk_refuses_are_counted() {
        let sink = Sink::open(Some(Path::new("/dev/full"))).unwrap();
        assert_eq!(sink.write(b"one\ntwo\n"), 2);
    }
}
