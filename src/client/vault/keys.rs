//! This device's identity and the private halves of its prekeys.

use std::cell::RefCell;

use rand::Rng;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::{Place, Row};
use super::{Result, Vault, VaultError};
use crate::crypto::keys::{IdentityKeys, OneTimePrekeySecret, SignedPrekeySecret};
use crate::crypto::os_rng;
use crate::crypto::ratchet::session_set::Prekeys;
use crate::protocol::ByteArray;

const IDENTITY: i64 = 1;
const DEVICE: i64 = 2;

/// How long a signed prekey still opens messages: the week that it is published
/// and the 30 days after.
const OLD_PREKEY_MS: u64 = 37 * 24 * 3600 * 1000;

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
        let plain = serde_json::to_vec(device)
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
                let place = Row::new(Place::OneTimePrekey, row);
                let sealed = vault.sealer.seal(&place, &prekey.to_bytes());
                vault
                    .db
                    .prepare_cached("INSERT INTO one_time_prekeys (id, sealed) VALUES (?, ?)")?
                    .execute((row, sealed))?;
                made.push(prekey);
            }
            Ok(made)
        })
    }

    /// Makes a signed prekey, and forgets those that were replaced long ago.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn make_signed(&mut self, owner: &IdentityKeys, now: u64) -> Result<SignedPrekeySecret> {
        self.transact(|vault| {
            let id = vault.free_number("signed_prekeys")?;
            let prekey = SignedPrekeySecret::generate(owner, id, &mut os_rng());
            let row = i64::from(prekey.public().id);
            // After a long absence the newest is old, too, and still in use.
            let newest: Option<i64> =
                vault
                    .db
                    .query_row("SELECT max(created) FROM signed_prekeys", [], |row| {
                        row.get(0)
                    })?;
            // Numbers are random, so the time alone orders signed prekeys: the newest has
            // the latest, also after the clock was set back.
            let created = newest.map_or(now as i64, |newest| (newest + 1).max(now as i64));
            let oldest = now.saturating_sub(OLD_PREKEY_MS) as i64;
            vault.db.execute(
                "DELETE FROM signed_prekeys WHERE created < ? AND created < ?",
                (oldest, newest),
            )?;
            let place = signed_row(row, created);
            let sealed = vault.sealer.seal(&place, &prekey.to_bytes());
            vault.db.execute(
                "INSERT INTO signed_prekeys (id, created, sealed) VALUES (?, ?, ?)",
                (row, created, sealed),
            )?;
            Ok(prekey)
        })
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
        Ok(Some((
            self.signed_from(id, created, &sealed)?,
            created as u64,
        )))
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

    fn signed_from(&self, id: i64, created: i64, sealed: &[u8]) -> Result<SignedPrekeySecret> {
        let plain = self.open_sealed(&signed_row(id, created), sealed)?;
        SignedPrekeySecret::from_bytes(&plain)
            .map_err(|error| self.damaged(format!("signed prekey {id}: {error}")))
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
        self.noted(opened.map(Some))
    }

    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret> {
        let sealed = self.noted(self.vault.sealed_one_time(id))?;
        let row = Row::new(Place::OneTimePrekey, i64::from(id));
        let opened = self.vault.open_sealed(&row, &sealed);
        self.noted(opened.and_then(|plain| {
            OneTimePrekeySecret::from_bytes(&plain)
                .map(Some)
                .map_err(|error| self.vault.damaged(format!("one-time prekey {id}: {error}")))
        }))
    }
}
