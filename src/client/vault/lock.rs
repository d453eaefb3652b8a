//! The lock of an account's vault: one process at a time holds it. The lock's file says which one,
//! and where its control socket is, if it has one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Result, Vault, VaultError};

/// The most bytes of the lock's file that are read: a number, and a path.
const MAX_FILE: u64 = 4096;

/// A vault's lock, held until it is dropped. Then the socket that was announced is removed first,
/// so that nobody else's is.
pub(super) struct Lock {
    file: File,
    socket: Option<PathBuf>,
}

impl Lock {
    /// Locks the vault at `vault` through the file at `path`, and writes our process id into that
    /// for whoever comes second.
    ///
    /// # Errors
    /// [`VaultError::InUse`] if another process has it.
    pub(super) fn take(path: &Path, vault: &Path) -> Result<Self> {
        let failed = |error: io::Error| VaultError::Io(path.to_owned(), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let (pid, socket) = read(&file);
                return Err(VaultError::InUse {
                    path: vault.to_owned(),
                    pid,
                    socket,
                });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut lock = Lock { file, socket: None };
        lock.write().map_err(failed)?;
        Ok(lock)
    }

    fn write(&mut self) -> io::Result<()> {
        let mut text = format!("{}\n", std::process::id()).into_bytes();
        if let Some(socket) = &self.socket {
            text.extend_from_slice(socket.as_os_str().as_bytes());
            text.push(b'\n');
        }
        // Whoever reads meanwhile sees a process id in any case.
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            // One that stays is replaced by the next holder.
            let _removed = fs::remove_file(socket);
        }
    }
}

/// The holder's process id and control socket, as far as the lock's file says. If it can't be read, or was not written to its end, the sentence
/// without it is still true.
fn read(file: &File) -> (Option<u32>, Option<PathBuf>) {
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE).read_to_end(&mut bytes);
    if read.is_err() {
        return (None, None);
    }
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut line = || lines.next()?.strip_suffix(b"\n");
    let pid = line().and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let socket = line().map(|path| PathBuf::from(OsString::from_vec(path.to_vec())));
    (pid, socket)
}

impl Vault {
    /// Tells who comes second that this process listens at `socket`, which is removed before the
    /// vault is let go.
    ///
    /// # Errors
    /// The lock's file can't be written.
    pub fn announce(&mut self, socket: PathBuf) -> io::Result<()> {
        self.lock.socket = Some(socket);
        self.lock.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_has_the_vault_and_where_to_ask() {
        let folder = tempfile::tempdir().unwrap();
        let (path, vault) = (folder.path().join("x.lock"), folder.path().join("x.vault"));
        let socket = folder.path().join("socket");
        fs::write(&socket, "").unwrap();
        let mut lock = Lock::take(&path, &vault).unwrap();
        let holder = || match Lock::take(&path, &vault) {
            Err(VaultError::InUse { pid, socket, .. }) => (pid, socket),
            _ => panic!("it is not in use"),
        };
        let pid = Some(std::process::id());
        assert_eq!(holder(), (pid, None));
        lock.socket = Some(socket.clone());
        lock.write().unwrap();
        assert_eq!(holder().1.as_ref(), Some(&socket));
        // A line that is being written is none.
        lock.file.set_len(12).unwrap();
        assert_eq!(holder().1, None);
        drop(lock);
        assert!(!socket.exists());
        Lock::take(&path, &vault).unwrap();
    }
}
