//! The vault key under each secret that opens it, and how a change of password
//! replaces one.

use rusqlite::Connection;

use super::{Result, Vault, VaultError};
use crate::crypto::cipher::{NotAuthentic, SealKey, WrappingKey};
use crate::crypto::os_rng;
use crate::protocol::ByteArray;
use crate::protocol::request::KdfParams;

const PASSWORD: i64 = 1;
const RECOVERY: i64 = 2;

/// A secret that is to open the vault.
pub(super) enum SlotSecret<'a> {
    Password(KdfParams, &'a WrappingKey),
    Recovery(&'a WrappingKey),
}

/// The vault key under one secret.
pub(super) struct Wrap {
    pub(super) kdf: Option<KdfParams>,
    kind: i64,
    wrapped: Vec<u8>,
}

impl Wrap {
    pub(super) fn unwrap(&self, key: &WrappingKey) -> std::result::Result<SealKey, NotAuthentic> {
        key.unwrap(ad(self.kind), &self.wrapped)
    }
}

fn ad(kind: i64) -> &'static [u8] {
    match kind {
        PASSWORD => b"secure-chat vault 1: key under password",
        _ => b"secure-chat vault 1: key under recovery code",
    }
}

pub(super) fn insert(
    db: &Connection,
    key: &SealKey,
    secret: &SlotSecret<'_>,
) -> rusqlite::Result<i64> {
    let (kind, wrapping, kdf) = match secret {
        SlotSecret::Password(kdf, wrapping) => (PASSWORD, wrapping, Some(*kdf)),
        SlotSecret::Recovery(wrapping) => (RECOVERY, wrapping, None),
    };
    db.execute(
        "INSERT INTO wraps (kind, salt, memory_kib, passes, lanes, wrapped) VALUES (?, ?, ?, ?, ?, ?)",
        (
            kind,
            kdf.map(|kdf| kdf.salt.0),
            kdf.map(|kdf| kdf.memory_kib),
            kdf.map(|kdf| kdf.passes),
            kdf.map(|kdf| kdf.lanes),
            wrapping.wrap(&mut os_rng(), ad(kind), key),
        ),
    )?;
    Ok(db.last_insert_rowid())
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Vec<Wrap>> {
    let mut query = db.prepare(
        "SELECT kind, salt, memory_kib, passes, lanes, wrapped FROM wraps ORDER BY id DESC",
    )?;
    let rows = query.query_map([], |row| {
        let kind = row.get(0)?;
        let kdf = match kind {
            PASSWORD => Some(KdfParams {
                salt: ByteArray(row.get(1)?),
                memory_kib: row.get(2)?,
                passes: row.get(3)?,
                lanes: row.get(4)?,
            }),
            _ => None,
        };
        Ok(Wrap {
            kdf,
            kind,
            wrapped: row.get(5)?,
        })
    })?;
    rows.collect()
}

impl Vault {
    /// From here on this recovery code opens the vault, and no other.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn replace_recovery(&mut self, key: &WrappingKey) -> Result<()> {
        self.transact(|vault| {
            vault
                .db
                .execute("DELETE FROM wraps WHERE kind = ?", [RECOVERY])?;
            insert(&vault.db, vault.sealer.key(), &SlotSecret::Recovery(key))?;
            Ok(())
        })
    }

    /// First step of a new password: from here on both open the vault.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_password(&mut self, kdf: KdfParams, key: &WrappingKey) -> Result<()> {
        let secret = SlotSecret::Password(kdf, key);
        self.transact(|vault| {
            insert(&vault.db, vault.sealer.key(), &secret)?;
            Ok(())
        })
    }

    /// Last step of a new password, once the server has it (or has refused it):
    /// only the password derived as `keep` opens the vault from here on.
    ///
    /// # Errors
    /// That nothing was written, also if no password is derived like that.
    pub fn keep_only_password(&mut self, keep: KdfParams) -> Result<()> {
        self.transact(|vault| {
            let kept = vault.db.query_row(
                "SELECT max(id) FROM wraps WHERE kind = ? AND salt = ?",
                (PASSWORD, keep.salt.0),
                |row| row.get::<_, Option<i64>>(0),
            )?;
            let kept = kept.ok_or(VaultError::WrongKey)?;
            vault.db.execute(
                "DELETE FROM wraps WHERE kind = ? AND id <> ?",
                (PASSWORD, kept),
            )?;
            Ok(())
        })
    }
}
