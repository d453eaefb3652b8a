//! Keeps the write-ahead log short while the server runs.
//!
//! To fold a long log into the database copies thousands of pages and syncs the file. Thread
//! `checkpoint` does that on a connection of its own, while the writer goes on with changes of accounts. Most of the log
//! may be folded beside mail; for all of it the writer holds mail back. SQLite begins the log anew in a commit that finds all of it folded and nobody
//! reading it. Where reads never cease, that does not come about; then the writer has them pause.

use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use rusqlite::Connection;

use super::failure::store_error;
use super::files::{checkpoint_now, wal_path};
use super::{Sqlite, generation, open};
use crate::store::StoreError;
use crate::sync::{self, Mutex};

/// The pages of 4 KiB at which the log is long, 16 MiB. At SQLite's usual 1,000 a busy server spends
/// more on folding than on storing.
const LONG: u64 = 4000;

/// After so many more pages, 2 MiB, a log that was not begun anew is folded again.
const AGAIN: u64 = 512;

/// How often it is tried to leave a log that the next commit begins anew, and the pause after a try that
/// met a read of the log. Reads are short, and those that begin with a folded log do not use it.
const TRIES: usize = 20;
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// So many passes at most may be overtaken by commits: see [`fold_all`].
const PASSES: usize = 4;

/// Once the log has this many bytes, reads are stopped for the moment that it takes to fold all of
/// it: while one read begins before the other ends, it can be folded but not begun anew.
const MAX_LOG: u64 = 80 * 1024 * 1024;

/// The log's length, and who folds it.
pub(super) struct Checkpoints {
    /// Pages in the log after the last commit.
    pages: AtomicU64,
    /// It is to be folded from so many pages on.
    fold_from: AtomicU64,
    /// It is to be folded at once from so many bytes on.
    bound: AtomicU64,
    /// The folding connection, once there is one. Held while it folds, which waits for the disk;
    /// taken by thread `checkpoint`, and by the writer, under `Sqlite::writer`, when it folds
    /// or closes the database itself.
    folder: Mutex<Folder>,
}

#[derive(Default)]
struct Folder {
    connection: Option<Connection>,
    closed: bool,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Checkpoints {
            pages: AtomicU64::new(0),
            fold_from: AtomicU64::new(LONG),
            bound: AtomicU64::new(MAX_LOG),
            folder: Mutex::default(),
        }
    }
}

impl Checkpoints {
    /// Pages in the log after the last commit.
    #[cfg(test)]
    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

/// How much of the log there is, in pages.
#[derive(Debug, Clone, Copy)]
struct Log {
    pages: u64,
    /// How many of them are in the database.
    folded: u64,
    /// A commit or a read was in the way.
    busy: bool,
}

impl Log {
    /// Folds what no reader needs any more, beside readers and the writer.
    fn fold(connection: &Connection) -> rusqlite::Result<Self> {
        Self::ask(connection, "PRAGMA main.wal_checkpoint(PASSIVE)")
    }

    /// The same, and makes sure that no read of the log keeps the next commit from beginning it anew. With
    /// nothing to fold, this takes the writer's lock for a moment only.
    fn restart(connection: &Connection) -> rusqlite::Result<Self> {
        Self::ask(connection, "PRAGMA main.wal_checkpoint(RESTART)")
    }

    fn look(connection: &Connection) -> rusqlite::Result<Self> {
        Self::ask(connection, "PRAGMA main.wal_checkpoint(NOOP)")
    }

    fn ask(connection: &Connection, pragma: &str) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare_cached(pragma)?;
        // Both are -1 while another program folds.
        let pages = |count: i64| u64::try_from(count).unwrap_or(0);
        statement.query_row([], |row| {
            Ok(Log {
                busy: row.get(0)?,
                pages: pages(row.get(1)?),
                folded: pages(row.get(2)?),
            })
        })
    }
}

/// Folds all of the log, and leaves it so that the next commit begins it anew, if reads let it.
///
/// SQLite syncs the database only in a pass that no commit overtakes. After one that was overtaken, `restart` would
/// have all that was copied synced, and whoever commits would wait for that. Another pass has little to copy,
/// so that it is hardly overtaken before it syncs.
fn fold_all(connection: &Connection) -> rusqlite::Result<()> {
    for pass in 1..=TRIES {
        let log = Log::fold(connection)?;
        let overtaken = Log::look(connection)?.pages > log.pages;
        if overtaken && pass < PASSES {
            continue;
        }
        if log.folded == log.pages && !Log::restart(connection)?.busy {
            break;
        }
        sync::sleep(TRY_AGAIN);
    }
    Ok(())
}

