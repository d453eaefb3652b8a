//! The clock that keys expire by, and their erasure.
//!
//! It follows the clock on the wall, by a day at most for a login: a clock that jumps
//! ahead erases nothing that still waits on the server, and who was away for long
//! gets what was sent meanwhile before its keys are gone. When it moves is the messenger's
//! to say, which knows whether all that waited has arrived.

use std::time::Duration;

use super::{Result, Vault};

/// The most that one login makes the vault older, in milliseconds: a day.
pub(crate) const DAY_MS: u64 = 24 * 3600 * 1000;

impl Vault {
    /// The age of the vault: the time that its keys expire by, in milliseconds. It begins
    /// at the time `now`, so that keys of a vault that had no such clock have their age.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn age(&mut self, now: u64) -> Result<u64> {
        let mut device = self.device()?;
        if device.age == 0 {
            (device.age, device.aged_to) = (now, now);
            self.transact(|vault| vault.save_device(&device))?;
        }
        Ok(device.age)
    }

    /// Lets time pass, `most` at most, and erases what has expired: keys of messages that
    /// did not arrive, superseded sessions, prekeys. Gives the age.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn grow_older(&mut self, now: u64, most: Duration) -> Result<u64> {
        self.transact(|vault| {
            let mut device = vault.device()?;
            let passed = now.saturating_sub(device.aged_to);
            let most = u64::try_from(most.as_millis()).unwrap_or(DAY_MS);
            device.age = device.age.saturating_add(passed.min(most));
            device.aged_to = now;
            vault.save_device(&device)?;
            let age = device.age;
            vault.expire_sessions(age)?;
            vault.expire_prekeys(age)?;
            Ok(age)
        })
    }

    fn expire_sessions(&mut self, age: u64) -> Result<()> {
        let ids: Vec<i64> = self.contacts().iter().map(|contact| contact.id).collect();
        for contact in ids {
            let Some(mut sessions) = self.conversation(contact)? else {
                continue;
            };
            let before = sessions.to_bytes();
            sessions.expire(age);
            if *sessions.to_bytes() != *before {
                self.save_conversation(contact, &sessions)?;
            }
        }
        Ok(())
    }
}
