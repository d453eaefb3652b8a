//! A vault's SQLite file: making, connecting and removing it, and telling damage from
//! other failures. It knows neither the keys nor what the tables hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{Result, VaultError, schema};

/// "SCvt", by which SQLite's `application_id` says that the file is a vault.
pub(super) const APPLICATION_ID: i32 = 0x5343_7674;

/// The length of SQLite's header, in bytes.
const SQLITE_HEADER: usize = 100;

/// Where the application id stands in that header.
const APPLICATION_ID_AT: std::ops::Range<usize> = 68..72;

/// Where the size of a page in bytes stands, and the number of pages.
const PAGE_SIZE_AT: usize = 16;
const PAGES_AT: usize = 28;

/// Makes an empty file that only its owner can read, before SQLite opens it.
pub(super) fn create_empty(path: &Path) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| VaultError::Io(path.to_owned(), error))
}

/// Removes a database with the files that SQLite keeps beside it, if they exist.
pub(super) fn remove_if_exists(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(VaultError::Io(path.to_owned(), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what is left of a log that was written into the file, if there is any.
pub(super) fn remove_log(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    match fs::remove_file(&log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(VaultError::Io(log, error)),
        Ok(()) => crate::fs::sync_name(&log).map_err(|error| VaultError::Io(log, error)),
    }
}

/// Checks that the file begins as a vault does, and is as long as it says, before SQLite
/// opens it.
pub(super) fn check_header(path: &Path) -> Result<()> {
    let mut header = [0; SQLITE_HEADER];
    // Opening a pipe would wait for whoever writes into it.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(VaultError::NotAVault(path.to_owned()));
    }
    // SQLite would write what it says into the vault. Vaults have a write-ahead log instead,
    // so this is another database's, or somebody put it there.
    if beside(path, "-journal").symlink_metadata().is_ok() {
        let what = "the rollback journal beside it is not its own: move that away first";
        return Err(VaultError::Damaged(path.to_owned(), what.to_owned()));
    }
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut header)?;
        Ok(file.metadata()?.len())
    });
    let length = read.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => VaultError::NotAVault(path.to_owned()),
        _ => VaultError::Io(path.to_owned(), error),
    })?;
    let is_vault = header.starts_with(b"SQLite format 3\0")
        && header[APPLICATION_ID_AT] == APPLICATION_ID.to_be_bytes();
    // With a log beside it, the file may still have the length of an earlier commit.
    let log = fs::metadata(beside(path, "-wal"));
    let has_log = log.is_ok_and(|log| log.len() > 0);
    match is_vault && (has_log || length == stated_length(&header)) {
        true => Ok(()),
        false => Err(VaultError::NotAVault(path.to_owned())),
    }
}

/// How long a database with this header is, in bytes.
fn stated_length(header: &[u8; SQLITE_HEADER]) -> u64 {
    let page_size = match u16::from_be_bytes([header[PAGE_SIZE_AT], header[PAGE_SIZE_AT + 1]]) {
        // The one size that does not fit into the field.
        1 => 1 << 16,
        size => u64::from(size),
    };
    let pages: [u8; 4] = std::array::from_fn(|i| header[PAGES_AT + i]);
    page_size * u64::from(u32::from_be_bytes(pages))
}

/// A file that SQLite keeps beside the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens the file without trusting its schema, and without writing to it. From the first
/// reading on nobody else can read or write it through SQLite.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags(path, flags)?;
        schema::distrust(&db)?;
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(db)
    };
    open().map_err(|error| classify(path, error))
}

/// Sets how the vault is written, once its schema has been found to be ours.
pub(super) fn prepare_to_write(path: &Path, db: &Connection) -> Result<()> {
    let prepare = || -> rusqlite::Result<()> {
        schema::trust(db)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "secure_delete", true)
    };
    prepare().map_err(|error| classify(path, error))
}

/// Writes the log into the file, waits until both are on the disk, and cuts the log to nothing;
/// `false` if a reader of the file keeps it from that.
pub(super) fn checkpoint(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get(0).map(|busy: bool| !busy)
    })
}

/// Tells damage from other failures of SQLite, since the person has to act differently.
pub(super) fn classify(path: &Path, error: rusqlite::Error) -> VaultError {
    use rusqlite::ErrorCode::{
        ConstraintViolation, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase,
    };
    match error.sqlite_error_code() {
        // Without a code the row was not of the type that the schema promises. A constraint
        // is violated only by a row that is not ours.
        None | Some(ConstraintViolation | DatabaseCorrupt | NotADatabase) => {
            VaultError::Damaged(path.to_owned(), error.to_string())
        }
        Some(DatabaseBusy | DatabaseLocked) => VaultError::InUse {
            path: path.to_owned(),
            pid: None,
            socket: None,
        },
        Some(_) => VaultError::Database(error),
    }
}
