//! This device's identity and the private halves of its prekeys.

use std::cell::RefCell;

use rand::Rng;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::{Place, Row};
use super::{Result, Vault, VaultError, secret_json};
use crate::crypto::keys::{IdentityKeys, OneTimePrekeySecret, SignedPrekeySecret};
use crate::crypto::os_rng;
use crate::crypto::ratchet::session_set::Prekeys;
use crate::protocol::ByteArray;

const IDENTITY: i64 = 1;
const DEVICE: i64 = 2;

/// How long a prekey still opens messages after it was replaced or withdrawn: 30 days.
const OLD_PREKEY_MS: u64 = 30 * 24 * 3600 * 1000;

/// What the vault remembers of this device's dealings with the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The server has accepted this account's registration from here.
    pub registered: bool,
    /// The server's count of logins after the last one from here.
    pub logins: u64,
    /// Logins tried from here since, whose answer may never have been read.
    #[serde(default)]
    pub tried: u64,
    /// The secret of the last session: a client that was killed resumes it
    /// without asking anybody.
    pub session: Option<ByteArray<16>>,
    /// The person wants no receipts to be sent.
    #[serde(default)]
    pub no_receipts: bool,
    /// The person hides when they are online, as far as this device was told.
    #[serde(default)]
    pub hidden: bool,
    /// The clock that keys expire by: milliseconds, 0 before it runs.
    #[serde(default)]
    pub age: u64,
    /// The clock on the wall up to which that one has counted: milliseconds since 1970.
    #[serde(default)]
    pub aged_to: u64,
    /// The ids of all signed prekeys that were ever made here, and of those by which a
    /// copy of this device made itself known.
    #[serde(default)]
    pub signed_ids: Vec<u32>,
}

