//! Removing mail that waits for too long, and what is left of it, as in the SQLite store.

use std::sync::Arc;

use super::super::pool::Lane;
use super::connection::Connection;
use super::failure::Failure;
use super::mail::{delete, insert};
use super::values::{bytes, column, get, name, number, place};
use super::{Postgres, statements};
use crate::protocol::ids::MessageId;
use crate::store::expiry::{
    Due, ExpiredMail, Key, Look, MAILBOXES, MESSAGES, Oldest, ROWS, Removed, Step, Stepped, Untold,
};
use crate::store::{Place, StoreError, UserId};

impl ExpiredMail for Postgres {
    fn due(&self, after: UserId, before: u64) -> Result<Look, StoreError> {
        self.read(Lane::Search, |connection| due(connection, after, before))
    }

    fn expired(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        let numbers: Vec<i64> = numbers.iter().copied().map(column).collect();
        self.read(Lane::Search, |connection| {
            let rows = connection.rows(statements::EXPIRED, &[&recipient.0, &numbers])?;
            rows.iter().map(place).collect()
        })
    }

    fn expired_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let (number, limit) = (column(number), column(limit as u64));
        self.read(Lane::Search, |connection| {
            let values = [&recipient.0, &number, &limit];
            let values = values.map(|value| value as &(dyn postgres::types::ToSql + Sync));
            let rows = connection.rows(statements::EXPIRED_AFTER, &values)?;
            rows.iter().map(place).collect()
        })
    }

    fn untold(&self, sender: UserId, after: Key, limit: usize) -> Result<Vec<Untold>, StoreError> {
        self.read(Lane::Short, |connection| {
            untold(connection, sender, after, limit)
        })
    }
}

fn due(connection: &mut Connection, after: UserId, before: u64) -> Result<Look, Failure> {
    let mut last = after;
    for _ in 0..MAILBOXES {
        let Some(row) = connection.row(statements::NEXT_MAILBOX, &[&last.0])? else {
            return Ok(Look::End);
        };
        last = UserId(get(&row, 0)?);
        let mut oldest = Oldest::new(before);
        let most = column(MESSAGES as u64);
        for row in connection.rows(statements::OLDEST, &[&last.0, &most])? {
            if !oldest.take(number(&row, 0)?, number(&row, 1)?, get(&row, 2)?) {
                break;
            }
        }
        // The mail of a deleted account is on its way out.
        if let Some(numbers) = oldest.numbers()
            && let Some(owner) = connection.row(statements::MAILBOX_NAME, &[&last.0])?
        {
            return Ok(Look::Found(Due {
                recipient: last,
                name: name(&owner, 0)?,
                numbers,
            }));
        }
    }
    Ok(Look::UpTo(last))
}

fn untold(
    connection: &mut Connection,
    sender: UserId,
    after: Key,
    limit: usize,
) -> Result<Vec<Untold>, Failure> {
    let (after_number, limit) = (column(after.1), column(limit as u64));
    let rows = connection.rows(
        statements::UNTOLD,
        &[&sender.0, &after.0.0, &after_number, &limit],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Untold {
                recipient: UserId(get(row, 0)?),
                number: number(row, 1)?,
                mid: MessageId(bytes(row, 2)?),
                // An account whose name was given away has none.
                name: name(row, 3).ok(),
                open: get(row, 4)?,
            })
        })
        .collect()
}

pub(super) fn step(connection: &mut Connection, step: &Step) -> Result<Stepped, Failure> {
    match step {
        Step::Remove(due, now) => remove(connection, due, *now),
        Step::Told(keys) => {
            let mut told = Vec::with_capacity(keys.len());
            for (recipient, number) in keys {
                let place = [recipient.0, column(*number)];
                if connection.execute(statements::TOLD, &[&place[0], &place[1]])? > 0 {
                    told.push((*recipient, *number));
                }
            }
            Ok(Stepped::Told(told))
        }
        Step::Forget(after, before) => forget(connection, *after, *before),
    }
}

fn remove(connection: &mut Connection, due: &Due, now: u64) -> Result<Stepped, Failure> {
    let recipient = due.recipient.0;
    let (first, last) = (column(*due.numbers.start()), column(*due.numbers.end()));
    let mut removed = Removed::default();
    for row in connection.rows(statements::EXPIRING, &[&recipient, &first, &last])? {
        removed.take(UserId(get(&row, 0)?), get(&row, 1)?, name(&row, 2).ok());
    }
    let at = column(now);
    connection.execute(statements::EXPIRE, &[&recipient, &first, &last, &at])?;
    delete(connection, &[(due.recipient, due.numbers.clone())])?;
    if let Some(notice) = removed.notice(*due.numbers.end(), now) {
        insert(connection, &[(due.recipient, Arc::new(notice))])?;
    }
    Ok(removed.stepped())
}

fn forget(connection: &mut Connection, after: Key, before: u64) -> Result<Stepped, Failure> {
    let (recipient, after) = (after.0.0, column(after.1));
    let end = connection.row(statements::EXPIRED_END, &[&recipient, &after, &(ROWS - 1)])?;
    let end: Option<Key> = match &end {
        Some(row) => Some((UserId(get(row, 0)?), number(row, 1)?)),
        None => None,
    };
    let (last, last_number) = end.map_or((i64::MAX, i64::MAX), |(recipient, number)| {
        (recipient.0, column(number))
    });
    connection.execute(
        statements::FORGET_EXPIRED,
        &[&recipient, &after, &last, &last_number, &column(before)],
    )?;
    Ok(Stepped::Forgotten(end))
}
