//! `server backup`, `server check` and `server restore`: a server's database and certificate in one
//! file, and back.
//!
//! | file | what |
//! | --- | --- |
//! | this one | what each command does |
//! | `place` | names of backups, and writing one that overwrites nothing |
//! | `error` | why a command fails, in a sentence |
//!
//! A backup is made by the command's own process, whether or not a server runs: SQLite lets others
//! read while the server writes. What is in the file is decided in
//! [`store::sqlite::backup`](crate::store::sqlite::backup), and how it is sealed in
//! [`crypto::archive`](crate::crypto::archive).

mod error;
mod place;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

pub(super) use self::error::BackupError;
use self::place::{Draft, Target};
use super::config::Config;
use super::counted::counted;
use super::data_folder;
use super::data_folder::Lock;
use crate::command_line::secret_file;
use crate::crypto::archive;
use crate::store::journal;
use crate::store::journal::{Entry, Line};
use crate::store::sqlite::backup;
use crate::store::sqlite::backup::Contents;
use crate::sync;
use crate::transport::tls::Acceptor;

/// The name of a journal beside the backups, where none is named.
const JOURNAL: &str = "secure-chat.journal";

/// How often the progress of a copy is shown.
const PROGRESS: Duration = Duration::from_millis(500);

/// A passphrase's file has at most so many bytes.
const MAX_PASSPHRASE: u64 = 4096;

/// Writes a backup to a new file, or under a new name into a folder. Of the backups with such names
/// in a folder, the newest `keep` stay.
///
/// # Errors
/// Why there is no backup, or why older ones stay.
pub(super) fn make(
    config: &Config,
    to: &Path,
    keep: Option<usize>,
    passphrase: Option<&Path>,
) -> Result<(), BackupError> {
    data_folder::require_own_log(&config.data).map_err(BackupError::Folder)?;
    let database = data_folder::database(&config.data);
    let passphrase = passphrase.map(read_passphrase).transpose()?;
    let target = Target::new(to, passphrase.is_some())?;
    if keep.is_some() && target.folder.is_none() {
        return Err(BackupError::KeepNeedsFolder(to.to_owned()));
    }
    // Only a sealed backup may lie where others can read; what is not sealed stays beside the database.
    let copy = match &passphrase {
        None => Draft::beside(&target.path)?,
        Some(_) => Draft::beside(&database)?,
    };
    let files = own_files(&config.data)?;
    copy_with_progress(&database, &copy, files)?;
    let whole = match &passphrase {
        None => copy,
        Some(passphrase) => {
            let sealed = Draft::beside(&target.path)?;
            seal(passphrase, &copy.path, &sealed.path)?;
            sealed
        }
    };
    whole.publish(&target.path)?;
    say(format_args!("{}", target.path.display()))?;
    match (keep, &target.folder) {
        (Some(keep), Some(folder)) => place::remove_old(folder, keep),
        _ => Ok(()),
    }
}

