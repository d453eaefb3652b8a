//! The store in one SQLite file.
//!
//! One connection writes, and only the writer thread uses it; a few others read. In WAL
//! mode with `synchronous=FULL`, a commit returns when its bytes are synced, and readers
//! never wait for it.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the connections |
//! | [`backup`] | copies of a database in use, and what becomes of them |
//! | `open` | opening and making the database file |
//! | `checkpoint` | folding the log into the database |
//! | `failure` | what an error of SQLite means |
//! | `generation` | whether a write-ahead log belongs to the database beside it |
//! | `files` | whether the paths still lead to the files that are open |
//! | `journal`, `repeat` | the changes that a restore repeats, and repeating them |
//! | `read`, `readers` | the reads, and the connections for them |
//! | `write`, `mail` | the one transaction that writes; messages in and out of their table |
//! | `admin` | resets, invitations and bans |
//! | [`import`] | one transaction with all that an import writes |
//! | `expiry` | mail that waits for too long |
//! | `reclaim` | the mail of deleted accounts, and free room |
//! | `purge` | what a deleted account has left with others |
//! | `personal_data` | what the tables hold about a person |
//! | `migration` | from an older schema to this one |
//! | `statements` | all SQL statements |

mod admin;
pub(crate) mod backup;
mod checkpoint;
mod expiry;
mod failure;
mod files;
mod generation;
pub(crate) mod import;
mod journal;
mod mail;
mod migration;
mod open;
mod personal_data;
mod purge;
mod read;
mod readers;
mod reclaim;
mod repeat;
mod statements;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;

use self::checkpoint::Checkpoints;
use self::failure::{Unusable, is_damage, store_error};
pub(crate) use self::files::wal_path;
use self::files::{Files, checkpoint};
pub(crate) use self::generation::{LogOf, judge_log};
pub(crate) use self::open::{Found, NameIndex, OpenError, inspect};
use self::readers::{Lane, MAX_READERS, Readers};

use super::personal_data::{After, Person, PersonalPage, Section};
use super::successions::Successions;
use super::{
    Account, Ban, Batch, Changed, ListedAccount, ListedInvitation, Message, Page, PageBounds,
    Place, Reset, SearchHit, Store, StoreError, Summary, UserId,
};
use crate::clock;
use crate::protocol::name::UserName;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How long closing waits for reads that are under way.
const LAST_READS: Duration = Duration::from_millis(500);

/// A store in a file.
pub(crate) struct Sqlite {
    name_index: NameIndex,
    path: PathBuf,
    secret: [u8; 32],
    first_number: u64,
    epoch: Option<[u8; 16]>,
    /// Messages were imported before this was opened, so what is acknowledged may be one of them.
    has_imports: bool,
    checkpoints: Checkpoints,
    /// Deleted accounts whose mail has still to be deleted. Only the writer thread takes it, and
    /// never together with another lock.
    deleted: Mutex<Vec<UserId>>,
    /// Something was erased that still stands in the log until it is folded.
    to_fold: AtomicBool,
    /// Something was erased of which copies may stand in free room.
    erased: AtomicBool,
    /// The writing connection; `None` after a failure, until it is reopened. Held during
    /// a commit, but only the writer thread takes it.
    writer: Mutex<Option<Connection>>,
    /// The reading connections. Held to take or return one, never during a read, and every
    /// statement under it leaves the value whole.
    readers: Mutex<Readers>,
    reader_freed: Condvar,
    /// The files to watch, once [`watch`](Self::watch) was called. Held to look at them, which
    /// waits for the disk; taken by the writer thread and by the one that watches, the former
    /// under `writer`.
    files: Mutex<Option<Files>>,
    /// The file that was lost, for good.
    lost: OnceLock<PathBuf>,
    /// The journal, and who is told that it can't be written. Held while it is written, which waits
    /// for the disk; only the writer thread takes it, under `writer`.
    journal: Mutex<Option<journal::Kept>>,
}