impl Vault {
    /// This device's identity, if one was made.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn identity(&self) -> Result<Option<IdentityKeys>> {
        let Some(plain) = self.state(IDENTITY)? else {
            return Ok(None);
        };
        let bytes: &[u8; 64] = plain
            .as_slice()
            .try_into()
            .map_err(|_| self.damaged("the identity's length"))?;
        Ok(Some(IdentityKeys::from_bytes(bytes)))
    }

    /// Makes a new identity. Sessions under an earlier one end, and its prekeys go.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn make_identity(&mut self) -> Result<IdentityKeys> {
        let keys = IdentityKeys::generate(&mut os_rng());
        self.transact(|vault| vault.set_identity(&keys))?;
        Ok(keys)
    }

    pub(super) fn set_identity(&mut self, keys: &IdentityKeys) -> Result<()> {
        self.db.execute_batch(
            "DELETE FROM conversations; DELETE FROM signed_prekeys; DELETE FROM one_time_prekeys;",
        )?;
        self.set_state(IDENTITY, keys.to_bytes().as_slice())
    }

    /// What is remembered of the server.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn device(&self) -> Result<Device> {
        let Some(plain) = self.state(DEVICE)? else {
            return Ok(Device::default());
        };
        serde_json::from_slice(&plain)
            .map_err(|error| self.damaged(format!("the device's record: {error}")))
    }

    /// Replaces what is remembered of the server.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn save_device(&mut self, device: &Device) -> Result<()> {
        let plain = secret_json(device)
            .map_err(|error| self.damaged(format!("the device's record: {error}")))?;
        self.set_state(DEVICE, &plain)
    }

    /// Notes that a login is about to be tried: if this process is killed before
    /// the answer is noted, the server may count it all the same.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn note_login_tried(&mut self) -> Result<()> {
        self.transact(|vault| {
            let mut device = vault.device()?;
            device.tried += 1;
            vault.save_device(&device)
        })
    }

    /// Makes `count` one-time prekeys and saves them before anybody sees them.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn make_one_time(&mut self, count: usize) -> Result<Vec<OneTimePrekeySecret>> {
        self.transact(|vault| {
            let mut made = Vec::with_capacity(count);
            for _ in 0..count {
                let id = vault.free_number("one_time_prekeys")?;
                let prekey = OneTimePrekeySecret::generate(id, &mut os_rng());
                let row = i64::from(prekey.public().id);
                let sealed = vault.sealer.seal(&one_time_row(row), &prekey.to_bytes());
                vault
                    .db
                    .prepare_cached("INSERT INTO one_time_prekeys (id, sealed) VALUES (?, ?)")?
                    .execute((row, sealed))?;
                made.push(prekey);
            }
            Ok(made)
        })
    }

    /// Makes a signed prekey, which replaces those before it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn make_signed(&mut self, owner: &IdentityKeys, now: u64) -> Result<SignedPrekeySecret> {
        self.transact(|vault| {
            let id = vault.free_number("signed_prekeys")?;
            let prekey = SignedPrekeySecret::generate(owner, id, &mut os_rng());
            let row = i64::from(prekey.public().id);
            let newest: Option<i64> =
                vault
                    .db
                    .query_row("SELECT max(created) FROM signed_prekeys", [], |row| {
                        row.get(0)
                    })?;
            // Numbers are random, so the time alone orders signed prekeys: the newest has
            // the latest, also after the clock was set back.
            let created = newest.map_or(now as i64, |newest| (newest + 1).max(now as i64));
            let mut device = vault.device()?;
            device.signed_ids.push(id);
            vault.save_device(&device)?;
            let place = signed_row(row, created);
            let sealed = vault.sealer.seal(&place, &prekey.to_bytes());
            vault.db.execute(
                "INSERT INTO signed_prekeys (id, created, sealed) VALUES (?, ?, ?)",
                (row, created, sealed),
            )?;
            Ok(prekey)
        })
    }

    /// Notes that all one-time prekeys there are will be withdrawn from the server, at
    /// this age of the vault.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn withdraw_one_time(&mut self, age: u64) -> Result<()> {
        self.transact(|vault| {
            for (id, sealed) in vault.all_one_time()? {
                let (prekey, withdrawn) = vault.one_time_from(id, &sealed)?;
                if withdrawn.is_none() {
                    let plain = with_age(&prekey.to_bytes(), age);
                    let sealed = vault.sealer.seal(&one_time_row(id), &plain);
                    vault
                        .db
                        .prepare_cached("UPDATE one_time_prekeys SET sealed = ? WHERE id = ?")?
                        .execute((sealed, id))?;
                }
            }
            Ok(())
        })
    }

    /// Erases the prekeys that were replaced or withdrawn long ago. One that was replaced
    /// since the last time begins to age.
    ///
    /// # Errors
    /// That nothing was written.
    pub(super) fn expire_prekeys(&mut self, age: u64) -> Result<()> {
        let has_expired = |since: u64| age.saturating_sub(since) > OLD_PREKEY_MS;
        for (id, sealed) in self.all_one_time()? {
            let (_, withdrawn) = self.one_time_from(id, &sealed)?;
            if withdrawn.is_some_and(has_expired) {
                self.db
                    .execute("DELETE FROM one_time_prekeys WHERE id = ?", [id])?;
            }
        }
        for (id, created, sealed) in self.replaced_signed()? {
            let (prekey, replaced) = self.signed_from(id, created, &sealed)?;
            match replaced {
                Some(since) if has_expired(since) => {
                    self.db
                        .execute("DELETE FROM signed_prekeys WHERE id = ?", [id])?;
                }
                Some(_) => {}
                None => {
                    let plain = with_age(&prekey.to_bytes(), age);
                    let sealed = self.sealer.seal(&signed_row(id, created), &plain);
                    self.db.execute(
                        "UPDATE signed_prekeys SET sealed = ? WHERE id = ?",
                        (sealed, id),
                    )?;
                }
            }
        }
        Ok(())
    }

    fn all_one_time(&self) -> Result<Vec<(i64, Vec<u8>)>> {
        let mut query = self
            .db
            .prepare_cached("SELECT id, sealed FROM one_time_prekeys")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// All signed prekeys but the newest.
    fn replaced_signed(&self) -> Result<Vec<(i64, i64, Vec<u8>)>> {
        let mut query = self.db.prepare_cached(
            "SELECT id, created, sealed FROM signed_prekeys
             ORDER BY created DESC LIMIT -1 OFFSET 1",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// A number for a prekey. Drawn, not counted: two copies of a vault would count
    /// alike, and a message for one copy's prekey would reach the other's of the
    /// same number.
    fn free_number(&self, table: &str) -> Result<u32> {
        let sql = format!("SELECT 1 FROM {table} WHERE id = ?");
        loop {
            let id = os_rng().next_u32();
            if !self.db.prepare_cached(&sql)?.exists([id])? {
                return Ok(id);
            }
        }
    }

    /// Whether the signed prekey of this number is one of ours.
    ///
    /// # Errors
    /// That the vault could not be read.
    pub fn has_signed(&self, id: u32) -> Result<bool> {
        Ok(self.sealed_signed(id)?.is_some())
    }

    /// The newest signed prekey and when it was made.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn newest_signed(&self) -> Result<Option<(SignedPrekeySecret, u64)>> {
        let row = self
            .db
            .query_row(
                "SELECT id, created, sealed FROM signed_prekeys ORDER BY created DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((id, created, sealed)): Option<(i64, i64, Vec<u8>)> = row else {
            return Ok(None);
        };
        let (prekey, _) = self.signed_from(id, created, &sealed)?;
        Ok(Some((prekey, created as u64)))
    }

    /// Deletes a one-time prekey that was used, in the transaction of the message
    /// that used it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn use_up(&mut self, id: u32) -> Result<()> {
        self.db
            .execute("DELETE FROM one_time_prekeys WHERE id = ?", [id])?;
        Ok(())
    }

    /// A signed prekey, and the age of the vault at which it was found to be replaced.
    fn signed_from(
        &self,
        id: i64,
        created: i64,
        sealed: &[u8],
    ) -> Result<(SignedPrekeySecret, Option<u64>)> {
        let plain = self.open_sealed(&signed_row(id, created), sealed)?;
        let (prekey, replaced) = split_age(&plain, SignedPrekeySecret::LEN);
        let prekey = SignedPrekeySecret::from_bytes(prekey)
            .map_err(|error| self.damaged(format!("signed prekey {id}: {error}")))?;
        Ok((prekey, replaced))
    }

    /// A one-time prekey, and the age of the vault at which it was withdrawn.
    fn one_time_from(&self, id: i64, sealed: &[u8]) -> Result<(OneTimePrekeySecret, Option<u64>)> {
        let plain = self.open_sealed(&one_time_row(id), sealed)?;
        let (prekey, withdrawn) = split_age(&plain, OneTimePrekeySecret::LEN);
        let prekey = OneTimePrekeySecret::from_bytes(prekey)
            .map_err(|error| self.damaged(format!("one-time prekey {id}: {error}")))?;
        Ok((prekey, withdrawn))
    }

    /// When a signed prekey was made, and its sealed value.
    fn sealed_signed(&self, id: u32) -> Result<Option<(i64, Vec<u8>)>> {
        Ok(self
            .db
            .prepare_cached("SELECT created, sealed FROM signed_prekeys WHERE id = ?")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?)
    }

    fn sealed_one_time(&self, id: u32) -> Result<Option<Vec<u8>>> {
        Ok(self
            .db
            .prepare_cached("SELECT sealed FROM one_time_prekeys WHERE id = ?")?
            .query_row([id], |row| row.get(0))
            .optional()?)
    }

    pub(super) fn state(&self, id: i64) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let sealed: Option<Vec<u8>> = self
            .db
            .prepare_cached("SELECT sealed FROM state WHERE id = ?")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        sealed
            .map(|sealed| self.open_sealed(&Row::new(Place::State, id), &sealed))
            .transpose()
    }

    pub(super) fn set_state(&mut self, id: i64, plain: &[u8]) -> Result<()> {
        let sealed = self.sealer.seal(&Row::new(Place::State, id), plain);
        self.db
            .prepare_cached("INSERT OR REPLACE INTO state (id, sealed) VALUES (?, ?)")?
            .execute((id, sealed))?;
        Ok(())
    }
}

