//! Copies of a database that a server may be using, and what becomes of one that is used instead of
//! the original.
//!
//! A backup is a database like the original, without its free room, and with one table more, which
//! holds the files that belong to it. A copy is one moment of the original: SQLite makes it within
//! one read transaction, while the server goes on writing.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::journal::{count, set_count};
use super::open::{self, Identity, OpenError};
use super::repeat::repeat;
use super::write::set_value;
use crate::store::journal::{self as lines, Line};

/// So many runs are skipped by a restore: more than servers have run since any backup, so that no
/// number that was given since names another message.
const SKIPPED_RUNS: u64 = 1024;

const ADD_FILES: &str = "CREATE TABLE backup_files (name TEXT PRIMARY KEY, content BLOB NOT NULL)";
const ADD_FILE: &str = "INSERT INTO backup_files (name, content) VALUES (?1, ?2)";
const HAS_FILES: &str = "SELECT 1 FROM sqlite_schema WHERE name = 'backup_files'";
const FILES: &str = "SELECT name, content FROM backup_files ORDER BY name";
const DROP_FILES: &str = "DROP TABLE IF EXISTS backup_files";
const DROP_ALL_PREKEYS: &str = "DELETE FROM one_time_prekeys";
const COUNT_ACCOUNTS: &str = "SELECT count(*) FROM users WHERE deleted = 0";
const COUNT_MAIL: &str = "SELECT count(*) FROM mail";

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Accounts, without deleted ones.
    pub accounts: u64,
    /// Messages that wait.
    pub messages: u64,
}

/// Writes a copy of the database at `from` to the empty file at `to`, with these files in it, and
/// syncs it.
///
/// # Errors
/// The database can't be read or is a newer server's, or the copy can't be written; the latter is of no use then.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    files: &[(&'static str, Vec<u8>)],
) -> Result<(), OpenError> {
    // As the copy does: a connection that only reads would leave files behind.
    let source = open::connect(from, OpenFlags::empty());
    let source = source.and_then(|source| Ok((open::identify(&source)?, source)));
    let (identity, source) = source.map_err(|error| open::open_error(from, error))?;
    open::expect_ours(from, identity)?;
    let copy = || {
        let target = to.to_string_lossy();
        source.execute("VACUUM INTO ?1", [&*target])?;
        let copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.execute_batch(ADD_FILES)?;
        for (name, content) in files {
            copy.execute(ADD_FILE, (name, content))?;
        }
        copy.close().map_err(|(_, error)| error)
    };
    copy().map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => open::open_error(from, error),
        _ => unwritable(to, error),
    })?;
    sync(to)
}

/// Why a copy could not be written.
fn unwritable(to: &Path, error: rusqlite::Error) -> OpenError {
    let folder = to.parent().unwrap_or(to).display();
    let sentence = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!(
            "the disk of the folder {folder} is full, and nothing was left there; make room on it, or \
             choose another place"
        ),
        _ => format!(
            "the folder {folder} can't be written ({error}), and nothing was left there; look whether \
             its disk works, or choose another place"
        ),
    };
    OpenError::caused_by(sentence, error)
}

fn sync(path: &Path) -> Result<(), OpenError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| {
        let sentence = format!(
            "{} can't be written: {error}; choose another place",
            path.display()
        );
        OpenError::caused_by(sentence, error)
    })
}

/// Refuses what is no backup of ours, or a newer server's.
fn require_ours(path: &Path, called: &Path) -> Result<(), OpenError> {
    let opened = open::reader(path).and_then(|backup| open::identify(&backup));
    let shown = called.display();
    Err(OpenError::new(
        match opened.map_err(|error| unreadable(called, error))? {
            Identity::Ours => return Ok(()),
            Identity::Newer(_) => format!(
                "{shown} was written by a newer version of the server; use that version, or another \
                 backup"
            ),
            Identity::Empty | Identity::Foreign => {
                format!("{shown} is no backup of a server; name another file")
            }
        },
    ))
}

/// Why a backup can't be read.
fn unreadable(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.display();
    let sentence = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!("{path} is no backup, or its beginning is damaged; use another backup")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("{path} is damaged ({error}); use another backup")
        }
        _ => format!("{path} can't be read: {error}; use another backup"),
    };
    OpenError::caused_by(sentence, error)
}

