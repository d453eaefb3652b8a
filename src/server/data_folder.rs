//! The data folder: locks it, and decides whether a server may start on what lies in it. Opening
//! the database is the store's job.
//!
//! The first start makes the database, then the certificate's key, then the certificate, and then
//! notes in the database that it has served. A start that was cut off at any instant can thus be
//! told from a folder that has lost something. The former is completed by the next start. The
//! latter is refused, because an empty server under a known name would look to its users as if
//! their accounts were gone.

use std::error::Error;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::config::Config;
use crate::store::sqlite;
use crate::store::sqlite::{Found, LogOf, OpenError};
use crate::transport::tls::Acceptor;

/// Why a folder can't be used. Each error's sentence says what to do about it.
#[derive(Debug)]
pub(super) enum FolderError {
    /// Another server runs on it.
    InUse(PathBuf),
    /// It belongs to another user of the system, by their number.
    OtherOwner(PathBuf, u32),
    /// There is no database in it.
    NoDatabase(PathBuf),
    /// It can't be made or written.
    Unwritable(PathBuf, io::Error),
    /// It has lost something, and `--new` was not given.
    Lost(PathBuf, Loss),
    /// The database in it can't be read.
    Database(OpenError),
    /// The log at this path can't be moved aside.
    LogStays(PathBuf, io::Error),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::InUse(data) => write!(
                f,
                "another server is running on the folder {}; stop it, or choose another folder \
                 with --data",
                data.display()
            ),
            FolderError::OtherOwner(data, owner) => write!(
                f,
                "the folder {} belongs to the user with the number {owner}, and no server runs on it; \
                 run this as that user, or the server can't use the files afterwards",
                data.display()
            ),
            FolderError::NoDatabase(data) => write!(
                f,
                "there is no database in the folder {}; give the --data that the server runs with",
                data.display()
            ),
            FolderError::Unwritable(data, error) => write!(
                f,
                "the folder {} can't be written: {error}; {}",
                data.display(),
                remedy(error.kind())
            ),
            FolderError::Lost(data, loss) => f.write_str(&loss.explain(data)),
            FolderError::Database(error) => error.fmt(f),
            FolderError::LogStays(log, error) => write!(
                f,
                "{} can't be moved aside: {error}; move it yourself",
                log.display()
            ),
        }
    }
}

impl Error for FolderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FolderError::Unwritable(_, error) | FolderError::LogStays(_, error) => Some(error),
            // It is shown as it is, so what is below it is below this.
            FolderError::Database(error) => error.source(),
            FolderError::InUse(_)
            | FolderError::OtherOwner(..)
            | FolderError::NoDatabase(_)
            | FolderError::Lost(..) => None,
        }
    }
}

/// What to do about a folder that can't be written.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => {
            "give the server's user the right to write it, or choose another with --data"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its disk, then start the server again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount its disk for writing, or choose another with --data"
        }
        _ => "choose another with --data",
    }
}

/// The path of the database.
pub(super) fn database(data: &Path) -> PathBuf {
    data.join("chat.db")
}

/// The path of the lock.
fn lock_path(data: &Path) -> PathBuf {
    data.join("server.lock")
}

/// The folder's lock, held for as long as this exists: two servers on one database would both
/// number the messages of the same mailboxes. Its text is a note about the database.
pub(super) struct Lock {
    file: File,
    note: Option<Note>,
}

/// What the last server has noted of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    generation: [u8; 16],
    /// It was closed, so that no log belongs to it.
    closed: bool,
}

impl Note {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let ("generation", generation) = (words.next()?, words.next()?) else {
            return None;
        };
        let generation = HEXLOWER.decode(generation.as_bytes()).ok()?;
        Some(Note {
            generation: generation.try_into().ok()?,
            closed: words.next() == Some("closed"),
        })
    }

    fn text(self) -> String {
        let state = if self.closed { "closed" } else { "open" };
        format!("generation {} {state}\n", HEXLOWER.encode(&self.generation))
    }
}

