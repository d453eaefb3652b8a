//! A new vault key, for `/passwd`: everything is encrypted anew under it, and only the
//! secrets that are given open it. Whoever copied the vault before reads nothing that comes
//! later, even with the password of that time.
//!
//! It is one transaction, so that a kill leaves the old key with its slots or the new one
//! with its own. It needs as much space for SQLite's log as the vault has. How rows are
//! protected anew is the business of `rows`.

use std::time::{Duration, Instant};

use super::key_slots::NewSecrets;
use super::{Result, Vault};
use crate::clock;
use crate::crypto::cipher::SealKey;
use crate::crypto::os_rng;

/// How often `progress` is told; in unit tests, which cut the change off there, for every
/// row.
const EVERY: Duration = match cfg!(test) {
    true => Duration::ZERO,
    false => Duration::from_secs(2),
};

impl Vault {
    /// Changes the vault key, and makes `secrets` the only ones that open the vault.
    /// `progress` is told every two seconds how many rows are done, and of how many.
    ///
    /// # Errors
    /// That all is as it was.
    pub(crate) fn rotate_key(
        &mut self,
        secrets: &NewSecrets<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let mut told = Progress {
            tell: progress,
            total: self.count_rows()?,
            done: 0,
            next: clock::now() + EVERY,
        };
        self.replace_key(
            SealKey::generate(&mut os_rng()),
            || told.one_more(),
            |vault| vault.replace_slots(secrets),
        )?;
        // What the log holds under the old key goes. If not now, then in a while or at closing.
        let _emptied = self.empty_log();
        Ok(())
    }
}

/// Tells how far it is, from time to time.
struct Progress<'a> {
    tell: &'a mut dyn FnMut(u64, u64),
    total: u64,
    done: u64,
    next: Instant,
}

impl Progress<'_> {
    fn one_more(&mut self) {
        self.done += 1;
        let now = clock::now();
        if now >= self.next {
            self.next = now + EVERY;
            (self.tell)(self.done, self.total);
        }
    }
}
