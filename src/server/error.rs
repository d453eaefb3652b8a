//! Why the server does not start, or what it could not do before it ended. Each error is a
//! sentence that says what to do next, and keeps the error below it as its source.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::admin;
use super::backup::BackupError;
use super::capacity::Shortage;
use super::data_folder::FolderError;
use super::delivery::writer::Ended;
use super::import::ImportError;
use super::listen::ListenOn;
#[cfg(feature = "postgres")]
use super::migrate::MigrateError;
use super::ping::PingError;
use super::storage::{Loss, StorageError};
use crate::store::StoreError;
use crate::transport::tls::TlsError;

/// What is true of the disk when the database could not be closed.
const LOG_LEFT: &str =
    "nothing accepted is lost, but a copy needs chat.db and chat.db-wal together";

/// Why the server's program fails.
#[derive(Debug)]
pub(super) enum RunError {
    /// The log can't be written to this file, or to standard error.
    Log(Option<PathBuf>, io::Error),
    /// The signals that stop it can't be received.
    Signals(io::Error),
    /// The data folder can't be used.
    Folder(FolderError),
    /// No server answers.
    Ping(PingError),
    /// A command about backups failed.
    Backup(BackupError),
    /// Nothing was imported.
    Import(ImportError),
    /// Nothing was moved, or not all is done.
    #[cfg(feature = "postgres")]
    Migrate(MigrateError),
    /// The store can't be used.
    Storage(StorageError),
    /// The certificate can't be used.
    Tls(TlsError),
    /// The certificate's files do not answer.
    CertificateSilent,
    /// There is no certificate whose fingerprint could be printed.
    NoFingerprint(TlsError),
    /// This build has no TLS, and so no certificate.
    WithoutTls,
    /// The system's limits leave no room for a connection.
    NoRoom(Shortage),
    /// The command is for a store in a file, and this is what to do with a database.
    NeedsFile(&'static str),
    /// The server has lost its store.
    Lost(Loss),
    /// The address can't be listened on.
    Listen(ListenOn, io::Error),
    /// No address to listen on is set.
    NoAddress,
    /// The list of bans can't be read.
    Bans(StoreError),
    /// It can't be read what the certificates have announced of each other.
    Successions(StoreError),
    /// The other servers of the store can't reach this one.
    Peers(io::Error),
    /// An operator's command failed.
    Admin(admin::Error),
    /// Metrics can't be served at this address.
    Metrics(SocketAddr, io::Error),
    /// The system has no thread to give.
    NoThread(io::Error),
    /// Standard output did not take what was asked for.
    Output(io::Error),
    /// Acknowledgements were not recorded, this many.
    Unrecorded(u64),
    /// The database was not closed, and this many acknowledgements were not recorded.
    NotClosed(StoreError, u64),
    /// The writer was still at work when the time for the shutdown was over.
    WriterTimeout,
    /// The writer's thread panicked.
    WriterPanicked,
}

impl RunError {
    /// What the writer could not do, if anything.
    ///
    /// # Errors
    /// Something is missing on the disk.
    pub(super) fn of_shutdown(ended: Ended) -> Result<(), RunError> {
        match (ended.closed, ended.unrecorded) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), count) => Err(RunError::Unrecorded(count)),
            (Err(error), count) => Err(RunError::NotClosed(error, count)),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Log(Some(file), error) => write!(
                f,
                "the log's file {} can't be opened: {error}; choose another with --log-file",
                file.display()
            ),
            RunError::Log(None, error) => write!(f, "the log can't be started: {error}"),
            RunError::Signals(error) => write!(f, "signals can't be received: {error}"),
            RunError::Folder(error) => error.fmt(f),
            RunError::Storage(error) => error.fmt(f),
            RunError::Backup(error) => error.fmt(f),
            RunError::Import(error) => error.fmt(f),
            #[cfg(feature = "postgres")]
            RunError::Migrate(error) => error.fmt(f),
            RunError::Ping(error) => error.fmt(f),
            RunError::Tls(error) => error.fmt(f),
            RunError::Admin(error) => error.fmt(f),
            RunError::Peers(error) => write!(
                f,
                "the other servers of the database can't reach this one: {error}; give it a free address and \
                 port for them with --peer-listen"
            ),
            RunError::Bans(error) => write!(
                f,
                "the banned addresses can't be read: {error}; restore a backup"
            ),
            RunError::Successions(error) => write!(
                f,
                "the announcements of certificates can't be read: {error}; restore a backup"
            ),
            RunError::NoFingerprint(error) => write!(
                f,
                "{error}; give the --listen, --data and --tls-cert that the server runs with, or \
                 start it once"
            ),
            RunError::NoAddress => f.write_str("no address to listen on is set; give one with --listen"),
            RunError::WithoutTls => {
                f.write_str("this server was built without TLS, so it has no certificate")
            }
            RunError::CertificateSilent => f.write_str(
                "the certificate's files can't be read: their disk does not answer; mount it, or give \
                 --tls-cert and --tls-key on another",
            ),
            RunError::NoRoom(shortage) => shortage.fmt(f),
            RunError::NeedsFile(instead) => f.write_str(instead),
            RunError::Lost(Loss::File(path)) => write!(
                f,
                "ended, because {} was moved, removed or replaced while the server ran; what was \
                 accepted before is in the files that were there: put them back, then start it again",
                path.display()
            ),
            #[cfg(feature = "postgres")]
            RunError::Lost(Loss::Superseded) => f.write_str(
                "ended, because the other servers of the database took this one for dead: it did not renew \
                 its lease in time; all that was accepted is in the database, so start it again",
            ),
            RunError::Listen(address, error) => write_listen(f, address, error),
            RunError::Metrics(address, error) => write!(
                f,
                "metrics can't be served at {address}: {error}; choose another with --metrics"
            ),
            RunError::NoThread(error) => write!(f, "the system has no thread: {error}"),
            RunError::Output(error) => write!(f, "standard output can't be written: {error}"),
            RunError::Unrecorded(count) => {
                f.write_str("ended, but ")?;
                write_unrecorded(f, *count)
            }
            RunError::NotClosed(error, count) => {
                write!(
                    f,
                    "ended, but the log could not be folded into chat.db ({error}): {LOG_LEFT}"
                )?;
                if *count > 0 {
                    f.write_str("; and ")?;
                    write_unrecorded(f, *count)?;
                }
                Ok(())
            }
            RunError::WriterTimeout => write!(
                f,
                "ended before the disk had taken what waited for it: {LOG_LEFT}"
            ),
            RunError::WriterPanicked => write!(
                f,
                "ended with a fault of the program's in the writer: {LOG_LEFT}; please report it \
                 with the lines before this one"
            ),
        }
    }
}

