//! What the client must not lose: keys, sessions, contacts, messages, and what is still
//! to be sent. It is one SQLite file per account, readable only with the password or the
//! recovery code.
//!
//! Every value but ids and times is sealed under the vault key, bound to its table and
//! column and to the readable columns of its row. [`Vault::transact`] is the unit of
//! safety: what one closure does is on disk whole or not at all, and durable when it
//! returns. Nothing here decides about trust or delivery, or prints.
//!
//! | file | what |
//! | --- | --- |
//! | `folder` | the folder of a server's vaults |
//! | `file` | an account's place: lock, create, check and open the vault |
//! | `sqlite_file` | how SQLite makes, connects and writes the file |
//! | `schema` | the tables, and whether a file has exactly these |
//! | `migration` | from version 1 to version 2 |
//! | `key_slots` | the vault key under the password and the recovery code |
//! | `log` | emptying the write-ahead log, which keeps what was replaced |
//! | `rotation` | a new vault key |
//! | `seal` | seals a value for its row |
//! | `keys` | this device's identity and prekeys |
//! | `contacts` | contacts and the sessions with them |
//! | `history` | messages that can be looked at again |
//! | `outbox` | ids seen, envelopes held, messages to be sent |
//! | `control_messages` | requests to send again, and answers to them |
//! | `export` | what moves to another machine |

mod contacts;
mod control_messages;
mod export;
mod file;
mod folder;
mod history;
mod key_slots;
mod keys;
mod log;
mod migration;
mod outbox;
mod rotation;
mod schema;
mod seal;
mod sqlite_file;

pub(crate) use self::contacts::Contact;
pub(crate) use self::control_messages::{ControlKind, ControlMessage, REMEMBERED_MS};
pub(crate) use self::export::Export;
pub(crate) use self::file::Closed;
pub use self::file::{Opened, VaultFile};
pub use self::history::EncryptionStatus;
pub(crate) use self::history::{DeliveryState, HistoryEntry, MessageRecord};
pub(crate) use self::key_slots::{NewSecrets, PasswordKey, SlotKdf};
pub(crate) use self::keys::PrekeyReader;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use rusqlite::Connection;

use self::seal::{Place, Row, Sealer};
use crate::crypto::cipher::NotAuthentic;

/// An open vault. One process at a time holds it, by the lock inside.
pub struct Vault {
    db: Connection,
    sealer: Sealer,
    contacts: Vec<Contact>,
    path: PathBuf,
    /// Held until drop.
    _lock: File,
}

/// Why the vault could not be opened, read or written.
#[derive(Debug)]
pub enum VaultError {
    /// Another process has it open.
    InUse {
        /// The vault.
        path: PathBuf,
        /// That process, if it said so.
        pid: Option<u32>,
    },
    /// The file is something else, or what is left of a vault.
    NotAVault(PathBuf),
    /// A newer version of the client wrote it.
    Newer(PathBuf),
    /// Parts of it are unreadable or were changed.
    Damaged(PathBuf, String),
    /// There is one already.
    Exists(PathBuf),
    /// There is one under each of several spellings of the server's address.
    Several(Vec<PathBuf>),
    /// No key slot has this password.
    WrongKey,
    /// The file system refused.
    Io(PathBuf, io::Error),
    /// SQLite refused, for a reason other than damage.
    Database(rusqlite::Error),
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VaultError::InUse { path, pid } => {
                write!(
                    f,
                    "the vault {} is in use by another client",
                    path.display()
                )?;
                match pid {
                    Some(pid) => write!(f, " (process {pid}); end that one first"),
                    None => f.write_str("; end that one first"),
                }
            }
            VaultError::NotAVault(path) => write!(
                f,
                "{} is not a vault, or was cut off; it is left as it is: restore it from a \
                 backup, or move it away to begin anew",
                path.display()
            ),
            VaultError::Newer(path) => write!(
                f,
                "{} was written by a newer version of this client; update the client",
                path.display()
            ),
            VaultError::Damaged(path, what) => write!(
                f,
                "the vault {} is damaged ({what}); it is left as it is: restore it from a \
                 backup, or move it away to begin anew",
                path.display()
            ),
            VaultError::Exists(path) => write!(
                f,
                "{} exists already; log in instead, or move it away",
                path.display()
            ),
            VaultError::Several(paths) => {
                let paths: Vec<_> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(
                    f,
                    "there is more than one vault of this account, under different spellings of the \
                     server's address: {}; all are left as they are: move away those that you \
                     don't use",
                    paths.join(", ")
                )
            }
            VaultError::WrongKey => f.write_str("no key slot of the vault has this password"),
            VaultError::Io(path, error) => write!(
                f,
                "{}: {error}; check the folder's permissions and the free space",
                path.display()
            ),
            VaultError::Database(error) => {
                write!(
                    f,
                    "the vault could not be read or written: {error}; check the free space"
                )
            }
        }
    }
}

