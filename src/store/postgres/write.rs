//! The one transaction that writes.

use super::admin;
use super::connection::Connection;
use super::expiry;
use super::face;
use super::failure::Failure;
use super::homes;
use super::mail::{delete, insert};
use super::purge;
use super::statements;
use super::values::{bytes, bytes_or_none, column, get, identity, number};
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::MAX_ONE_TIME_PREKEYS;
use crate::protocol::reply::Bundle;
use crate::protocol::request::{OneTimePrekey, Publish, SignedPrekey};
use crate::store::homes::RunId;
use crate::store::{Batch, Change, Changed, NewAccount, UserId, VaultGeneration};

/// So many messages of a deleted account go at once.
const SLICE: i64 = 500;

/// Of so many accounts it is forgotten at once when they were last seen.
const SEEN_SLICE: i64 = 1000;

/// A batch of one run of the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbered {
    /// The run.
    pub(super) run: RunId,
    /// The batch's number in it.
    pub(super) batch: i64,
}

/// How a commit failed.
pub(super) enum Undone {
    /// Nothing was done.
    Nothing(Failure),
    /// The connection broke while it was committed. If the batch's number is found, it was done,
    /// with these results.
    Unknown(Vec<Changed>),
}

/// Does all of a batch. After a failure, the transaction may still be open.
pub(super) fn commit(
    connection: &mut Connection,
    numbered: Numbered,
    batch: &Batch,
) -> Result<Vec<Changed>, Undone> {
    let changed = write(connection, numbered, batch).map_err(Undone::Nothing)?;
    match connection.commit() {
        Ok(()) => Ok(changed),
        Err(failure) if failure.is_disconnection() => Err(Undone::Unknown(changed)),
        Err(failure) => Err(Undone::Nothing(failure)),
    }
}

fn write(
    connection: &mut Connection,
    numbered: Numbered,
    batch: &Batch,
) -> Result<Vec<Changed>, Failure> {
    connection.run("BEGIN")?;
    let ours = connection.execute(
        statements::NUMBER_BATCH,
        &[&numbered.run.0, &numbered.batch],
    )?;
    if ours == 0 {
        return Err(Failure::Superseded);
    }
    let mut changed = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        changed.push(apply(connection, numbered, change)?);
    }
    insert(connection, &batch.messages)?;
    delete(connection, &batch.acknowledged)?;
    Ok(changed)
}

fn apply(
    connection: &mut Connection,
    numbered: Numbered,
    change: &Change,
) -> Result<Changed, Failure> {
    match change {
        Change::Register(account) => register(connection, account),
        Change::CountLogin(user, generation) => count_login(connection, *user, *generation),
        Change::Seen(user, at) => {
            connection.execute(statements::SEEN, &[&user.0, &column(*at)])?;
            Ok(Changed::Done)
        }
        Change::ForgetSeen(after, before) => forget_seen(connection, *after, *before),
        Change::Publish(user, keys) => publish(connection, *user, keys),
        Change::ClaimBundle { of, one_time } => claim_bundle(connection, *of, *one_time),
        Change::SetFlags(user, flags) => {
            connection.execute(
                statements::SET_FLAGS,
                &[
                    &user.0,
                    &flags.listed,
                    &flags.presence,
                    &flags.refuse_unencrypted,
                ],
            )?;
            Ok(Changed::Done)
        }
        Change::Block(user, whom, block) => {
            let statement = match block {
                true => statements::BLOCK,
                false => statements::UNBLOCK,
            };
            connection.execute(statement, &[&user.0, &whom.0])?;
            Ok(Changed::Done)
        }
        Change::SetLogin(new) => Ok(match admin::set_login(connection, new)? {
            true => Changed::Done,
            false => Changed::OtherLogin,
        }),
        Change::Reset(user, reset) => admin::begin_reset(connection, *user, reset),
        Change::FinishReset(new, now) => admin::finish_reset(connection, new, *now),
        Change::Claim(new) => admin::claim(connection, new),
        Change::Disable(user, disabled) => admin::disable(connection, *user, *disabled),
        Change::Purge(account, messages, blockers) => {
            purge::purge(connection, *account, messages, blockers)
        }
        Change::Reuse(earlier, account) => reuse(connection, *earlier, account),
        Change::Invite(new, most) => admin::invite(connection, new, *most),
        Change::Revoke(id) => admin::revoke(connection, *id),
        Change::Ban(network, at) => admin::ban(connection, network, *at),
        Change::LiftBan(network) => admin::lift_ban(connection, network),
        Change::Announce(step) => face::announce(connection, step),
        Change::EndSuccession => face::end_succession(connection),
        Change::Expiry(step) => expiry::step(connection, step).map(Changed::Expiry),
        Change::ClaimHome(user) => homes::claim(connection, numbered.run, *user),
        Change::MoveHome(user, to) => homes::pass_on(connection, numbered.run, *user, *to),
        Change::Online(user, online) => homes::set_online(connection, numbered.run, *user, *online),
        Change::Delete { user, proven } => delete_account(connection, *user, proven.as_ref()),
    }
}

