//! An account's vault on disk, from the locked place to the open vault:
//! [`VaultFile::take`], then [`VaultFile::create`], or [`VaultFile::read`] and
//! [`Closed::open`].
//!
//! A file that is not a whole vault is never written to. Making one is atomic: it is
//! built under another name and renamed when it is complete. How SQLite handles the file
//! is in `sqlite_file`.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use aes::Aes256;
use aes::cipher::KeyInit;
use rusqlite::Connection;

use super::key_slots::{KeySlot, PasswordKey, SlotKdf, SlotSecret};
use super::lock::Lock;
use super::migration_source::Source;
use super::root::Rows;
use super::seal::Sealer;
use super::{Result, Vault, VaultError, folder, key_slots, migration, schema, sqlite_file};
use crate::crypto::account::password::Derived;
use crate::crypto::cipher::{SealKey, WrappingKey};
use crate::crypto::os_rng;
use crate::protocol::UserName;
use crate::protocol::request::KdfParams;

/// An account's place for a vault, locked by this process, with or without a vault in it.
pub struct VaultFile {
    path: PathBuf,
    name: UserName,
    /// The server, as the text of its [`Place`](crate::transport::address::Place).
    server: String,
    lock: Lock,
}

/// A vault that was checked and is not open yet: only its key slots have been read.
pub struct Closed {
    file: VaultFile,
    db: Connection,
    version: i32,
    key_slots: Vec<KeySlot>,
}

/// What an attempt to open a vault gives: `T` holds the open vault.
pub enum Opened<T> {
    /// The key opens it.
    Open(T),
    /// The key opens none of its slots. The vault is still closed, and another key may
    /// be tried.
    WrongKey(Box<Closed>),
}

impl VaultFile {
    /// Locks the place of `name` at `server` under `data`, making the folders
    /// (readable by their owner only).
    ///
    /// # Errors
    /// [`VaultError::InUse`] if another process has it, [`VaultError::Several`] if there is
    /// more than one.
    pub fn take(data: &Path, server: &str, name: &UserName) -> Result<Self> {
        let folder = folder::find(data, server, name)?;
        crate::fs::make_folder(&folder).map_err(|error| VaultError::Io(folder.clone(), error))?;
        let path = folder.join(format!("{name}.vault"));
        let lock = Lock::take(&folder.join(format!("{name}.lock")), &path)?;
        Ok(VaultFile {
            path,
            name: *name,
            server: server.to_owned(),
            lock,
        })
    }

    /// The vault's place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is something at the vault's place.
    pub fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// Makes a vault that `password` and the recovery code open, with what `fill`
    /// puts into it: all of it is there, or no vault. `account` says how the account's
    /// login key is derived from the same password.
    ///
    /// # Errors
    /// [`VaultError::Exists`] if there is one: it is never replaced.
    pub fn create(
        self,
        password: &PasswordKey,
        account: KdfParams,
        recovery: &WrappingKey,
        fill: impl FnOnce(&mut Vault) -> Result<()>,
    ) -> Result<Vault> {
        if self.exists() {
            return Err(VaultError::Exists(self.path));
        }
        let draft = self.path.with_extension("draft");
        // A process that was killed here may have left one; we hold the lock.
        sqlite_file::remove_if_exists(&draft)?;
        let key = SealKey::generate(&mut os_rng());
        let slots = [
            SlotSecret::Password(password),
            SlotSecret::Recovery(recovery),
        ];
        let mut vault = create_empty(draft, key, self.lock)?;
        vault.transact(|vault| {
            for slot in &slots {
                key_slots::insert(&vault.db, vault.sealer.key(), slot)?;
            }
            vault.note_new_slots(password, account)?;
            vault.make_filing_key()?;
            vault.set_owner(&self.name)?;
            vault.set_server(&self.server)
        })?;
        fill(&mut vault)?;
        vault.move_to(self.path)
    }

    /// Checks the vault that is there, and reads its key slots. Nothing is written to one
    /// that is not as this client makes it.
    ///
    /// # Errors
    /// That it is not one, or damaged, or from a newer client; it is left as it is.
    pub fn read(self) -> Result<Closed> {
        let (db, version) = self.connect()?;
        let classify = |error| sqlite_file::classify(&self.path, error);
        match schema::difference(&db, version).map_err(classify)? {
            Some(difference) => Err(VaultError::Damaged(self.path, difference)),
            None => self.read_slots(db, version),
        }
    }