/// The note in a lock's file. One that can't be read is none.
fn read_note(mut file: &File) -> Option<Note> {
    let mut text = String::new();
    let read = Read::by_ref(&mut file).take(256).read_to_string(&mut text);
    read.ok().and_then(|_| Note::parse(&text))
}

impl Lock {
    /// Makes the data folder, and locks it.
    ///
    /// # Errors
    /// It can't be made or written, or another server runs on it.
    pub(super) fn take(data: &Path) -> Result<Self, FolderError> {
        let failed = |error: io::Error| FolderError::Unwritable(data.to_owned(), error);
        // The folder holds other people's mail, even if encrypted, so only its owner may enter.
        crate::fs::make_folder(data).map_err(failed)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(lock_path(data)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(data.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let note = read_note(&file);
        Ok(Lock { file, note })
    }

    /// Which lock it is, for a database that several folders' servers want.
    #[cfg(feature = "postgres")]
    pub(super) fn identity(&self) -> String {
        crate::fs::lock_identity(&self.file)
    }

    /// Notes which generation of the database is open from here on.
    pub(super) fn note_open(&mut self, data: &Path) {
        let (generation, _) = sqlite::judge_log(&database(data));
        self.note = generation.map(|generation| Note {
            generation,
            closed: false,
        });
        self.write_note();
        // Without it on the disk, the next start knows less; there is nothing to do about that.
        let _synced = self.file.sync_all();
    }

    /// Notes that the database is closed and whole.
    pub(super) fn note_closed(&mut self) {
        if let Some(note) = &mut self.note {
            note.closed = true;
            self.write_note();
        }
    }

    fn write_note(&self) {
        let text = self.note.map_or(String::new(), Note::text);
        // In this order a full disk, which takes nothing that is longer, leaves what was there.
        let written = self.file.write_all_at(text.as_bytes(), 0);
        let _written = written.and_then(|()| self.file.set_len(text.len() as u64));
    }
}

/// Refuses a folder without a database, and one whose log belongs to another copy of it: reading
/// such a database would apply the log. It makes nothing, and a server may be running.
///
/// # Errors
/// It is such a folder.
pub(super) fn require_own_log(data: &Path) -> Result<(), FolderError> {
    let database = database(data);
    let unwritable = |error| FolderError::Unwritable(data.to_owned(), error);
    match fs::metadata(&database) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(unwritable(error));
        }
        _ if !crate::fs::has_content(&database) => {
            return Err(FolderError::NoDatabase(data.to_owned()));
        }
        _ => {}
    }
    let mut options = File::options();
    let file = match options.read(true).write(true).open(lock_path(data)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unwritable(error)),
    };
    match file.try_lock() {
        // A server runs, and has made sure of it.
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        Ok(()) => {}
    }
    match has_foreign_log(&database, read_note(&file)) {
        true => Err(FolderError::Lost(data.to_owned(), Loss::ForeignLog)),
        false => Ok(()),
    }
}