fn write_listen(f: &mut fmt::Formatter<'_>, address: &ListenOn, error: &io::Error) -> fmt::Result {
    match error.kind() {
        io::ErrorKind::AddrInUse => write!(
            f,
            "the address {address} is taken by another program; stop it, or choose another with \
             --listen"
        ),
        io::ErrorKind::PermissionDenied => write!(
            f,
            "the address {address} is not permitted; choose a port above 1023 with --listen"
        ),
        _ => write!(
            f,
            "can't listen on {address}: {error}; choose another with --listen"
        ),
    }
}

fn write_unrecorded(f: &mut fmt::Formatter<'_>, count: u64) -> fmt::Result {
    write!(
        f,
        "{count} acknowledgements could not be recorded, so these messages are delivered once \
         more, to clients that know them"
    )
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Log(_, error)
            | RunError::Signals(error)
            | RunError::Listen(_, error)
            | RunError::Metrics(_, error)
            | RunError::NoThread(error)
            | RunError::Output(error) => Some(error),
            // These are shown as they are, so what is below them is below this.
            RunError::Folder(error) => error.source(),
            RunError::Storage(error) => error.source(),
            RunError::Backup(error) => error.source(),
            RunError::Import(error) => error.source(),
            #[cfg(feature = "postgres")]
            RunError::Migrate(error) => error.source(),
            RunError::Ping(error) => error.source(),
            RunError::Tls(error) => error.source(),
            RunError::Admin(error) => error.source(),
            RunError::Peers(error) => Some(error),
            RunError::Bans(error) | RunError::Successions(error) => Some(error),
            RunError::NoFingerprint(error) => Some(error),
            RunError::NotClosed(error, _) => Some(error),
            RunError::WithoutTls
            | RunError::NoAddress
            | RunError::CertificateSilent
            | RunError::NoRoom(_)
            | RunError::NeedsFile(_)
            | RunError::Lost(_)
            | RunError::Unrecorded(_)
            | RunError::WriterTimeout
            | RunError::WriterPanicked => None,
        }
    }
}

impl From<FolderError> for RunError {
    fn from(error: FolderError) -> Self {
        RunError::Folder(error)
    }
}

impl From<StorageError> for RunError {
    fn from(error: StorageError) -> Self {
        RunError::Storage(error)
    }
}

impl From<TlsError> for RunError {
    fn from(error: TlsError) -> Self {
        RunError::Tls(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shutdown_left_undone_is_one_sentence_and_keeps_its_source() {
        let ended = |unrecorded, closed| RunError::of_shutdown(Ended { unrecorded, closed });
        assert!(ended(0, Ok(())).is_ok());
        let error = ended(3, Ok(())).unwrap_err();
        assert!(
            error.to_string().starts_with("ended, but 3 acknowledg"),
            "{error}"
        );
        assert!(error.source().is_none());
        let error = ended(0, Err(StoreError::Full)).unwrap_err();
        assert!(
            error.to_string().ends_with("chat.db-wal together"),
            "{error}"
        );
        assert_eq!(error.source().unwrap().to_string(), "the disk is full");
        let error = ended(2, Err(StoreError::Full)).unwrap_err();
        assert!(error.to_string().contains("; and 2 acknowledg"), "{error}");
    }
}