impl Sqlite {
    /// Opens the database, and makes it if the file does not exist or is empty.
    ///
    /// # Errors
    /// The file is another program's or a newer version's, damaged, or can't be written.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = open::open(path)?;
        let connection = opened.connection;
        Ok(Sqlite {
            name_index: opened.name_index,
            path: path.to_owned(),
            secret: opened.secret,
            first_number: opened.first_number,
            epoch: opened.epoch,
            has_imports: opened.has_imports,
            checkpoints: Checkpoints::default(),
            deleted: Mutex::new(opened.deleted),
            to_fold: AtomicBool::new(false),
            erased: AtomicBool::new(opened.erased),
            writer: Mutex::new(Some(connection)),
            readers: Mutex::default(),
            reader_freed: Condvar::new(),
            files: Mutex::default(),
            lost: OnceLock::new(),
            journal: Mutex::default(),
        })
    }

    /// Begins to watch the database, its log and these others. From the moment on at which a path
    /// leads to another file, or to none, every commit fails, and so does every read that needs
    /// another connection.
    ///
    /// # Errors
    /// One of the others is not there.
    pub(crate) fn watch(&self, others: &[&Path]) -> io::Result<()> {
        *self.files.lock() = Some(Files::watch(&self.path, others)?);
        Ok(())
    }

    /// Looks at the files, and returns the one that is lost, if one is.
    pub(crate) fn lost(&self) -> Option<&Path> {
        // While it is held, nobody closes and reopens the database.
        let writer = self.writer.lock();
        self.look(writer.is_some())
    }

    /// The file that was found lost, without looking again.
    pub(crate) fn already_lost(&self) -> Option<&Path> {
        self.lost.get().map(PathBuf::as_path)
    }

    fn look(&self, is_open: bool) -> Option<&Path> {
        if self.lost.get().is_none() {
            let files = self.files.lock();
            if let Some(path) = files.as_ref().and_then(|files| files.lost(is_open)) {
                let _first = self.lost.set(path.to_owned());
            }
        }
        self.already_lost()
    }

    fn check_files(&self, is_open: bool) -> Result<(), StoreError> {
        match self.look(is_open) {
            None => Ok(()),
            Some(path) => Err(StoreError::Failed(Arc::new(Unusable::Lost(
                path.to_owned(),
            )))),
        }
    }

    /// Opens the database again, for writing.
    fn reopen(&self) -> Result<Connection, StoreError> {
        self.check_files(false)?;
        let connection = open::writer(&self.path).map_err(|error| store_error(error, true))?;
        // A log that could not be marked is not proven to belong to the database, no more.
        let _marked = generation::mark_log(&connection);
        if let Some(files) = &mut *self.files.lock() {
            files.reopened(&self.path);
        }
        Ok(connection)
    }

    /// Marks the log if it has begun anew.
    fn mark_log(&self, connection: &Connection) {
        let begun = self.files.lock().as_mut().is_some_and(Files::log_has_begun);
        if begun {
            let _marked = generation::mark_log(connection);
        }
    }

    /// What the opening found about the index on accounts' names.
    pub(crate) fn name_index(&self) -> NameIndex {
        self.name_index
    }

    /// Marks the database as used by a server that has begun to serve, so that it is not
    /// taken for the remains of a first start; see [`Found`].
    ///
    /// # Errors
    /// The mark could not be written.
    pub(crate) fn mark_used(&self) -> Result<(), OpenError> {
        match &*self.writer.lock() {
            Some(connection) => open::mark_used(connection, &self.path),
            None => Ok(()), // A batch has failed, so a server has served already.
        }
    }

    /// Runs a read on one of the reading connections.
    fn read<T>(
        &self,
        lane: Lane,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.borrow_reader(lane)?;
        let result = run(&connection).map_err(|error| {
            let whole = is_damage(&error) && read::probe(&connection).is_err();
            store_error(error, whole)
        });
        let mut readers = self.readers.lock();
        if let Some((count, _)) = readers.count(lane) {
            *count -= 1;
        }
        match &result {
            Ok(_) if !readers.closed => readers.idle.push(connection),
            // A connection that failed may have cached a broken page.
            _ => {
                drop(connection);
                readers.open -= 1;
            }
        }
        drop(readers);
        self.reader_freed.notify_all();
        result
    }

    fn borrow_reader(&self, lane: Lane) -> Result<Connection, StoreError> {
        let mut readers = self.readers.lock();
        let idle = loop {
            if readers.closed {
                return Err(StoreError::Failed(Arc::new(Unusable::Closed)));
            }
            let waits = readers
                .count(lane)
                .is_some_and(|(count, most)| *count == most);
            let full = readers.idle.is_empty() && readers.open == MAX_READERS;
            if !waits && !full && !readers.paused {
                break readers.idle.pop();
            }
            readers = self.reader_freed.wait(readers);
        };
        if let Some((count, _)) = readers.count(lane) {
            *count += 1;
        }
        if let Some(connection) = idle {
            return Ok(connection);
        }
        readers.open += 1;
        drop(readers);
        let opened = open::reader(&self.path).map_err(|error| store_error(error, true));
        let opened = opened.and_then(|reader| self.check_files(false).map(|()| reader));
        opened.inspect_err(|_| {
            let mut readers = self.readers.lock();
            readers.open -= 1;
            if let Some((count, _)) = readers.count(lane) {
                *count -= 1;
            }
            drop(readers);
            self.reader_freed.notify_all();
        })
    }

    /// Waits for the reads under way. Returns `false` if one goes on.
    fn wait_for_reads(&self, mut readers: MutexGuard<'_, Readers>) -> bool {
        let deadline = clock::now() + LAST_READS;
        while readers.is_busy() {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            readers = self.reader_freed.wait_timeout(readers, left);
        }
        true
    }

    /// Runs `run` on the writing connection of a store that nobody else uses.
    ///
    /// # Errors
    /// What `run` says, or the store can't be opened.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn reading<T, E: From<StoreError>>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = self.writer.lock();
        let connection = match writer.take() {
            Some(connection) => connection,
            None => self.reopen()?,
        };
        let done = run(&connection);
        *writer = Some(connection);
        done
    }

    /// Lets no read begin and waits for those under way. Returns `false` if one goes on.
    fn close_readers(&self) -> bool {
        let mut readers = self.readers.lock();
        readers.closed = true;
        readers.open -= readers.idle.len();
        readers.idle.clear();
        self.reader_freed.notify_all();
        self.wait_for_reads(readers)
    }
}