/// Whether a server, or a command in its place, has the folder's lock at this moment.
pub(super) fn is_in_use(data: &Path) -> bool {
    let file = File::options().read(true).write(true).open(lock_path(data));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Refuses a folder of another user: the files that SQLite makes would be this one's, and the server
/// could not open them.
///
/// # Errors
/// It is another user's, or can't be looked at.
pub(super) fn require_owner(data: &Path) -> Result<(), FolderError> {
    let failed = |error| FolderError::Unwritable(data.to_owned(), error);
    let owner = fs::metadata(data).map_err(failed)?.uid();
    match owner == rustix::process::geteuid().as_raw() {
        true => Ok(()),
        false => Err(FolderError::OtherOwner(data.to_owned(), owner)),
    }
}

/// Removes the lock of a folder in which nothing else is. Call it while the lock is held.
pub(super) fn remove_lock(data: &Path) {
    let _removed = fs::remove_file(lock_path(data));
}

/// The files besides the database that have to stay where they are while a server runs.
pub(super) fn lasting(data: &Path) -> [PathBuf; 2] {
    [data.to_owned(), lock_path(data)]
}

/// Whether the log in the folder belongs to another copy of the database than the one there.
fn has_foreign_log(database: &Path, note: Option<Note>) -> bool {
    let (generation, log) = sqlite::judge_log(database);
    let noted = note.filter(|note| Some(note.generation) == generation);
    match log {
        LogOf::Nothing => false,
        LogOf::Another => true,
        LogOf::This => noted.is_some_and(|note| note.closed),
        LogOf::Unmarked => match (note, generation) {
            (Some(note), Some(_)) => note.closed || noted.is_none(),
            _ => false,
        },
    }
}

/// Refuses a folder that has lost something, unless `--new` is given. Returns whether the server
/// will make another certificate than the one its clients know.
pub(super) fn check(config: &Config, lock: &Lock) -> Result<bool, FolderError> {
    let database = database(&config.data);
    // This comes first: whoever opens the database applies the log.
    if has_foreign_log(&database, lock.note) {
        match config.new {
            true => put_log_aside(&database)?,
            false => return Err(FolderError::Lost(config.data.clone(), Loss::ForeignLog)),
        }
    }
    let found = sqlite::inspect(&database).map_err(FolderError::Database)?;
    let own = Acceptor::own_files(&config.data);
    let there = own
        .as_ref()
        .map(|files| files.each_ref().map(|file| crate::fs::has_content(file)));
    let contents = Contents {
        database: found,
        certificate: there.is_some_and(|[certificate, _]| certificate),
        key: there.is_some_and(|[_, key]| key),
        makes_certificate: own.is_some() && config.certificate.is_none(),
    };
    match contents.loss() {
        Some(Loss::OnlyLog) if config.new => put_log_aside(&database)?,
        Some(loss) if !config.new => return Err(FolderError::Lost(config.data.clone(), loss)),
        _ => {}
    }
    Ok(contents.replaces_certificate())
}

/// Moves the log of a lost database aside, so that it is not applied to the new one.
fn put_log_aside(database: &Path) -> Result<(), FolderError> {
    let log = sqlite::wal_path(database);
    let aside = log.with_extension(format!("db-wal.old-{}", std::process::id()));
    fs::rename(&log, &aside).map_err(|error| FolderError::LogStays(log, error))
}

/// What a start finds in the folder.
#[derive(Debug, Clone, Copy)]
struct Contents {
    database: Found,
    certificate: bool,
    key: bool,
    /// The certificate is the server's own to make, rather than given by the operator.
    makes_certificate: bool,
}

/// What is missing, although it existed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    OnlyLog,
    ForeignLog,
    Database,
    Tables,
    Certificate,
    Key,
}

impl Contents {
    fn loss(self) -> Option<Loss> {
        let pair = (self.certificate, self.key);
        match self.database {
            Found::Nothing { log: true } => Some(Loss::OnlyLog),
            Found::Nothing { log: false } if pair != (false, false) => Some(Loss::Database),
            Found::Empty if pair != (false, false) => Some(Loss::Tables),
            Found::Nothing { log: false } | Found::Empty => None,
            Found::Made { .. } if !self.makes_certificate => None,
            Found::Made { begun } => match pair {
                (true, true) => None,
                // The key is made first, so this is not what a first start leaves.
                (true, false) => Some(Loss::Key),
                (false, true) if begun => Some(Loss::Certificate),
                // A server that was moved by its database alone has no certificate to look for.
                (false, _) => None,
            },
        }
    }

    fn replaces_certificate(self) -> bool {
        let served = self.database == Found::Made { begun: true };
        served && self.makes_certificate && !(self.certificate && self.key)
    }
}

