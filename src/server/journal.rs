//! The journal as the server and its operator's commands keep it. What is in it is decided in
//! [`store::journal`](crate::store::journal).
//!
//! A running server goes on when its journal can't be written, and writes the lines with the next change.
//! A command has no next change: it makes sure of the file before it changes anything, and says so
//! if the file fails nevertheless.

use std::error::Error;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::Config;
use super::log;
use crate::store::sqlite::Sqlite;
use crate::sync::Mutex;

/// Has the store of a running server keep the journal, if there is to be one.
pub(super) fn keep(config: &Config, store: &Sqlite) {
    if let Some(path) = &config.journal {
        let lacking = store.keep_journal(path, |path, error| {
            log::error(
                None,
                format_args!(
                    "the journal {} can't be written: {error}; a restore would undo what is not in it",
                    path.display()
                ),
            );
        });
        if lacking > 0 {
            log::error(
                None,
                format_args!(
                    "the journal {} lacks the last changes ({lacking}), which were made without it: restoring an \
                     earlier backup would undo them; make a new one",
                    path.display()
                ),
            );
        }
    }
}

/// The journal of a command's own process, if there is to be one.
pub(super) struct OfCommand {
    path: PathBuf,
    /// Why a line is missing. Taken by the store while it writes the journal, and held no longer
    /// than it takes to note that.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl OfCommand {
    /// Has the store keep the journal.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn keep(config: &Config, store: &Sqlite) -> Result<Option<Self>, JournalError> {
        let Some(path) = &config.journal else {
            return Ok(None);
        };
        require_writable(path).map_err(|error| JournalError::Before(path.clone(), error))?;
        let failed = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&failed);
        store.keep_journal(path, move |_, error| {
            *noted.lock() = Some(io::Error::new(error.kind(), error.to_string()));
        });
        let path = path.clone();
        Ok(Some(OfCommand { path, failed }))
    }

    /// Says whether all lines are in it.
    ///
    /// # Errors
    /// They are not.
    pub(super) fn finish(self) -> Result<(), JournalError> {
        match self.failed.lock().take() {
            None => Ok(()),
            Some(error) => Err(JournalError::After(self.path, error)),
        }
    }
}

/// Looks whether a file can be appended to, and makes none: the first line does.
fn require_writable(path: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            fs::read_dir(folder.unwrap_or(Path::new("."))).map(drop)
        }
        opened => opened.map(drop),
    }
}

/// Why a command fails at the journal.
#[derive(Debug)]
pub(super) enum JournalError {
    /// It can't be written, and nothing was done.
    Before(PathBuf, io::Error),
    /// What was done is not in it.
    After(PathBuf, io::Error),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Before(path, error) => write!(
                f,
                "the journal {} can't be written ({error}), so nothing was done; give the server's user \
                 the right to write it, or name another with --journal",
                path.display()
            ),
            JournalError::After(path, error) => write!(
                f,
                "it was done, but the journal {} could not be written ({error}), so restoring an earlier \
                 backup would undo it: make a new backup",
                path.display()
            ),
        }
    }
}

impl Error for JournalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            JournalError::Before(_, error) | JournalError::After(_, error) => Some(error),
        }
    }
}
