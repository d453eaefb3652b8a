//! The store in one SQLite file.
//!
//! One connection writes and is used by the writer thread alone; a few read.
//! WAL mode with `synchronous=FULL`: a commit returns when its bytes are synced,
//! and readers never wait for it.

mod open;
mod read;
mod statements;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

pub(crate) use self::open::{Found, OpenError, inspect, wal_path};

use super::Message;
use super::{
    Account, Batch, Changed, Page, PageBounds, SearchHit, Store, StoreError, Summary, UserId,
};
use crate::clock;
use crate::protocol::ids::MessageId;
use crate::protocol::name::UserName;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Connections that read at the same time. Reads are short, and a thread per
/// client must not mean a file handle and a page cache per client.
const MAX_READERS: usize = 4;

/// How long closing waits for whoever still reads.
const LAST_READS: Duration = Duration::from_millis(500);

/// A store in a file.
pub(crate) struct Sqlite {
    path: PathBuf,
    secret: [u8; 32],
    /// The writing connection; `None` after a failure, until it is reopened.
    /// Guards nothing else. Only the writer thread takes it, so nobody waits on
    /// it while it syncs.
    writer: Mutex<Option<Connection>>,
    /// Idle reading connections. Held to take or return one, never during a read.
    readers: Mutex<Readers>,
    reader_freed: Condvar,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    open: usize,
    /// No read begins any more.
    closed: bool,
}

impl Sqlite {
    /// Opens the database, making it if the file does not exist or is empty.
    ///
    /// # Errors
    /// A sentence: the file is no database of ours, of a newer version, broken,
    /// or can't be written.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let (connection, secret) = open::open(path)?;
        Ok(Sqlite {
            path: path.to_owned(),
            secret,
            writer: Mutex::new(Some(connection)),
            readers: Mutex::default(),
            reader_freed: Condvar::new(),
        })
    }

    /// Notes that a server has begun to serve with this database: from here on it
    /// is no left-over of a first start, see [`Found`].
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn mark_used(&self) -> Result<(), OpenError> {
        match &*lock(&self.writer) {
            Some(connection) => open::mark_used(connection, &self.path),
            None => Ok(()), // Some batch has failed, so there was a server.
        }
    }

    /// Runs a read on one of the reading connections.
    fn read<T>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.borrow_reader()?;
        let result = run(&connection).map_err(|error| {
            let whole = is_damage(&error) && read::probe(&connection).is_err();
            store_error(error, whole)
        });
        let mut readers = lock(&self.readers);
        match &result {
            Ok(_) if !readers.closed => readers.idle.push(connection),
            // A connection that failed may have seen a broken file: start afresh.
            _ => {
                drop(connection);
                readers.open -= 1;
            }
        }
        drop(readers);
        self.reader_freed.notify_all();
        result
    }

    fn borrow_reader(&self) -> Result<Connection, StoreError> {
        let mut readers = lock(&self.readers);
        loop {
            if readers.closed {
                return Err(StoreError::Failed("it is closed".to_owned()));
            }
            if let Some(connection) = readers.idle.pop() {
                return Ok(connection);
            }
            if readers.open < MAX_READERS {
                readers.open += 1;
                break;
            }
            readers = self.reader_freed.wait(readers);
        }
        drop(readers);
        open::reader(&self.path).map_err(|error| {
            lock(&self.readers).open -= 1;
            self.reader_freed.notify_all();
            store_error(error, true)
        })
    }

    /// Ends all reading, waiting for those who are at it; `false` if one goes on.
    fn close_readers(&self) -> bool {
        let deadline = clock::now() + LAST_READS;
        let mut readers = lock(&self.readers);
        readers.closed = true;
        readers.open -= readers.idle.len();
        readers.idle.clear();
        self.reader_freed.notify_all();
        while readers.open > 0 {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            readers = self.reader_freed.wait_timeout(readers, left);
        }
        true
    }
}

impl Store for Sqlite {
    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.read(|connection| read::account(connection, name))
    }

    fn search(
        &self,
        prefix: &str,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError> {
        self.read(|connection| read::search(connection, prefix, after, limit))
    }

    fn blocked(&self, user: UserId) -> Result<Vec<UserName>, StoreError> {
        self.read(|connection| read::blocked(connection, user))
    }

    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError> {
        self.read(|connection| read::summary(connection, recipient))
    }

    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError> {
        self.read(|connection| read::page(connection, recipient, bounds))
    }

    fn find(
        &self,
        recipient: UserId,
        sender: UserId,
        ids: &[MessageId],
    ) -> Result<Vec<Message>, StoreError> {
        self.read(|connection| read::find(connection, recipient, sender, ids))
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError> {
        let mut writer = lock(&self.writer);
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => open::writer(&self.path).map_err(|error| store_error(error, true))?,
        };
        let error = match write::commit(&mut connection, batch) {
            Ok(changed) => {
                *writer = Some(connection);
                return Ok(changed);
            }
            Err(error) => error,
        };
        // After a failed sync nobody knows what the file holds: dropping the
        // connection makes the next commit read it afresh. Damage was found before
        // anything was written, and is there afresh, too.
        if !is_damage(&error) || !connection.is_autocommit() {
            return Err(store_error(error, true));
        }
        let whole = write::probe(&mut connection).is_err();
        if connection.is_autocommit() {
            *writer = Some(connection);
        }
        Err(store_error(error, whole))
    }

    fn close(&self) -> Result<(), StoreError> {
        if !self.close_readers() {
            return Err(StoreError::Failed("somebody still reads it".to_owned()));
        }
        let connection = match lock(&self.writer).take() {
            Some(connection) => connection,
            None => open::writer(&self.path).map_err(|error| store_error(error, true))?,
        };
        open::checkpoint(&connection).map_err(|error| store_error(error, true))?;
        // Whoever closes last removes the log.
        connection
            .close()
            .map_err(|(_, error)| store_error(error, true))
    }
}

/// Whether an error says that what was read or to be changed is damaged, rather
/// than that the disk or the system failed.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
        ),
        // A value that no server wrote, or a row that must be there.
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// `whole`: if it is damage, then not only of what was asked for.
fn store_error(error: rusqlite::Error, whole: bool) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::NotADatabase) => {
            StoreError::Failed("the file is not a database, or is damaged".to_owned())
        }
        _ if !whole && is_damage(&error) => StoreError::Damaged(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

/// Takes a lock whose every holder leaves the value whole, even unwinding.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests;
