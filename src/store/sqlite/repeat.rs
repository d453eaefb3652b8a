//! Repeats the entries of a journal on a database that was restored.
//!
//! A journal may reach back further than the backup, so most entries say what the database knows
//! already, or what later ones change again. An entry about an account that is not there, or is
//! deleted, changes nothing.

use std::io;

use data_encoding::BASE64;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{admin, statements, write};
use crate::protocol::ids::ByteArray;
use crate::protocol::request::KdfParams;
use crate::store::journal::Entry;
use crate::store::{Reset, UserId};

const ADD_ACCOUNT: &str = "
    INSERT OR IGNORE INTO users (id, name, created, salt, memory_kib, passes, lanes, login_key)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const SET_LOGIN: &str = "
    UPDATE users SET salt = ?2, memory_kib = ?3, passes = ?4, lanes = ?5, login_key = ?6 WHERE id = ?1";
const IS_ACCOUNT: &str = "SELECT deleted FROM users WHERE id = ?1 AND name = ?2";
const LIMIT_USES: &str = "UPDATE invitations SET uses = min(uses, ?2) WHERE code = ?1";
const ADD_PERSON: &str = "
    INSERT OR IGNORE INTO imported_accounts (user, name, only_sender) VALUES (?1, ?2, ?3)";
/// Whoever was only a sender so far, and is not any more.
const ADMIT_PERSON: &str = "
    UPDATE imported_accounts SET only_sender = 0 WHERE user = ?1 AND only_sender = 1";
/// Its number and its name are nobody's any more.
const RESERVE: &str = "
    INSERT OR IGNORE INTO users (id, name, created, deleted, salt, memory_kib, passes, lanes, login_key)
    VALUES (?1, ?2, 0, 1, zeroblob(16), 0, 0, 0, zeroblob(32))";
/// A restore has no server beside it, so it purges in one go what a name that was given away leaves.
const PURGE_MAIL: &str = "DELETE FROM mail WHERE recipient = ?1 OR sender = ?1";
const DROP_BLOCKS_OF: &str = "DELETE FROM blocks WHERE blocked = ?1";
const DELETED: &str = "UPDATE users SET deleted = ?2 WHERE id = ?1";

/// Repeats an entry.
pub(super) fn repeat(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let deleted = |id: i64, name: &str| {
        let mut statement = transaction.prepare_cached(IS_ACCOUNT)?;
        let found = statement.query_row((id, name), |row| row.get::<_, bool>(0));
        found.optional()
    };
    let is_live = |id: i64, name: &str| deleted(id, name).map(|found| found == Some(false));
    let is_known = |id: i64, name: &str| deleted(id, name).map(|found| found.is_some());
    match entry {
        Entry::Registered {
            id,
            name,
            created,
            kdf,
            login_key,
        } => add_account(transaction, *id, name, *created, kdf, login_key).map(drop),
        Entry::Login {
            id,
            name,
            kdf: Some(kdf),
            login_key,
        } if is_live(*id, name)? => set_login(transaction, *id, kdf, login_key),
        // The code of that reset is not known, so it has expired.
        Entry::Login {
            id,
            name,
            kdf: None,
            login_key,
        } if is_live(*id, name)? => {
            let (key, expires) = (*login_key, 0);
            admin::begin_reset(transaction, UserId(*id), &Reset { key, expires }).map(drop)
        }
        Entry::Reset {
            id,
            name,
            key,
            expires,
        } if is_live(*id, name)? => {
            let (key, expires) = (*key, *expires);
            admin::begin_reset(transaction, UserId(*id), &Reset { key, expires }).map(drop)
        }
        Entry::Settings {
            id,
            name,
            listed,
            presence,
            refuse_unencrypted,
        } if is_live(*id, name)? => {
            let values = params![id, listed, presence, refuse_unencrypted];
            transaction.execute(statements::SET_FLAGS, values).map(drop)
        }
        Entry::Identity {
            id,
            name,
            identity,
            signed_prekey,
        } if is_live(*id, name)? => {
            let values = params![
                id,
                identity.signing.0,
                identity.dh.0,
                signed_prekey.id,
                signed_prekey.key.0,
                signed_prekey.signature.0
            ];
            transaction
                .execute(statements::SET_IDENTITY, values)
                .map(drop)
        }
        Entry::Deleted { id, name } if is_live(*id, name)? => {
            write::delete_account(transaction, UserId(*id), None).map(drop)
        }
        // It was made after the backup, and nothing else is known of it.
        Entry::Deleted { id, name } => transaction.execute(RESERVE, (id, name)).map(drop),
        Entry::Released { id, name } if is_known(*id, name)? => {
            if write::release_name(transaction, UserId(*id))? {
                transaction.execute(PURGE_MAIL, [id])?;
                transaction.execute(DROP_BLOCKS_OF, [id])?;
            }
            Ok(())
        }
        Entry::Disabled { id, name, disabled } if is_live(*id, name)? => transaction
            .execute(statements::DISABLE, (id, disabled))
            .map(drop),
        Entry::Block {
            id,
            name,
            other,
            blocked,
            on,
        } if is_live(*id, name)? && is_known(*other, blocked)? => {
            let statement = match on {
                true => statements::BLOCK,
                false => statements::UNBLOCK,
            };
            transaction.execute(statement, (id, other)).map(drop)
        }
        Entry::Invitation { code, uses } => {
            transaction.execute(LIMIT_USES, (code.0, uses)).map(drop)
        }
        Entry::Imported {
            id,
            name,
            original,
            only_sender,
            created,
            kdf,
        } => {
            add_account(transaction, *id, name, *created, kdf, &ByteArray([0; 32]))?;
            match is_known(*id, name)? {
                true => add_person(transaction, *id, original, *only_sender),
                false => Ok(()),
            }
        }
        Entry::ImportedRead { ids } => add_read(transaction, ids),
        Entry::Ban {
            network,
            created,
            on: true,
        } => transaction
            .execute(statements::BAN, (network, *created as i64))
            .map(drop),
        Entry::Ban {
            network, on: false, ..
        } => transaction
            .execute(statements::LIFT_BAN, [network])
            .map(drop),
        Entry::Login { .. }
        | Entry::Reset { .. }
        | Entry::Settings { .. }
        | Entry::Identity { .. }
        | Entry::Released { .. }
        | Entry::Disabled { .. }
        | Entry::Block { .. }
        | Entry::Forgotten {} => Ok(()),
    }
}

