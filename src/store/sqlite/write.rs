//! The one transaction that writes.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::read::{self, ENVELOPE, NOTICE, PLAIN};
use crate::protocol::binary::Fixed;
use crate::protocol::limits::MAX_ONE_TIME_PREKEYS;
use crate::protocol::reply::Bundle;
use crate::protocol::request::{Body, OneTimePrekey, Publish, Sender, SignedPrekey};
use crate::store::{Batch, Change, Changed, Message, NewAccount, UserId};

pub(super) fn commit(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<Vec<Changed>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut changed = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        changed.push(apply(&transaction, change)?);
    }
    insert(&transaction, batch)?;
    delete(&transaction, &batch.acknowledged)?;
    transaction.commit()?;
    Ok(changed)
}

fn insert(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO mail (recipient, number, sender, id, at, kind, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (recipient, message) in &batch.messages {
        let Message {
            number,
            sender,
            from,
            id,
            at,
            body,
        } = &**message;
        let (kind, bytes): (i64, &[u8]) = match (from, body) {
            (Sender::Server, Body::Plain(text)) => (NOTICE, text.as_bytes()),
            (_, Body::Plain(text)) => (PLAIN, text.as_bytes()),
            (_, Body::Envelope(blob)) => (ENVELOPE, &blob.0),
        };
        statement.execute(params![
            recipient.0,
            *number as i64,
            sender.0,
            &id.0[..],
            *at as i64,
            kind,
            bytes
        ])?;
    }
    Ok(())
}

fn delete(
    transaction: &Transaction<'_>,
    acknowledged: &[(UserId, RangeInclusive<u64>)],
) -> rusqlite::Result<()> {
    let mut statement = transaction
        .prepare_cached("DELETE FROM mail WHERE recipient = ?1 AND number BETWEEN ?2 AND ?3")?;
    for (recipient, numbers) in acknowledged {
        statement.execute(params![
            recipient.0,
            *numbers.start() as i64,
            *numbers.end() as i64
        ])?;
    }
    Ok(())
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<Changed> {
    match change {
        Change::Register(account) => register(transaction, account),
        Change::CountLogin(user) => {
            let query = "UPDATE users SET logins = logins + 1 WHERE id = ?1 RETURNING logins";
            let logins: Option<i64> = transaction
                .prepare_cached(query)?
                .query_row([user.0], |row| row.get(0))
                .optional()?;
            Ok(Changed::Logins(logins.unwrap_or(0) as u64))
        }
        Change::Seen(user, at) => {
            let query =
                "UPDATE users SET last_seen = ?2 WHERE id = ?1 AND deleted = 0 AND presence";
            transaction
                .prepare_cached(query)?
                .execute(params![user.0, *at as i64])?;
            Ok(Changed::Done)
        }
        Change::Publish(user, keys) => publish(transaction, *user, keys),
        Change::TakeBundle { of, one_time } => take_bundle(transaction, *of, *one_time),
        Change::SetFlags(user, flags) => {
            transaction.execute(
                "UPDATE users SET listed = ?2, presence = ?3, refuse_unencrypted = ?4,
                        last_seen = iif(?3, last_seen, NULL) WHERE id = ?1",
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
            let query = if *block {
                "INSERT OR IGNORE INTO blocks (user, blocked) VALUES (?1, ?2)"
            } else {
                "DELETE FROM blocks WHERE user = ?1 AND blocked = ?2"
            };
            transaction.execute(query, params![user.0, whom.0])?;
            Ok(Changed::Done)
        }
        Change::SetLogin(user, kdf, login_key) => {
            transaction.execute(
                "UPDATE users SET salt = ?2, memory_kib = ?3, passes = ?4, lanes = ?5, login_key = ?6
                 WHERE id = ?1",
                params![user.0, kdf.salt.0, kdf.memory_kib, kdf.passes, kdf.lanes, login_key.0],
            )?;
            Ok(Changed::Done)
        }
        Change::Delete(user) => delete_account(transaction, *user),
    }
}

fn register(transaction: &Transaction<'_>, account: &NewAccount) -> rusqlite::Result<Changed> {
    let NewAccount {
        name,
        kdf,
        login_key,
        created,
    } = account;
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO NOTHING",
        )?
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

fn publish(
    transaction: &Transaction<'_>,
    user: UserId,
    keys: &Publish,
) -> rusqlite::Result<Changed> {
    let published = transaction
        .prepare_cached("SELECT identity_signing, identity_dh FROM users WHERE id = ?1")?
        .query_row([user.0], |row| read::identity(row, 0))?;
    let another = published.is_some_and(|identity| identity != keys.identity);
    if another && !keys.new_identity {
        return Ok(Changed::IdentityChanged);
    }
    transaction
        .prepare_cached(
            "UPDATE users SET identity_signing = ?2, identity_dh = ?3,
                    prekey_id = ?4, prekey = ?5, prekey_signature = ?6 WHERE id = ?1",
        )?
        .execute(params![
            user.0,
            keys.identity.signing.0,
            keys.identity.dh.0,
            keys.signed_prekey.id,
            keys.signed_prekey.key.0,
            keys.signed_prekey.signature.0
        ])?;
    // Prekeys of another identity would only make its sessions fail.
    if keys.replace || another {
        transaction.execute("DELETE FROM one_time_prekeys WHERE user = ?1", [user.0])?;
    }
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO one_time_prekeys (user, id, key) VALUES (?1, ?2, ?3)",
    )?;
    for prekey in &keys.one_time {
        statement.execute(params![user.0, prekey.id, prekey.key.0])?;
    }
    // The oldest go first: their owner may have lost the private halves.
    transaction.execute(
        "DELETE FROM one_time_prekeys WHERE user = ?1 AND id NOT IN
            (SELECT id FROM one_time_prekeys WHERE user = ?1 ORDER BY id DESC LIMIT ?2)",
        params![user.0, MAX_ONE_TIME_PREKEYS as i64],
    )?;
    Ok(Changed::Published(stock(transaction, user)?))
}

fn stock(transaction: &Transaction<'_>, user: UserId) -> rusqlite::Result<u32> {
    transaction
        .prepare_cached("SELECT count(*) FROM one_time_prekeys WHERE user = ?1")?
        .query_row([user.0], |row| row.get(0))
}

fn take_bundle(
    transaction: &Transaction<'_>,
    user: UserId,
    one_time: bool,
) -> rusqlite::Result<Changed> {
    let bundle = transaction
        .prepare_cached(
            "SELECT identity_signing, identity_dh, prekey_id, prekey, prekey_signature
             FROM users WHERE id = ?1 AND deleted = 0 AND identity_signing IS NOT NULL",
        )?
        .query_row([user.0], |row| {
            let prekey = SignedPrekey {
                id: row.get(2)?,
                key: Fixed(row.get(3)?),
                signature: Fixed(row.get(4)?),
            };
            Ok(read::identity(row, 0)?.map(|identity| (identity, prekey)))
        })
        .optional()?
        .flatten();
    let Some((identity, signed_prekey)) = bundle else {
        return Ok(Changed::NoKeys);
    };
    let one_time = match one_time {
        true => take_one_time(transaction, user)?,
        false => None,
    };
    let bundle = Bundle {
        identity,
        signed_prekey,
        one_time,
    };
    Ok(Changed::Bundle(Box::new(bundle), stock(transaction, user)?))
}

fn take_one_time(
    transaction: &Transaction<'_>,
    user: UserId,
) -> rusqlite::Result<Option<OneTimePrekey>> {
    transaction
        .prepare_cached(
            "DELETE FROM one_time_prekeys WHERE user = ?1 AND id =
                (SELECT min(id) FROM one_time_prekeys WHERE user = ?1)
             RETURNING id, key",
        )?
        .query_row([user.0], |row| {
            Ok(OneTimePrekey {
                id: row.get(0)?,
                key: Fixed(row.get(1)?),
            })
        })
        .optional()
}

fn delete_account(transaction: &Transaction<'_>, user: UserId) -> rusqlite::Result<Changed> {
    // A login key of zeros is a low-order point: no signature verifies under it.
    transaction.execute(
        "UPDATE users SET deleted = 1, login_key = zeroblob(32), salt = zeroblob(16),
                last_seen = NULL, identity_signing = NULL, identity_dh = NULL,
                prekey_id = NULL, prekey = NULL, prekey_signature = NULL
         WHERE id = ?1",
        [user.0],
    )?;
    for query in [
        "DELETE FROM one_time_prekeys WHERE user = ?1",
        "DELETE FROM blocks WHERE user = ?1 OR blocked = ?1",
        "DELETE FROM mail WHERE recipient = ?1",
    ] {
        transaction.execute(query, [user.0])?;
    }
    Ok(Changed::Done)
}
