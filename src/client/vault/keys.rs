//! This device's identity and the private halves of its prekeys.

use std::cell::RefCell;

use rand::Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::codec::Reader;
use super::table::Table;
use super::told_generation::ToldGeneration;
use super::{Result, Vault, VaultError};
use crate::crypto::keys::{IdentityKeys, OneTimePrekeySecret, SignedPrekeySecret};
use crate::crypto::os_rng;
use crate::crypto::ratchet::session_set::Prekeys;
use crate::protocol::{ByteArray, UserName};

const IDENTITY: i64 = 1;
const DEVICE: i64 = 2;
const OWNER: i64 = 4;
pub(super) const SERVER: i64 = 6;

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
    /// What the server said when it was restored from a backup last, at the last login from here.
    #[serde(default)]
    pub epoch: Option<ByteArray<16>>,
    /// The server was told a generation with its proof.
    #[serde(default)]
    pub told_proof: bool,
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
    /// Since when the newest signed prekey is in use: milliseconds since 1970. `None` if it was made
    /// before this was noted.
    #[serde(default)]
    pub signed_since: Option<u64>,
    /// The last place of the messages that came along from another server, 0 if none did. This
    /// server knows nothing of them, so it must not be asked what became of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_elsewhere: i64,
    /// For how many days messages are kept on this device; `None` for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(place: &i64) -> bool {
    *place == 0
}

impl Vault {
    /// This device's identity, if one was made.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn identity(&self) -> Result<Option<IdentityKeys>> {
        let Some(plain) = self.get(Table::State, IDENTITY)? else {
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
        for table in [Table::Sessions, Table::SignedPrekeys, Table::OneTimePrekeys] {
            let numbers: Vec<i64> = self.numbers(table).collect();
            for number in numbers {
                self.delete(table, number)?;
            }
        }
        self.put(Table::State, IDENTITY, keys.to_bytes().as_slice())
    }

