//! The one transaction that writes.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::admin;
use super::expiry;
use super::journal::{Before, lines_of};
use super::mail::{delete, insert};
use super::purge;
use super::read;
use super::read::{NOTICE, count_prekeys};
use super::reclaim;
use super::statements;
use crate::protocol::ids::ByteArray;
use crate::protocol::limits::MAX_ONE_TIME_PREKEYS;
use crate::protocol::reply::Bundle;
use crate::protocol::request::{OneTimePrekey, Publish, SignedPrekey};
use crate::store::expiry::Step;
use crate::store::homes::{Home, Homes};
use crate::store::journal::Line;
use crate::store::{Batch, Change, Changed, NewAccount, UserId, VaultGeneration};

/// Of so many accounts it is forgotten at once when they were last seen.
const SEEN_SLICE: i64 = 1000;

/// No other server can have the file.
impl Homes for super::Sqlite {}

/// Does all of a batch. Every mailbox is at this server, and its numbers begin at `first_number`. Returns what
/// became of the changes, and what a journal has to have of it, also of imported messages, if there `are_imports`.
pub(super) fn commit(
    connection: &mut Connection,
    batch: &Batch,
    first_number: u64,
    are_imports: bool,
) -> rusqlite::Result<(Vec<Changed>, Vec<Line>)> {
    match batch.changes.iter().any(erases) {
        true => reclaim::erasing(connection, |connection| {
            write(connection, batch, first_number, are_imports)
        }),
        false => write(connection, batch, first_number, are_imports),
    }
}

/// Whether changes have ended something of a person's, of which no byte is to be found later.
pub(super) fn ended_for_good(changes: &[Change], changed: &[Changed]) -> bool {
    changes.iter().zip(changed).any(|(change, changed)| {
        *changed == Changed::Done
            && matches!(
                change,
                Change::Delete { .. } | Change::Purge(..) | Change::Claim(_) | Change::Reset(..)
            )
    })
}

/// Whether a change takes something away that is not to be found in free room afterwards.
pub(super) fn erases(change: &Change) -> bool {
    matches!(
        change,
        Change::Delete { .. }
            | Change::Claim(_)
            | Change::Reset(..)
            | Change::Purge(..)
            | Change::Expiry(Step::Remove(..) | Step::Forget(..))
    )
}

fn write(
    connection: &mut Connection,
    batch: &Batch,
    first_number: u64,
    are_imports: bool,
) -> rusqlite::Result<(Vec<Changed>, Vec<Line>)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = Before::read(&transaction, batch, are_imports);
    let mut changed = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        changed.push(match change {
            Change::ClaimHome(_) => Changed::Home(Home::Here { first_number }),
            change => apply(&transaction, change)?,
        });
    }
    if ended_for_good(&batch.changes, &changed) {
        reclaim::note_erased(&transaction)?;
    }
    let lines = lines_of(&transaction, batch, &changed, before)?;
    insert(&transaction, &batch.messages)?;
    delete(&transaction, &batch.acknowledged)?;
    transaction.commit()?;
    Ok((changed, lines))
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<Changed> {
    match change {
        Change::Register(account) => register(transaction, account),
        Change::CountLogin(user, generation) => count_login(transaction, *user, *generation),
        Change::Seen(user, at) => {
            transaction
                .prepare_cached(statements::SEEN)?
                .execute(params![user.0, *at as i64])?;
            Ok(Changed::Done)
        }
        Change::ForgetSeen(after, before) => forget_seen(transaction, *after, *before),
        Change::Publish(user, keys) => publish(transaction, *user, keys),
        Change::ClaimBundle { of, one_time } => claim_bundle(transaction, *of, *one_time),
        Change::SetFlags(user, flags) => {
            transaction.execute(
                statements::SET_FLAGS,
                params![
                    user.0,
                    flags.listed,
                    flags.presence,
                    flags.refuse_unencrypted
                ],
            )?;
            Ok(Changed::Done)
        }
        Change::Block(user, whom, block) => {
            let statement = match block {
                true => statements::BLOCK,
                false => statements::UNBLOCK,
            };
            transaction.execute(statement, params![user.0, whom.0])?;
            Ok(Changed::Done)
        }
        Change::SetLogin(new) => Ok(match admin::set_login(transaction, new)? {
            true => Changed::Done,
            false => Changed::OtherLogin,
        }),
        Change::Reset(user, reset) => admin::begin_reset(transaction, *user, reset),
        Change::FinishReset(new, now) => admin::finish_reset(transaction, new, *now),
        Change::Claim(new) => admin::claim(transaction, new),
        Change::Disable(user, disabled) => admin::disable(transaction, *user, *disabled),
        Change::Purge(account, messages, blockers) => {
            purge::purge(transaction, *account, messages, blockers)
        }
        Change::Reuse(earlier, account) => reuse(transaction, *earlier, account),
        Change::Invite(new, most) => admin::invite(transaction, new, *most),
        Change::Revoke(id) => admin::revoke(transaction, *id),
        Change::Ban(network, at) => admin::ban(transaction, network, *at),
        Change::LiftBan(network) => admin::lift_ban(transaction, network),
        Change::Announce(step) => admin::announce(transaction, step),
        Change::EndSuccession => admin::end_succession(transaction),
        Change::Expiry(step) => expiry::step(transaction, step).map(Changed::Expiry),
        Change::ClaimHome(_) | Change::MoveHome(..) | Change::Online(..) => Ok(Changed::Done),
        Change::Delete { user, proven } => delete_account(transaction, *user, proven.as_ref()),
    }
}

