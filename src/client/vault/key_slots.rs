//! Key slots: the vault key, wrapped once for each secret that opens the vault, and how
//! a change of password or recovery code replaces one. They can be read without the key; the
//! root covers them like all other rows, which is checked when one of them has opened the vault.
//!
//! A password's slot has an Argon2id salt and cost of its own, chosen here. The server's
//! salt and cost lead to the account's login key only, so a server cannot make the vault
//! cheaper to guess. Which of two passwords logs in is the callers' business.

use std::path::Path;

use rand::Rng;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::table::Table;
use super::{Result, Vault, VaultError, schema, sqlite_file};
use crate::crypto::account::password;
use crate::crypto::account::password::{Argon2Params, Argon2ParamsError, Derived, ImpossibleCost};
use crate::crypto::cipher::{NotAuthentic, SealKey, WrappingKey};
use crate::crypto::os_rng;
use crate::protocol::ByteArray;
use crate::protocol::request::KdfParams;

const PASSWORD: i64 = 1;
const RECOVERY: i64 = 2;

/// The most slots that a vault has. Each costs a derivation before anything is known to be
/// wrong, so whoever changed the file could keep this machine busy with more.
const MAX_SLOTS: usize = 16;

/// The most passwords that may open the vault before another change is begun: of that many none
/// was proven by a login.
const MAX_PASSWORDS: usize = 8;

/// The number of [`SlotNotes`] in the table of single values.
const NOTES: i64 = 5;

/// How a password becomes the wrapping key of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotKdf {
    salt: [u8; 16],
    cost: Argon2Params,
}

impl SlotKdf {
    /// A new random salt, with the default cost, or more where `least` is more.
    fn new(least: Argon2Params) -> Self {
        let mut salt = [0; 16];
        os_rng().fill_bytes(&mut salt);
        let cost = Argon2Params::for_new().at_least(least);
        SlotKdf { salt, cost }
    }

    /// The same derivation as the account's, which it was in vaults without a derivation
    /// of their own.
    pub(crate) fn as_account(self) -> KdfParams {
        KdfParams {
            salt: ByteArray(self.salt),
            memory_kib: self.cost.memory_kib,
            passes: self.cost.passes,
            lanes: self.cost.lanes,
        }
    }

    /// Derives a password's keys. A cost beyond what any client writes is not tried: whoever
    /// changed the file could keep this machine busy with it.
    pub(super) fn derive(self, password: &str) -> std::result::Result<Derived, String> {
        if let Err(Argon2ParamsError::TooDear(cost)) = self.cost.check() {
            return Err(format!("the password's cost is {cost}"));
        }
        password::derive(password, &self.salt, self.cost).map_err(|error| error.to_string())
    }
}

/// A password's key to a slot of its own.
pub struct PasswordKey {
    kdf: SlotKdf,
    key: WrappingKey,
}

impl PasswordKey {
    /// Derives it with a new salt, at the default cost or at `least`, whichever is more.
    ///
    /// # Errors
    /// That Argon2 can't run with this cost.
    pub(crate) fn derive(
        password: &str,
        least: Argon2Params,
    ) -> std::result::Result<Self, ImpossibleCost> {
        Self::derive_with(SlotKdf::new(least), password)
    }

    fn derive_with(kdf: SlotKdf, password: &str) -> std::result::Result<Self, ImpossibleCost> {
        let derived = password::derive(password, &kdf.salt, kdf.cost)?;
        let key = derived.wrapping_key;
        Ok(PasswordKey { kdf, key })
    }

    /// The key of a password that has opened this slot.
    pub(crate) fn of(kdf: SlotKdf, key: WrappingKey) -> Self {
        PasswordKey { kdf, key }
    }

    /// Derives it like a certain slot's.
    #[cfg(test)]
    pub(super) fn like(slot: [u8; 16], cost: Argon2Params, password: &str) -> Self {
        let kdf = SlotKdf { salt: slot, cost };
        Self::derive_with(kdf, password).unwrap()
    }
}

/// What opens the vault after a change of its key.
pub(crate) struct NewSecrets<'a> {
    /// The password.
    pub password: &'a PasswordKey,
    /// How the account's login key is derived from the same password.
    pub account: KdfParams,
    /// The recovery code's key.
    pub recovery: &'a WrappingKey,
    /// The person does not have that code yet.
    pub recovery_unseen: bool,
}

