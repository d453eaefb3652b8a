//! The reads, one function for each. Each runs on a reading connection and ends its
//! implicit transaction before it returns.

use std::collections::BTreeMap;

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{is_damage, statements};
use crate::protocol::ids::{Blob, ByteArray, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::request::{Body, Identity, KdfParams, Sender};
use crate::store::{
    Account, Flags, Message, Page, PageBounds, Place, SearchHit, Summary, Tally, UserId,
};

/// `mail.kind` of an envelope.
pub(super) const ENVELOPE: i64 = 0;
/// `mail.kind` of an unencrypted text.
pub(super) const PLAIN: i64 = 1;
/// `mail.kind` of a notice.
pub(super) const NOTICE: i64 = 2;

pub(super) fn account(
    connection: &Connection,
    name: &UserName,
) -> rusqlite::Result<Option<Account>> {
    let mut statement = connection.prepare_cached(statements::ACCOUNT)?;
    let account = |row: &Row<'_>| {
        Ok(Account {
            id: UserId(row.get(0)?),
            name: *name,
            kdf: KdfParams {
                salt: ByteArray(row.get(1)?),
                memory_kib: row.get(2)?,
                passes: row.get(3)?,
                lanes: row.get(4)?,
            },
            login_key: ByteArray(row.get(5)?),
            logins: row.get::<_, i64>(6)? as u64,
            last_seen: time(row, 7)?,
            flags: Flags {
                listed: row.get(8)?,
                presence: row.get(9)?,
                refuse_unencrypted: row.get(10)?,
            },
            identity: identity(row, 11)?,
            signed_prekey: row.get(13)?,
            one_time: 0,
            disabled: row.get(14)?,
            verifier: row.get::<_, Option<[u8; 32]>>(15)?.map(ByteArray),
        })
    };
    let found = statement.query_row([name.as_str()], account).optional()?;
    let Some(mut account) = found else {
        return Ok(None);
    };
    account.one_time = match count_prekeys(connection, account.id) {
        // Damaged prekeys are useless, but they must not keep their owner from the mail.
        Err(error) if is_damage(&error) => 0,
        counted => counted?,
    };
    Ok(Some(account))
}

/// How many one-time prekeys an account has left.
pub(super) fn count_prekeys(connection: &Connection, user: UserId) -> rusqlite::Result<u32> {
    connection
        .prepare_cached(statements::COUNT_PREKEYS)?
        .query_row([user.0], |row| row.get(0))
}

/// The identity in the column `first` and the one after it.
pub(super) fn identity(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Identity>> {
    let signing: Option<[u8; 32]> = row.get(first)?;
    let dh: Option<[u8; 32]> = row.get(first + 1)?;
    Ok(signing.zip(dh).map(|(signing, dh)| Identity {
        signing: ByteArray(signing),
        dh: ByteArray(dh),
    }))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|at| at as u64))
}

pub(super) fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<UserName> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| {
        FromSqlError::Other(Box::<crate::protocol::name::NameError>::new(error)).into()
    })
}

pub(super) fn blocks(
    connection: &Connection,
    user: UserId,
    whom: UserId,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(statements::BLOCKS)?
        .exists(params![user.0, whom.0])
}

pub(super) fn search(
    connection: &Connection,
    asker: UserId,
    prefix: &str,
    after: Option<&UserName>,
    limit: usize,
) -> rusqlite::Result<Vec<SearchHit>> {
    let mut statement = connection.prepare_cached(statements::SEARCH)?;
    let rows = statement.query_map(
        params![
            prefix,
            after.map_or("", UserName::as_str),
            limit as i64,
            asker.0
        ],
        |row| {
            Ok(SearchHit {
                name: name(row, 0)?,
                last_seen: time(row, 1)?,
                presence: row.get(2)?,
                user: UserId(row.get(3)?),
            })
        },
    )?;
    rows.collect()
}