impl Sqlite {
    /// See [`Store::wants_folding`](crate::store::Store::wants_folding).
    pub(super) fn log_is_long(&self) -> bool {
        let checkpoints = &self.checkpoints;
        checkpoints.pages.load(Ordering::Relaxed) >= checkpoints.fold_from.load(Ordering::Relaxed)
    }

    /// See [`Store::prepare_folding`](crate::store::Store::prepare_folding).
    pub(super) fn prepare_to_fold(&self, beside_mail: bool) {
        let checkpoints = &self.checkpoints;
        let pages = checkpoints.pages.load(Ordering::Relaxed);
        let more = if beside_mail { LONG } else { AGAIN };
        checkpoints
            .fold_from
            .store(pages.max(LONG) + more, Ordering::Relaxed);
        // With the mark in the database, an earlier state of the log is seen not to belong to it. Another
        // connection would have to find a gap between two commits.
        let mut writer = self.writer.lock();
        let marked = writer.as_ref().map(generation::mark_log);
        if matches!(marked, Some(Err(_))) {
            *writer = None; // As after a commit that failed.
        }
    }

    /// See [`Store::fold`](crate::store::Store::fold).
    pub(super) fn fold_log(&self, beside_mail: bool) -> Result<(), StoreError> {
        let mut folder = self.checkpoints.folder.lock();
        if folder.closed {
            return Ok(());
        }
        let connection = match folder.connection.take() {
            Some(connection) => connection,
            None => self.open_folder()?,
        };
        let no_wait = connection.busy_timeout(Duration::ZERO);
        no_wait.map_err(|error| store_error(error, true))?;
        let folded = match beside_mail {
            true => Log::fold(&connection).map(drop),
            false => fold_all(&connection),
        };
        folded.map_err(|error| store_error(error, true))?;
        folder.connection = Some(connection);
        Ok(())
    }

    fn open_folder(&self) -> Result<Connection, StoreError> {
        let opened = open::folder(&self.path).map_err(|error| store_error(error, true))?;
        match self.check_files(false) {
            Ok(()) => Ok(opened),
            Err(lost) => {
                // Closing it could remove the log that lies at the path, whosever it is.
                std::mem::forget(opened);
                Err(lost)
            }
        }
    }

    /// Notes the log's length after a commit on the writing connection, and folds it if it has become
    /// much too long.
    pub(super) fn bound_log(&self, connection: &Connection) {
        let checkpoints = &self.checkpoints;
        if let Ok(log) = Log::look(connection) {
            checkpoints.pages.store(log.pages, Ordering::Relaxed);
            if log.pages < LONG {
                checkpoints.fold_from.store(LONG, Ordering::Relaxed);
            }
        }
        let bytes = std::fs::metadata(wal_path(&self.path)).map_or(0, |log| log.len());
        if bytes > checkpoints.bound.load(Ordering::Relaxed) {
            self.fold_while_nobody_reads(connection, bytes);
        }
    }

    /// Folds the log while no read is under way, and gives its space back. If a read does not end
    /// in time, the next commit tries again.
    fn fold_while_nobody_reads(&self, connection: &Connection, bytes: u64) {
        let mut readers = self.readers.lock();
        readers.paused = true;
        let free = self.wait_for_reads(readers);
        if free {
            let _nobody_folds = self.checkpoints.folder.lock();
            // Another program that reads, as a backup does, is not waited for at each commit:
            // the log may grow on, and is tried again later.
            let folded = checkpoint_now(connection);
            let bound = match folded {
                Ok(()) => MAX_LOG,
                Err(_) => bytes + MAX_LOG / 4,
            };
            self.checkpoints.bound.store(bound, Ordering::Relaxed);
        }
        self.readers.lock().paused = false;
        self.reader_freed.notify_all();
    }

    /// Ends folding by thread `checkpoint`, after a fold that is under way. If the database is `lost`, its
    /// connection stays open: closing the last one would remove the log that lies at the path.
    pub(super) fn end_folding(&self, lost: bool) {
        let mut folder = self.checkpoints.folder.lock();
        folder.closed = true;
        let connection = folder.connection.take();
        if lost {
            std::mem::forget(connection);
        }
    }
}
