//! Why an operator's command fails, each a sentence that says what to do next.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::audit::AuditError;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::data_folder::FolderError;
use crate::server::journal::JournalError;
use crate::server::storage::StorageError;
use crate::store::StoreError;

/// Why a command fails.
#[derive(Debug)]
pub(crate) enum AdminError {
    /// The data folder can't be used.
    Folder(FolderError),
    /// A server runs on it and has no socket, or none that answers.
    NoAnswer(PathBuf),
    /// The socket can't be used.
    Socket(PathBuf, io::Error),
    /// The server's answer is not understood.
    OtherServer,
    /// What the command asks for was refused, or failed.
    Refused(String),
    /// The store can't be used.
    Storage(StorageError),
    /// The database could not be closed.
    NotClosed(StoreError),
    /// The system has no thread to give.
    NoThread(io::Error),
    /// The audit log can't be written.
    Audit(AuditError),
    /// The journal can't be written.
    Journal(JournalError),
    /// The file or the terminal gives no password.
    Password(String),
    /// The result can't be printed.
    Output(io::Error),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Folder(error) => error.fmt(f),
            AdminError::NoAnswer(data) => write!(
                f,
                "a server runs on the folder {} and does not answer commands: it is starting, stopping \
                 or busy, so try again; if it goes on, look into its log",
                data.display()
            ),
            AdminError::Socket(path, error) => write!(
                f,
                "the running server's socket {} can't be used: {error}; run this as the server's user \
                 or as root",
                path.display()
            ),
            AdminError::OtherServer => f.write_str(
                "the running server is of another version and does not know this command; restart it",
            ),
            AdminError::Refused(why) | AdminError::Password(why) => f.write_str(why),
            AdminError::Storage(error) => error.fmt(f),
            AdminError::NotClosed(error) => write!(
                f,
                "it was done, but the database could not be closed ({error}); the next start of the \
                 server completes that"
            ),
            AdminError::NoThread(error) => write!(
                f,
                "the system has no thread ({error}), so nothing was done; raise 'ulimit -u', and run \
                 this again"
            ),
            AdminError::Audit(error) => error.fmt(f),
            AdminError::Journal(error) => error.fmt(f),
            AdminError::Output(error) => write!(
                f,
                "it was done, but standard output can't be written: {error}"
            ),
        }
    }
}

impl Error for AdminError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // They are shown as they are, so what is below them is below this.
            AdminError::Folder(error) => error.source(),
            AdminError::Storage(error) => error.source(),
            AdminError::Audit(error) => error.source(),
            AdminError::Journal(error) => error.source(),
            AdminError::NotClosed(error) => Some(error),
            AdminError::Socket(_, error)
            | AdminError::NoThread(error)
            | AdminError::Output(error) => Some(error),
            AdminError::NoAnswer(_)
            | AdminError::OtherServer
            | AdminError::Refused(_)
            | AdminError::Password(_) => None,
        }
    }
}

impl From<AuditError> for AdminError {
    fn from(error: AuditError) -> Self {
        AdminError::Audit(error)
    }
}

impl From<JournalError> for AdminError {
    fn from(error: JournalError) -> Self {
        AdminError::Journal(error)
    }
}

impl From<Refusal> for AdminError {
    /// What people are told to tell their operator is told to the operator in other words.
    fn from(refusal: Refusal) -> Self {
        let sentence = match refusal.code {
            Code::Storage => {
                "the disk of the data folder is full or fails, so nothing was done; make room on it, or \
                 restore a backup on another one, and run this again"
            }
            Code::Damaged => {
                "what the database has of this mailbox or account is damaged, so nothing was done; stop \
                 the server, and restore a backup"
            }
            Code::ShuttingDown => "the server is ending, so nothing was done; run this again",
            _ => return AdminError::Refused(refusal.message.into_owned()),
        };
        AdminError::Refused(sentence.to_owned())
    }
}
