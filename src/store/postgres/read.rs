//! The reads, one function for each. Each is one statement, and so one view of the database.

use std::collections::BTreeMap;

use super::connection::Connection;
use super::failure::Failure;
use super::statements;
use super::values::{
    ENVELOPE, NOTICE, PLAIN, bytes, bytes_or_none, column, get, identity, message, name, number,
    number_or_none, place,
};
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::request::KdfParams;
use crate::store::{
    Account, Flags, Message, Page, PageBounds, Place, SearchHit, Summary, Tally, UserId,
};

pub(super) fn account(
    connection: &mut Connection,
    wanted: &UserName,
) -> Result<Option<Account>, Failure> {
    let Some(row) = connection.row(statements::ACCOUNT, &[&wanted.as_str()])? else {
        return Ok(None);
    };
    Ok(Some(Account {
        id: UserId(get(&row, 0)?),
        name: *wanted,
        kdf: KdfParams {
            salt: ByteArray(bytes(&row, 1)?),
            memory_kib: number(&row, 2)?,
            passes: number(&row, 3)?,
            lanes: number(&row, 4)?,
        },
        login_key: ByteArray(bytes(&row, 5)?),
        logins: number(&row, 6)?,
        last_seen: number_or_none(&row, 7)?,
        flags: Flags {
            listed: get(&row, 8)?,
            presence: get(&row, 9)?,
            refuse_unencrypted: get(&row, 10)?,
        },
        identity: identity(&row, 11)?,
        signed_prekey: number_or_none(&row, 13)?,
        disabled: get(&row, 14)?,
        one_time: number(&row, 15)?,
        verifier: bytes_or_none(&row, 16)?.map(ByteArray),
    }))
}

pub(super) fn search(
    connection: &mut Connection,
    asker: UserId,
    prefix: &str,
    after: Option<&UserName>,
    limit: usize,
) -> Result<Vec<SearchHit>, Failure> {
    let after = after.map_or("", UserName::as_str);
    let limit = column(limit as u64);
    let rows = connection.rows(statements::SEARCH, &[&prefix, &after, &limit, &asker.0])?;
    rows.iter()
        .map(|row| {
            Ok(SearchHit {
                name: name(row, 0)?,
                last_seen: number_or_none(row, 1)?,
                presence: get(row, 2)?,
                user: UserId(get(row, 3)?),
            })
        })
        .collect()
}

pub(super) fn blocks(
    connection: &mut Connection,
    user: UserId,
    whom: UserId,
) -> Result<bool, Failure> {
    let row = connection.row(statements::BLOCKS, &[&user.0, &whom.0])?;
    Ok(row.is_some())
}

pub(super) fn blocked(connection: &mut Connection, user: UserId) -> Result<Vec<UserName>, Failure> {
    let rows = connection.rows(statements::BLOCKED, &[&user.0])?;
    rows.iter().map(|row| name(row, 0)).collect()
}

pub(super) fn summary(connection: &mut Connection, recipient: UserId) -> Result<Summary, Failure> {
    // New mail numbered behind such a number would never be delivered.
    const END: u64 = 1 << 62;
    let mut last = 0;
    let mut tallies: BTreeMap<UserId, Tally> = BTreeMap::new();
    for row in connection.rows(statements::SIZES, &[&recipient.0])? {
        let tally = tallies.entry(UserId(get(&row, 0)?)).or_default();
        let messages: u64 = number(&row, 2)?;
        match get::<i16>(&row, 1)? {
            ENVELOPE => tally.envelopes += messages,
            PLAIN => tally.plain += messages,
            NOTICE => tally.notices += messages,
            _ => return Err(Failure::Value("the kind of a message")),
        }
        tally.bytes += number::<u64>(&row, 3)?;
        let (least, greatest): (u64, u64) = (number(&row, 4)?, number(&row, 5)?);
        if least == 0 || greatest >= END {
            return Err(Failure::Value("the number of a message"));
        }
        last = last.max(greatest);
    }
    let tallies = tallies.into_iter().collect();
    Ok(Summary { last, tallies })
}

pub(super) fn page(
    connection: &mut Connection,
    recipient: UserId,
    bounds: PageBounds,
) -> Result<Page, Failure> {
    let least_kind = if bounds.envelopes { ENVELOPE } else { PLAIN };
    let rows = connection.rows(
        statements::PAGE,
        &[
            &recipient.0,
            &column(bounds.after),
            &column(bounds.before),
            &least_kind,
            &column(bounds.rows as u64),
            &column(bounds.messages as u64),
            &column(bounds.bytes as u64),
        ],
    )?;
    let mut page = Page::default();
    let mut bytes = 0;
    for row in &rows {
        page.end = number(row, 0)?;
        if get::<i16>(row, 4)? >= least_kind {
            let message = message(row)?;
            bytes += message.body.len();
            page.messages.push(message);
        }
    }
    page.complete =
        rows.len() < bounds.rows && page.messages.len() < bounds.messages && bytes < bounds.bytes;
    Ok(page)
}

pub(super) fn stored(
    connection: &mut Connection,
    recipient: UserId,
    at: u64,
) -> Result<Option<Message>, Failure> {
    let row = connection.row(statements::MESSAGE, &[&recipient.0, &column(at)])?;
    row.as_ref().map(message).transpose()
}

pub(super) fn places(
    connection: &mut Connection,
    recipient: UserId,
    numbers: &[u64],
) -> Result<Vec<Place>, Failure> {
    let numbers: Vec<i64> = numbers.iter().copied().map(column).collect();
    let rows = connection.rows(statements::PLACES, &[&recipient.0, &numbers])?;
    rows.iter().map(place).collect()
}

pub(super) fn places_after(
    connection: &mut Connection,
    recipient: UserId,
    after: u64,
    limit: usize,
) -> Result<Vec<Place>, Failure> {
    let limit = column(limit as u64);
    let rows = connection.rows(
        statements::PLACES_AFTER,
        &[&recipient.0, &column(after), &limit],
    )?;
    rows.iter().map(place).collect()
}

/// One of the server's own values.
pub(super) fn value(connection: &mut Connection, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let row = connection.row(statements::FIND_VALUE, &[&key])?;
    row.as_ref().map(|row| get(row, 0)).transpose()
}

/// Deleted accounts whose mail was not yet deleted when the last server ended.
pub(super) fn deleted_with_mail(connection: &mut Connection) -> Result<Vec<UserId>, Failure> {
    let rows = connection.rows(statements::DELETED_WITH_MAIL, &[])?;
    rows.iter().map(|row| get(row, 0).map(UserId)).collect()
}
