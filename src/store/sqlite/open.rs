//! Opening the database: finding out what there is, and making it where there is none.
//!
//! An error says what happened and what to do about that cause.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, OptionalExtension};

use super::files::{BUSY, checkpoint, wal_path};
use super::migration::{SCHEMA_VERSION, migrate};
use super::reclaim::{INCREMENTAL, OVERWRITTEN, is_erased, write_anew};
use super::write::set_value;
use super::{generation, is_damage, journal, read, statements};
use crate::store::UserId;

/// The schema.
const SCHEMA: &str = include_str!("../../../schema.sql");

/// `PRAGMA application_id` of a server's database.
const APPLICATION_ID: i64 = 0x5343_6873;

/// The key in table `server` of the bytes behind stable fake answers.
const SECRET: &str = "secret";

/// The key in table `server` of how many runs of the server there were.
pub(super) const RUNS: &str = "runs";

/// The key in table `server` of the bytes that were made when a backup was restored last.
pub(super) const EPOCH: &str = "epoch";

/// A database with at most so many pages in use, 32 MiB, is written anew at a start, which takes less
/// than a second and as much memory.
const SMALL_DATABASE: i64 = 8192;

/// A run can give so many numbers: 2 to the power of this, in each mailbox.
const RUN_BITS: u32 = 40;

/// More runs than any server has, and few enough that numbers stay below 2⁶².
const MAX_RUNS: u64 = (1 << 21) - 1;

/// The index that `search` reads, as `schema.sql` has it.
const LISTED_NAMES: &str = "
    CREATE INDEX IF NOT EXISTS listed_names ON users (name) WHERE listed = 1 AND deleted = 0";

/// The key in table `server` that says that a server has served.
const BEGUN: &str = "begun";

/// What lies where the database should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file, or one without a byte; `log` if a log with mail in it lies beside it.
    Nothing {
        /// Whether it does.
        log: bool,
    },
    /// A database without a table, as a first start that was cut off leaves it; so
    /// does copying the file without the log beside it.
    Empty,
    /// A database of ours.
    Made {
        /// A server has served with it. Without that, it was being made when the
        /// first start was cut off, and nobody has seen its certificate.
        begun: bool,
    },
}

