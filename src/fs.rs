//! Folders and small files that are private to their owner and survive a power cut.
//!
//! A new name is on the disk only once its folder was synced. Without that, a cut
//! takes a new database or vault with it, however well its contents were synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::clock;

/// Makes a folder that only its owner may enter, and those above it that are not
/// there. One that exists is left as it is.
///
/// # Errors
/// One of them could not be made or synced.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync_names(parent)
}

/// Puts a text under a name, in place of what was there: all of it or nothing, and
/// on the disk when this returns. Nobody sees it half written, or with another
/// mode than `mode`.
///
/// # Errors
/// It could not be written; what was there is as it was.
pub(crate) fn replace(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    // Another process may do the same at the same time.
    let draft = path.with_extension(std::process::id().to_string());
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_name(path)
}

/// Syncs the folder that `path` is in: when this returns, its name is on the disk.
///
/// # Errors
/// The folder could not be opened or synced.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    sync_names(parent(path))
}

fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether there is a file with at least one byte. An empty one is what a full or broken disk
/// leaves of a file, so it counts as missing. What is no file, such as a pipe, counts as there.
pub(crate) fn has_content(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| !found.is_file() || found.len() > 0)
}

/// Reads a small file, such as a certificate, and does not wait for ever where there is no file but
/// a pipe that nobody writes to. A disk that does not answer can stop it all the same.
///
/// # Errors
/// It can't be read, is larger than `most` bytes, or, being no file, has not ended after `limit`.
pub(crate) fn read_small(
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