impl std::error::Error for VaultError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            VaultError::Io(_, error) => Some(error),
            VaultError::Database(error) => Some(error),
            VaultError::InUse { .. }
            | VaultError::NotAVault(_)
            | VaultError::Newer(_)
            | VaultError::Damaged(..)
            | VaultError::Exists(_)
            | VaultError::Several(_)
            | VaultError::WrongKey => None,
        }
    }
}

impl From<rusqlite::Error> for VaultError {
    fn from(error: rusqlite::Error) -> Self {
        VaultError::Database(error)
    }
}

/// What reading and writing the vault gives.
pub(crate) type Result<T> = std::result::Result<T, VaultError>;

/// What was read of a row; `None` if somebody changed the row, for readers that can go on
/// without it.
///
/// # Errors
/// That the vault could not be read.
pub(crate) fn unchanged<T>(read: Result<Option<T>>) -> Result<Option<T>> {
    match read {
        Err(VaultError::Damaged(..)) => Ok(None),
        read => read,
    }
}

impl Vault {
    /// Runs `work` as one transaction: durable when this returns `Ok`, and as if
    /// it had never begun otherwise.
    ///
    /// # Errors
    /// What `work` failed with, or that the transaction could not be committed.
    pub fn transact<T>(&mut self, work: impl FnOnce(&mut Vault) -> Result<T>) -> Result<T> {
        let done = self.transact_rows(work);
        if done.is_err() {
            self.contacts = self.load_contacts()?;
        }
        done
    }

    /// Does what [`transact`](Self::transact) does to the file, and leaves the contacts in
    /// memory as `work` left them.
    fn transact_rows<T>(&mut self, work: impl FnOnce(&mut Vault) -> Result<T>) -> Result<T> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|value| {
            self.db.execute_batch("COMMIT")?;
            Ok(value)
        });
        // A commit that failed may have ended the transaction already.
        if done.is_err() && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        done
    }

    /// The file, for messages to the person.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn damaged(&self, what: impl Into<String>) -> VaultError {
        VaultError::Damaged(self.path.clone(), what.into())
    }

    fn open_sealed(&self, row: &Row, sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        self.sealer
            .open(row, sealed)
            .map_err(|NotAuthentic| self.damaged(row.to_string()))
    }

    fn open_json<T: serde::de::DeserializeOwned>(&self, row: &Row, sealed: &[u8]) -> Result<T> {
        let plain = self.open_sealed(row, sealed)?;
        serde_json::from_slice(&plain).map_err(|error| self.damaged(format!("{row}: {error}")))
    }

    fn seal_json<T: serde::Serialize>(&self, row: &Row, value: &T) -> Result<Vec<u8>> {
        let plain = serde_json::to_vec(value)
            .map(zeroize::Zeroizing::new)
            .map_err(|error| self.damaged(format!("{row}: {error}")))?;
        Ok(self.sealer.seal(row, &plain))
    }

    /// The row of a value that belongs to a contact. It is also bound to the contact's
    /// name, so that a contact who gets the number of a deleted one inherits nothing.
    fn row_of(&self, place: Place, number: i64, contact: i64) -> Result<Row> {
        let known = self.contact_by_id(contact);
        let name = known.map(|contact| contact.name).ok_or_else(|| {
            self.damaged(format!(
                "row {number} of {place} belongs to contact {contact}, who is not in the vault"
            ))
        })?;
        Ok(Row::new(place, number)
            .with_number(contact)
            .with(name.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests;
