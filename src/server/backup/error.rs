//! Why a command about backups fails. Each error's sentence says what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::crypto::archive::ArchiveError;
use crate::server::data_folder::FolderError;
use crate::store::sqlite::OpenError;
use crate::transport::tls::TlsError;

/// Why there is no backup, or nothing was restored.
#[derive(Debug)]
pub(in crate::server) enum BackupError {
    /// The data folder can't be used.
    Folder(FolderError),
    /// The database or the backup can't be used.
    Database(OpenError),
    /// The certificate in a backup can't be used.
    Certificate(TlsError),
    /// A file can't be opened with its passphrase.
    Archive(PathBuf, ArchiveError),
    /// A file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A file can't be written.
    Unwritable(PathBuf, io::Error),
    /// There is something under this name.
    Exists(PathBuf),
    /// Only a folder's old backups can be removed.
    KeepNeedsFolder(PathBuf),
    /// The folder to restore into has something in it.
    NotEmpty(PathBuf),
    /// It is a folder, or something else that is no file.
    NoFile(PathBuf),
    /// It is sealed, and no passphrase was given.
    Sealed(PathBuf),
    /// Others can read the passphrase.
    PassphraseShown(PathBuf),
    /// The passphrase is empty.
    NoPassphrase(PathBuf),
    /// The system has no thread to give.
    NoThread(io::Error),
    /// Standard output did not take the answer.
    Output(io::Error),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::Folder(error) => error.fmt(f),
            BackupError::Database(error) => error.fmt(f),
            BackupError::Certificate(error) => {
                write!(
                    f,
                    "the backup's certificate can't be used: {error}; use another backup"
                )
            }
            BackupError::Archive(path, error) => write!(
                f,
                "{} can't be opened: {error}; try again, or use another backup",
                path.display()
            ),
            BackupError::Unreadable(path, error) => {
                write!(
                    f,
                    "{} can't be read: {error}; look whether the name is right and who may read it",
                    path.display()
                )
            }
            BackupError::Unwritable(path, error) => write!(
                f,
                "{} can't be written: {error}; make room, or choose another place",
                path.display()
            ),
            BackupError::Exists(path) => write!(
                f,
                "{} exists and was left as it is; choose another name, or name a folder",
                path.display()
            ),
            BackupError::KeepNeedsFolder(path) => write!(
                f,
                "--keep removes old backups of a folder, and {} is none; name a folder that exists",
                path.display()
            ),
            BackupError::NotEmpty(path) => write!(
                f,
                "the folder {} is not empty and was left as it is; choose another with --data, or \
                 move what is in it away",
                path.display()
            ),
            BackupError::NoFile(path) => write!(
                f,
                "{} is not a file; name the file of a backup",
                path.display()
            ),
            BackupError::Sealed(path) => write!(
                f,
                "{} is sealed; give the file of its passphrase with --passphrase-file",
                path.display()
            ),
            BackupError::PassphraseShown(path) => write!(
                f,
                "others can read the passphrase in {}; run: chmod 600 {}",
                path.display(),
                path.display()
            ),
            BackupError::NoPassphrase(path) => write!(
                f,
                "the first line of {} is empty; write the passphrase there",
                path.display()
            ),
            BackupError::NoThread(error) => write!(
                f,
                "the system has no thread ({error}), so nothing was done; raise 'ulimit -u', and run \
                 this again"
            ),
            BackupError::Output(error) => write!(
                f,
                "it was done, but standard output can't be written: {error}"
            ),
        }
    }
}

impl Error for BackupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BackupError::Folder(error) => error.source(),
            BackupError::Database(error) => error.source(),
            BackupError::Certificate(error) => Some(error),
            BackupError::Archive(_, error) => Some(error),
            BackupError::Unreadable(_, error)
            | BackupError::Unwritable(_, error)
            | BackupError::NoThread(error)
            | BackupError::Output(error) => Some(error),
            BackupError::Exists(_)
            | BackupError::KeepNeedsFolder(_)
            | BackupError::NotEmpty(_)
            | BackupError::NoFile(_)
            | BackupError::Sealed(_)
            | BackupError::PassphraseShown(_)
            | BackupError::NoPassphrase(_) => None,
        }
    }
}