/// Why the database can't be used.
#[derive(Debug)]
pub(crate) struct OpenError {
    /// What happened, and what to do about it.
    sentence: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl OpenError {
    pub(super) fn new(sentence: String) -> Self {
        OpenError {
            sentence,
            source: None,
        }
    }

    pub(super) fn caused_by(sentence: String, source: impl Error + Send + Sync + 'static) -> Self {
        OpenError {
            sentence,
            source: Some(Box::new(source)),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// Finds out what is there, and makes nothing.
///
/// # Errors
/// It is no database of ours, of a newer version, broken, or can't be opened.
pub(crate) fn inspect(path: &Path) -> Result<Found, OpenError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() > 0 => {}
        Ok(found) if found.is_file() => return Ok(Found::Nothing { log: has_wal(path) }),
        Ok(_) => {
            return Err(OpenError::new(format!(
                "{} is not a file; move it away, or choose another folder with --data",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Found::Nothing { log: has_wal(path) });
        }
        Err(error) => {
            let sentence = format!(
                "{} can't be opened: {error}; give the server's user the right to read and write \
                 it and its folder",
                path.display()
            );
            return Err(OpenError::caused_by(sentence, error));
        }
    }
    let inspect = || {
        let connection = connect(path, OpenFlags::empty())?;
        let found = identify(&connection)?;
        let begun = found == Identity::Ours && begun(&connection)?;
        Ok((found, begun))
    };
    match inspect().map_err(|error| open_error(path, error))? {
        (Identity::Empty, _) => Ok(Found::Empty),
        (Identity::Ours, begun) => Ok(Found::Made { begun }),
        (other, _) => expect_ours(path, other).map(|()| Found::Empty),
    }
}

/// Refuses what is no database of this server's.
pub(super) fn expect_ours(path: &Path, identity: Identity) -> Result<(), OpenError> {
    Err(OpenError::new(match identity {
        Identity::Ours => return Ok(()),
        Identity::Empty => format!(
            "{} is missing or has no tables, so it is no database of a server",
            path.display()
        ),
        Identity::Newer(version) => format!(
            "{} was written by a newer version of the server (its schema is {version}, this \
             server knows {SCHEMA_VERSION}) and was left as it is; start that version, or choose another \
             folder with --data",
            path.display()
        ),
        Identity::Foreign => format!(
            "{} belongs to another program and was left as it is; choose another folder with --data",
            path.display()
        ),
    }))
}

/// An open database, and what had to be read of it.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// The bytes behind stable fake answers.
    pub(super) secret: [u8; 32],
    /// See [`Store::first_number`](crate::store::Store::first_number).
    pub(super) first_number: u64,
    /// Something was erased of which copies may stand in free room.
    pub(super) erased: bool,
    /// Deleted accounts that have mail.
    pub(super) deleted: Vec<UserId>,
    pub(super) name_index: NameIndex,
    /// See [`Sqlite::epoch`](super::Sqlite::epoch).
    pub(super) epoch: Option<[u8; 16]>,
    /// Messages were imported.
    pub(super) has_imports: bool,
}

/// Opens the database, and makes it where there is none.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    inspect(path)?;
    let open = || {
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        if identify(&connection)? == Identity::Empty {
            // It can be chosen only while there is no table.
            connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
        }
        prepare(&connection)?;
        if identify(&connection)? == Identity::Empty {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.commit()?;
        }
        let secret = secret(&connection)?;
        // What is found may have been written by a process that was killed before
        // its sync, or whose sync failed: the system's cache shows it, and a power cut
        // takes it. Folded into the database, it is on the disk before it is believed;
        // where that finds no room, it is synced where it stands.
        match checkpoint(&connection) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                let log = File::open(wal_path(path)).and_then(|log| log.sync_all());
                log.map_err(|_| error)?;
            }
            folded => {
                folded?;
                unless_full(generation::begin(&connection))?;
            }
        }
        add_tables(&connection)?;
        keep_copy(&connection, path)?;
        migrate(&mut connection)?;
        add_index(&connection)?;
        let_shrink(&connection)?;
        let deleted = deleted_with_mail(&connection);
        let erased = still_erased(&connection, &deleted)?;
        let name_index = check_names(&connection);
        let first_number = first_number(&connection)?;
        let epoch = read::value(&connection, EPOCH)?;
        let has_imports = journal::has_imports(&connection)?;
        Ok(Opened {
            connection,
            secret,
            first_number,
            erased,
            deleted,
            name_index,
            epoch: epoch.and_then(|epoch| epoch.try_into().ok()),
            has_imports,
        })
    };
    open().map_err(|error| open_error(path, error))
}

/// Before a database of an earlier schema is migrated, keeps a copy of it as it is, `chat.db.schema-1`
/// for version 1. Without room for it nothing is migrated. One that is there was made by a start
/// that was cut off, and is made anew.
fn keep_copy(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version >= SCHEMA_VERSION {
        return Ok(());
    }
    let copy = path.with_extension(format!("db.schema-{version}"));
    let draft = path.with_extension("db.schema-draft");
    let kept = || {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Made empty first, so that nobody else can read it for a moment.
        crate::fs::write_new(&draft, b"")
    };
    let failed = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    kept().map_err(failed)?;
    connection.execute("VACUUM INTO ?1", [&*draft.to_string_lossy()])?;
    let synced = File::open(&draft).and_then(|file| file.sync_all());
    let named = synced.and_then(|()| fs::rename(&draft, &copy));
    let named = named.and_then(|()| crate::fs::sync_name(&copy));
    named.map_err(failed)
}

/// What a full disk does not allow is done at a later start.
fn unless_full(done: rusqlite::Result<()>) -> rusqlite::Result<()> {
    match done {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(()),
        done => done,
    }
}