impl Loss {
    fn explain(self, data: &Path) -> String {
        let data = data.display();
        let other_certificate = "put it back from a backup, or start once with --new to have \
                                 another certificate made, whose fingerprint every client has to \
                                 be told";
        match self {
            Loss::OnlyLog => format!(
                "the folder {data} has mail in chat.db-wal, but the database chat.db that it \
                 belongs to is missing or empty; put chat.db back beside it, or start once with \
                 --new to have the log moved aside and begin without accounts and mail"
            ),
            Loss::ForeignLog => format!(
                "the folder {data} has a write-ahead log, chat.db-wal, that belongs to another copy \
                 of chat.db, and would damage this one. If you have put chat.db back from a backup, \
                 remove chat.db-wal and chat.db-shm, or start once with --new to have the log moved \
                 aside; if the log was copied from elsewhere, put the chat.db that was copied with it \
                 beside it, and remove server.lock"
            ),
            Loss::Database => format!(
                "the folder {data} has a certificate, but its database chat.db is missing or \
                 empty; put chat.db back from a backup, or start once with --new to begin without \
                 accounts and mail"
            ),
            Loss::Tables => format!(
                "the folder {data} has a certificate, but nothing is in its database chat.db, as \
                 in a copy made without the file chat.db-wal beside it; copy both, or chat.db from \
                 a server that was stopped, or start once with --new to begin without accounts \
                 and mail"
            ),
            Loss::Certificate => format!(
                "the folder {data} has the key tls-key.pem, but its certificate tls-cert.pem is \
                 missing; {other_certificate}"
            ),
            Loss::Key => format!(
                "the folder {data} has the certificate tls-cert.pem, but its key tls-key.pem is \
                 missing; {other_certificate}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Found = Found::Nothing { log: false };
    const CUT_OFF: Found = Found::Made { begun: false };
    const SERVED: Found = Found::Made { begun: true };

    fn loss(database: Found, certificate: bool, key: bool) -> Option<Loss> {
        let makes_certificate = true;
        Contents {
            database,
            certificate,
            key,
            makes_certificate,
        }
        .loss()
    }

    #[test]
    fn each_step_of_the_first_start_can_be_completed() {
        for (database, certificate, key) in [
            (NOTHING, false, false),
            (Found::Empty, false, false),
            (CUT_OFF, false, false),
            (CUT_OFF, false, true),
            (CUT_OFF, true, true),
            (SERVED, true, true),
        ] {
            assert_eq!(loss(database, certificate, key), None, "{database:?}");
        }
    }

    #[test]
    fn what_has_lost_something_is_refused() {
        for (certificate, key) in [(true, true), (true, false), (false, true)] {
            assert_eq!(loss(NOTHING, certificate, key), Some(Loss::Database));
            assert_eq!(loss(Found::Empty, certificate, key), Some(Loss::Tables));
        }
        let log = Found::Nothing { log: true };
        assert_eq!(loss(log, false, false), Some(Loss::OnlyLog));
        assert_eq!(loss(log, true, true), Some(Loss::OnlyLog));
        assert_eq!(loss(SERVED, false, true), Some(Loss::Certificate));
        assert_eq!(loss(SERVED, true, false), Some(Loss::Key));
        assert_eq!(loss(CUT_OFF, true, false), Some(Loss::Key));
    }

    #[test]
    fn a_database_alone_gets_another_certificate_and_a_warning() {
        let contents = |database, certificate| Contents {
            database,
            certificate,
            key: certificate,
            makes_certificate: true,
        };
        assert_eq!(contents(SERVED, false).loss(), None);
        assert!(contents(SERVED, false).replaces_certificate());
        assert!(!contents(SERVED, true).replaces_certificate());
        assert!(!contents(CUT_OFF, false).replaces_certificate());
        assert!(!contents(NOTHING, false).replaces_certificate());
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        for closed in [true, false] {
            let note = Note {
                generation: [0xab; 16],
                closed,
            };
            assert_eq!(Note::parse(&note.text()), Some(note));
        }
        for torn in ["", "generation", "generation abcd open", "nothing of ours"] {
            assert_eq!(Note::parse(torn), None, "{torn}");
        }
    }

    #[test]
    fn a_certificate_of_the_operator_needs_no_other() {
        let contents = Contents {
            database: SERVED,
            certificate: false,
            key: false,
            makes_certificate: false,
        };
        assert_eq!(contents.loss(), None);
    }
}
