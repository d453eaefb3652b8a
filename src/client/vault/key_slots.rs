//! Key slots: the vault key, wrapped once for each secret that opens the vault, and how
//! a change of password replaces one. They can be read without the key; the root covers
//! them like all other rows, which is checked when one of them has opened the vault.

use rusqlite::Connection;

use super::{Result, Vault, VaultError, schema};
use crate::crypto::cipher::{NotAuthentic, SealKey, WrappingKey};
use crate::crypto::os_rng;
use crate::protocol::ByteArray;
use crate::protocol::request::KdfParams;

const PASSWORD: i64 = 1;
const RECOVERY: i64 = 2;

/// A secret that gets a slot.
pub(super) enum SlotSecret<'a> {
    Password(KdfParams, &'a WrappingKey),
    Recovery(&'a WrappingKey),
}

/// The vault key, wrapped for one secret.
pub(super) struct KeySlot {
    /// How a password becomes the wrapping key; `None` for the recovery code.
    pub(super) kdf: Option<KdfParams>,
    kind: i64,
    wrapped: Vec<u8>,
}

impl KeySlot {
    /// Unwraps the vault key.
    ///
    /// # Errors
    /// That `key` is not the one of this slot.
    pub(super) fn open(&self, key: &WrappingKey) -> std::result::Result<SealKey, NotAuthentic> {
        key.unwrap(associated_data(self.kind), &self.wrapped)
    }
}

/// Binds a wrapped key to the kind of its slot.
fn associated_data(kind: i64) -> &'static [u8] {
    match kind {
        PASSWORD => b"secure-chat vault 1: key under password",
        _ => b"secure-chat vault 1: key under recovery code",
    }
}

/// Adds a slot with which `secret` opens the vault key `key`.
pub(super) fn insert(
    db: &Connection,
    key: &SealKey,
    secret: &SlotSecret<'_>,
) -> rusqlite::Result<()> {
    let (kind, wrapping, kdf) = match secret {
        SlotSecret::Password(kdf, wrapping) => (PASSWORD, wrapping, Some(*kdf)),
        SlotSecret::Recovery(wrapping) => (RECOVERY, wrapping, None),
    };
    db.execute(
        "INSERT INTO key_slots (kind, salt, memory_kib, passes, lanes, wrapped) VALUES (?, ?, ?, ?, ?, ?)",
        (
            kind,
            kdf.map(|kdf| kdf.salt.0),
            kdf.map(|kdf| kdf.memory_kib),
            kdf.map(|kdf| kdf.passes),
            kdf.map(|kdf| kdf.lanes),
            wrapping.wrap(&mut os_rng(), associated_data(kind), key),
        ),
    )?;
    Ok(())
}

/// All slots of a vault of this version or an earlier one, the newest first.
pub(super) fn load(db: &Connection, version: i32) -> rusqlite::Result<Vec<KeySlot>> {
    let table = match version {
        schema::VERSION => "key_slots",
        _ => "wraps",
    };
    let mut query = db.prepare(&format!(
        "SELECT kind, salt, memory_kib, passes, lanes, wrapped FROM {table} ORDER BY id DESC",
    ))?;
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
        Ok(KeySlot {
            kdf,
            kind,
            wrapped: row.get(5)?,
        })
    })?;
    rows.collect()
}

impl Vault {
    /// Makes this the only recovery code that opens the vault.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn replace_recovery(&mut self, key: &WrappingKey) -> Result<()> {
        self.transact(|vault| {
            vault
                .db
                .execute("DELETE FROM key_slots WHERE kind = ?", [RECOVERY])?;
            let secret = SlotSecret::Recovery(key);
            insert(&vault.db, vault.sealer.key(), &secret)?;
            vault.adopt_key_slots()
        })
    }

    /// Takes the first step of a change of password: both passwords open the vault.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_password(&mut self, kdf: KdfParams, key: &WrappingKey) -> Result<()> {
        let secret = SlotSecret::Password(kdf, key);
        self.transact(|vault| {
            insert(&vault.db, vault.sealer.key(), &secret)?;
            vault.adopt_key_slots()
        })
    }

    /// Takes the last step of a change of password, once the server has accepted or refused
    /// it: only the password derived as `keep` opens the vault.
    ///
    /// # Errors
    /// That nothing was written, for instance because no password is derived like that.
    pub fn keep_only_password(&mut self, keep: KdfParams) -> Result<()> {
        self.transact(|vault| {
            let kept = vault.db.query_row(
                "SELECT max(id) FROM key_slots WHERE kind = ? AND salt = ?",
                (PASSWORD, keep.salt.0),
                |row| row.get::<_, Option<i64>>(0),
            )?;
            let kept = kept.ok_or(VaultError::WrongKey)?;
            vault.db.execute(
                "DELETE FROM key_slots WHERE kind = ? AND id <> ?",
                (PASSWORD, kept),
            )?;
            vault.adopt_key_slots()
        })
    }
}
