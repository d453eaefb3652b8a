//! Why nothing was imported, each a sentence that says what to do next.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::document::{FormatError, Position};
use crate::crypto::account::password::ImpossibleCost;
use crate::protocol::refusal::Refusal;
use crate::server::admin::AuditError;
use crate::server::data_folder::FolderError;
use crate::server::journal::JournalError;
use crate::store::StoreError;
use crate::store::sqlite::OpenError;

/// Why an import fails. Nothing was imported, unless it says otherwise.
#[derive(Debug)]
pub(in crate::server) enum ImportError {
    /// The data folder can't be used.
    Folder(FolderError),
    /// The database can't be used.
    Database(OpenError),
    /// The database did not take something.
    Store(StoreError),
    /// The import stands, and the database could not be closed.
    NotClosed(StoreError),
    /// The audit log can't be written.
    Audit(AuditError),
    /// The journal can't be written.
    Journal(JournalError),
    /// A file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A file ends in the middle.
    Cut(PathBuf, Position),
    /// A file is no export.
    Wrong(PathBuf, Position, &'static str),
    /// A file is an archive of several collections.
    Archive(PathBuf),
    /// A file has none of the original's documents.
    NotOurs(PathBuf),
    /// A folder has none of the original's collections.
    NoCollections(PathBuf),
    /// Argon2id can't run, or the system gives no randomness.
    Verifier(String),
    /// Standard output does not take what is skipped.
    Output(io::Error),
    /// Standard output does not take the result.
    ResultNotSaid(io::Error),
}

impl ImportError {
    /// What can't be read of this file.
    pub(super) fn of_format(file: &Path, error: FormatError) -> Self {
        let file = file.to_owned();
        match error {
            FormatError::Read(error) => ImportError::Unreadable(file, error),
            FormatError::Cut(position) => ImportError::Cut(file, position),
            FormatError::Wrong(position, why) => ImportError::Wrong(file, position, why),
            FormatError::Archive => ImportError::Archive(file),
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Folder(error) => error.fmt(f),
            ImportError::Database(error) => error.fmt(f),
            ImportError::Store(StoreError::Full) => f.write_str(
                "the disk is full, so nothing was imported; an import needs room for its messages \
                 twice, so make some and run it again",
            ),
            ImportError::Store(error) => write!(
                f,
                "{error}, so nothing was imported; restore a backup, or mend the disk, and run it again"
            ),
            ImportError::NotClosed(error) => write!(
                f,
                "it was imported, but the database could not be closed ({error}); the next start of \
                 the server completes that"
            ),
            ImportError::Audit(error) => error.fmt(f),
            ImportError::Journal(error) => error.fmt(f),
            ImportError::Unreadable(file, error) => write!(
                f,
                "{} can't be read ({error}), so nothing was imported; look whether the name is right and \
                 who may read it",
                file.display()
            ),
            ImportError::Cut(file, position) => write!(
                f,
                "{} ends in the middle of {position}, so nothing was imported; export it again",
                file.display()
            ),
            ImportError::Wrong(file, position, why) => write!(
                f,
                "{} is not what mongoexport or mongodump writes: {position}: {why}; nothing was \
                 imported, so export it again",
                file.display()
            ),
            ImportError::Archive(file) => write!(
                f,
                "{} is an archive of mongodump; dump into a folder instead, without --archive",
                file.display()
            ),
            ImportError::NotOurs(file) => write!(
                f,
                "{} has no document of the collections accounts, messages and online_peers, so \
                 nothing was imported; export those",
                file.display()
            ),
            ImportError::NoCollections(folder) => write!(
                f,
                "the folder {} has no accounts or messages (.json or .bson, perhaps .gz); name the \
                 folder of the database, or the files",
                folder.display()
            ),
            ImportError::Verifier(why) => write!(
                f,
                "{why}, so nothing was imported; make memory free, and run it again"
            ),
            ImportError::Output(error) => write!(
                f,
                "standard output can't be written ({error}), so nothing was imported; run it again with \
                 another one"
            ),
            ImportError::ResultNotSaid(error) => write!(
                f,
                "it was imported, but standard output can't be written: {error}"
            ),
        }
    }
}

impl Error for ImportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // They are shown as they are, so what is below them is below this.
            ImportError::Folder(error) => error.source(),
            ImportError::Database(error) => error.source(),
            ImportError::Audit(error) => error.source(),
            ImportError::Journal(error) => error.source(),
            ImportError::Store(error) | ImportError::NotClosed(error) => Some(error),
            ImportError::Unreadable(_, error)
            | ImportError::Output(error)
            | ImportError::ResultNotSaid(error) => Some(error),
            ImportError::Cut(..)
            | ImportError::Wrong(..)
            | ImportError::Archive(_)
            | ImportError::NotOurs(_)
            | ImportError::NoCollections(_)
            | ImportError::Verifier(_) => None,
        }
    }
}

impl From<FolderError> for ImportError {
    fn from(error: FolderError) -> Self {
        ImportError::Folder(error)
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        ImportError::Store(error)
    }
}

impl From<AuditError> for ImportError {
    fn from(error: AuditError) -> Self {
        ImportError::Audit(error)
    }
}

impl From<JournalError> for ImportError {
    fn from(error: JournalError) -> Self {
        ImportError::Journal(error)
    }
}

impl From<ImpossibleCost> for ImportError {
    fn from(error: ImpossibleCost) -> Self {
        ImportError::Verifier(error.to_string())
    }
}

impl From<Refusal> for ImportError {
    fn from(error: Refusal) -> Self {
        ImportError::Verifier(error.message.into_owned())
    }
}