fn register(connection: &mut Connection, account: &NewAccount) -> Result<Changed, Failure> {
    let NewAccount {
        name,
        kdf,
        login_key,
        created,
        invitation,
    } = account;
    if let Some(code) = invitation {
        // A name that is taken uses nothing up.
        if admin::listed_account(connection, name)?.is_some() {
            return Ok(Changed::NameTaken);
        }
        if let Some(why) = admin::use_invitation(connection, code, *created)? {
            return Ok(why);
        }
    }
    let inserted = connection.row(
        statements::REGISTER,
        &[
            &name.as_str(),
            &column(*created),
            &&kdf.salt.0[..],
            &i64::from(kdf.memory_kib),
            &i64::from(kdf.passes),
            &i64::from(kdf.lanes),
            &&login_key.0[..],
        ],
    )?;
    Ok(match inserted {
        None => Changed::NameTaken,
        Some(row) => Changed::Registered(UserId(get(&row, 0)?)),
    })
}

fn publish(connection: &mut Connection, user: UserId, keys: &Publish) -> Result<Changed, Failure> {
    let published = match connection.row(statements::IDENTITY, &[&user.0])? {
        Some(row) => identity(&row, 0)?,
        None => None,
    };
    let another = published.is_some_and(|identity| identity != keys.identity);
    if another && !keys.new_identity {
        return Ok(Changed::OtherIdentity);
    }
    connection.execute(
        statements::SET_IDENTITY,
        &[
            &user.0,
            &&keys.identity.signing.0[..],
            &&keys.identity.dh.0[..],
            &i64::from(keys.signed_prekey.id),
            &&keys.signed_prekey.key.0[..],
            &&keys.signed_prekey.signature.0[..],
        ],
    )?;
    // Prekeys of another identity would make new sessions fail.
    if keys.replace || another {
        connection.execute(statements::DROP_PREKEYS, &[&user.0])?;
    }
    // Earlier prekeys make room for the new ones, since their owner may have lost the
    // private halves. The ids say nothing about that: clients draw them at random.
    let new = keys.one_time.iter().take(MAX_ONE_TIME_PREKEYS);
    let room = column((MAX_ONE_TIME_PREKEYS - new.len()) as u64);
    connection.execute(statements::DROP_EARLIER_PREKEYS, &[&user.0, &room])?;
    let (ids, halves): (Vec<i64>, Vec<&[u8]>) = new
        .map(|prekey| (i64::from(prekey.id), &prekey.key.0[..]))
        .unzip();
    connection.execute(statements::ADD_PREKEYS, &[&user.0, &ids, &halves])?;
    Ok(Changed::Published(count_prekeys(connection, user)?))
}

fn count_prekeys(connection: &mut Connection, user: UserId) -> Result<u32, Failure> {
    let row = connection.row(statements::COUNT_PREKEYS, &[&user.0])?;
    row.map_or(Ok(0), |row| number(&row, 0))
}

fn claim_bundle(
    connection: &mut Connection,
    user: UserId,
    one_time: bool,
) -> Result<Changed, Failure> {
    let Some(row) = connection.row(statements::BUNDLE, &[&user.0])? else {
        return Ok(Changed::NoKeys);
    };
    let Some(identity) = identity(&row, 0)? else {
        return Ok(Changed::NoKeys);
    };
    let signed_prekey = SignedPrekey {
        id: number(&row, 2)?,
        key: ByteArray(bytes(&row, 3)?),
        signature: ByteArray(bytes(&row, 4)?),
    };
    let one_time = match one_time {
        true => claim_one_time(connection, user)?,
        false => None,
    };
    let left = match one_time {
        Some(_) => count_prekeys(connection, user)?,
        None => 0,
    };
    let bundle = Bundle {
        identity,
        signed_prekey,
        one_time,
    };
    Ok(Changed::Bundle(Box::new(bundle), left))
}

