//! What the client must not lose: keys, sessions, contacts, messages, and what is still
//! to be sent. It is one SQLite file per account, readable only with the password or the
//! recovery code.
//!
//! Every value is protected under the vault key and bound to its table and number, and a
//! root covers all rows of all tables (`rows`): somebody without the key can damage the
//! file, or put back the whole of it as it was, and nothing else. [`Vault::transact`] is the
//! unit of safety: what one closure does is on disk whole or not at all, and durable when
//! it returns. Nothing here decides about trust or delivery, or prints.
//!
//! | file | what |
//! | --- | --- |
//! | `folder` | the folder of a server's vaults |
//! | `file` | an account's place: lock, create, check and open the vault |
//! | `lock` | keeps a second process out, and tells it whom to ask |
//! | `sqlite_file` | how SQLite makes, connects and writes the file |
//! | `schema` | the tables, and whether a file has exactly these |
//! | `migration`, `migration_source` | from versions 1 and 2 to version 3 |
//! | `key_slots` | the vault key under the password and the recovery code |
//! | `log` | emptying the write-ahead log, which keeps what was replaced |
//! | `rotation` | a new vault key |
//! | `table` | the tables, and how the values of each are protected |
//! | `seal` | protects one value for its row |
//! | `rows` | reads and writes rows, under a root over all of them |
//! | `salvage` | what is whole of a damaged vault |
//! | `root` | what is remembered of the rows and of the root |
//! | `told_generation` | the generation, as the server is told it |
//! | `codec` | numbers and bytes in a value |
//! | `values` | all forms of values, for the fuzzer |
//! | `keys` | this device's identity and prekeys |
//! | `aging` | the clock that keys expire by, and their erasure |
//! | `contacts` | contacts and the sessions with them |
//! | `history` | messages that can be looked at again |
//! | `message_chunks` | which messages there are |
//! | `browse` | pages of the history |
//! | `retention` | deletes messages that the person does not keep |
//! | `seen_ids` | which ids were seen, and the messages that have them |
//! | `outbox` | messages to be sent, and envelopes that wait |
//! | `control_messages` | requests to send again, and answers to them |
//! | `export` | what moves to another machine |

mod aging;
mod browse;
mod codec;
mod contacts;
mod control_messages;
mod export;
mod file;
mod folder;
mod history;
mod key_slots;
mod keys;
mod lock;
mod log;
mod message_chunks;
mod migration;
mod migration_source;
mod outbox;
mod retention;
mod root;
mod rotation;
mod rows;
mod salvage;
mod schema;
mod seal;
mod seen_ids;
mod sqlite_file;
mod table;
mod told_generation;
mod values;

pub(crate) use self::browse::{BrowseError, FindBefore, FindFrom, HistoryPage, HistoryQuery};
pub(crate) use self::contacts::{Contact, Renewal};
pub(crate) use self::control_messages::{ControlKind, ControlMessage, REMEMBERED_MS};
pub(crate) use self::export::{Export, ExportError, FIRST_LINE as EXPORT_FIRST_LINE};
pub use self::file::{Closed, Opened, VaultFile};
pub use self::history::EncryptionStatus;
pub(crate) use self::history::{DeliveryState, HistoryEntry, MessageRecord};
pub(crate) use self::key_slots::{NewSecrets, PasswordKey, SlotKdf};
pub(crate) use self::keys::{Device, PrekeyReader};
pub(crate) use self::salvage::{Loss, Salvaged};
pub(crate) use self::told_generation::ToldGeneration;
pub use self::values::reads_back;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::PathBuf;

use aes::Aes256;
use rusqlite::Connection;

use self::lock::Lock;
use self::root::Rows;
use self::seal::Sealer;
use self::seen_ids::Filed;
use self::table::Table;
use crate::crypto::secret::SecretBuffer;
use crate::protocol::{MessageId, UserName};