/// Adds the tables of vaults' generations and of expired mail to a database of before they existed.
/// Until then no vault's generation is kept, and no mail expires.
fn add_tables(connection: &Connection) -> rusqlite::Result<()> {
    for statement in [
        statements::ADD_GENERATIONS,
        statements::ADD_PROOFS,
        statements::ADD_EXPIRED,
        statements::ADD_UNTOLD,
    ] {
        match connection.execute_batch(statement) {
            Err(error) if is_damage(&error) => {}
            done => unless_full(done)?,
        }
    }
    Ok(())
}

/// Adds the index of listed names to a database of before it existed. Without it a search is
/// right, and slow where many are not listed.
fn add_index(connection: &Connection) -> rusqlite::Result<()> {
    match connection.execute_batch(LISTED_NAMES) {
        Err(error) if is_damage(&error) => Ok(()), // `check_names` says so.
        done => unless_full(done),
    }
}

/// Lets a database of an earlier server give free pages back to the disk. That writes it anew, so a
/// large one keeps its size until its operator does that.
fn let_shrink(connection: &Connection) -> rusqlite::Result<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let used = pragma("page_count")? - pragma("freelist_count")?;
    if pragma("auto_vacuum")? == INCREMENTAL || used > SMALL_DATABASE {
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    match connection.execute_batch("VACUUM") {
        Err(error) if is_damage(&error) => Ok(()), // Whoever meets it says so.
        done => unless_full(done),
    }
}

/// Writes a database anew from which something was erased, if that takes less than a second. Says
/// whether it is still to be done, as it is while mail of deleted accounts is left.
fn still_erased(connection: &Connection, deleted: &[UserId]) -> rusqlite::Result<bool> {
    if !is_erased(connection)? {
        return Ok(false);
    }
    if !deleted.is_empty() {
        return Ok(true);
    }
    match write_anew(connection, SMALL_DATABASE) {
        Ok(written) => Ok(!written),
        Err(error) if is_damage(&error) => Ok(true), // Whoever meets it says so.
        Err(error) => unless_full(Err(error)).map(|()| true),
    }
}

/// Each run of the server has numbers of its own: how many runs there were is in their upper
/// bits. On a full disk the last run's go on, and at worst the first copy of a message that is
/// sent again is not found; then the recipient's vault recognises it.
fn first_number(connection: &Connection) -> rusqlite::Result<u64> {
    let runs = runs(connection)?.min(MAX_RUNS) + 1;
    unless_full(set_value(connection, RUNS, &runs.to_be_bytes()))?;
    Ok(runs << RUN_BITS)
}

/// How many runs of the server there were.
pub(super) fn runs(connection: &Connection) -> rusqlite::Result<u64> {
    let runs = read::value(connection, RUNS)?;
    let runs = runs.and_then(|runs| runs.try_into().ok());
    Ok(runs.map_or(0, u64::from_be_bytes))
}

/// Deleted accounts whose mail was not yet deleted when the server ended. Where that cannot be
/// read, the mail stays, and nobody can get it.
fn deleted_with_mail(connection: &Connection) -> Vec<UserId> {
    let read = || {
        let mut statement = connection.prepare(statements::DELETED_WITH_MAIL)?;
        let rows = statement.query_map([], |row| row.get(0).map(UserId))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().unwrap_or_default()
}

/// What the opening found about the index on accounts' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameIndex {
    /// It agrees with the accounts.
    Sound,
    /// It was damaged, and was made anew from the accounts.
    Rebuilt,
    /// The accounts themselves are damaged, too.
    Damaged,
}

/// Compares the accounts with the index on their names, and makes a damaged one anew: through
/// it an existing name can look free, and somebody else could register it.
fn check_names(connection: &Connection) -> NameIndex {
    let sound = || {
        let check = "PRAGMA integrity_check('users')";
        let found = connection.query_row(check, [], |row| row.get::<_, String>(0));
        found.is_ok_and(|found| found == "ok")
    };
    if sound() {
        return NameIndex::Sound;
    }
    match connection.execute_batch("REINDEX users") {
        Ok(()) if sound() => NameIndex::Rebuilt,
        _ => NameIndex::Damaged,
    }
}