fn register(transaction: &Transaction<'_>, account: &NewAccount) -> rusqlite::Result<Changed> {
    let NewAccount {
        name,
        kdf,
        login_key,
        created,
        invitation,
    } = account;
    if let Some(code) = invitation {
        // A name that is taken uses nothing up.
        if admin::listed_account(transaction, name)?.is_some() {
            return Ok(Changed::NameTaken);
        }
        if let Some(why) = admin::use_invitation(transaction, code, *created)? {
            return Ok(why);
        }
    }
    let inserted = transaction
        .prepare_cached(statements::REGISTER)?
        .execute(params![
            name.as_str(),
            *created as i64,
            kdf.salt.0,
            kdf.memory_kib,
            kdf.passes,
            kdf.lanes,
            login_key.0
        ])?;
    Ok(match inserted {
        0 => Changed::NameTaken,
        _ => Changed::Registered(UserId(transaction.last_insert_rowid())),
    })
}

/// Forgets a part, which is bounded by the numbers of accounts.
fn forget_seen(
    transaction: &Transaction<'_>,
    after: UserId,
    before: u64,
) -> rusqlite::Result<Changed> {
    let last = UserId(after.0.saturating_add(SEEN_SLICE));
    let values = params![after.0, last.0, before as i64];
    transaction.execute(statements::FORGET_SEEN, values)?;
    let newest: Option<i64> =
        transaction.query_row(statements::NEWEST_ACCOUNT, [], |row| row.get(0))?;
    Ok(match newest > Some(last.0) {
        true => Changed::LookedUpTo(last),
        false => Changed::Done,
    })
}

fn publish(
    transaction: &Transaction<'_>,
    user: UserId,
    keys: &Publish,
) -> rusqlite::Result<Changed> {
    let published = transaction
        .prepare_cached(statements::IDENTITY)?
        .query_row([user.0], |row| read::identity(row, 0))?;
    let another = published.is_some_and(|identity| identity != keys.identity);
    if another && !keys.new_identity {
        return Ok(Changed::OtherIdentity);
    }
    transaction
        .prepare_cached(statements::SET_IDENTITY)?
        .execute(params![
            user.0,
            keys.identity.signing.0,
            keys.identity.dh.0,
            keys.signed_prekey.id,
            keys.signed_prekey.key.0,
            keys.signed_prekey.signature.0
        ])?;
    // Prekeys of another identity would make new sessions fail.
    if keys.replace || another {
        transaction.execute(statements::DROP_PREKEYS, [user.0])?;
    }
    // Earlier prekeys make room for the new ones, since their owner may have lost the
    // private halves. The ids say nothing about that: clients draw them at random.
    let new = keys.one_time.iter().take(MAX_ONE_TIME_PREKEYS);
    let room = MAX_ONE_TIME_PREKEYS - new.len();
    transaction.execute(
        statements::DROP_EARLIER_PREKEYS,
        params![user.0, room as i64],
    )?;
    let mut statement = transaction.prepare_cached(statements::ADD_PREKEY)?;
    for prekey in new {
        statement.execute(params![user.0, prekey.id, prekey.key.0])?;
    }
    Ok(Changed::Published(count_prekeys(transaction, user)?))
}

