//! What nobody waits for, a small part at a time: deleting the mail of deleted accounts, and giving free
//! room back to the disk.
//!
//! Once something of a person's was deleted for good, no byte of it is to be found in the file. SQLite
//! overwrites the rows, but leaves copies behind in free room wherever it has moved them before, to make
//! room for others. So afterwards all free pages go back to the disk, and the file is written anew: at once
//! if it is small, at the next start if that takes less than a second, and otherwise by the operator.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, TransactionBehavior, params};

use super::failure::store_error;
use super::files::checkpoint_now;
use super::{Sqlite, read, statements};
use crate::store::{Batch, Change, Changed, StoreError, UserId};

/// `PRAGMA auto_vacuum` of a database whose free pages can be given back.
pub(super) const INCREMENTAL: i64 = 2;

/// So many messages of a deleted account go at once.
const SLICE: i64 = 500;

/// A file of at most so many pages, 4 MiB, is written anew between two batches, in some 10 ms.
const REWRITTEN_AT_ONCE: i64 = 1024;

/// The key in table `server` that says that the file is still to be written anew.
const ERASED: &str = "erased";

/// So many free pages are kept, 16 MiB: what is freed today is needed tomorrow.
const FREE_PAGES: i64 = 4096;

impl Sqlite {
    /// Remembers whose mail has to be deleted.
    pub(super) fn note_deleted(&self, batch: &Batch, changed: &[Changed]) {
        let changes = batch.changes.iter().zip(changed);
        let deleted = changes.filter_map(|change| match change {
            (Change::Delete { user, .. }, Changed::Done) => Some(*user),
            _ => None,
        });
        self.deleted.lock().extend(deleted);
    }

    /// See [`Store::reclaim`](crate::store::Store::reclaim).
    pub(super) fn reclaim_some(&self) -> Result<bool, StoreError> {
        let account = self.deleted.lock().last().copied();
        let mut writer = self.writer.lock();
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => self.reopen()?,
        };
        let erased = self.erased.load(Ordering::Relaxed);
        let reclaimed = reclaim(&mut connection, account, erased);
        let mut reclaimed = reclaimed.map_err(|error| store_error(error, true))?;
        if erased && account.is_none() && reclaimed == Reclaimed::Nothing {
            self.erased.store(false, Ordering::Relaxed);
            self.forget_in_journal();
            // What fails here is done at the next start.
            if write_anew(&connection, REWRITTEN_AT_ONCE).is_ok_and(|written| written) {
                reclaimed = Reclaimed::Pages;
            }
        }
        if reclaimed == Reclaimed::Mail || erased && reclaimed == Reclaimed::Pages {
            self.to_fold.store(true, Ordering::Relaxed);
        } else if self.to_fold.load(Ordering::Relaxed) {
            // A reader who is in the way leaves it to the time after a later commit.
            let stays = checkpoint_now(&connection).is_err();
            self.to_fold.store(stays, Ordering::Relaxed);
        }
        self.bound_log(&connection);
        *writer = Some(connection);
        drop(writer);
        if account.is_some() && reclaimed != Reclaimed::Mail {
            self.deleted.lock().pop();
        }
        Ok(account.is_some() || reclaimed != Reclaimed::Nothing)
    }
}

/// What [`reclaim`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reclaimed {
    /// Nothing: there was nothing to do.
    Nothing,
    /// A slice of a deleted account's mail is gone.
    Mail,
    /// Some free pages went back to the disk.
    Pages,
}

/// Notes that the file is to be written anew.
pub(super) fn note_erased(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute(statements::SET_VALUE, (ERASED, [1_u8]))
        .map(drop)
}

/// Whether it is.
pub(super) fn is_erased(connection: &Connection) -> rusqlite::Result<bool> {
    read::value(connection, ERASED).map(|found| found.is_some())
}

/// Writes the file anew if at most so many pages of it are in use; says whether it was.
pub(super) fn write_anew(connection: &Connection, most: i64) -> rusqlite::Result<bool> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("page_count")? - pragma("freelist_count")? > most {
        return Ok(false);
    }
    connection.execute_batch("VACUUM")?;
    connection.execute(statements::FORGET_VALUE, [ERASED])?;
    Ok(true)
}

/// How much SQLite overwrites with zeros when it deletes, unless something is erased: what costs no
/// further write.
pub(super) const OVERWRITTEN: &str = "FAST";

/// Has SQLite overwrite with zeros all that `run` deletes. Other deletions leave whole pages as they
/// are, since overwriting these costs each acknowledgement a write.
pub(super) fn erasing<T>(
    connection: &mut Connection,
    run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.pragma_update(None, "secure_delete", true)?;
    let done = run(connection);
    connection.pragma_update(None, "secure_delete", OVERWRITTEN)?;
    done
}

/// Deletes a slice of an account's mail, and returns how many messages that were.
fn drop_mail(connection: &mut Connection, account: UserId) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let dropped = transaction
        .prepare_cached(statements::DROP_MAIL)?
        .execute(params![account.0, SLICE - 1])?;
    transaction.commit()?;
    Ok(dropped)
}

/// Deletes a slice of a deleted account's mail or, if there is none, gives free pages back to the
/// disk, some at a time. Some stay for the mail to come, unless something was `erased`.
fn reclaim(
    connection: &mut Connection,
    deleted: Option<UserId>,
    erased: bool,
) -> rusqlite::Result<Reclaimed> {
    if let Some(account) = deleted
        && erasing(connection, |connection| drop_mail(connection, account))? > 0
    {
        return Ok(Reclaimed::Mail);
    }
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let free = pragma("freelist_count")?;
    let kept = match erased {
        true => 0,
        false => FREE_PAGES.max(pragma("page_count")? / 4),
    };
    if free <= kept || pragma("auto_vacuum")? != INCREMENTAL {
        return Ok(Reclaimed::Nothing);
    }
    // Each step of the statement frees one page.
    let mut statement = connection.prepare_cached(statements::VACUUM)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(Reclaimed::Pages)
}
