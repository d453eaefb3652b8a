//! The files under an open database: its log, and whether their paths still lead to them. A process goes on
//! writing to a file that was removed or replaced, and what it writes is lost with the last
//! descriptor.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

/// How long another program's lock is waited for. A stop has to end within it.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// The write-ahead log of the database at `path`.
pub(crate) fn wal_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Folds the log into the database file and empties it.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        false => Ok(()),
        true => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("another program uses it".to_owned()),
        )),
    }
}

/// The same, without waiting for another program that uses the database.
pub(super) fn checkpoint_now(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let folded = checkpoint(connection);
    connection.busy_timeout(BUSY)?;
    folded
}

/// A file or folder, by its path and by what that led to.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Watched {
    fn of(path: &Path, found: &Metadata) -> Self {
        Watched {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        }
    }

    /// Whether the path leads elsewhere, or nowhere. A failure to look is none of the two.
    fn is_lost(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) != (self.device, self.inode),
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::StaleNetworkFileHandle
            ),
        }
    }
}

/// The files to watch.
#[derive(Debug)]
pub(super) struct Files {
    /// The database, and what else has to stay.
    lasting: Vec<Watched>,
    /// The write-ahead log, which SQLite makes anew with a new connection.
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    watched: Watched,
    file: File,
    /// The salts in its header, which change when it begins anew.
    salts: [u8; 8],
}

impl Files {
    /// Watches a database that is open, and these.
    ///
    /// # Errors
    /// One of them is not there.
    pub(super) fn watch(database: &Path, others: &[&Path]) -> io::Result<Self> {
        let all = std::iter::once(&database).chain(others);
        let lasting = all.map(|path| Ok(Watched::of(path, &fs::metadata(path)?)));
        Ok(Files {
            lasting: lasting.collect::<io::Result<_>>()?,
            log: Log::open(database),
        })
    }

    /// Looks for the log again: the database was opened again.
    pub(super) fn reopened(&mut self, database: &Path) {
        self.log = Log::open(database);
    }

    /// The one that is lost, if one is. The log counts only while the database is open.
    pub(super) fn lost(&self, is_open: bool) -> Option<&Path> {
        let log = self.log.as_ref().filter(|_| is_open);
        let all = self.lasting.iter().chain(log.map(|log| &log.watched));
        let mut lost = all.filter(|watched| watched.is_lost());
        lost.next().map(|watched| &*watched.path)
    }

    /// Whether the log has begun anew since this was asked last.
    pub(super) fn log_has_begun(&mut self) -> bool {
        let Some(log) = &mut self.log else {
            return false;
        };
        let salts = salts(&log.file);
        let before = std::mem::replace(&mut log.salts, salts);
        before != salts && salts != [0; 8]
    }
}

impl Log {
    fn open(database: &Path) -> Option<Self> {
        // SQLite puts it beside the file that a link leads to.
        let path = wal_path(&fs::canonicalize(database).ok()?);
        let file = File::open(&path).ok()?;
        Some(Log {
            watched: Watched::of(&path, &file.metadata().ok()?),
            salts: salts(&file),
            file,
        })
    }
}

/// The salts in a log's header; zeros in one that is empty.
fn salts(log: &File) -> [u8; 8] {
    let mut salts = [0; 8];
    match log.read_exact_at(&mut salts, 16) {
        Ok(()) => salts,
        Err(_) => [0; 8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_removed_or_replaced_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let (database, log) = (place("db"), place("db-wal"));
        fs::write(&database, "a").unwrap();
        fs::write(&log, [1; 32]).unwrap();
        let mut files = Files::watch(&database, &[folder.path()]).unwrap();
        assert_eq!(files.lost(true), None);
        fs::write(&database, "other content").unwrap();
        assert_eq!(files.lost(true), None, "it is the same file");

        assert!(!files.log_has_begun());
        fs::write(&log, [2; 32]).unwrap();
        assert!(files.log_has_begun() && !files.log_has_begun());
        fs::rename(&log, place("aside")).unwrap();
        assert_eq!(files.lost(false), None);
        assert_eq!(files.lost(true), Some(&*log));
        fs::write(&log, [2; 32]).unwrap();
        assert_eq!(files.lost(true), Some(&*log), "it was replaced");
        files.reopened(&database);
        assert_eq!(files.lost(true), None);

        fs::remove_file(&database).unwrap();
        assert_eq!(files.lost(false), Some(&*database));
    }
}
