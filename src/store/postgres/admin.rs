//! What only an operator's commands, a reset or an invitation need: its reads, and its changes
//! within the one transaction that writes.

use postgres::Row;
use postgres::types::ToSql;

use super::connection::Connection;
use super::failure::Failure;
use super::statements;
use super::values::{bytes, column, get, name, number, number_or_none};
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::store::{
    Ban, Changed, Invitation, ListedAccount, ListedInvitation, NewLogin, REMEMBERED, Reset, UserId,
};

pub(super) fn accounts(
    connection: &mut Connection,
    after: Option<&UserName>,
    limit: usize,
) -> Result<Vec<ListedAccount>, Failure> {
    let after = after.map_or("", UserName::as_str);
    let rows = connection.rows(statements::ACCOUNTS, &[&after, &column(limit as u64)])?;
    rows.iter().map(listed).collect()
}

pub(super) fn listed_account(
    connection: &mut Connection,
    wanted: &UserName,
) -> Result<Option<ListedAccount>, Failure> {
    let row = connection.row(statements::LISTED_ACCOUNT, &[&wanted.as_str()])?;
    row.as_ref().map(listed).transpose()
}

fn listed(row: &Row) -> Result<ListedAccount, Failure> {
    Ok(ListedAccount {
        id: UserId(get(row, 0)?),
        name: name(row, 1)?,
        created: number(row, 2)?,
        deleted: get(row, 3)?,
        disabled: get(row, 4)?,
        logins: number(row, 5)?,
        last_seen: number_or_none(row, 6)?,
        has_keys: get(row, 7)?,
        reset_until: number_or_none(row, 8)?,
        is_unclaimed: get::<Option<bool>>(row, 9)? == Some(true),
    })
}

pub(super) fn reset(connection: &mut Connection, user: UserId) -> Result<Option<Reset>, Failure> {
    let Some(row) = connection.row(statements::FIND_RESET, &[&user.0])? else {
        return Ok(None);
    };
    Ok(Some(Reset {
        key: ByteArray(bytes(&row, 0)?),
        expires: number(&row, 1)?,
    }))
}