/// Opens the database again, for writing.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    // One that has vanished is not made anew in the middle of serving.
    let connection = connect(path, OpenFlags::empty())?;
    prepare(&connection)?;
    checkpoint(&connection)?;
    Ok(connection)
}

/// Opens the database to fold its log.
pub(super) fn folder(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::empty())?;
    prepare(&connection)?;
    Ok(connection)
}

/// Opens the database for reading.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

/// See [`Sqlite::mark_used`](super::Sqlite::mark_used).
pub(super) fn mark_used(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let note = || match read::value(connection, BEGUN)? {
        Some(_) => Ok(()),
        None => set_value(connection, BEGUN, &[1]),
    };
    note().map_err(|error| open_error(path, error))
}

pub(super) fn connect(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags | more)?;
    // SQLite is content with reading what it may not write.
    if connection.is_readonly(MAIN_DB)? {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
            Some("it is read-only".to_owned()),
        ));
    }
    configure(&connection)?;
    Ok(connection)
}

/// Sets what every connection needs.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // No statement needs temporary space in proportion to anything; what little
    // SQLite takes all the same must not depend on a folder for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // No commit folds the log by itself; see `checkpoint`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "secure_delete", OVERWRITTEN)?;
    connection.pragma_update(None, "foreign_keys", false)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    Empty,
    Ours,
    Newer(i64),
    Foreign,
}

pub(super) fn identify(connection: &Connection) -> rusqlite::Result<Identity> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let table = connection.query_row(statements::ANY_TABLE, [], |_| Ok(()));
    Ok(match (application, version, table.optional()?) {
        (0, 0, None) => Identity::Empty,
        (APPLICATION_ID, 1..=SCHEMA_VERSION, Some(())) => Identity::Ours,
        (APPLICATION_ID, newer, _) if newer > SCHEMA_VERSION => Identity::Newer(newer),
        _ => Identity::Foreign,
    })
}

/// Whether a server has served. A database from before the mark existed has accounts.
fn begun(connection: &Connection) -> rusqlite::Result<bool> {
    if read::value(connection, BEGUN)?.is_some() {
        return Ok(true);
    }
    let account = connection.query_row(statements::ANY_ACCOUNT, [], |_| Ok(()));
    match account.optional() {
        Err(error) if is_damage(&error) => Ok(true), // There was something to damage.
        found => Ok(found?.is_some()),
    }
}

fn secret(connection: &Connection) -> rusqlite::Result<[u8; 32]> {
    let found = read::value(connection, SECRET)?;
    if let Some(secret) = found.and_then(|value| value.try_into().ok()) {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut secret)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    set_value(connection, SECRET, &secret)?;
    Ok(secret)
}

fn has_wal(path: &Path) -> bool {
    fs::metadata(wal_path(path)).is_ok_and(|log| log.len() > 0)
}

pub(super) fn open_error(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.display();
    let sentence = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => format!(
            "{path} is not a database, or its beginning is damaged; restore a backup, or choose \
             another folder with --data"
        ),
        Some(ErrorCode::DatabaseCorrupt) => format!(
            "{path} is damaged ({error}); restore a backup, or choose another folder with --data"
        ),
        Some(ErrorCode::DiskFull) => format!(
            "the disk of {path} is full; make room on it, then start the server again: nothing is lost"
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("another program uses {path}; end it, then start the server again")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            format!(
                "{path} can't be opened for writing ({error}); give the server's user the right to \
                 read and write it and its folder"
            )
        }
        Some(ErrorCode::SystemIoFailure) => format!(
            "the disk fails to read or write {path} ({error}); look into the system's log, and \
             restore a backup on another disk if this one is broken"
        ),
        _ => format!(
            "{path} can't be used: {error}; restore a backup, or choose another folder with --data"
        ),
    };
    OpenError::caused_by(sentence, error)
}
