//! A new vault key, for `/passwd`: every sealed value is sealed again under it, and only the
//! secrets that are given open it. Whoever copied the vault before reads nothing that comes
//! later, even with the password of that time.
//!
//! It is one transaction, so that a kill leaves the old key with its slots or the new one
//! with its own. It needs as much space for SQLite's log as the vault has, and takes about
//! as long as reading and writing all of it.

use std::time::{Duration, Instant};

use super::key_slots::NewSecrets;
use super::seal::Sealer;
use super::{Result, Vault, migration, sqlite_file};
use crate::clock;
use crate::crypto::cipher::SealKey;
use crate::crypto::os_rng;

/// How often `progress` is told; in unit tests, which cut the change off there, for every
/// value.
const EVERY: Duration = match cfg!(test) {
    true => Duration::ZERO,
    false => Duration::from_secs(2),
};

impl Vault {
    /// Changes the vault key, and makes `secrets` the only ones that open the vault.
    /// `progress` is told every two seconds how many values are done, and of how many.
    ///
    /// # Errors
    /// That all is as it was.
    pub(crate) fn rotate_key(
        &mut self,
        secrets: &NewSecrets<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let sealer = Sealer::new(SealKey::generate(&mut os_rng()));
        let old = std::mem::replace(&mut self.sealer, sealer);
        let total = migration::count_values(self)?;
        let mut told = Told {
            progress,
            total,
            done: 0,
            next: clock::now() + EVERY,
        };
        let rotated = self.transact_rows(|vault| {
            migration::reseal_all(vault, &mut |_, row, _, _, sealed| {
                told.one_more();
                Ok(old.open(row, sealed).ok())
            })?;
            vault.replace_slots(secrets)
        });
        if let Err(error) = rotated {
            self.sealer = old;
            self.contacts = self.load_contacts()?;
            return Err(error);
        }
        // The log still holds rows under the old key. If a reader of the file is in the way, the
        // upkeep of the log empties it later.
        sqlite_file::checkpoint(&self.db)?;
        Ok(())
    }
}

/// Tells how far it is, from time to time.
struct Told<'a> {
    progress: &'a mut dyn FnMut(u64, u64),
    total: u64,
    done: u64,
    next: Instant,
}

impl Told<'_> {
    fn one_more(&mut self) {
        self.done += 1;
        let now = clock::now();
        if now >= self.next {
            self.next = now + EVERY;
            (self.progress)(self.done, self.total);
        }
    }
}