/// Makes an account, unless its number or its name is somebody's.
fn add_account(
    transaction: &Transaction<'_>,
    id: i64,
    name: &str,
    created: u64,
    kdf: &KdfParams,
    login_key: &ByteArray<32>,
) -> rusqlite::Result<()> {
    let values = params![
        id,
        name,
        created as i64,
        kdf.salt.0,
        kdf.memory_kib,
        kdf.passes,
        kdf.lanes,
        login_key.0
    ];
    transaction.execute(ADD_ACCOUNT, values).map(drop)
}

/// Sets a password, in place of one that was reset or of an imported account's.
fn set_login(
    transaction: &Transaction<'_>,
    id: i64,
    kdf: &KdfParams,
    login_key: &ByteArray<32>,
) -> rusqlite::Result<()> {
    // The code of an earlier reset must not work again, nor the password of before the import.
    transaction.execute(statements::DROP_RESET, [id])?;
    transaction.execute(statements::FORGET_VERIFIER, [id])?;
    let values = params![
        id,
        kdf.salt.0,
        kdf.memory_kib,
        kdf.passes,
        kdf.lanes,
        login_key.0
    ];
    transaction.execute(SET_LOGIN, values).map(drop)
}

/// Notes who an account was in the program before this one. Whoever was only a sender there is a deleted
/// account here, until another import has the account.
fn add_person(
    transaction: &Transaction<'_>,
    id: i64,
    original: &str,
    only_sender: bool,
) -> rusqlite::Result<()> {
    let is_new = transaction.execute(ADD_PERSON, (id, original, only_sender))? > 0;
    if is_new && only_sender {
        transaction.execute(DELETED, (id, true))?;
    }
    let admitted = !is_new && !only_sender && transaction.execute(ADMIT_PERSON, [id])? > 0;
    if admitted {
        transaction.execute(DELETED, (id, false))?;
    }
    Ok(())
}

fn add_read(transaction: &Transaction<'_>, ids: &str) -> rusqlite::Result<()> {
    let bytes = BASE64.decode(ids.as_bytes()).map_err(|error| {
        rusqlite::Error::ToSqlConversionFailure(Box::new(io::Error::other(error)))
    })?;
    let mut statement = transaction.prepare_cached(statements::IMPORT_MESSAGE)?;
    for id in bytes.chunks_exact(12) {
        statement.execute([id])?;
    }
    Ok(())
}
