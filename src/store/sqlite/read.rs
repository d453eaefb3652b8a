//! The reads, one function a fact. Each runs on a reading connection and ends
//! its implicit transaction before it returns.

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::protocol::binary::{Blob, Fixed, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::request::{Body, Identity, Kdf, Sender};
use crate::store::{Account, Flags, Match, Message, Page, PageBounds, Summary, Tally, UserId};

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
    let mut statement = connection.prepare_cached(
        "SELECT id, salt, memory_kib, passes, lanes, login_key, logins, last_seen,
                listed, presence, refuse_unencrypted,
                identity_signing, identity_dh, prekey_id,
                (SELECT count(*) FROM one_time_prekeys WHERE user = users.id)
         FROM users WHERE name = ?1 AND deleted = 0",
    )?;
    let account = |row: &Row<'_>| {
        Ok(Account {
            id: UserId(row.get(0)?),
            name: *name,
            kdf: Kdf {
                salt: Fixed(row.get(1)?),
                memory_kib: row.get(2)?,
                passes: row.get(3)?,
                lanes: row.get(4)?,
            },
            login_key: Fixed(row.get(5)?),
            logins: row.get::<_, i64>(6)? as u64,
            last_seen: time(row, 7)?,
            flags: Flags {
                listed: row.get(8)?,
                presence: row.get(9)?,
                refuse_unencrypted: row.get(10)?,
            },
            identity: identity(row, 11)?,
            signed_prekey: row.get(13)?,
            one_time: row.get(14)?,
        })
    };
    statement.query_row([name.as_str()], account).optional()
}

/// The identity in two columns from `first` on.
pub(super) fn identity(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Identity>> {
    let signing: Option<[u8; 32]> = row.get(first)?;
    let dh: Option<[u8; 32]> = row.get(first + 1)?;
    Ok(signing.zip(dh).map(|(signing, dh)| Identity {
        signing: Fixed(signing),
        dh: Fixed(dh),
    }))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|at| at as u64))
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<UserName> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| {
        FromSqlError::Other(Box::<crate::protocol::name::NameError>::new(error)).into()
    })
}

pub(super) fn search(
    connection: &Connection,
    prefix: &str,
    after: Option<&UserName>,
    limit: usize,
) -> rusqlite::Result<Vec<Match>> {
    // A range on the unique index. '{' follows 'z', the highest character of a name.
    let mut statement = connection.prepare_cached(
        "SELECT name, presence, last_seen FROM users
         WHERE name >= ?1 AND name < ?1 || '{' AND name > ?2 AND listed = 1 AND deleted = 0
         ORDER BY name LIMIT ?3",
    )?;
    let rows = statement.query_map(
        params![prefix, after.map_or("", UserName::as_str), limit as i64],
        |row| {
            Ok(Match {
                name: name(row, 0)?,
                presence: row.get(1)?,
                last_seen: time(row, 2)?,
            })
        },
    )?;
    rows.collect()
}

pub(super) fn blocked(connection: &Connection, user: UserId) -> rusqlite::Result<Vec<UserName>> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM blocks JOIN users ON users.id = blocks.blocked
         WHERE blocks.user = ?1 ORDER BY name",
    )?;
    let rows = statement.query_map([user.0], |row| name(row, 0))?;
    rows.collect()
}

pub(super) fn summary(connection: &Connection, recipient: UserId) -> rusqlite::Result<Summary> {
    let mut statement = connection.prepare_cached(
        "SELECT sender, sum(kind = 0), sum(kind = 1), sum(kind = 2), sum(length(body)), max(number)
         FROM mail WHERE recipient = ?1 GROUP BY sender",
    )?;
    let mut rows = statement.query([recipient.0])?;
    let mut summary = Summary::default();
    while let Some(row) = rows.next()? {
        let count = |column| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(column)? as u64);
        let tally = Tally {
            envelopes: count(1)?,
            plain: count(2)?,
            notices: count(3)?,
            bytes: count(4)?,
        };
        summary.tallies.push((UserId(row.get(0)?), tally));
        summary.last = summary.last.max(count(5)?);
    }
    Ok(summary)
}

pub(super) fn page(
    connection: &Connection,
    recipient: UserId,
    bounds: PageBounds,
) -> rusqlite::Result<Page> {
    let mut statement = connection.prepare_cached(
        "SELECT number, sender, id, at, kind, body,
                (SELECT name FROM users WHERE users.id = mail.sender)
         FROM mail WHERE recipient = ?1 AND number > ?2 AND number < ?3 AND kind >= ?4
         ORDER BY number",
    )?;
    let least_kind = if bounds.envelopes { ENVELOPE } else { PLAIN };
    let mut rows = statement.query(params![
        recipient.0,
        bounds.after as i64,
        // Numbers are SQLite integers: below 2^63.
        i64::try_from(bounds.before).unwrap_or(i64::MAX),
        least_kind
    ])?;
    let mut page = Page::default();
    let mut bytes = 0;
    while page.messages.len() < bounds.messages && bytes < bounds.bytes {
        let Some(row) = rows.next()? else {
            page.complete = true;
            return Ok(page);
        };
        let message = message(row)?;
        bytes += message.body.len();
        page.messages.push(message);
    }
    Ok(page)
}

pub(super) fn find(
    connection: &Connection,
    recipient: UserId,
    sender: UserId,
    ids: &[MessageId],
) -> rusqlite::Result<Vec<Message>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, sender, id, at, kind, body,
                (SELECT name FROM users WHERE users.id = mail.sender)
         FROM mail WHERE recipient = ?1 AND sender = ?2 ORDER BY number",
    )?;
    let wanted: std::collections::HashSet<&[u8]> = ids.iter().map(|id| &id.0[..]).collect();
    let mut rows = statement.query(params![recipient.0, sender.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if wanted.contains(row.get_ref(2)?.as_blob()?) {
            found.push(message(row)?);
        }
    }
    Ok(found)
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
        id: MessageId(row.get(2)?),
        at: row.get::<_, i64>(3)? as u64,
        body,
    })
}
