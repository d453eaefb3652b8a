//! The migration from version 1 of the vault to version 2: the tables are the same, and
//! every value is sealed again, bound to all readable columns of its row.
//!
//! It is one transaction, so that a kill leaves version 1 or version 2. A copy of the old
//! file is kept beside it until the new one is whole. A value that did not open in
//! version 1 stays as it is, and does not open in version 2 either.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Row as Columns;
use zeroize::Zeroizing;

use super::control_messages::ControlKind;
use super::keys::signed_row;
use super::seal::{Place, Row};
use super::{Result, Vault, VaultError, schema, sqlite_file};

/// Removes the copy that a killed migration left behind: the vault is whole.
pub(super) fn remove_copy(path: &Path) -> Result<()> {
    sqlite_file::remove_if_exists(&copy_path(path))
}

/// Makes version 2 of version 1.
///
/// # Errors
/// Why it is still version 1.
pub(super) fn from_version_1(vault: &mut Vault) -> Result<()> {
    let copy = copy_path(&vault.path);
    // A migration that was killed may have left one; the vault itself is still the old one.
    sqlite_file::remove_if_exists(&copy)?;
    keep_copy(&vault.path, &copy).map_err(|error| VaultError::Io(copy, error))?;
    // Not `transact`: the contacts of version 1 can't be loaded again if this fails.
    vault.transact_rows(|vault| {
        reseal_all(vault, &mut open_version_1)?;
        let version = schema::VERSION;
        Ok(vault.db.pragma_update(None, "user_version", version)?)
    })?;
    sqlite_file::checkpoint(&vault.db)?;
    remove_copy(&vault.path)
}

/// Where the copy of the old file lies.
fn copy_path(path: &Path) -> PathBuf {
    path.with_extension("vault-version-1")
}

/// Copies the file, which is complete because its log was written into it when the
/// vault was read.
fn keep_copy(path: &Path, copy: &Path) -> std::io::Result<()> {
    fs::copy(path, copy)?;
    File::open(copy)?.sync_all()?;
    crate::fs::sync_name(copy)
}

/// Opens the sealed value of a row as it was so far; `None` for one that does not open.
pub(super) type OpenOld<'a> =
    dyn FnMut(&Vault, &Row, &str, i64, &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>> + 'a;

fn open_version_1(
    vault: &Vault,
    row: &Row,
    table: &str,
    number: i64,
    sealed: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let Ok(plain) = vault.sealer.open_version_1(row, sealed) else {
        return Ok(None);
    };
    Ok(Some(match table {
        "errands" => control_message_from_version_1(vault, number, plain)?,
        _ => plain,
    }))
}

/// How many sealed values there are.
pub(super) fn count_values(vault: &Vault) -> Result<u64> {
    let mut count = 0;
    for table in [
        "state",
        "contacts",
        "one_time_prekeys",
        "signed_prekeys",
        "outbox",
        "conversations",
        "held",
        "messages",
        "errands",
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        count += vault.db.query_row(&sql, [], |row| row.get::<_, i64>(0))? as u64;
    }
    Ok(count)
}

/// Seals every value again with the vault's key.
pub(super) fn reseal_all(vault: &mut Vault, open: &mut OpenOld<'_>) -> Result<()> {
    let by_number =
        |place| move |_: &Vault, number: i64, _: &Columns<'_>| Ok(Row::new(place, number));
    reseal(vault, open, "state", "id", by_number(Place::State))?;
    reseal(vault, open, "contacts", "id", by_number(Place::Contact))?;
    reseal(
        vault,
        open,
        "one_time_prekeys",
        "id",
        by_number(Place::OneTimePrekey),
    )?;
    reseal(vault, open, "signed_prekeys", "id", |_, id, columns| {
        Ok(signed_row(id, columns.get("created")?))
    })?;
    reseal(vault, open, "outbox", "seq", by_number(Place::Outbox))?;
    // The rows that follow are bound to the names of contacts.
    vault.contacts = vault.load_contacts()?;
    reseal(
        vault,
        open,
        "conversations",
        "contact",
        |vault, contact, _| vault.row_of(Place::SessionSet, contact, contact),
    )?;
    reseal(vault, open, "held", "seq", |vault, seq, columns| {
        vault.row_of(Place::Held, seq, columns.get("contact")?)
    })?;
    reseal(vault, open, "messages", "seq", |vault, seq, columns| {
        timed_row(vault, Place::Message, seq, columns)
    })?;
    reseal(vault, open, "errands", "seq", |vault, seq, columns| {
        timed_row(vault, Place::ControlMessage, seq, columns)
    })?;
    Ok(())
}

fn timed_row(vault: &Vault, place: Place, seq: i64, columns: &Columns<'_>) -> Result<Row> {
    let contact = columns.get("contact")?;
    vault.timed_row(
        place,
        seq,
        contact,
        &columns.get("mid")?,
        columns.get("at")?,
    )
}

/// Seals one table's values again, each bound to the row that `row_of` makes of its
/// columns. A value that does not open stays as it is.
fn reseal(
    vault: &Vault,
    open: &mut OpenOld<'_>,
    table: &str,
    key: &str,
    row_of: impl Fn(&Vault, i64, &Columns<'_>) -> Result<Row>,
) -> Result<()> {
    let db = &vault.db;
    // All numbers are read first, since rows must not change while they are being read.
    let numbers: Vec<i64> = db
        .prepare(&format!("SELECT {key} FROM {table}"))?
        .query_map([], |columns| columns.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut read = db.prepare(&format!("SELECT * FROM {table} WHERE {key} = ?"))?;
    let mut write = db.prepare(&format!("UPDATE {table} SET sealed = ? WHERE {key} = ?"))?;
    for number in numbers {
        let mut rows = read.query([number])?;
        let Some(columns) = rows.next()? else {
            continue;
        };
        let Ok(row) = row_of(vault, number, columns) else {
            continue;
        };
        let sealed: Vec<u8> = columns.get("sealed")?;
        drop(rows);
        let Some(plain) = open(vault, &row, table, number, &sealed)? else {
            continue;
        };
        write.execute((vault.sealer.seal(&row, &plain), number))?;
    }
    Ok(())
}

/// Adds to a control message whether it was sent, which version 1 did not note.
fn control_message_from_version_1(
    vault: &Vault,
    seq: i64,
    plain: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>> {
    let Ok(task) = serde_json::from_slice::<ControlKind>(&plain) else {
        return Ok(plain);
    };
    let sent = !vault.is_postponed(seq)?;
    serde_json::to_vec(&(task, sent))
        .map(Zeroizing::new)
        .map_err(|error| vault.damaged(format!("control message {seq}: {error}")))
}
