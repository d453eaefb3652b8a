//! Removing mail that waits for too long, and what is left of it.
//!
//! A mailbox's numbers rise with the time, so what waits longest is its first row: one row of each mailbox
//! shows whether there is anything to do. Where clocks went back, a message is removed later than it
//! could be, never earlier.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::mail::insert;
use super::read::name;
use super::readers::Lane;
use super::{Sqlite, read, statements};
use crate::protocol::ids::MessageId;
use crate::store::expiry::{
    Due, ExpiredMail, Key, Look, MAILBOXES, MESSAGES, Oldest, ROWS, Removed, Step, Stepped, Untold,
};
use crate::store::{Place, StoreError, UserId};

impl ExpiredMail for Sqlite {
    fn due(&self, after: UserId, before: u64) -> Result<Look, StoreError> {
        self.read(Lane::Search, |connection| due(connection, after, before))
    }

    fn expired(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        self.read(Lane::Search, |connection| {
            read::places(connection, statements::EXPIRED, recipient, numbers)
        })
    }

    fn expired_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        self.read(Lane::Search, |connection| {
            read::places_after(
                connection,
                statements::EXPIRED_AFTER,
                recipient,
                number,
                limit,
            )
        })
    }

    fn untold(&self, sender: UserId, after: Key, limit: usize) -> Result<Vec<Untold>, StoreError> {
        self.read(Lane::Short, |connection| {
            untold(connection, sender, after, limit)
        })
    }
}

fn due(connection: &Connection, after: UserId, before: u64) -> rusqlite::Result<Look> {
    let mut mailboxes = connection.prepare_cached(statements::NEXT_MAILBOX)?;
    let mut names = connection.prepare_cached(statements::MAILBOX_NAME)?;
    let mut last = after;
    for _ in 0..MAILBOXES {
        let next: Option<i64> = mailboxes.query_row([last.0], |row| row.get(0)).optional()?;
        let Some(recipient) = next.map(UserId) else {
            return Ok(Look::End);
        };
        last = recipient;
        let Some(numbers) = oldest(connection, recipient, before)? else {
            continue;
        };
        // The mail of a deleted account is on its way out.
        let owner = names.query_row([recipient.0], |row| name(row, 0));
        if let Some(name) = owner.optional()? {
            return Ok(Look::Found(Due {
                recipient,
                name,
                numbers,
            }));
        }
    }
    Ok(Look::UpTo(last))
}

/// The first and the last number of the oldest mail of a mailbox, if it is from before this time.
fn oldest(
    connection: &Connection,
    recipient: UserId,
    before: u64,
) -> rusqlite::Result<Option<std::ops::RangeInclusive<u64>>> {
    let mut statement = connection.prepare_cached(statements::OLDEST)?;
    let mut rows = statement.query(params![recipient.0, MESSAGES as i64])?;
    let mut oldest = Oldest::new(before);
    while let Some(row) = rows.next()? {
        let (number, at) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
        if !oldest.take(number, at, row.get_ref(2)?.as_bytes_or_null()?) {
            break;
        }
    }
    Ok(oldest.numbers())
}

fn untold(
    connection: &Connection,
    sender: UserId,
    after: Key,
    limit: usize,
) -> rusqlite::Result<Vec<Untold>> {
    let mut statement = connection.prepare_cached(statements::UNTOLD)?;
    let values = params![sender.0, after.0.0, after.1 as i64, limit as i64];
    let rows = statement.query_map(values, |row| {
        let open = row.get::<_, Option<bool>>(4)? == Some(true);
        Ok(Untold {
            recipient: UserId(row.get(0)?),
            number: row.get::<_, i64>(1)? as u64,
            mid: MessageId(row.get(2)?),
            // An account whose name was given away has none.
            name: name(row, 3).ok(),
            open,
        })
    })?;
    rows.collect()
}

pub(super) fn step(transaction: &Transaction<'_>, step: &Step) -> rusqlite::Result<Stepped> {
    match step {
        Step::Remove(due, now) => remove(transaction, due, *now),
        Step::Told(keys) => {
            let mut statement = transaction.prepare_cached(statements::TOLD)?;
            let mut told = Vec::with_capacity(keys.len());
            for (recipient, number) in keys {
                if statement.execute(params![recipient.0, *number as i64])? > 0 {
                    told.push((*recipient, *number));
                }
            }
            Ok(Stepped::Told(told))
        }
        Step::Forget(after, before) => forget(transaction, *after, *before),
    }
}

fn remove(transaction: &Transaction<'_>, due: &Due, now: u64) -> rusqlite::Result<Stepped> {
    let (recipient, first, last) = (
        due.recipient.0,
        *due.numbers.start() as i64,
        *due.numbers.end() as i64,
    );
    let mut removed = Removed::default();
    let mut statement = transaction.prepare_cached(statements::EXPIRING)?;
    let mut rows = statement.query(params![recipient, first, last])?;
    while let Some(row) = rows.next()? {
        let notice = row.get_ref(1)?.as_bytes_or_null()?;
        removed.take(UserId(row.get(0)?), notice, name(row, 2).ok());
    }
    drop(rows);
    transaction
        .prepare_cached(statements::EXPIRE)?
        .execute(params![recipient, first, last, now as i64])?;
    transaction
        .prepare_cached(statements::ACKNOWLEDGE)?
        .execute(params![recipient, first, last])?;
    if let Some(notice) = removed.notice(*due.numbers.end(), now) {
        insert(transaction, &[(due.recipient, Arc::new(notice))])?;
    }
    Ok(removed.stepped())
}

fn forget(transaction: &Transaction<'_>, after: Key, before: u64) -> rusqlite::Result<Stepped> {
    let (recipient, number) = (after.0.0, after.1 as i64);
    let end: Option<(i64, i64)> = transaction
        .prepare_cached(statements::EXPIRED_END)?
        .query_row(params![recipient, number, ROWS - 1], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let (last, last_number) = end.unwrap_or((i64::MAX, i64::MAX));
    let values = params![recipient, number, last, last_number, before as i64];
    transaction
        .prepare_cached(statements::FORGET_EXPIRED)?
        .execute(values)?;
    let end = end.map(|(recipient, number)| (UserId(recipient), number as u64));
    Ok(Stepped::Forgotten(end))
}
