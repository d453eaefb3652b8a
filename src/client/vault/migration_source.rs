//! A vault of version 1 or 2, to be read once, at its migration. Its values were sealed for
//! their rows one by one, so rows could be removed, added and taken back unseen: what it
//! says is believed as far as those versions believed it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row as Columns};
use zeroize::Zeroizing;

use super::contacts::Contact;
use super::{Result, VaultError, sqlite_file};
use crate::crypto::cipher::SealKey;

/// The vault of an earlier version, unlocked.
pub(super) struct Source {
    db: Connection,
    key: SealKey,
    version: i32,
    path: PathBuf,
    /// By the vault's number.
    contacts: HashMap<i64, Contact>,
}

/// Which columns a sealed value was bound to, besides its table and number.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// None.
    Alone,
    /// `created`.
    Created,
    /// `contact`, and the contact's name.
    Contact,
    /// `contact` and the contact's name, `mid` and `at`.
    Message,
}

impl Source {
    /// Reads the contacts, to whose names other values are bound.
    pub(super) fn read(db: Connection, key: SealKey, version: i32, path: PathBuf) -> Result<Self> {
        let mut source = Source {
            db,
            key,
            version,
            path,
            contacts: HashMap::new(),
        };
        let mut contacts = HashMap::new();
        source.each_sealed("contacts", "id", Bound::Alone, |id, _, plain| {
            let plain = plain.ok_or_else(|| source.damaged("contacts", id))?;
            let contact: Contact =
                serde_json::from_slice(&plain).map_err(|_| source.damaged("contacts", id))?;
            contacts.insert(id, Contact { id, ..contact });
            Ok(())
        })?;
        source.contacts = contacts;
        Ok(source)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn version(&self) -> i32 {
        self.version
    }

    pub(super) fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.contacts.values()
    }

    pub(super) fn contact(&self, number: i64) -> Option<&Contact> {
        self.contacts.get(&number)
    }

    /// Closes the file, with nothing left in its log: the log must not lie beside the vault
    /// that takes this one's place.
    pub(super) fn close(self) -> Result<()> {
        let Source { db, path, .. } = self;
        sqlite_file::prepare_to_write(&path, &db)?;
        sqlite_file::checkpoint(&db).map_err(|error| sqlite_file::classify(&path, error))?;
        db.close()
            .map_err(|(_, error)| sqlite_file::classify(&path, error))?;
        sqlite_file::remove_log(&path)
    }

    /// Calls `visit` with each row of a query.
    pub(super) fn each(
        &self,
        sql: &str,
        mut visit: impl FnMut(&Columns<'_>) -> Result<()>,
    ) -> Result<()> {
        let classify = |error| sqlite_file::classify(&self.path, error);
        let mut query = self.db.prepare(sql).map_err(classify)?;
        let mut rows = query.query([]).map_err(classify)?;
        while let Some(columns) = rows.next().map_err(classify)? {
            visit(columns)?;
        }
        Ok(())
    }

    /// Calls `visit` with each row of a table: its number, its columns, and its value;
    /// `None` in the value's stead if it does not open.
    pub(super) fn each_sealed(
        &self,
        table: &str,
        key: &str,
        bound: Bound,
        mut visit: impl FnMut(i64, &Columns<'_>, Option<Zeroizing<Vec<u8>>>) -> Result<()>,
    ) -> Result<()> {
        self.each(
            &format!("SELECT * FROM {table} ORDER BY {key}"),
            |columns| {
                let read = || -> rusqlite::Result<_> {
                    let number: i64 = columns.get(key)?;
                    let sealed: Vec<u8> = columns.get("sealed")?;
                    Ok((
                        number,
                        sealed,
                        self.associated_data(table, number, bound, columns)?,
                    ))
                };
                let (number, sealed, ad) =
                    read().map_err(|error| sqlite_file::classify(&self.path, error))?;
                let opened = ad.and_then(|ad| self.key.open(&ad, &sealed).ok());
                visit(number, columns, opened)
            },
        )
    }

    /// What a value was bound to; `None` if its contact is not in the vault.
    fn associated_data(
        &self,
        table: &str,
        number: i64,
        bound: Bound,
        columns: &Columns<'_>,
    ) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut ad = format!("secure-chat vault 2: {table}.sealed\n").into_bytes();
        ad.extend_from_slice(&number.to_be_bytes());
        let mut add = |column: &[u8]| {
            ad.extend_from_slice(&(column.len() as u64).to_be_bytes());
            ad.extend_from_slice(column);
        };
        match bound {
            Bound::Alone => {}
            Bound::Created => add(&columns.get::<_, i64>("created")?.to_be_bytes()),
            Bound::Contact | Bound::Message => {
                let contact: i64 = columns.get("contact")?;
                let Some(known) = self.contact(contact) else {
                    return Ok(None);
                };
                add(&contact.to_be_bytes());
                add(known.name.as_str().as_bytes());
            }
        }
        if let Bound::Message = bound {
            add(&columns.get::<_, [u8; 16]>("mid")?);
            add(&columns.get::<_, i64>("at")?.to_be_bytes());
        }
        Ok(Some(match self.version {
            1 => format!("secure-chat vault 1: {table}.sealed {number}").into_bytes(),
            _ => ad,
        }))
    }

    pub(super) fn damaged(&self, table: &str, number: i64) -> VaultError {
        let what = format!("row {number} of {table} is not as it was written");
        VaultError::Damaged(self.path.clone(), what)
    }

    /// Makes a failure to read a column an error of the vault.
    pub(super) fn column<T: rusqlite::types::FromSql>(
        &self,
        columns: &Columns<'_>,
        name: &str,
    ) -> Result<T> {
        columns
            .get(name)
            .map_err(|error| sqlite_file::classify(&self.path, error))
    }
}