/// Reads all of a backup, and refuses one that is not whole. An error names it as `called`: it may be
/// a copy of that.
///
/// # Errors
/// It is no backup of this server's, a newer server's, or damaged.
pub(crate) fn check(path: &Path, called: &Path) -> Result<Contents, OpenError> {
    require_ours(path, called)?;
    let check = || {
        let backup = open::reader(path)?;
        let sound: String = backup.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let number = |name| backup.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = (number("page_count")? * number("page_size")?) as u64;
        // SQLite takes what is missing of the last page for zeros.
        let sound = match fs::metadata(path).is_ok_and(|found| found.len() == bytes) {
            true => sound,
            false => format!("it does not have the {bytes} bytes that it should have"),
        };
        let count = |statement| backup.query_row(statement, [], |row| row.get::<_, i64>(0));
        let contents = Contents {
            accounts: count(COUNT_ACCOUNTS)? as u64,
            messages: count(COUNT_MAIL)? as u64,
        };
        Ok((sound, contents))
    };
    let (sound, contents) = check().map_err(|error| unreadable(called, error))?;
    if sound != "ok" {
        return Err(OpenError::new(format!(
            "{} is damaged ({sound}); use another backup",
            called.display()
        )));
    }
    Ok(contents)
}

/// The files that a backup holds, by name.
///
/// # Errors
/// It can't be read.
pub(crate) fn files(path: &Path) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
    let read = || {
        let backup = open::reader(path)?;
        let has = backup.query_row(HAS_FILES, [], |_| Ok(()));
        if has.optional()?.is_none() {
            return Ok(Vec::new());
        }
        let mut statement = backup.prepare(FILES)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    read().map_err(|error| unreadable(path, error))
}

/// Makes a backup the database of a server: takes the files out of it, repeats the changes of a
/// journal, and marks it with the bytes of a new epoch, by which clients learn that it has gone back
/// in time. Returns how many changes since the backup the journal lacks.
///
/// # Errors
/// It can't be written.
pub(crate) fn begin_epoch(
    path: &Path,
    epoch: &[u8; 16],
    journal: &[Line],
) -> Result<u64, OpenError> {
    let begin = || {
        let mut database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let transaction = database.transaction()?;
        transaction.execute_batch(DROP_FILES)?;
        let behind = count(&transaction)?;
        for line in journal {
            repeat(&transaction, &line.entry)?;
        }
        // What an earlier server backed up has no count.
        let missing = behind.map_or(0, |behind| lines::missing(journal, behind));
        if let Some(last) = lines::last_number(journal).max(behind) {
            set_count(&transaction, last)?;
        }
        // Some were handed out since, and must not be again.
        transaction.execute_batch(DROP_ALL_PREKEYS)?;
        set_value(&transaction, open::EPOCH, epoch)?;
        let runs = open::runs(&transaction)?.saturating_add(SKIPPED_RUNS);
        set_value(&transaction, open::RUNS, &runs.to_be_bytes())?;
        transaction.commit()?;
        // The file's key pages stay behind in free room otherwise.
        database.execute_batch("VACUUM")?;
        database.close().map_err(|(_, error)| error)?;
        Ok(missing)
    };
    let missing = begin().map_err(|error| unwritable(path, error))?;
    sync(path)?;
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;
    use crate::store::Store;
    use crate::store::conformance::Scene;

    #[test]
    fn a_copy_is_whole_and_a_restored_one_gives_no_number_again() {
        let fixture = Fixture::new();
        fixture.register("bob");
        let first = fixture.store.first_number();
        let database = fixture.folder.path().join("chat.db");
        let target = fixture.folder.path().join("copy");
        File::create(&target).unwrap();
        copy(
            &database,
            &target,
            &[("tls-key.pem", b"secret key".to_vec())],
        )
        .unwrap();
        let contents = check(&target, &target).unwrap();
        assert_eq!((contents.accounts, contents.messages), (1, 0));
        let content = files(&target).unwrap();
        assert_eq!(
            content,
            [("tls-key.pem".to_owned(), b"secret key".to_vec())]
        );
        assert!(files(&database).unwrap().is_empty());
        begin_epoch(&target, &[9; 16], &[]).unwrap();
        assert!(files(&target).unwrap().is_empty());
        let bytes = std::fs::read(&target).unwrap();
        assert!(!bytes.windows(10).any(|part| part == b"secret key"));
        let restored = super::super::Sqlite::open(&target).unwrap();
        assert!(restored.first_number() > first + (1000 << 40));
        assert_eq!(restored.epoch(), Some([9; 16]));
        assert_eq!(fixture.store.epoch(), None);
    }

    #[test]
    fn what_is_cut_off_or_no_backup_is_refused() {
        let fixture = Fixture::new();
        for name in ["bob", "carol"] {
            fixture.register(name);
        }
        let database = fixture.folder.path().join("chat.db");
        let target = fixture.folder.path().join("copy");
        File::create(&target).unwrap();
        copy(&database, &target, &[]).unwrap();
        let whole = std::fs::read(&target).unwrap();
        for length in [0, 50, 4096, whole.len() - 4096, whole.len() - 1] {
            std::fs::write(&target, &whole[..length]).unwrap();
            assert!(check(&target, &target).is_err(), "{length} bytes");
        }
        std::fs::write(&target, "no database").unwrap();
        assert!(check(&target, &target).is_err());
    }
}