/// The files of the server's own certificate, which the first start has made.
fn own_files(data: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, BackupError> {
    let Some(paths) = Acceptor::own_files(data) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for (name, path) in FILES.into_iter().zip(&paths) {
        match fs::read(path) {
            Ok(content) => files.push((name, content)),
            // The operator's own certificate lies elsewhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::Unreadable(path.clone(), error)),
        }
    }
    Ok(files)
}

/// The names, in a backup, of the certificate and its key: those that they have in the folder.
const FILES: [&str; 2] = ["tls-cert.pem", "tls-key.pem"];

/// Copies the database on a thread of its own, and shows on a terminal how far it is.
fn copy_with_progress(
    database: &Path,
    copy: &Draft,
    files: Vec<(&'static str, Vec<u8>)>,
) -> Result<(), BackupError> {
    let all = fs::metadata(database).map_or(0, |found| found.len());
    let (done, receiver) = mpsc::channel();
    let (from, to) = (database.to_owned(), copy.path.clone());
    sync::spawn("backup", None, move || {
        // Nobody listens if the process ends.
        let _ = done.send(backup::copy(&from, &to, &files));
    })
    .map_err(BackupError::NoThread)?;
    let terminal = io::stderr().is_terminal();
    loop {
        match receiver.recv_timeout(PROGRESS) {
            Ok(copied) => {
                if terminal {
                    eprint!("\r\x1b[K");
                }
                return copied.map_err(BackupError::Database);
            }
            Err(mpsc::RecvTimeoutError::Timeout) if terminal => {
                let so_far = fs::metadata(&copy.path).map_or(0, |found| found.len());
                let percent = (so_far.min(all) * 100).checked_div(all).unwrap_or(0);
                eprint!("\r{} MiB copied, {percent} %", so_far / 1024 / 1024);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(BackupError::NoThread(io::Error::other(
                    "it has ended early",
                )));
            }
        }
    }
}

fn seal(passphrase: &str, from: &Path, to: &Path) -> Result<(), BackupError> {
    let seal = || {
        let sealed = File::options().write(true).truncate(true).open(to)?;
        archive::seal(passphrase, File::open(from)?, BufWriter::new(&sealed))?;
        sealed.sync_all()
    };
    seal().map_err(|error| BackupError::Unwritable(to.to_owned(), error))
}

/// Says whether a backup is whole, and what it holds.
///
/// # Errors
/// It is not.
pub(super) fn check(file: &Path, passphrase: Option<&Path>) -> Result<(), BackupError> {
    let folder = place::private_folder()?;
    let checked = || {
        let plain = unsealed(file, passphrase, &folder)?;
        let contents = backup::check(&plain, file).map_err(BackupError::Database)?;
        let certificate = put_files(&plain, &folder)?;
        Ok((contents, certificate))
    };
    let checked = checked();
    let _removed = fs::remove_dir_all(&folder);
    let (Contents { accounts, messages }, certificate) = checked?;
    say(format_args!(
        "{} is whole: {}, {}, {}",
        file.display(),
        counted(accounts, "account"),
        counted(messages, "waiting message"),
        match certificate {
            true => "the certificate and its key",
            false => "no certificate",
        }
    ))
}

/// Makes an empty folder the data folder of the server that was backed up.
///
/// # Errors
/// Nothing was restored.
pub(super) fn restore(
    config: &Config,
    file: &Path,
    passphrase: Option<&Path>,
) -> Result<(), BackupError> {
    let data = &config.data;
    let there = place::require_empty(data)?;
    let restored = restore_into(data, config, file, passphrase);
    if restored.is_err() && !there {
        // If it was not even made, there is nothing to remove.
        let _removed = fs::remove_dir(data);
    }
    let (Contents { accounts, messages }, journal) = restored?;
    let repeated = match journal {
        Some(Repeated {
            path,
            lines,
            missing,
        }) => {
            let known = lines
                .iter()
                .filter(|line| line.entry != Entry::Forgotten {});
            let repeated = format!(
                "{} changes of the journal {} were repeated",
                known.count(),
                path.display()
            );
            match missing {
                0 => repeated,
                missing => format!(
                    "{repeated}; it lacks others that were made since the backup ({missing}), while it was not \
                     kept or could not be written: what they deleted, blocked, disabled or replaced is back"
                ),
            }
        }
        None => "there is no journal, so deletions, blocks and used invitations since are undone"
            .to_owned(),
    };
    say(format_args!(
        "restored into {}: {}, {}, as of the backup; {repeated}. Start the server; clients are told \
         that it has gone back in time",
        data.display(),
        counted(accounts, "account"),
        counted(messages, "waiting message"),
    ))
}

/// A journal that is repeated.
struct Repeated {
    path: PathBuf,
    lines: Vec<Line>,
    /// So many changes since the backup are not in it.
    missing: u64,
}

/// Restores into an empty folder, which is made if it is missing, and is empty again after an error.
fn restore_into(
    data: &Path,
    config: &Config,
    file: &Path,
    passphrase: Option<&Path>,
) -> Result<(Contents, Option<Repeated>), BackupError> {
    let lock = Lock::take(data).map_err(BackupError::Folder)?;
    let draft = data.join(".restoring");
    let made = crate::fs::make_folder(&draft);
    let made = made.map_err(|error| BackupError::Unwritable(data.to_owned(), error));
    let journal = made.and_then(|()| journal_of(config.journal.as_deref(), file));
    let restored = journal.and_then(|mut journal| {
        let lines = journal.as_ref().map_or(&[][..], |journal| &journal.lines);
        let (contents, missing) = restore_through(&draft, data, file, passphrase, lines)?;
        if let Some(journal) = &mut journal {
            journal.missing = missing;
        }
        Ok((contents, journal))
    });
    let _removed = fs::remove_dir_all(&draft);
    if restored.is_err() {
        data_folder::remove_lock(data);
    }
    drop(lock);
    restored
}

/// The journal that is named, or else the one beside the backup, if there is one.
fn journal_of(named: Option<&Path>, backup: &Path) -> Result<Option<Repeated>, BackupError> {
    let beside = backup.with_file_name(JOURNAL);
    let path = match named {
        Some(path) => path.to_owned(),
        None if beside.exists() => beside,
        None => return Ok(None),
    };
    match journal::read(&path) {
        Ok(lines) => Ok(Some(Repeated {
            path,
            lines,
            missing: 0,
        })),
        Err(error) => Err(BackupError::Unreadable(path, error)),
    }
}

fn restore_through(
    draft: &Path,
    data: &Path,
    file: &Path,
    passphrase: Option<&Path>,
    journal: &[Line],
) -> Result<(Contents, u64), BackupError> {
    let unwritable = |error| BackupError::Unwritable(data.to_owned(), error);
    let plain = unsealed(file, passphrase, draft)?;
    let database = draft.join("chat.db");
    if plain != database {
        copy_private(&plain, &database).map_err(unwritable)?;
    }
    let contents = backup::check(&database, file).map_err(BackupError::Database)?;
    put_files(&database, draft)?;
    let mut epoch = [0; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut epoch)
        .map_err(|error| unwritable(io::Error::other(error)))?;
    let missing = backup::begin_epoch(&database, &epoch, journal).map_err(BackupError::Database)?;
    // The database comes last: without it, a folder with a certificate is not served.
    for name in FILES.into_iter().chain(["chat.db"]) {
        match fs::rename(draft.join(name), data.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(unwritable)?,
        }
    }
    crate::fs::sync_name(&data.join("chat.db")).map_err(unwritable)?;
    Ok((contents, missing))
}

/// The backup without its seal, if it has one, in this folder.
fn unsealed(file: &Path, passphrase: Option<&Path>, folder: &Path) -> Result<PathBuf, BackupError> {
    let unreadable = |error| BackupError::Unreadable(file.to_owned(), error);
    let mut sealed = File::open(file).map_err(unreadable)?;
    if !sealed.metadata().map_err(unreadable)?.is_file() {
        return Err(BackupError::NoFile(file.to_owned()));
    }
    let mut beginning = Vec::new();
    let read = Read::by_ref(&mut sealed)
        .take(64)
        .read_to_end(&mut beginning);
    read.map_err(unreadable)?;
    if !archive::is_sealed(&beginning) {
        return Ok(file.to_owned());
    }
    let Some(passphrase) = passphrase else {
        return Err(BackupError::Sealed(file.to_owned()));
    };
    let passphrase = read_passphrase(passphrase)?;
    let plain = folder.join("chat.db");
    let to = new_private(&plain).map_err(|error| BackupError::Unwritable(plain.clone(), error))?;
    let from = BufReader::new(File::open(file).map_err(unreadable)?);
    archive::open(&passphrase, from, BufWriter::new(&to))
        .map_err(|error| BackupError::Archive(file.to_owned(), error))?;
    to.sync_all()
        .map_err(|error| BackupError::Unwritable(plain.clone(), error))?;
    Ok(plain)
}

/// Writes the certificate and the key of a backup into a folder, and says whether there are any
/// and whether they belong together.
fn put_files(backup: &Path, folder: &Path) -> Result<bool, BackupError> {
    let files = backup::files(backup).map_err(BackupError::Database)?;
    let mut found = 0;
    for (name, content) in files {
        // Only these have a place.
        if !FILES.contains(&name.as_str()) {
            continue;
        }
        found += 1;
        let path = folder.join(name);
        let written = new_private(&path).and_then(|mut file| {
            file.write_all(&content)?;
            file.sync_all()
        });
        written.map_err(|error| BackupError::Unwritable(path, error))?;
    }
    if found > 0 {
        Acceptor::read(folder, None).map_err(BackupError::Certificate)?;
    }
    Ok(found > 0)
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = new_private(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

fn new_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// The first line of a file that others can't read.
fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, BackupError> {
    let unreadable = |error| BackupError::Unreadable(path.to_owned(), error);
    let file = File::open(path).map_err(unreadable)?;
    if crate::fs::open_mode(&file).map_err(unreadable)?.is_some() {
        return Err(BackupError::PassphraseShown(path.to_owned()));
    }
    let line = secret_file::first_line(file, MAX_PASSPHRASE).map_err(unreadable)?;
    match line.is_empty() {
        true => Err(BackupError::NoPassphrase(path.to_owned())),
        false => Ok(line),
    }
}

fn say(line: std::fmt::Arguments<'_>) -> Result<(), BackupError> {
    writeln!(io::stdout(), "{line}").map_err(BackupError::Output)
}
