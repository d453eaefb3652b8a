//! From version 1 of the vault to version 2: the same tables, every value sealed
//! anew so that it is bound to all that is readable in its row.
//!
//! One transaction, so that a kill leaves version 1 or version 2. A copy of the old
//! file is kept beside it until the new one is whole. What did not open in version 1
//! stays as it is, and goes on not to open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Row as Columns;

use super::control_messages::{ControlKind, task_bytes};
use super::file::remove_if_there;
use super::keys::signed_row;
use super::seal::{Place, Row};
use super::{Result, Vault, VaultError};

/// Where the copy of the old file lies.
fn copy_of(path: &Path) -> PathBuf {
    path.with_extension("vault-version-1")
}

/// Removes the copy that a killed migration left behind: the vault is whole.
pub(super) fn remove_copy(path: &Path) -> Result<()> {
    remove_if_there(&copy_of(path))
}

/// Makes version 2 of version 1, and loads the contacts.
///
/// # Errors
/// Why it is still version 1.
pub(super) fn from_version_1(vault: &mut Vault) -> Result<()> {
    let copy = copy_of(&vault.path);
    // Left behind by a kill in the middle: the vault itself is still the old one.
    remove_if_there(&copy)?;
    keep_copy(&vault.path, &copy).map_err(|error| VaultError::Io(copy.clone(), error))?;
    vault.db.execute_batch("BEGIN IMMEDIATE")?;
    let done = seal_all_anew(vault).and_then(|()| Ok(vault.db.execute_batch("COMMIT")?));
    if done.is_err() && !vault.db.is_autocommit() {
        vault.db.execute_batch("ROLLBACK")?;
    }
    done?;
    vault
        .db
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    remove_copy(&vault.path)
}

/// The log was folded into the file when the vault was opened, so the file is all.
fn keep_copy(path: &Path, copy: &Path) -> std::io::Result<()> {
    fs::copy(path, copy)?;
    File::open(copy)?.sync_all()?;
    crate::fs::sync_name(copy)
}

fn seal_all_anew(vault: &mut Vault) -> Result<()> {
    let alone = |place| move |_: &Vault, number: i64, _: &Columns<'_>| Ok(Row::new(place, number));
    table(vault, "state", "id", alone(Place::State))?;
    table(vault, "contacts", "id", alone(Place::Contact))?;
    table(vault, "one_time_prekeys", "id", alone(Place::OneTimePrekey))?;
    table(vault, "signed_prekeys", "id", |_, id, columns| {
        Ok(signed_row(id, columns.get("created")?))
    })?;
    table(vault, "outbox", "seq", alone(Place::Outbox))?;
    // What follows is bound to contacts' names.
    vault.contacts = vault.load_contacts()?;
    table(vault, "conversations", "contact", |vault, contact, _| {
        vault.row_of(Place::SessionSet, contact, contact)
    })?;
    table(vault, "held", "seq", |vault, seq, columns| {
        vault.row_of(Place::Held, seq, columns.get("contact")?)
    })?;
    table(vault, "messages", "seq", |vault, seq, columns| {
        let (contact, mid, at) = timed(columns)?;
        vault.timed_row(Place::Message, seq, contact, &mid, at)
    })?;
    table(vault, "errands", "seq", |vault, seq, columns| {
        let (contact, mid, at) = timed(columns)?;
        vault.timed_row(Place::ControlMessage, seq, contact, &mid, at)
    })?;
    vault
        .db
        .pragma_update(None, "user_version", super::schema::VERSION)?;
    Ok(())
}

fn timed(columns: &Columns<'_>) -> rusqlite::Result<(i64, [u8; 16], i64)> {
    Ok((
        columns.get("contact")?,
        columns.get("mid")?,
        columns.get("at")?,
    ))
}

/// Seals one table's rows anew, each bound to the row that `row` makes of its columns.
fn table(
    vault: &Vault,
    name: &str,
    key: &str,
    row: impl Fn(&Vault, i64, &Columns<'_>) -> Result<Row>,
) -> Result<()> {
    // The numbers first: rows are not changed while they are being read.
    let numbers: Vec<i64> = vault
        .db
        .prepare(&format!("SELECT {key} FROM {name}"))?
        .query_map([], |columns| columns.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut read = vault
        .db
        .prepare(&format!("SELECT * FROM {name} WHERE {key} = ?"))?;
    let mut write = vault
        .db
        .prepare(&format!("UPDATE {name} SET sealed = ? WHERE {key} = ?"))?;
    for number in numbers {
        let mut rows = read.query([number])?;
        let Some(columns) = rows.next()? else {
            continue;
        };
        let Ok(row) = row(vault, number, columns) else {
            continue;
        };
        let sealed: Vec<u8> = columns.get("sealed")?;
        let Ok(mut plain) = vault.sealer.open_version_1(&row, &sealed) else {
            continue;
        };
        drop(rows);
        if name == "errands"
            && let Ok(task) = serde_json::from_slice::<ControlKind>(&plain)
        {
            let sent = !vault.is_postponed(number)?;
            plain = task_bytes(&task, sent)
                .map_err(|error| vault.damaged(format!("{row}: {error}")))?;
        }
        write.execute((vault.sealer.seal(&row, &plain), number))?;
    }
    Ok(())
}