    /// Reads the key slots of a vault that is damaged, whatever its schema is.
    ///
    /// # Errors
    /// That it is no vault, or from a newer client, or not even these can be read.
    pub(crate) fn read_damaged(self) -> Result<Closed> {
        let (db, version) = self.connect()?;
        self.read_slots(db, version).map_err(unreadable)
    }

    fn connect(&self) -> Result<(Connection, i32)> {
        sqlite_file::check_header(&self.path)?;
        let db = sqlite_file::connect(&self.path)?;
        let version = check_version(&db, &self.path)?;
        Ok((db, version))
    }

    fn read_slots(self, db: Connection, version: i32) -> Result<Closed> {
        let key_slots = key_slots::read(&db, version, &self.path)?;
        Ok(Closed {
            file: self,
            db,
            version,
            key_slots,
        })
    }

    /// Removes a vault that was made for a registration which the server then
    /// refused: nothing was ever encrypted to its keys.
    ///
    /// # Errors
    /// That the file could not be removed.
    pub fn discard(vault: Vault) -> Result<()> {
        let path = vault.path.clone();
        drop(vault);
        sqlite_file::remove_if_exists(&path)
    }
}

impl Closed {
    /// The derivations of its passwords: one, or two after an interrupted change.
    pub fn passwords(&self) -> impl Iterator<Item = SlotKdf> {
        self.key_slots.iter().filter_map(|slot| slot.kdf)
    }

    /// Derives a password's keys as one of its slots says.
    ///
    /// # Errors
    /// That the slot names a cost that no client has written.
    pub fn derive(&self, slot: SlotKdf, password: &str) -> Result<Derived> {
        let damaged = |why| VaultError::Damaged(self.path().to_owned(), why);
        slot.derive(password).map_err(damaged)
    }

    /// The file, for messages to the person.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Opens the vault if `key` opens one of its slots. One of an earlier version is brought
    /// up to this version. Nothing is written before all has been found to be whole.
    ///
    /// # Errors
    /// That the key fits and the vault can't be read or migrated.
    pub fn open(self, key: &WrappingKey) -> Result<Opened<Vault>> {
        if self.version != schema::VERSION {
            return self.migrate(key);
        }
        let (mut vault, name, server) = match self.without_rows(key)? {
            Opened::Open(parts) => parts,
            Opened::WrongKey(closed) => return Ok(Opened::WrongKey(closed)),
        };
        vault.load_rows()?;
        vault.known_generation = vault.generation();
        vault.load_filing_key()?;
        vault.contacts = vault.load_contacts()?;
        vault.check_owner(&name)?;
        let is_of_some_server = vault.check_server(&server)?;
        sqlite_file::prepare_to_write(&vault.path, &vault.db)?;
        // A client that was killed before its sync may have written what is in the log,
        // and a power cut would take it: it is put on the disk before it is relied on.
        sqlite_file::checkpoint(&vault.db)
            .map_err(|error| sqlite_file::classify(&vault.path, error))?;
        if !is_of_some_server {
            vault.transact(|vault| vault.set_server(&server))?;
        }
        Ok(Opened::Open(vault))
    }

    /// Opens a vault of an earlier version and makes one of this version of it.
    fn migrate(self, key: &WrappingKey) -> Result<Opened<Vault>> {
        let Some(vault_key) = self.unwrap_key(key) else {
            return Ok(Opened::WrongKey(Box::new(self)));
        };
        let VaultFile {
            path,
            name,
            server,
            lock,
        } = self.file;
        let source = Source::read(self.db, vault_key.clone(), self.version, path);
        let migrated = source.and_then(|source| migrate(source, vault_key, name, lock));
        let mut vault = migrated.map_err(unreadable)?;
        vault.transact(|vault| vault.set_server(&server))?;
        Ok(Opened::Open(vault))
    }

    /// A vault of this version of which no row has been read, if `key` opens one of its slots; and
    /// whose and for which server it has to be.
    ///
    /// # Errors
    /// That it is of an earlier version.
    pub(super) fn without_rows(
        self,
        key: &WrappingKey,
    ) -> Result<Opened<(Vault, UserName, String)>> {
        let Some(vault_key) = self.unwrap_key(key) else {
            return Ok(Opened::WrongKey(Box::new(self)));
        };
        let VaultFile {
            path,
            name,
            server,
            lock,
        } = self.file;
        if self.version != schema::VERSION {
            let what = format!("it is of version {}", self.version);
            return Err(VaultError::Unreadable(path, what));
        }
        let vault = Vault::over(self.db, vault_key, path, lock);
        Ok(Opened::Open((vault, name, server)))
    }