/// A secret that gets a slot.
pub(super) enum SlotSecret<'a> {
    Password(&'a PasswordKey),
    Recovery(&'a WrappingKey),
}

/// The vault key, wrapped for one secret.
pub(super) struct KeySlot {
    /// How a password becomes the wrapping key; `None` for the recovery code.
    pub(super) kdf: Option<SlotKdf>,
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

/// What the vault remembers of its key slots, sealed. The names are a format.
#[derive(Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SlotNotes {
    /// By the salt of each password's slot, how the account's login key is derived from
    /// the same password.
    accounts: Vec<(ByteArray<16>, KdfParams)>,
    /// The recovery code was made and may not have been shown.
    code_unseen: bool,
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
        SlotSecret::Password(password) => (PASSWORD, &password.key, Some(password.kdf)),
        SlotSecret::Recovery(wrapping) => (RECOVERY, *wrapping, None),
    };
    db.execute(
        "INSERT INTO key_slots (kind, salt, memory_kib, passes, lanes, wrapped) VALUES (?, ?, ?, ?, ?, ?)",
        (
            kind,
            kdf.map(|kdf| kdf.salt),
            kdf.map(|kdf| kdf.cost.memory_kib),
            kdf.map(|kdf| kdf.cost.passes),
            kdf.map(|kdf| kdf.cost.lanes),
            wrapping.wrap(&mut os_rng(), associated_data(kind), key),
        ),
    )?;
    Ok(())
}