/// An open vault. One process at a time holds it, by the lock inside.
pub struct Vault {
    db: Connection,
    sealer: Sealer,
    rows: Rows,
    /// The generation that was found at opening, 0 for a vault that was just made; or a later
    /// one, which the server was told since.
    known_generation: u64,
    /// What the server was told of the generation last.
    told: Option<ToldGeneration>,
    /// AES with the key under which ids are filed.
    filing: Aes256,
    /// The id that was looked up last, and where it is filed.
    last_filed: Cell<Option<((i64, MessageId), Filed)>>,
    contacts: Vec<Contact>,
    path: PathBuf,
    /// Held until drop.
    lock: Lock,
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
        /// Its control socket, if it has one.
        socket: Option<PathBuf>,
    },
    /// The file is something else, or what is left of a vault.
    NotAVault(PathBuf),
    /// A newer version of the client wrote it.
    Newer(PathBuf),
    /// It is the vault of this other account.
    OtherAccount(PathBuf, UserName),
    /// It is for the account at this other server.
    OtherServer(PathBuf, String),
    /// Parts of it are unreadable or were changed. What is whole of it can be read.
    Damaged(PathBuf, String),
    /// It is damaged, and there is nothing of it to be read.
    Unreadable(PathBuf, String),
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
            VaultError::InUse { path, pid, .. } => {
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
            VaultError::OtherAccount(path, name) => write!(
                f,
                "{} is the vault of another account, {name}; it is left as it is: move it away, \
                 and put this account's own vault there",
                path.display()
            ),
            VaultError::OtherServer(path, server) => write!(
                f,
                "{} is the vault of an account at another server, {server}; it is left as it is: move it \
                 back to that server's folder. To take its identity and messages along to this server, \
                 use: client vault export FILE --server {server}, then: client vault import FILE",
                path.display()
            ),
            VaultError::Damaged(path, what) => write!(
                f,
                "the vault {} is damaged ({what}); it is left as it is. What is whole of it can be read with: \
                 client vault read, and taken out with: client vault export --damaged FILE. Then move it away, and \
                 restore it from a backup, or begin anew from an export with: client vault import FILE",
                path.display()
            ),
            VaultError::Unreadable(path, what) => write!(
                f,
                "the vault {} is damaged ({what}), and nothing can be taken out of it; it is left as it is: \
                 move it away, then restore it from a backup, or begin anew from an export with: \
                 client vault import FILE",
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
            | VaultError::OtherAccount(..)
            | VaultError::OtherServer(..)
            | VaultError::Damaged(..)
            | VaultError::Unreadable(..)
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

/// A message that was read; `None` if its row in the file was changed. Rows of `messages` are
/// not read at opening (`rows`), and one that is damaged must not stop the mail that is about
/// it, or the account could not log in any more.
///
/// # Errors
/// That the vault could not be read.
pub(crate) fn unchanged(read: Result<Option<HistoryEntry>>) -> Result<Option<HistoryEntry>> {
    match read {
        Err(VaultError::Damaged(..)) => Ok(None),
        read => read,
    }
}

/// A value as JSON, of which no copy stays in memory.
fn secret_json<T: serde::Serialize>(value: &T) -> serde_json::Result<zeroize::Zeroizing<Vec<u8>>> {
    let mut json = SecretBuffer::default();
    serde_json::to_writer(&mut json, value)?;
    Ok(json.into_bytes())
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
        let run = |vault: &Vault, sql| {
            let done = vault.db.execute_batch(sql);
            done.map_err(|error| sqlite_file::classify(&vault.path, error))
        };
        run(self, "BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|value| {
            self.write_root()?;
            run(self, "COMMIT")?;
            Ok(value)
        });
        self.end_rows(done.is_ok());
        // A commit that failed may have ended the transaction already.
        if done.is_err() && !self.db.is_autocommit() {
            run(self, "ROLLBACK")?;
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

    /// Reads a value that is JSON.
    fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
        number: i64,
    ) -> Result<Option<T>> {
        let plain = self.get(table, number)?;
        plain
            .map(|plain| self.parse_json(table, number, &plain))
            .transpose()
    }

    fn put_json<T: serde::Serialize>(
        &mut self,
        table: Table,
        number: i64,
        value: &T,
    ) -> Result<()> {
        let plain = self.json(table, number, value)?;
        self.put(table, number, &plain)
    }

    fn parse_json<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
        number: i64,
        json: &[u8],
    ) -> Result<T> {
        serde_json::from_slice(json)
            .map_err(|error| self.damaged(format!("row {number} of {table}: {error}")))
    }

    fn json<T: serde::Serialize>(
        &self,
        table: Table,
        number: i64,
        value: &T,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        secret_json(value)
            .map_err(|error| self.damaged(format!("row {number} of {table}: {error}")))
    }
}

#[cfg(test)]
mod tests;