    fn unwrap_key(&self, key: &WrappingKey) -> Option<SealKey> {
        self.key_slots.iter().find_map(|slot| slot.open(key).ok())
    }
}

/// Damage of a vault out of which no rows can be taken one by one.
fn unreadable(error: VaultError) -> VaultError {
    match error {
        VaultError::Damaged(path, what) => VaultError::Unreadable(path, what),
        error => error,
    }
}

/// Makes a vault of this version from one of an earlier version, in a draft that takes its
/// place when it is complete: a kill leaves one or the other, and each is whole.
fn migrate(source: Source, key: SealKey, name: UserName, lock: Lock) -> Result<Vault> {
    let path = source.path().to_owned();
    let draft = path.with_extension("draft");
    // A process that was killed here may have left one; we hold the lock.
    sqlite_file::remove_if_exists(&draft)?;
    let mut vault = create_empty(draft, key, lock)?;
    vault.transact(|vault| migration::fill(vault, &source, &name))?;
    source.close()?;
    vault.move_to(path)
}

impl<T> Opened<T> {
    /// What was opened; `None` if the key was wrong.
    pub fn ok(self) -> Option<T> {
        match self {
            Opened::Open(opened) => Some(opened),
            Opened::WrongKey(_) => None,
        }
    }
}

impl Vault {
    /// A vault of which nothing has been read.
    fn over(db: Connection, key: SealKey, path: PathBuf, lock: Lock) -> Self {
        Vault {
            db,
            sealer: Sealer::new(key),
            rows: Rows::default(),
            known_generation: 0,
            told: None,
            filing: Aes256::new(&[0; 32].into()),
            last_filed: Cell::new(None),
            contacts: Vec::new(),
            path,
            lock,
        }
    }

    /// That the vault is this account's: somebody may have renamed another one.
    pub(super) fn check_owner(&self, name: &UserName) -> Result<()> {
        match self.owner()? {
            Some(owner) if owner == *name => Ok(()),
            Some(owner) => Err(VaultError::OtherAccount(self.path.clone(), owner)),
            None => Err(self.damaged("it does not say whose it is")),
        }
    }

    /// That the vault is for this server: what waits in it must not go to the people of another
    /// one, where it may have been copied to. `false` if it does not say, as one that an earlier
    /// client made.
    pub(super) fn check_server(&self, server: &str) -> Result<bool> {
        match self.server()? {
            None => Ok(false),
            Some(known) if known == server => Ok(true),
            Some(known) => Err(VaultError::OtherServer(self.path.clone(), known)),
        }
    }

    /// Closes the file, renames it durably, and opens it at its new place.
    fn move_to(self, path: PathBuf) -> Result<Self> {
        self.db.close().map_err(|(_, error)| error)?;
        fs::rename(&self.path, &path).map_err(|error| VaultError::Io(self.path, error))?;
        crate::fs::sync_name(&path).map_err(|error| VaultError::Io(path.clone(), error))?;
        let db = sqlite_file::connect(&path)?;
        sqlite_file::prepare_to_write(&path, &db)?;
        Ok(Vault { db, path, ..self })
    }
}

/// Makes a vault without a row in it.
fn create_empty(path: PathBuf, key: SealKey, lock: Lock) -> Result<Vault> {
    sqlite_file::create_empty(&path)?;
    let mut db = sqlite_file::connect(&path)?;
    sqlite_file::prepare_to_write(&path, &db)?;
    let transaction = db.transaction()?;
    transaction.execute_batch(schema::SCHEMA)?;
    transaction.pragma_update(None, "application_id", sqlite_file::APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()?;
    Ok(Vault::over(db, key, path, lock))
}

/// The vault's version, if this client knows it.
fn check_version(db: &Connection, path: &Path) -> Result<i32> {
    let version: i32 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| sqlite_file::classify(path, error))?;
    match version {
        ..1 => {
            let what = format!("there is no version {version}");
            Err(VaultError::Damaged(path.to_owned(), what))
        }
        1..=schema::VERSION => Ok(version),
        _ => Err(VaultError::Newer(path.to_owned())),
    }
}