/// All slots of a vault of this version or an earlier one, the newest first; one more than a
/// vault can have if there are too many.
fn load(db: &Connection, version: i32) -> rusqlite::Result<Vec<KeySlot>> {
    let table = match version {
        schema::VERSION => "key_slots",
        _ => "wraps",
    };
    let mut query = db.prepare(&format!(
        "SELECT kind, salt, memory_kib, passes, lanes, wrapped FROM {table} ORDER BY id DESC LIMIT {}",
        MAX_SLOTS + 1
    ))?;
    let rows = query.query_map([], |row| {
        let kind = row.get(0)?;
        let kdf = match kind {
            PASSWORD => Some(SlotKdf {
                salt: row.get(1)?,
                cost: Argon2Params {
                    memory_kib: row.get(2)?,
                    passes: row.get(3)?,
                    lanes: row.get(4)?,
                },
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

/// All slots of a closed vault, the newest first.
///
/// # Errors
/// They can't be read, or are more than any client writes.
pub(super) fn read(db: &Connection, version: i32, path: &Path) -> Result<Vec<KeySlot>> {
    let slots = load(db, version).map_err(|error| sqlite_file::classify(path, error))?;
    match slots.len() > MAX_SLOTS {
        true => Err(VaultError::Damaged(
            path.to_owned(),
            format!("it has more than {MAX_SLOTS} key slots"),
        )),
        false => Ok(slots),
    }
}

impl Vault {
    /// Whether another change of the password may begin: not if many have begun and none has
    /// ended.
    ///
    /// # Errors
    /// That the slots could not be read.
    pub fn may_add_password(&self) -> Result<bool> {
        let slots = self.key_slots()?;
        let passwords = slots.iter().filter(|slot| slot.kdf.is_some()).count();
        Ok(passwords < MAX_PASSWORDS)
    }

    /// How the account's login key is derived from the password of a slot. `None` if the
    /// slot has no derivation of its own: then its derivation leads to both keys, with a
    /// salt and a cost that a server may have named.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn account_kdf(&self, slot: SlotKdf) -> Result<Option<KdfParams>> {
        let notes = self.slot_notes()?;
        let mut accounts = notes.accounts.into_iter();
        Ok(accounts.find_map(|(salt, account)| (salt.0 == slot.salt).then_some(account)))
    }

    /// How the account's login key is derived from the passwords that open the vault.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn account_kdfs(&self) -> Result<Vec<KdfParams>> {
        let mut accounts = Vec::new();
        for slot in self.key_slots()?.iter().filter_map(|slot| slot.kdf) {
            accounts.push(self.account_kdf(slot)?.unwrap_or(slot.as_account()));
        }
        Ok(accounts)
    }

    /// The cost of the passwords' slots, field by field the highest.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn password_cost(&self) -> Result<Argon2Params> {
        let slots = self.key_slots()?;
        let costs = slots.iter().filter_map(|slot| slot.kdf).map(|kdf| kdf.cost);
        Ok(costs.fold(Argon2Params::FLOOR, Argon2Params::at_least))
    }

    /// Whether a password opens the vault. Costs a derivation for each password's slot.
    ///
    /// # Errors
    /// That the slots could not be read.
    pub fn opens_with(&self, password: &str) -> Result<bool> {
        for slot in self.key_slots()? {
            let Some(kdf) = slot.kdf else { continue };
            let derived = kdf.derive(password).map_err(|why| self.damaged(why))?;
            if slot.open(&derived.wrapping_key).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes this the only recovery code that opens the vault. It counts as not seen.
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
            vault.change_slot_notes(|notes| notes.code_unseen = true)
        })
    }

    /// Whether the recovery code was made and may not have been shown: a kill came between.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn recovery_unseen(&self) -> Result<bool> {
        Ok(self.slot_notes()?.code_unseen)
    }

    /// Notes that the recovery code was shown.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn note_recovery_seen(&mut self) -> Result<()> {
        self.transact(|vault| vault.change_slot_notes(|notes| notes.code_unseen = false))
    }

    /// Takes the first step of a change of password: both passwords open the vault. The
    /// account's login key is derived from the new one as `account` says.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn add_password(&mut self, password: &PasswordKey, account: KdfParams) -> Result<()> {
        self.transact(|vault| vault.insert_password(password, account))
    }

    /// Takes the last step of a change of password, once a login has shown which of the two
    /// the account has: only the password from which its login key is derived as `account`
    /// says opens the vault.
    ///
    /// # Errors
    /// That nothing was written, for instance because no slot has such a password.
    pub fn keep_only_password(&mut self, account: KdfParams) -> Result<()> {
        if self.account_kdfs()? == [account] {
            return Ok(());
        }
        self.transact(|vault| {
            let notes = vault.slot_notes()?;
            let mut accounts = notes.accounts.into_iter();
            let own = accounts.rfind(|(_, kept)| *kept == account);
            vault.keep_only_slot(own.map_or(account.salt, |(salt, _)| salt))
        })
    }

    /// Makes this the only password that opens the vault, in one step: for one that a login
    /// has proven already.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn replace_passwords(&mut self, password: &PasswordKey, account: KdfParams) -> Result<()> {
        self.transact(|vault| {
            vault.insert_password(password, account)?;
            vault.keep_only_slot(ByteArray(password.kdf.salt))
        })
    }

    /// Whether a recovery code opens the vault.
    ///
    /// # Errors
    /// That the slots could not be read.
    pub fn opens_with_code(&self, code: &WrappingKey) -> Result<bool> {
        let slots = self.key_slots()?;
        let mut codes = slots.iter().filter(|slot| slot.kind == RECOVERY);
        Ok(codes.any(|slot| slot.open(code).is_ok()))
    }

    /// Whether a change of password has begun and not ended, and this slot has the new one.
    ///
    /// # Errors
    /// That the slots could not be read.
    pub fn is_change_to(&self, slot: SlotKdf) -> Result<bool> {
        let slots = self.key_slots()?;
        let passwords: Vec<SlotKdf> = slots.iter().filter_map(|slot| slot.kdf).collect();
        Ok(passwords.len() > 1 && passwords.first() == Some(&slot))
    }

    /// Replaces all slots: the vault has another key.
    pub(super) fn replace_slots(&mut self, secrets: &NewSecrets<'_>) -> Result<()> {
        self.db.execute("DELETE FROM key_slots", [])?;
        for secret in [
            SlotSecret::Password(secrets.password),
            SlotSecret::Recovery(secrets.recovery),
        ] {
            insert(&self.db, self.sealer.key(), &secret)?;
        }
        let accounts = vec![(ByteArray(secrets.password.kdf.salt), secrets.account)];
        let code_unseen = secrets.recovery_unseen;
        self.change_slot_notes(|notes| {
            *notes = SlotNotes {
                accounts,
                code_unseen,
            };
        })
    }

    /// Notes what is to be remembered of a new vault's slots.
    pub(super) fn note_new_slots(
        &mut self,
        password: &PasswordKey,
        account: KdfParams,
    ) -> Result<()> {
        self.change_slot_notes(|notes| {
            notes.accounts.push((ByteArray(password.kdf.salt), account));
            notes.code_unseen = true;
        })
    }

    fn insert_password(&mut self, password: &PasswordKey, account: KdfParams) -> Result<()> {
        let secret = SlotSecret::Password(password);
        insert(&self.db, self.sealer.key(), &secret)?;
        self.adopt_key_slots()?;
        let salt = ByteArray(password.kdf.salt);
        self.change_slot_notes(|notes| notes.accounts.push((salt, account)))
    }

    fn keep_only_slot(&mut self, salt: ByteArray<16>) -> Result<()> {
        let kept = self.db.query_row(
            "SELECT max(id) FROM key_slots WHERE kind = ? AND salt = ?",
            (PASSWORD, salt.0),
            |row| row.get::<_, Option<i64>>(0),
        )?;
        let kept = kept.ok_or(VaultError::WrongKey)?;
        self.db.execute(
            "DELETE FROM key_slots WHERE kind = ? AND id <> ?",
            (PASSWORD, kept),
        )?;
        self.change_slot_notes(|notes| notes.accounts.retain(|(kept, _)| *kept == salt))
    }

    fn key_slots(&self) -> Result<Vec<KeySlot>> {
        Ok(load(&self.db, schema::VERSION)?)
    }

    fn slot_notes(&self) -> Result<SlotNotes> {
        Ok(self.get_json(Table::State, NOTES)?.unwrap_or_default())
    }

    /// The last step of each change of the slots.
    fn change_slot_notes(&mut self, change: impl FnOnce(&mut SlotNotes)) -> Result<()> {
        let mut notes = self.slot_notes()?;
        change(&mut notes);
        self.put_json(Table::State, NOTES, &notes)?;
        self.adopt_key_slots()
    }
}