pub(super) fn blocked(connection: &Connection, user: UserId) -> rusqlite::Result<Vec<UserName>> {
    let mut statement = connection.prepare_cached(statements::BLOCKED)?;
    let rows = statement.query_map([user.0], |row| match row.get_ref(0)? {
        ValueRef::Null => Ok(None), // The account was deleted.
        _ => name(row, 0).map(Some),
    })?;
    let names = rows.filter_map(Result::transpose);
    let mut names = names.collect::<rusqlite::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// A number that a mailbox can have given: it counts from 1, and would take longer than anybody
/// waits to reach the end. Another one is damage, and new mail numbered behind it would never
/// be delivered.
fn possible_number(number: i64) -> rusqlite::Result<u64> {
    const END: i64 = 1 << 62;
    match u64::try_from(number) {
        Ok(possible) if (1..END).contains(&number) => Ok(possible),
        _ => Err(FromSqlError::OutOfRange(number).into()),
    }
}

pub(super) fn summary(connection: &Connection, recipient: UserId) -> rusqlite::Result<Summary> {
    let mut statement = connection.prepare_cached(statements::SIZES)?;
    let mut rows = statement.query([recipient.0])?;
    let mut last: u64 = 0;
    let mut tallies: BTreeMap<UserId, Tally> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let tally = tallies.entry(UserId(row.get(0)?)).or_default();
        let of_kind = match row.get(1)? {
            ENVELOPE => &mut tally.envelopes,
            PLAIN => &mut tally.plain,
            NOTICE => &mut tally.notices,
            kind => return Err(FromSqlError::OutOfRange(kind).into()),
        };
        *of_kind += 1;
        tally.bytes += row.get::<_, i64>(2)? as u64;
        last = last.max(possible_number(row.get(3)?)?);
    }
    let tallies = tallies.into_iter().collect();
    Ok(Summary { last, tallies })
}

pub(super) fn page(
    connection: &Connection,
    recipient: UserId,
    bounds: PageBounds,
) -> rusqlite::Result<Page> {
    let mut statement = connection.prepare_cached(statements::PAGE)?;
    let least_kind = if bounds.envelopes { ENVELOPE } else { PLAIN };
    let mut rows = statement.query(params![
        recipient.0,
        bounds.after as i64,
        // Numbers are SQLite integers: below 2^63.
        i64::try_from(bounds.before).unwrap_or(i64::MAX),
        least_kind,
        bounds.rows as i64
    ])?;
    let mut page = Page::default();
    let mut bytes = 0;
    let mut looked_at = 0;
    while page.messages.len() < bounds.messages && bytes < bounds.bytes {
        let Some(row) = rows.next()? else {
            page.complete = looked_at < bounds.rows;
            return Ok(page);
        };
        looked_at += 1;
        page.end = row.get::<_, i64>(0)? as u64;
        if row.get::<_, i64>(4)? < least_kind {
            continue;
        }
        let message = message(row)?;
        bytes += message.body.len();
        page.messages.push(message);
    }
    Ok(page)
}

pub(super) fn stored(
    connection: &Connection,
    recipient: UserId,
    number: u64,
) -> rusqlite::Result<Option<Message>> {
    connection
        .prepare_cached(statements::MESSAGE)?
        .query_row(params![recipient.0, number as i64], message)
        .optional()
}

/// Places by their numbers, as a statement finds each.
pub(super) fn places(
    connection: &Connection,
    statement: &str,
    recipient: UserId,
    numbers: &[u64],
) -> rusqlite::Result<Vec<Place>> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut found = Vec::new();
    for number in numbers {
        let one = statement.query_row(params![recipient.0, *number as i64], place);
        found.extend(one.optional()?);
    }
    Ok(found)
}

/// Places behind a number, as a statement finds them.
pub(super) fn places_after(
    connection: &Connection,
    statement: &str,
    recipient: UserId,
    number: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Place>> {
    let mut statement = connection.prepare_cached(statement)?;
    let rows = statement.query_map(params![recipient.0, number as i64, limit as i64], place)?;
    rows.collect()
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place {
        number: row.get::<_, i64>(0)? as u64,
        sender: UserId(row.get(1)?),
        mid: MessageId(row.get(2)?),
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let kind: i64 = row.get(4)?;
    let bytes = match row.get_ref(5)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
        _ => return Err(FromSqlError::InvalidType.into()),
    };
    let body = if kind == ENVELOPE {
        Body::Envelope(Blob(bytes.into()))
    } else {
        Body::Plain(String::from_utf8_lossy(bytes).into())
    };
    Ok(Message {
        number: row.get::<_, i64>(0)? as u64,
        sender: UserId(row.get(1)?),
        from: match kind {
            NOTICE => Sender::Server,
            _ => Sender::User(name(row, 6)?),
        },
        mid: MessageId(row.get(2)?),
        at: row.get::<_, i64>(3)? as u64,
        body,
    })
}

/// Reads the first message of all mailboxes or, if that fails, the last one. If both fail,
/// the damage belongs to no single mailbox.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    let read = |statement| connection.query_row(statement, [], |_| Ok(())).optional();
    read(statements::FIRST_MAIL)
        .or_else(|_| read(statements::LAST_MAIL))
        .map(drop)
}

/// One of the server's own values.
pub(super) fn value(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .query_row(statements::FIND_VALUE, [key], |row| row.get(0))
        .optional()
}