fn claim_bundle(
    transaction: &Transaction<'_>,
    user: UserId,
    one_time: bool,
) -> rusqlite::Result<Changed> {
    let bundle = transaction
        .prepare_cached(statements::BUNDLE)?
        .query_row([user.0], |row| {
            let prekey = SignedPrekey {
                id: row.get(2)?,
                key: ByteArray(row.get(3)?),
                signature: ByteArray(row.get(4)?),
            };
            Ok(read::identity(row, 0)?.map(|identity| (identity, prekey)))
        })
        .optional()?
        .flatten();
    let Some((identity, signed_prekey)) = bundle else {
        return Ok(Changed::NoKeys);
    };
    let one_time = match one_time {
        true => claim_one_time(transaction, user)?,
        false => None,
    };
    let left = match one_time {
        Some(_) => count_prekeys(transaction, user)?,
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
    transaction: &Transaction<'_>,
    user: UserId,
) -> rusqlite::Result<Option<OneTimePrekey>> {
    transaction
        .prepare_cached(statements::CLAIM_PREKEY)?
        .query_row([user.0], |row| {
            Ok(OneTimePrekey {
                id: row.get(0)?,
                key: ByteArray(row.get(1)?),
            })
        })
        .optional()
}

fn count_login(
    transaction: &Transaction<'_>,
    user: UserId,
    generation: Option<VaultGeneration>,
) -> rusqlite::Result<Changed> {
    let logins: Option<i64> = transaction
        .prepare_cached(statements::COUNT_LOGIN)?
        .query_row([user.0], |row| row.get(0))
        .optional()?;
    let told = transaction
        .prepare_cached(statements::GENERATION)?
        .query_row([user.0], |row| {
            let proof: Option<[u8; 16]> = row.get(1)?;
            Ok(VaultGeneration {
                number: row.get::<_, i64>(0)? as u64,
                proof: proof.map(ByteArray),
            })
        })
        .optional()?;
    let number = |named: Option<VaultGeneration>| named.map(|named| named.number);
    let is_new = number(generation) > number(told);
    if let Some(new) = generation.filter(|_| is_new) {
        // A greater number than SQLite holds is no client's.
        let number = i64::try_from(new.number).unwrap_or(i64::MAX);
        transaction
            .prepare_cached(statements::TELL_GENERATION)?
            .execute((user.0, number))?;
        let proof = new.proof.map(|proof| proof.0);
        transaction
            .prepare_cached(statements::TELL_PROOF)?
            .execute((user.0, proof))?;
    }
    Ok(Changed::Login {
        logins: logins.unwrap_or(0) as u64,
        vault: told.filter(|_| !is_new),
    })
}

/// Gives a deleted account's name to another one.
fn reuse(
    transaction: &Transaction<'_>,
    earlier: UserId,
    account: &NewAccount,
) -> rusqlite::Result<Changed> {
    match release_name(transaction, earlier)? {
        true => register(transaction, account),
        false => Ok(Changed::NameTaken),
    }
}

/// Takes the name from a deleted account, with its keys and its own blocks; `false` if it is not deleted.
pub(super) fn release_name(
    transaction: &Transaction<'_>,
    earlier: UserId,
) -> rusqlite::Result<bool> {
    if transaction.execute(statements::FREE_NAME, [earlier.0])? == 0 {
        return Ok(false);
    }
    for statement in [
        statements::DROP_PREKEYS,
        statements::DROP_GENERATION,
        statements::DROP_PROOF,
        statements::DROP_BLOCKS,
    ] {
        transaction.execute(statement, [earlier.0])?;
    }
    Ok(true)
}

pub(super) fn delete_account(
    transaction: &Transaction<'_>,
    user: UserId,
    proven: Option<&ByteArray<32>>,
) -> rusqlite::Result<Changed> {
    let proven = proven.map(|key| key.0);
    let emptied = transaction.execute(statements::EMPTY_ACCOUNT, params![user.0, proven])?;
    if emptied == 0 {
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
        transaction.execute(statement, [user.0])?;
    }
    Ok(Changed::Done)
}

/// Writes a message of the size of a full page before all mailboxes or, if that fails,
/// behind them, and rolls it back. If both fail, the damage belongs to no single mailbox.
pub(super) fn probe(connection: &mut Connection) -> rusqlite::Result<()> {
    match probe_at(connection, i64::MIN) {
        Ok(()) => Ok(()),
        Err(_) => probe_at(connection, i64::MAX),
    }
}

fn probe_at(connection: &mut Connection, nobody: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let body = [0_u8; 8192];
    transaction
        .prepare_cached(statements::STORE)?
        .execute(params![nobody, 1, 0, &body[..16], 0, NOTICE, &body[..]])?;
    transaction.rollback()
}

/// Sets one of the server's own values.
pub(super) fn set_value(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .execute(statements::SET_VALUE, (key, value))
        .map(drop)
}