fn claim_one_time(
    connection: &mut Connection,
    user: UserId,
) -> Result<Option<OneTimePrekey>, Failure> {
    let Some(row) = connection.row(statements::CLAIM_PREKEY, &[&user.0])? else {
        return Ok(None);
    };
    Ok(Some(OneTimePrekey {
        id: number(&row, 0)?,
        key: ByteArray(bytes(&row, 1)?),
    }))
}

fn count_login(
    connection: &mut Connection,
    user: UserId,
    generation: Option<VaultGeneration>,
) -> Result<Changed, Failure> {
    let counted = connection.row(statements::COUNT_LOGIN, &[&user.0])?;
    let logins = counted.map_or(Ok(0), |row| number(&row, 0))?;
    let told = match connection.row(statements::GENERATION, &[&user.0])? {
        Some(row) => Some(VaultGeneration {
            number: number(&row, 0)?,
            proof: bytes_or_none(&row, 1)?.map(ByteArray),
        }),
        None => None,
    };
    let number = |named: Option<VaultGeneration>| named.map(|named| named.number);
    let is_new = number(generation) > number(told);
    if let Some(new) = generation.filter(|_| is_new) {
        let number = column(new.number);
        connection.execute(statements::TELL_GENERATION, &[&user.0, &number])?;
        let proof = new.proof.map(|proof| proof.0);
        let proof = proof.as_ref().map(|proof| &proof[..]);
        connection.execute(statements::TELL_PROOF, &[&user.0, &proof])?;
    }
    Ok(Changed::Login {
        logins,
        vault: told.filter(|_| !is_new),
    })
}

/// Forgets a part, which is bounded by the numbers of accounts.
fn forget_seen(
    connection: &mut Connection,
    after: UserId,
    before: u64,
) -> Result<Changed, Failure> {
    let last = UserId(after.0.saturating_add(SEEN_SLICE));
    connection.execute(
        statements::FORGET_SEEN,
        &[&after.0, &last.0, &column(before)],
    )?;
    let newest = connection.row(statements::NEWEST_ACCOUNT, &[])?;
    let newest: Option<i64> = newest.map_or(Ok(None), |row| get(&row, 0))?;
    Ok(match newest > Some(last.0) {
        true => Changed::LookedUpTo(last),
        false => Changed::Done,
    })
}

/// Gives a deleted account's name to another one.
fn reuse(
    connection: &mut Connection,
    earlier: UserId,
    account: &NewAccount,
) -> Result<Changed, Failure> {
    if connection.execute(statements::FREE_NAME, &[&earlier.0])? == 0 {
        return Ok(Changed::NameTaken);
    }
    for statement in [
        statements::DROP_PREKEYS,
        statements::DROP_GENERATION,
        statements::DROP_PROOF,
        statements::DROP_BLOCKS,
    ] {
        connection.execute(statement, &[&earlier.0])?;
    }
    register(connection, account)
}

fn delete_account(
    connection: &mut Connection,
    user: UserId,
    proven: Option<&ByteArray<32>>,
) -> Result<Changed, Failure> {
    let proven = proven.map(|key| &key.0[..]);
    if connection.execute(statements::EMPTY_ACCOUNT, &[&user.0, &proven])? == 0 {
        return Ok(Changed::OtherLogin);
    }
    for statement in [
        statements::DROP_PREKEYS,
        statements::DROP_GENERATION,
        statements::DROP_PROOF,
        statements::DROP_BLOCKS,
        statements::DROP_RESET,
        statements::FORGET_VERIFIER,
        statements::DROP_INVITATIONS,
    ] {
        connection.execute(statement, &[&user.0])?;
    }
    Ok(Changed::Done)
}

/// Deletes a slice of a deleted account's mail, and returns whether there was any.
pub(super) fn drop_mail(connection: &mut Connection, account: UserId) -> Result<bool, Failure> {
    let last = SLICE - 1;
    Ok(connection.execute(statements::DROP_MAIL, &[&account.0, &last])? > 0)
}
