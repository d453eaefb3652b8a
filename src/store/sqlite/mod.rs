//! The store in one SQLite file.
//!
//! One connection writes and is used by the writer thread alone; a few read.
//! WAL mode with `synchronous=FULL`: a commit returns when its bytes are synced,
//! and readers never wait for it.

mod read;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::{Account, Batch, Changed, Match, Page, PageBounds, Store, StoreError, Summary, UserId};
use crate::protocol::binary::MessageId;
use crate::protocol::name::UserName;
use crate::store::Message;

/// The schema, version 1.
const SCHEMA: &str = include_str!("../../../schema.sql");

/// The schema's version that this server writes.
const SCHEMA_VERSION: i64 = 1;

/// `PRAGMA application_id` of a server's database.
const APPLICATION_ID: i64 = 0x5343_6873;

/// Connections that read at the same time. Reads are short, and a thread per
/// client must not mean a file handle and a page cache per client.
const MAX_READERS: usize = 4;

/// Pages in the WAL before a commit folds them into the database file. At
/// SQLite's usual 1,000 a busy server spends more on folding than on storing.
const CHECKPOINT_PAGES: i64 = 16_000;

/// A store in a file.
pub struct Sqlite {
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
}

impl Sqlite {
    /// Opens the database, making it if the file does not exist.
    ///
    /// # Errors
    /// A sentence: the file is no database of ours, of a newer version, broken,
    /// or can't be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open_writer(path)?;
        let secret = load_secret(&connection)?;
        Ok(Sqlite {
            path: path.to_owned(),
            secret,
            writer: Mutex::new(Some(connection)),
            readers: Mutex::default(),
            reader_freed: Condvar::new(),
        })
    }

    /// Runs a read on one of the reading connections.
    fn read<T>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.borrow_reader()?;
        let result = run(&connection);
        let mut readers = lock(&self.readers);
        match &result {
            Ok(_) => readers.idle.push(connection),
            // A connection that failed may have seen a broken file: start afresh.
            Err(_) => readers.open -= 1,
        }
        drop(readers);
        self.reader_freed.notify_one();
        result.map_err(store_error)
    }

    fn borrow_reader(&self) -> Result<Connection, StoreError> {
        let mut readers = lock(&self.readers);
        loop {
            if let Some(connection) = readers.idle.pop() {
                return Ok(connection);
            }
            if readers.open < MAX_READERS {
                readers.open += 1;
                break;
            }
            readers = self
                .reader_freed
                .wait(readers)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(readers);
        open_reader(&self.path).inspect_err(|_| {
            lock(&self.readers).open -= 1;
            self.reader_freed.notify_one();
        })
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
    ) -> Result<Vec<Match>, StoreError> {
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
            None => open_writer(&self.path)?,
        };
        let result = write::commit(&mut connection, batch).map_err(store_error);
        if result.is_ok() {
            *writer = Some(connection);
        }
        // After a failed sync nobody knows what the file holds: dropping the
        // connection here makes the next commit read it afresh.
        result
    }
}

fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path).map_err(store_error)?;
    let prepare = |connection: &mut Connection| -> rusqlite::Result<(i64, i64, bool)> {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(64);
        let application =
            connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let empty = connection
            .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))
            .optional()?
            .is_none();
        Ok((application, version, empty))
    };
    let (application, version, empty) = prepare(&mut connection).map_err(store_error)?;
    let foreign = |what: &str| {
        Err(StoreError::Failed(format!(
            "{} {what}; it was left untouched",
            path.display()
        )))
    };
    match (empty, application, version) {
        (true, 0, 0) => {}
        (false, APPLICATION_ID, SCHEMA_VERSION) => {}
        (_, APPLICATION_ID, newer) if newer > SCHEMA_VERSION => {
            return foreign("was written by a newer version of the server");
        }
        _ => return foreign("is not a database of this server"),
    }
    let finish = |connection: &mut Connection| -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "foreign_keys", false)?;
        // What is found may have been written by a process that was killed before
        // its sync, or whose sync failed: the system's cache shows it, and a power cut
        // takes it. Folded into the database, it is on the disk before it is believed.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        if empty {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.commit()?;
        }
        Ok(())
    };
    finish(&mut connection).map_err(store_error)?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(connection)
    };
    open().map_err(store_error)
}

fn load_secret(connection: &Connection) -> Result<[u8; 32], StoreError> {
    let query = "SELECT value FROM server WHERE key = 'secret'";
    let found: Option<[u8; 32]> = connection
        .query_row(query, [], |row| row.get(0))
        .optional()
        .map_err(store_error)?;
    if let Some(secret) = found {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut secret)
        .map_err(|error| StoreError::Failed(format!("no randomness: {error}")))?;
    connection
        .execute(
            "INSERT INTO server (key, value) VALUES ('secret', ?1)",
            [&secret[..]],
        )
        .map_err(store_error)?;
    Ok(secret)
}

fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::NotADatabase) => {
            StoreError::Failed("the file is not a database, or is damaged".to_owned())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

/// Takes a lock whose every holder leaves the value whole, even unwinding.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
