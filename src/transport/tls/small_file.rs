//! Reads the files of certificates and keys, which an operator may have put anywhere: behind a pipe,
//! or on a disk that does not answer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::clock;

/// Reads a small file, such as a certificate, and does not wait for ever where there is no file but
/// a pipe that nobody writes to. A disk that does not answer can stop it all the same.
///
/// # Errors
/// It can't be read, is larger than `most` bytes, or, being no file, has not ended after `limit`.
pub(super) fn read_small(
    path: &Path,
    most: u64,
    limit: Duration,
) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opened like this, a pipe without a writer opens at once.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let deadline = clock::now() + limit;
    let mut content = Zeroizing::new(Vec::new());
    let is_file = file.metadata()?.is_file();
    loop {
        if !is_file {
            wait_readable(&file, deadline)?;
        }
        match Read::by_ref(&mut file)
            .take(most + 1)
            .read_to_end(&mut content)
        {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            read => drop(read?),
        }
        if content.len() as u64 > most {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        return Ok(content);
    }
}

fn wait_readable(file: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(clock::now());
    let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "nothing comes out of it",
        )),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_writes_to_does_not_stop_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        let soon = Duration::from_millis(50);
        let error = read_small(&pipe, 10, soon).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "nobody writes to it");
        let mut writer = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .unwrap();
        let error = read_small(&pipe, 10, soon).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        writer.write_all(b"hello").unwrap();
        let error = read_small(&pipe, 10, soon).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "it has not ended");
        let file = folder.path().join("file");
        fs::write(&file, "0123456789").unwrap();
        assert_eq!(*read_small(&file, 10, soon).unwrap(), b"0123456789");
        assert!(read_small(&file, 9, soon).is_err());
    }
}