    /// What is remembered of the server.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn device(&self) -> Result<Device> {
        Ok(self.get_json(Table::State, DEVICE)?.unwrap_or_default())
    }

    /// Replaces what is remembered of the server.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn save_device(&mut self, device: &Device) -> Result<()> {
        self.put_json(Table::State, DEVICE, device)
    }

    /// Whose vault this is; `None` if it does not say.
    ///
    /// # Errors
    /// That it could not be read.
    pub(super) fn owner(&self) -> Result<Option<UserName>> {
        self.get_json(Table::State, OWNER)
    }

    /// Notes whose vault this is.
    ///
    /// # Errors
    /// That nothing was written.
    pub(super) fn set_owner(&mut self, name: &UserName) -> Result<()> {
        self.put_json(Table::State, OWNER, name)
    }

    /// The server that the account is at, as the text of its place; `None` if the vault does not say.
    ///
    /// # Errors
    /// That it could not be read.
    pub(super) fn server(&self) -> Result<Option<String>> {
        self.get_json(Table::State, SERVER)
    }

    /// Notes which server the account is at.
    ///
    /// # Errors
    /// That nothing was written.
    pub(super) fn set_server(&mut self, server: &str) -> Result<()> {
        self.put_json(Table::State, SERVER, &server)
    }

    /// Notes that a login is about to be tried: if this process is killed before
    /// the answer is noted, the server may count it all the same. Gives what to tell the
    /// server of the generation.
    ///
    /// # Errors
    /// That nothing was written.
    pub(crate) fn note_login_tried(&mut self) -> Result<Option<ToldGeneration>> {
        self.transact(|vault| {
            let mut device = vault.device()?;
            device.tried += 1;
            vault.save_device(&device)
        })?;
        self.generation_to_tell()
    }

    /// Makes `count` one-time prekeys and saves them before anybody sees them.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn make_one_time(&mut self, count: usize) -> Result<Vec<OneTimePrekeySecret>> {
        self.transact(|vault| {
            let mut made = Vec::with_capacity(count);
            for _ in 0..count {
                let id = vault.free_number(Table::OneTimePrekeys);
                let prekey = OneTimePrekeySecret::generate(id, &mut os_rng());
                let number = i64::from(prekey.public().id);
                vault.put(Table::OneTimePrekeys, number, &prekey.to_bytes())?;
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
            let id = vault.free_number(Table::SignedPrekeys);
            let prekey = SignedPrekeySecret::generate(owner, id, &mut os_rng());
            let kept = vault.all_signed()?;
            let newest = kept.iter().map(|(_, created)| *created).max();
            // Numbers are random, so the time alone orders signed prekeys: the newest has
            // the latest, also after the clock was set back.
            let created = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
            let mut device = vault.device()?;
            device.signed_ids.push(id);
            device.signed_since = Some(now);
            vault.save_device(&device)?;
            vault.put_signed(&prekey, created, None)?;
            Ok(prekey)
        })
    }

    /// Writes a signed prekey that was made at a time, and was found to be replaced at an age
    /// of the vault.
    pub(super) fn put_signed(
        &mut self,
        prekey: &SignedPrekeySecret,
        created: u64,
        replaced: Option<u64>,
    ) -> Result<()> {
        let number = i64::from(prekey.public().id);
        let plain = Zeroizing::new(
            [
                created.to_be_bytes().as_slice(),
                &with_age(&prekey.to_bytes(), replaced),
            ]
            .concat(),
        );
        self.put(Table::SignedPrekeys, number, &plain)
    }

    /// Notes that all one-time prekeys there are will be withdrawn from the server, at
    /// this age of the vault.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn withdraw_one_time(&mut self, age: u64) -> Result<()> {
        self.transact(|vault| {
            let all: Vec<i64> = vault.numbers(Table::OneTimePrekeys).collect();
            for number in all {
                if let Some((prekey, None)) = vault.read_one_time(number)? {
                    let plain = with_age(&prekey.to_bytes(), Some(age));
                    vault.put(Table::OneTimePrekeys, number, &plain)?;
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
        let all: Vec<i64> = self.numbers(Table::OneTimePrekeys).collect();
        for number in all {
            let prekey = self.read_one_time(number)?;
            if prekey.is_some_and(|(_, withdrawn)| withdrawn.is_some_and(has_expired)) {
                self.delete(Table::OneTimePrekeys, number)?;
            }
        }
        let all = self.all_signed()?;
        let newest = all.iter().map(|(_, created)| *created).max();
        for (number, _) in all.into_iter().filter(|(_, made)| Some(*made) < newest) {
            match self.read_signed(number)? {
                Some(signed) if signed.replaced.is_some_and(has_expired) => {
                    self.delete(Table::SignedPrekeys, number)?;
                }
                Some(signed) if signed.replaced.is_none() => {
                    self.put_signed(&signed.prekey, signed.created, Some(age))?;
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// The numbers of all signed prekeys, and when each was made.
    fn all_signed(&self) -> Result<Vec<(i64, u64)>> {
        let mut all = Vec::new();
        for number in self.numbers(Table::SignedPrekeys) {
            if let Some(signed) = self.read_signed(number)? {
                all.push((number, signed.created));
            }
        }
        Ok(all)
    }

    /// A number for a prekey. Drawn, not counted: two copies of a vault would count
    /// alike, and a message for one copy's prekey would reach the other's of the
    /// same number.
    fn free_number(&self, table: Table) -> u32 {
        loop {
            let id = os_rng().next_u32();
            if !self.has(table, i64::from(id)) {
                return id;
            }
        }
    }

    /// Whether the signed prekey of this number is one of ours.
    pub fn has_signed(&self, id: u32) -> bool {
        self.has(Table::SignedPrekeys, i64::from(id))
    }

    /// The newest signed prekey and when it was made.
    ///
    /// # Errors
    /// That it could not be read.
    pub fn newest_signed(&self) -> Result<Option<(SignedPrekeySecret, u64)>> {
        let all = self.all_signed()?.into_iter();
        match all.max_by_key(|(_, created)| *created) {
            Some((number, _)) => {
                let signed = self.read_signed(number)?;
                Ok(signed.map(|signed| (signed.prekey, signed.created)))
            }
            None => Ok(None),
        }
    }

    /// Since when the newest signed prekey is in use; `None` if there is none. A clock that was
    /// ahead when it was made must not keep it in use for as long: a time to come counts as `now`.
    ///
    /// # Errors
    /// That it could not be read or written.
    pub fn signed_since(&mut self, now: u64) -> Result<Option<u64>> {
        let Some((_, made)) = self.newest_signed()? else {
            return Ok(None);
        };
        let mut device = self.device()?;
        let since = device.signed_since.unwrap_or(made);
        if since > now {
            device.signed_since = Some(now);
            self.transact(|vault| vault.save_device(&device))?;
        }
        Ok(Some(since.min(now)))
    }

    /// Deletes a one-time prekey that was used, in the transaction of the message
    /// that used it.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn use_up(&mut self, id: u32) -> Result<()> {
        self.delete(Table::OneTimePrekeys, i64::from(id))
    }

    fn read_signed(&self, number: i64) -> Result<Option<Signed>> {
        let Some(plain) = self.get(Table::SignedPrekeys, number)? else {
            return Ok(None);
        };
        let damaged = || self.damaged_row(Table::SignedPrekeys, number);
        let mut reader = Reader(&plain);
        let created = reader.array().map(u64::from_be_bytes).ok_or_else(damaged)?;
        let (prekey, replaced) = split_age(reader.0, SignedPrekeySecret::LEN);
        let prekey = SignedPrekeySecret::from_bytes(prekey).map_err(|_| damaged())?;
        Ok(Some(Signed {
            prekey,
            created,
            replaced,
        }))
    }

    /// A one-time prekey, and the age of the vault at which it was withdrawn.
    fn read_one_time(&self, number: i64) -> Result<Option<(OneTimePrekeySecret, Option<u64>)>> {
        let Some(plain) = self.get(Table::OneTimePrekeys, number)? else {
            return Ok(None);
        };
        let (prekey, withdrawn) = split_age(&plain, OneTimePrekeySecret::LEN);
        let damaged = |_| self.damaged_row(Table::OneTimePrekeys, number);
        let prekey = OneTimePrekeySecret::from_bytes(prekey).map_err(damaged)?;
        Ok(Some((prekey, withdrawn)))
    }
}

/// A signed prekey in the vault.
struct Signed {
    prekey: SignedPrekeySecret,
    /// When it was made: milliseconds since 1970.
    created: u64,
    /// The age of the vault at which it was found to be replaced.
    replaced: Option<u64>,
}

/// The value of a prekey: its bytes, and if it is out of use, the age of the vault since
/// when (8).
pub(super) fn with_age(prekey: &[u8], age: Option<u64>) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(prekey.len() + 8));
    plain.extend_from_slice(prekey);
    if let Some(age) = age {
        plain.extend_from_slice(&age.to_be_bytes());
    }
    plain
}

/// Takes apart a value whose prekey has `length` bytes.
pub(super) fn split_age(plain: &[u8], length: usize) -> (&[u8], Option<u64>) {
    match plain.split_last_chunk() {
        Some((prekey, age)) if prekey.len() == length => (prekey, Some(u64::from_be_bytes(*age))),
        _ => (plain, None),
    }
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
        let signed = self.vault.read_signed(i64::from(id));
        self.noted(signed).map(|signed| signed.prekey)
    }

    fn one_time(&self, id: u32) -> Option<OneTimePrekeySecret> {
        let read = self.vault.read_one_time(i64::from(id));
        self.noted(read).map(|(prekey, _)| prekey)
    }
}
