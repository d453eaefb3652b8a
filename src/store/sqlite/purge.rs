//! What a deleted account has left with others: finding it, and removing it.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::read::{ENVELOPE, name};
use super::readers::Lane;
use super::{Sqlite, statements};
use crate::store::expiry::Key;
use crate::store::purge::{Part, ROWS, Trace, Traces};
use crate::store::{Changed, StoreError, UserId};

impl Traces for Sqlite {
    fn traces(&self, account: UserId, after: Key) -> Result<Part<Trace>, StoreError> {
        self.read(Lane::Search, |connection| {
            traces(connection, account, after)
        })
    }

    fn blockers(&self, account: UserId, after: Key) -> Result<Part<UserId>, StoreError> {
        self.read(Lane::Search, |connection| {
            blockers(connection, account, after)
        })
    }
}

fn traces(connection: &Connection, account: UserId, after: Key) -> rusqlite::Result<Part<Trace>> {
    let mut statement = connection.prepare_cached(statements::TRACES)?;
    let mut names = connection.prepare_cached(statements::MAILBOX_NAME)?;
    let mut rows = statement.query(params![after.0.0, after.1 as i64, ROWS as i64])?;
    let mut part = Part::new(after);
    while let Some(row) = rows.next()? {
        let (recipient, number) = (UserId(row.get(0)?), row.get::<_, i64>(1)? as u64);
        let sender = UserId(row.get(2)?);
        let mut found = None;
        if sender == account || recipient == account {
            let owner = names.query_row([recipient.0], |row| name(row, 0));
            found = Some(Trace {
                recipient,
                owner: owner.optional()?,
                number,
                sender,
                is_envelope: row.get::<_, i64>(3)? == ENVELOPE,
                size: row.get::<_, i64>(4)? as usize,
            });
        }
        if !part.take((recipient, number), found) {
            break;
        }
    }
    Ok(part.end())
}

fn blockers(
    connection: &Connection,
    account: UserId,
    after: Key,
) -> rusqlite::Result<Part<UserId>> {
    let mut statement = connection.prepare_cached(statements::BLOCKERS)?;
    let mut rows = statement.query(params![after.0.0, after.1 as i64, ROWS as i64])?;
    let mut part = Part::new(after);
    while let Some(row) = rows.next()? {
        let (user, blocked) = (UserId(row.get(0)?), row.get::<_, i64>(1)?);
        let found = (blocked == account.0).then_some(user);
        if !part.take((user, blocked as u64), found) {
            break;
        }
    }
    Ok(part.end())
}

pub(super) fn purge(
    transaction: &Transaction<'_>,
    account: UserId,
    messages: &[Key],
    blockers: &[UserId],
) -> rusqlite::Result<Changed> {
    let mut statement = transaction.prepare_cached(statements::ACKNOWLEDGE)?;
    for (recipient, number) in messages {
        statement.execute(params![recipient.0, *number as i64, *number as i64])?;
    }
    let mut statement = transaction.prepare_cached(statements::UNBLOCK)?;
    for blocker in blockers {
        statement.execute(params![blocker.0, account.0])?;
    }
    Ok(Changed::Done)
}
