//! What nobody waits for, a small part at a time: deleting the mail of deleted accounts, and giving free
//! room back to the disk.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, TransactionBehavior, params};

use super::failure::store_error;
use super::files::checkpoint_now;
use super::{Sqlite, statements};
use crate::store::{Batch, Change, Changed, StoreError, UserId};

/// `PRAGMA auto_vacuum` of a database whose free pages can be given back.
pub(super) const INCREMENTAL: i64 = 2;

/// So many messages of a deleted account go at once.
const SLICE: i64 = 500;

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
        let reclaimed = reclaim(&mut connection, account);
        let reclaimed = reclaimed.map_err(|error| store_error(error, true))?;
        if reclaimed == Reclaimed::Mail {
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

/// Has SQLite overwrite with zeros what `run` deletes. All other deletions leave their bytes in free
/// room, since overwriting costs each acknowledgement a write.
pub(super) fn erasing<T>(
    connection: &mut Connection,
    run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.pragma_update(None, "secure_delete", true)?;
    let done = run(connection);
    connection.pragma_update(None, "secure_delete", false)?;
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
/// disk, some at a time. Some stay for the mail to come.
fn reclaim(connection: &mut Connection, deleted: Option<UserId>) -> rusqlite::Result<Reclaimed> {
    if let Some(account) = deleted
        && erasing(connection, |connection| drop_mail(connection, account))? > 0
    {
        return Ok(Reclaimed::Mail);
    }
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let free = pragma("freelist_count")?;
    if free <= FREE_PAGES.max(pragma("page_count")? / 4) || pragma("auto_vacuum")? != INCREMENTAL {
        return Ok(Reclaimed::Nothing);
    }
    // Each step of the statement frees one page.
    let mut statement = connection.prepare_cached(statements::VACUUM)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(Reclaimed::Pages)
}
