//! What only an operator's commands, a reset or an invitation need: its reads, and its changes
//! within the one transaction that writes.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::{self, name, time};
use super::statements;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::reply::Succession;
use crate::store::successions;
use crate::store::successions::Successions;
use crate::store::{
    Ban, Changed, Invitation, ListedAccount, ListedInvitation, NewLogin, REMEMBERED, Reset, UserId,
};

pub(super) fn accounts(
    connection: &Connection,
    after: Option<&UserName>,
    limit: usize,
) -> rusqlite::Result<Vec<ListedAccount>> {
    let mut statement = connection.prepare_cached(statements::ACCOUNTS)?;
    let after = after.map_or("", UserName::as_str);
    let rows = statement.query_map(params![after, limit as i64], listed)?;
    rows.collect()
}

pub(super) fn listed_account(
    connection: &Connection,
    name: &UserName,
) -> rusqlite::Result<Option<ListedAccount>> {
    connection
        .prepare_cached(statements::LISTED_ACCOUNT)?
        .query_row([name.as_str()], listed)
        .optional()
}

fn listed(row: &Row<'_>) -> rusqlite::Result<ListedAccount> {
    Ok(ListedAccount {
        id: UserId(row.get(0)?),
        name: name(row, 1)?,
        created: row.get::<_, i64>(2)? as u64,
        deleted: row.get(3)?,
        disabled: row.get(4)?,
        logins: row.get::<_, i64>(5)? as u64,
        last_seen: time(row, 6)?,
        has_keys: row.get(7)?,
        reset_until: time(row, 8)?,
        is_unclaimed: row.get::<_, Option<bool>>(9)? == Some(true),
    })
}

pub(super) fn reset(connection: &Connection, user: UserId) -> rusqlite::Result<Option<Reset>> {
    connection
        .prepare_cached(statements::FIND_RESET)?
        .query_row([user.0], |row| {
            Ok(Reset {
                key: ByteArray(row.get(0)?),
                expires: row.get::<_, i64>(1)? as u64,
            })
        })
        .optional()
}

pub(super) fn invitations(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<ListedInvitation>> {
    let mut statement = connection.prepare_cached(statements::INVITATIONS)?;
    let rows = statement.query_map(params![after, limit as i64], |row| {
        let inviter = match row.get::<_, Option<String>>(1)? {
            Some(_) => Some(name(row, 1)?),
            None => None,
        };
        Ok(ListedInvitation {
            id: row.get(0)?,
            inviter,
            invitation: Invitation {
                code: ByteArray(row.get(2)?),
                inviter: UserId(row.get(3)?),
                created: row.get::<_, i64>(4)? as u64,
                expires: row.get::<_, i64>(5)? as u64,
                uses: row.get(6)?,
            },
        })
    })?;
    rows.collect()
}

pub(super) fn bans(connection: &Connection) -> rusqlite::Result<Vec<Ban>> {
    let mut statement = connection.prepare_cached(statements::BANS)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    rows.collect()
}

pub(super) fn successions(connection: &Connection) -> rusqlite::Result<Successions> {
    let value = read::value(connection, successions::KEY)?;
    Successions::parse(value.as_deref())
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error)))
}

pub(super) fn announce(
    transaction: &Transaction<'_>,
    step: &Succession,
) -> rusqlite::Result<Changed> {
    let mut known = successions(transaction)?;
    known.announce(step);
    set_successions(transaction, &known)
}

pub(super) fn end_succession(transaction: &Transaction<'_>) -> rusqlite::Result<Changed> {
    let mut known = successions(transaction)?;
    match known.end() {
        None => Ok(Changed::Unknown),
        Some(_) => set_successions(transaction, &known),
    }
}

fn set_successions(
    transaction: &Transaction<'_>,
    known: &Successions,
) -> rusqlite::Result<Changed> {
    let value = known
        .to_value()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    transaction.execute(statements::SET_VALUE, (successions::KEY, &value))?;
    Ok(Changed::Done)
}

/// Replaces a login key with the one that it has proven; `false` if it is another by this time.
pub(super) fn set_login(transaction: &Transaction<'_>, new: &NewLogin) -> rusqlite::Result<bool> {
    let set = transaction.execute(
        statements::SET_LOGIN,
        params![
            new.user.0,
            new.kdf.salt.0,
            new.kdf.memory_kib,
            new.kdf.passes,
            new.kdf.lanes,
            new.login_key.0,
            new.proven.0
        ],
    )?;
    Ok(set > 0)
}