/// The sealed value of a prekey that is out of use: its bytes, then the age of the vault
/// since when (8).
fn with_age(prekey: &[u8], age: u64) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(prekey.len() + 8));
    plain.extend_from_slice(prekey);
    plain.extend_from_slice(&age.to_be_bytes());
    plain
}

/// Takes apart a sealed value whose prekey has `length` bytes.
fn split_age(plain: &[u8], length: usize) -> (&[u8], Option<u64>) {
    match plain.split_last_chunk() {
        Some((prekey, age)) if prekey.len() == length => (prekey, Some(u64::from_be_bytes(*age))),
        _ => (plain, None),
    }
}

fn one_time_row(id: i64) -> Row {
    Row::new(Place::OneTimePrekey, id)
}

/// The row of a signed prekey.
pub(super) fn signed_row(id: i64, created: i64) -> Row {
    Row::new(Place::SignedPrekey, id).with_number(created)
}

/// Gives decryption its prekeys. A vault that can't be read must not look like a
/// prekey that was used up, so the caller asks [`finish`](Self::finish) before it
/// believes a failure.
pub(crate) struct PrekeyReader<'a> {
    vault: &'a Vault,
    failed: RefCell<Option<VaultError>>,
}

impl<'a> PrekeyReader<'a> {
    /// Reads from `vault`.
    pub(crate) fn new(vault: &'a Vault) -> Self {
        PrekeyReader {
            vault,
            failed: RefCell::new(None),
        }
    }

    /// # Errors
    /// That some prekey could not be read, whether or not it exists.
    pub(crate) fn finish(self) -> Result<()> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }

    fn noted<T>(&self, read: Result<Option<T>>) -> Option<T> {
        read.unwrap_or_else(|error| {
            *self.failed.borrow_mut() = Some(error);
            None
        })
    }
}

impl Prekeys for PrekeyReader<'_> {
    fn signed(&self, id: u32) -> Option<SignedPrekeySecret> {
        let (created, sealed) = self.noted(self.vault.sealed_signed(id))?;
        let opened = self.vault.signed_from(i64::from(id), created, &sealed);
        self.noted(opened.map(|(prekey, _)| Some(prekey)))
    }

    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret> {
        let sealed = self.noted(self.vault.sealed_one_time(id))?;
        let opened = self.vault.one_time_from(i64::from(id), &sealed);
        self.noted(opened.map(|(prekey, _)| Some(prekey)))
    }
}
