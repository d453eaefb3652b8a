//! What a deleted account has left with others: finding it, and removing it.

use super::super::pool::Lane;
use super::connection::Connection;
use super::failure::Failure;
use super::mail::delete;
use super::values::{ENVELOPE, column, get, name, number};
use super::{Postgres, statements};
use crate::store::expiry::Key;
use crate::store::purge::{Part, ROWS, Trace, Traces};
use crate::store::{Changed, StoreError, UserId};

impl Traces for Postgres {
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

fn traces(
    connection: &mut Connection,
    account: UserId,
    after: Key,
) -> Result<Part<Trace>, Failure> {
    let (after_number, limit) = (column(after.1), column(ROWS as u64));
    let rows = connection.rows(statements::TRACES, &[&after.0.0, &after_number, &limit])?;
    let mut part = Part::new(after);
    for row in &rows {
        let (recipient, place) = (UserId(get(row, 0)?), number(row, 1)?);
        let sender = UserId(get(row, 2)?);
        let mut found = None;
        if sender == account || recipient == account {
            let owner = connection.row(statements::MAILBOX_NAME, &[&recipient.0])?;
            found = Some(Trace {
                recipient,
                owner: owner.map(|row| name(&row, 0)).transpose()?,
                number: place,
                sender,
                is_envelope: get::<i16>(row, 3)? == ENVELOPE,
                size: get::<i32>(row, 4)?.unsigned_abs() as usize,
            });
        }
        if !part.take((recipient, place), found) {
            break;
        }
    }
    Ok(part.end())
}

fn blockers(
    connection: &mut Connection,
    account: UserId,
    after: Key,
) -> Result<Part<UserId>, Failure> {
    let (after_blocked, limit) = (column(after.1), column(ROWS as u64));
    let rows = connection.rows(statements::BLOCKERS, &[&after.0.0, &after_blocked, &limit])?;
    let mut part = Part::new(after);
    for row in &rows {
        let (user, blocked) = (UserId(get(row, 0)?), get::<i64>(row, 1)?);
        let found = (blocked == account.0).then_some(user);
        if !part.take((user, blocked.unsigned_abs()), found) {
            break;
        }
    }
    Ok(part.end())
}

pub(super) fn purge(
    connection: &mut Connection,
    account: UserId,
    messages: &[Key],
    blockers: &[UserId],
) -> Result<Changed, Failure> {
    let messages = messages.iter();
    let messages = messages.map(|(recipient, number)| (*recipient, *number..=*number));
    delete(connection, &messages.collect::<Vec<_>>())?;
    for blocker in blockers {
        connection.execute(statements::UNBLOCK, &[&blocker.0, &account.0])?;
    }
    Ok(Changed::Done)
}