impl Store for Sqlite {
    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.read(Lane::Short, |connection| read::account(connection, name))
    }

    fn accounts(
        &self,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        self.read(Lane::Short, |connection| {
            admin::accounts(connection, after, limit)
        })
    }

    fn listed_account(&self, name: &UserName) -> Result<Option<ListedAccount>, StoreError> {
        self.read(Lane::Short, |connection| {
            admin::listed_account(connection, name)
        })
    }

    fn reset(&self, user: UserId) -> Result<Option<Reset>, StoreError> {
        self.read(Lane::Short, |connection| admin::reset(connection, user))
    }

    fn invitations(&self, after: i64, limit: usize) -> Result<Vec<ListedInvitation>, StoreError> {
        self.read(Lane::Short, |connection| {
            admin::invitations(connection, after, limit)
        })
    }

    fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        self.read(Lane::Short, admin::bans)
    }

    fn successions(&self) -> Result<Successions, StoreError> {
        self.read(Lane::Short, admin::successions)
    }

    fn search(
        &self,
        asker: UserId,
        prefix: &str,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError> {
        self.read(Lane::Short, |connection| {
            read::search(connection, asker, prefix, after, limit)
        })
    }

    fn blocks(&self, user: UserId, whom: UserId) -> Result<bool, StoreError> {
        self.read(Lane::Short, |connection| {
            read::blocks(connection, user, whom)
        })
    }

    fn blocked(&self, user: UserId) -> Result<Vec<UserName>, StoreError> {
        self.read(Lane::Short, |connection| read::blocked(connection, user))
    }

    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError> {
        self.read(Lane::Opening, |connection| {
            read::summary(connection, recipient)
        })
    }

    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError> {
        self.read(Lane::Short, |connection| {
            read::page(connection, recipient, bounds)
        })
    }

    fn message(&self, recipient: UserId, number: u64) -> Result<Option<Message>, StoreError> {
        self.read(Lane::Short, |connection| {
            read::stored(connection, recipient, number)
        })
    }

    fn places(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        self.read(Lane::Search, |connection| {
            read::places(connection, statements::PLACE, recipient, numbers)
        })
    }

    fn places_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        self.read(Lane::Search, |connection| {
            read::places_after(
                connection,
                statements::PLACES_AFTER,
                recipient,
                number,
                limit,
            )
        })
    }

    fn personal_data(
        &self,
        person: Person<'_>,
        section: Section,
        after: After,
        limit: usize,
    ) -> Result<PersonalPage, StoreError> {
        let lane = match section.withheld() {
            None => Lane::Short,
            Some(_) => Lane::Search,
        };
        self.read(lane, |connection| {
            personal_data::page(connection, person, section, after, limit)
        })
    }

    fn first_number(&self) -> u64 {
        self.first_number
    }

    fn epoch(&self) -> Option<[u8; 16]> {
        self.epoch
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError> {
        let mut writer = self.writer.lock();
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => self.reopen()?,
        };
        let committed = write::commit(&mut connection, batch, self.first_number, self.has_imports);
        let error = match committed {
            Ok((changed, lines)) => {
                self.note(&lines);
                self.bound_log(&connection);
                self.mark_log(&connection);
                *writer = Some(connection);
                // What went to a file that nobody finds any more is not stored.
                self.check_files(true)?;
                drop(writer);
                if batch.changes.iter().any(write::erases) {
                    self.to_fold.store(true, Ordering::Relaxed);
                }
                if write::ended_for_good(&batch.changes, &changed) {
                    self.erased.store(true, Ordering::Relaxed);
                }
                self.note_deleted(batch, &changed);
                return Ok(changed);
            }
            Err(error) => error,
        };
        // After a failed sync nobody knows what the file holds, so the connection is dropped
        // and the next commit reads the file again. Damage was found before anything was
        // written, and the connection can stay.
        if !is_damage(&error) || !connection.is_autocommit() {
            return Err(store_error(error, true));
        }
        let whole = write::probe(&mut connection).is_err();
        if connection.is_autocommit() {
            *writer = Some(connection);
        }
        Err(store_error(error, whole))
    }

    fn reclaim(&self) -> Result<bool, StoreError> {
        self.reclaim_some()
    }

    fn wants_folding(&self) -> bool {
        self.log_is_long()
    }

    fn prepare_folding(&self, beside_mail: bool) {
        self.prepare_to_fold(beside_mail);
    }

    fn fold(&self, beside_mail: bool) -> Result<(), StoreError> {
        self.fold_log(beside_mail)
    }

    fn close(&self) -> Result<(), StoreError> {
        if !self.close_readers() {
            return Err(StoreError::Failed(Arc::new(Unusable::StillRead)));
        }
        let mut writer = self.writer.lock();
        let lost = self.check_files(writer.is_some());
        self.end_folding(lost.is_err());
        if let Err(lost) = lost {
            // Closing it would remove the log that lies at the path, whosever it is.
            std::mem::forget(writer.take());
            return Err(lost);
        }
        let connection = match writer.take() {
            Some(connection) => connection,
            None => self.reopen()?,
        };
        drop(writer);
        // An earlier state of the log, put beside the closed database, is told by that. A disk that
        // refuses the mark refuses the fold as well, or the mark is not missed.
        let _marked = generation::mark_log(&connection);
        checkpoint(&connection).map_err(|error| store_error(error, true))?;
        // SQLite removes the WAL when the last connection is closed.
        connection
            .close()
            .map_err(|(_, error)| store_error(error, true))
    }
}

#[cfg(test)]
mod admin_tests;
#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod space;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod tests;
