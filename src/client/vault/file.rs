//! The vault as a file: where it lies, who holds it, how it is made and opened.
//!
//! A file that is not a whole vault is never written to. Making one is atomic: it
//! is built under another name and renamed when complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::key_slots;
use super::key_slots::{SlotSecret, Wrap};
use super::seal::Sealer;
use super::{Result, Vault, VaultError, migration, schema};
use crate::crypto::cipher::{SealKey, WrappingKey};
use crate::crypto::os_rng;
use crate::protocol::UserName;
use crate::protocol::request::KdfParams;

/// "SCvt": what kind of SQLite file this is.
const APPLICATION_ID: i32 = 0x5343_7674;

/// Where SQLite's header ends, and within it the application id.
const SQLITE_HEADER: usize = 100;

/// An account's place for a vault, held by this process, with or without a vault in it.
pub struct VaultFile {
    path: PathBuf,
    lock: File,
}

/// A vault whose header is known and whose contents are not.
pub struct Closed {
    path: PathBuf,
    lock: File,
    db: Connection,
    version: i32,
    wraps: Vec<Wrap>,
}

impl VaultFile {
    /// Takes the place of `name` at `server` under `data`, making the folders
    /// (readable by their owner only).
    ///
    /// # Errors
    /// [`VaultError::InUse`] if another process has it.
    pub fn take(data: &Path, server: &str, name: &UserName) -> Result<Self> {
        let folder = data.join(folder_of(server));
        crate::fs::make_folder(&folder).map_err(|error| VaultError::Io(folder.clone(), error))?;
        let path = folder.join(format!("{name}.vault"));
        let lock = lock(&folder.join(format!("{name}.lock")), &path)?;
        Ok(VaultFile { path, lock })
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
    /// puts into it: all of it is there, or no vault.
    ///
    /// # Errors
    /// [`VaultError::Exists`] if there is one: it is never replaced.
    pub fn create(
        self,
        kdf: KdfParams,
        password: &WrappingKey,
        recovery: &WrappingKey,
        fill: impl FnOnce(&mut Vault) -> Result<()>,
    ) -> Result<Vault> {
        if self.exists() {
            return Err(VaultError::Exists(self.path));
        }
        // Left behind by a process that was killed in this place; the lock is ours.
        let draft = self.path.with_extension("draft");
        remove_if_there(&draft)?;
        let key = SealKey::generate(&mut os_rng());
        write_new(&draft)?;
        let mut db = connect(&draft)?;
        set_up(&draft, &db)?;
        let made = db.transaction()?;
        made.execute_batch(schema::SCHEMA)?;
        made.pragma_update(None, "application_id", APPLICATION_ID)?;
        made.pragma_update(None, "user_version", schema::VERSION)?;
        key_slots::insert(&made, &key, &SlotSecret::Password(kdf, password))?;
        key_slots::insert(&made, &key, &SlotSecret::Recovery(recovery))?;
        made.commit()?;
        let mut vault = finish(db, key, draft, self.lock)?;
        fill(&mut vault)?;
        let Vault {
            db,
            sealer,
            path: draft,
            _lock: lock,
            ..
        } = vault;
        db.close().map_err(|(_, error)| error)?;
        fs::rename(&draft, &self.path).map_err(|error| VaultError::Io(draft, error))?;
        crate::fs::sync_name(&self.path)
            .map_err(|error| VaultError::Io(self.path.clone(), error))?;
        let db = connect(&self.path)?;
        set_up(&self.path, &db)?;
        finish(db, sealer.into_key(), self.path, lock)
    }

    /// Reads the header of the vault that is there. Nothing is written to one that
    /// is not as this client makes it.
    ///
    /// # Errors
    /// That it is not one, or damaged, or from a newer client; it is left as it is.
    pub fn read(self) -> Result<Closed> {
        check_header(&self.path)?;
        let db = connect(&self.path)?;
        let told = |error| told_apart(&self.path, error);
        let version: i32 = db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(told)?;
        if version > schema::VERSION {
            return Err(VaultError::Newer(self.path));
        }
        if version < 1 {
            let what = format!("there is no version {version}");
            return Err(VaultError::Damaged(self.path, what));
        }
        if let Some(foreign) = schema::foreign(&db).map_err(told)? {
            return Err(VaultError::Damaged(self.path, foreign));
        }
        let sound: String = db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(told)?;
        if sound != "ok" {
            return Err(VaultError::Damaged(self.path, sound));
        }
        set_up(&self.path, &db)?;
        // What is found may have been written by a client that was killed before its
        // sync: a power cut would take it. It is on the disk before it is believed.
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(told)?;
        let wraps = key_slots::load(&db).map_err(told)?;
        Ok(Closed {
            path: self.path,
            lock: self.lock,
            db,
            version,
            wraps,
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
        remove_if_there(&path)
    }
}

impl Closed {
    /// The passwords' derivations: one, or two after an interrupted change.
    pub fn passwords(&self) -> impl Iterator<Item = KdfParams> {
        self.wraps.iter().filter_map(|wrap| wrap.kdf)
    }

    /// The file, for messages to the person.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the vault with whichever password it is. One of version 1 is brought up
    /// to this version.
    ///
    /// # Errors
    /// The closed vault again, if `key` opens none of the password's wraps.
    pub fn open(self, key: &WrappingKey) -> std::result::Result<Result<Vault>, Box<Closed>> {
        let opened = self.wraps.iter().find_map(|wrap| wrap.unwrap(key).ok());
        match opened {
            Some(seal) => Ok(self.finish(seal)),
            None => Err(Box::new(self)),
        }
    }

    fn finish(self, key: SealKey) -> Result<Vault> {
        if self.version == schema::VERSION {
            migration::remove_copy(&self.path)?;
            return finish(self.db, key, self.path, self.lock);
        }
        let mut vault = sealed(self.db, key, self.path, self.lock);
        migration::from_version_1(&mut vault)?;
        Ok(vault)
    }
}

fn finish(db: Connection, key: SealKey, path: PathBuf, lock: File) -> Result<Vault> {
    let mut vault = sealed(db, key, path, lock);
    vault.contacts = vault.load_contacts()?;
    Ok(vault)
}

/// The vault before anything in it was read.
fn sealed(db: Connection, key: SealKey, path: PathBuf, lock: File) -> Vault {
    Vault {
        db,
        sealer: Sealer::new(key),
        contacts: Vec::new(),
        path,
        _lock: lock,
    }
}

/// `HOST:PORT` as a folder's name: what is neither letter, digit, dot nor dash
/// becomes an underscore.
fn folder_of(server: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let name: String = server
        .chars()
        .map(|c| if safe(c) { c.to_ascii_lowercase() } else { '_' })
        .collect();
    // No server's name leads out of the folder.
    name.trim_start_matches('.').to_owned()
}

fn lock(path: &Path, vault: &Path) -> Result<File> {
    let failed = |error: io::Error| VaultError::Io(path.to_owned(), error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Best effort: without the number the sentence is still true.
            let read = (&file).take(16).read_to_string(&mut pid);
            return Err(VaultError::InUse {
                path: vault.to_owned(),
                pid: read.ok().and_then(|_| pid.trim().parse().ok()),
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Makes the file with its final mode, before SQLite knows of it.
fn write_new(path: &Path) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| VaultError::Io(path.to_owned(), error))
}

pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(VaultError::Io(path.to_owned(), error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_header(path: &Path) -> Result<()> {
    let mut header = [0; SQLITE_HEADER];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => VaultError::NotAVault(path.to_owned()),
            _ => VaultError::Io(path.to_owned(), error),
        })?;
    if header.starts_with(b"SQLite format 3\0") && header[68..72] == APPLICATION_ID.to_be_bytes() {
        Ok(())
    } else {
        Err(VaultError::NotAVault(path.to_owned()))
    }
}

/// Opens the file, believing nothing in it and changing nothing.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags(path, flags)?;
        schema::distrust(&db)?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(db)
    };
    open().map_err(|error| told_apart(path, error))
}

/// How a vault is written, once its schema is known to be ours.
fn set_up(path: &Path, db: &Connection) -> Result<()> {
    let set_up = || -> rusqlite::Result<()> {
        schema::trust(db)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "secure_delete", true)
    };
    set_up().map_err(|error| told_apart(path, error))
}

/// Damage is told apart from other refusals: what to do next differs.
fn told_apart(path: &Path, error: rusqlite::Error) -> VaultError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            VaultError::Damaged(path.to_owned(), error.to_string())
        }
        None => VaultError::Damaged(path.to_owned(), error.to_string()),
        Some(_) => VaultError::Database(error),
    }
}