pub(super) fn invitations(
    connection: &mut Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<ListedInvitation>, Failure> {
    let rows = connection.rows(statements::INVITATIONS, &[&after, &column(limit as u64)])?;
    rows.iter()
        .map(|row| {
            let inviter = match get::<Option<&str>>(row, 1)? {
                Some(_) => Some(name(row, 1)?),
                None => None,
            };
            Ok(ListedInvitation {
                id: get(row, 0)?,
                inviter,
                invitation: Invitation {
                    code: ByteArray(bytes(row, 2)?),
                    inviter: UserId(get(row, 3)?),
                    created: number(row, 4)?,
                    expires: number(row, 5)?,
                    uses: number(row, 6)?,
                },
            })
        })
        .collect()
}

pub(super) fn bans(connection: &mut Connection) -> Result<Vec<Ban>, Failure> {
    let rows = connection.rows(statements::BANS, &[])?;
    rows.iter()
        .map(|row| Ok((get(row, 0)?, number(row, 1)?)))
        .collect()
}

/// Replaces a login key with the one that it has proven; `false` if it is another by this time.
pub(super) fn set_login(connection: &mut Connection, new: &NewLogin) -> Result<bool, Failure> {
    let set = connection.execute(
        statements::SET_LOGIN,
        &[
            &new.user.0,
            &&new.kdf.salt.0[..],
            &i64::from(new.kdf.memory_kib),
            &i64::from(new.kdf.passes),
            &i64::from(new.kdf.lanes),
            &&new.login_key.0[..],
            &&new.proven.0[..],
        ],
    )?;
    Ok(set > 0)
}

pub(super) fn begin_reset(
    connection: &mut Connection,
    user: UserId,
    reset: &Reset,
) -> Result<Changed, Failure> {
    if connection.execute(statements::TAKE_LOGIN, &[&user.0])? == 0 {
        return Ok(Changed::Unknown);
    }
    connection.execute(
        statements::SET_RESET,
        &[&user.0, &&reset.key.0[..], &column(reset.expires)],
    )?;
    connection.execute(statements::FORGET_VERIFIER, &[&user.0])?;
    Ok(Changed::Done)
}

pub(super) fn finish_reset(
    connection: &mut Connection,
    new: &NewLogin,
    now: u64,
) -> Result<Changed, Failure> {
    let found = reset(connection, new.user)?;
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
    if !set_login(connection, &taken)? {
        return Ok(Changed::Unknown);
    }
    connection.execute(statements::DROP_RESET, &[&new.user.0])?;
    Ok(Changed::Done)
}

/// Replaces the login key of an imported account with the verifier that was proven.
pub(super) fn claim(connection: &mut Connection, new: &NewLogin) -> Result<Changed, Failure> {
    let used = [&new.user.0 as &(dyn ToSql + Sync), &&new.proven.0[..]];
    if connection.execute(statements::USE_VERIFIER, &used)? == 0 {
        return Ok(Changed::OtherLogin);
    }
    let taken = NewLogin {
        proven: ByteArray([0; 32]),
        ..*new
    };
    Ok(match set_login(connection, &taken)? {
        true => Changed::Done,
        false => Changed::OtherLogin,
    })
}

pub(super) fn disable(
    connection: &mut Connection,
    user: UserId,
    disabled: bool,
) -> Result<Changed, Failure> {
    connection
        .execute(statements::DISABLE, &[&user.0, &disabled])
        .map(found)
}

/// Uses up an invitation; `None` if it works, and otherwise why it does not.
pub(super) fn use_invitation(
    connection: &mut Connection,
    code: &ByteArray<32>,
    now: u64,
) -> Result<Option<Changed>, Failure> {
    let Some(row) = connection.row(statements::FIND_INVITATION, &[&&code.0[..]])? else {
        return Ok(Some(Changed::Unknown));
    };
    if number::<u64>(&row, 0)? == 0 {
        return Ok(Some(Changed::UsedUp));
    }
    if number::<u64>(&row, 1)? < now {
        return Ok(Some(Changed::Expired));
    }
    connection.execute(statements::USE_INVITATION, &[&&code.0[..]])?;
    Ok(None)
}

pub(super) fn invite(
    connection: &mut Connection,
    new: &Invitation,
    most: u32,
) -> Result<Changed, Failure> {
    let (inviter, now) = (new.inviter.0, column(new.created));
    let forgotten = column(new.created.saturating_sub(REMEMBERED));
    connection.execute(statements::FORGET_INVITATIONS, &[&inviter, &forgotten])?;
    let open = connection.row(statements::COUNT_INVITATIONS, &[&inviter, &now])?;
    let open: u64 = open.map_or(Ok(0), |row| number(&row, 0))?;
    if open >= u64::from(most) {
        return Ok(Changed::UsedUp);
    }
    let row = connection.row(
        statements::INVITE,
        &[
            &&new.code.0[..],
            &inviter,
            &now,
            &column(new.expires),
            &i64::from(new.uses),
        ],
    )?;
    let id = row.map_or(Ok(0), |row| get(&row, 0))?;
    Ok(Changed::Invited(id))
}

pub(super) fn revoke(connection: &mut Connection, id: i64) -> Result<Changed, Failure> {
    connection.execute(statements::REVOKE, &[&id]).map(found)
}

pub(super) fn ban(connection: &mut Connection, network: &str, at: u64) -> Result<Changed, Failure> {
    connection.execute(statements::BAN, &[&network, &column(at)])?;
    Ok(Changed::Done)
}

pub(super) fn lift_ban(connection: &mut Connection, network: &str) -> Result<Changed, Failure> {
    connection
        .execute(statements::LIFT_BAN, &[&network])
        .map(found)
}

fn found(rows: u64) -> Changed {
    match rows {
        0 => Changed::Unknown,
        _ => Changed::Done,
    }
}