pub(super) fn begin_reset(
    transaction: &Transaction<'_>,
    user: UserId,
    reset: &Reset,
) -> rusqlite::Result<Changed> {
    if transaction.execute(statements::TAKE_LOGIN, [user.0])? == 0 {
        return Ok(Changed::Unknown);
    }
    transaction.execute(statements::FORGET_VERIFIER, [user.0])?;
    let values = params![user.0, reset.key.0, reset.expires as i64];
    transaction.execute(statements::SET_RESET, values)?;
    Ok(Changed::Done)
}

pub(super) fn finish_reset(
    transaction: &Transaction<'_>,
    new: &NewLogin,
    now: u64,
) -> rusqlite::Result<Changed> {
    let found = reset(transaction, new.user)?;
    let Some(found) = found.filter(|found| found.key == new.proven) else {
        return Ok(Changed::Unknown);
    };
    if found.expires < now {
        return Ok(Changed::Expired);
    }
    let taken = NewLogin {
        proven: ByteArray([0; 32]),
        ..*new
    };
    if !set_login(transaction, &taken)? {
        return Ok(Changed::Unknown);
    }
    transaction.execute(statements::DROP_RESET, [new.user.0])?;
    Ok(Changed::Done)
}

pub(super) fn claim(transaction: &Transaction<'_>, new: &NewLogin) -> rusqlite::Result<Changed> {
    let values = params![new.user.0, new.proven.0];
    if transaction.execute(statements::USE_VERIFIER, values)? == 0 {
        return Ok(Changed::OtherLogin);
    }
    let taken = NewLogin {
        proven: ByteArray([0; 32]),
        ..*new
    };
    Ok(match set_login(transaction, &taken)? {
        true => Changed::Done,
        false => Changed::OtherLogin,
    })
}

pub(super) fn disable(
    transaction: &Transaction<'_>,
    user: UserId,
    disabled: bool,
) -> rusqlite::Result<Changed> {
    match transaction.execute(statements::DISABLE, params![user.0, disabled])? {
        0 => Ok(Changed::Unknown),
        _ => Ok(Changed::Done),
    }
}

/// Uses up an invitation; `None` if it works, and otherwise why it does not.
pub(super) fn use_invitation(
    transaction: &Transaction<'_>,
    code: &ByteArray<32>,
    now: u64,
) -> rusqlite::Result<Option<Changed>> {
    let found: Option<(i64, i64)> = transaction
        .prepare_cached(statements::FIND_INVITATION)?
        .query_row([code.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        None => return Ok(Some(Changed::Unknown)),
        Some((0, _)) => return Ok(Some(Changed::UsedUp)),
        Some((_, expires)) if (expires as u64) < now => return Ok(Some(Changed::Expired)),
        Some(_) => {}
    }
    transaction.execute(statements::USE_INVITATION, [code.0])?;
    Ok(None)
}

pub(super) fn invite(
    transaction: &Transaction<'_>,
    new: &Invitation,
    most: u32,
) -> rusqlite::Result<Changed> {
    let (inviter, now) = (new.inviter.0, new.created);
    let forgotten = now.saturating_sub(REMEMBERED) as i64;
    transaction.execute(statements::FORGET_INVITATIONS, params![inviter, forgotten])?;
    let open: u32 = transaction
        .prepare_cached(statements::COUNT_INVITATIONS)?
        .query_row(params![inviter, now as i64], |row| row.get(0))?;
    if open >= most {
        return Ok(Changed::UsedUp);
    }
    transaction.execute(
        statements::INVITE,
        params![
            new.code.0,
            inviter,
            now as i64,
            new.expires as i64,
            new.uses
        ],
    )?;
    Ok(Changed::Invited(transaction.last_insert_rowid()))
}

pub(super) fn revoke(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Changed> {
    found(transaction.execute(statements::REVOKE, [id])?)
}

pub(super) fn ban(
    transaction: &Transaction<'_>,
    network: &str,
    at: u64,
) -> rusqlite::Result<Changed> {
    transaction.execute(statements::BAN, params![network, at as i64])?;
    Ok(Changed::Done)
}

pub(super) fn lift_ban(transaction: &Transaction<'_>, network: &str) -> rusqlite::Result<Changed> {
    found(transaction.execute(statements::LIFT_BAN, [network])?)
}

fn found(rows: usize) -> rusqlite::Result<Changed> {
    Ok(match rows {
        0 => Changed::Unknown,
        _ => Changed::Done,
    })
}
