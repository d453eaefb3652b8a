//! `server migrate`: moves a data folder's accounts and mail into a PostgreSQL database, and puts the
//! file aside so that no server starts on it by mistake. The certificate stays in the folder, and goes
//! on from there. What is copied, and how it is verified, is in `store::migrate`.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::data_folder;
use super::data_folder::{FolderError, Lock};
use crate::store::postgres::{Candidate, OpenError, Postgres, StoreAddress};
use crate::store::sqlite;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError, migrate};

/// What the file is called afterwards.
const ASIDE: &str = "chat.db.migrated";

/// Why nothing was moved, or what is left to do.
#[derive(Debug)]
pub(super) enum MigrateError {
    /// The folder can't be used.
    Folder(FolderError),
    /// The database in it can't be used.
    File(sqlite::OpenError),
    /// The PostgreSQL database can't be used.
    Database(OpenError),
    /// It was not moved.
    Move(migrate::MigrateError),
    /// All is moved, and the file in the folder could not be closed.
    NotClosed(StoreError),
    /// All is moved, and the file is still where it was.
    Stays(PathBuf, io::Error),
    /// The result can't be printed.
    Output(io::Error),
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MigrateError::Folder(error) => error.fmt(f),
            MigrateError::File(error) => error.fmt(f),
            MigrateError::Database(error) => error.fmt(f),
            MigrateError::Move(error) => error.fmt(f),
            MigrateError::NotClosed(error) => write!(
                f,
                "everything is in the database, but the folder's file could not be closed: {error}; run \
                 the command again"
            ),
            MigrateError::Stays(path, error) => write!(
                f,
                "everything is in the database, but {} can't be moved aside: {error}; move it yourself, \
                 or a server that is started without --store goes on with it",
                path.display()
            ),
            MigrateError::Output(error) => {
                write!(
                    f,
                    "it was done, but standard output can't be written: {error}"
                )
            }
        }
    }
}

impl Error for MigrateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            MigrateError::Folder(error) => error.source(),
            MigrateError::File(error) => error.source(),
            MigrateError::Database(error) => error.source(),
            MigrateError::Move(error) => error.source(),
            MigrateError::NotClosed(error) => Some(error),
            MigrateError::Stays(_, error) | MigrateError::Output(error) => Some(error),
        }
    }
}

/// Moves the folder `from` into the database `to`.
///
/// # Errors
/// A sentence for the operator. Nothing was moved, unless it says otherwise.
pub(super) fn run(from: &Path, to: &StoreAddress) -> Result<(), MigrateError> {
    data_folder::require_own_log(from).map_err(MigrateError::Folder)?;
    data_folder::require_owner(from).map_err(MigrateError::Folder)?;
    let mut lock = Lock::take(from).map_err(MigrateError::Folder)?;
    let path = data_folder::database(from);
    let file = Sqlite::open(&path).map_err(MigrateError::File)?;
    lock.note_open(from);
    let place = lock.identity();
    let candidate = Candidate {
        node: "migrate",
        place: &place,
        alone: true,
        standbys: 0,
    };
    let database = Postgres::open(to, candidate).map_err(MigrateError::Database)?;
    let moved = migrate::run(&file, &database, &mut show);
    let closed = file.close();
    let _said = database.close();
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let moved = moved.map_err(MigrateError::Move)?;
    closed.map_err(MigrateError::NotClosed)?;
    lock.note_closed();
    let aside = from.join(ASIDE);
    fs::rename(&path, &aside).map_err(|error| MigrateError::Stays(path, error))?;
    let mut out = io::stdout();
    for migrate::Moved { table, rows, found } in moved {
        writeln!(
            out,
            "{table}: {rows} rows in the folder, {found} in the database"
        )
        .map_err(MigrateError::Output)?;
    }
    writeln!(
        out,
        "everything is in the database; the folder's file is {} from here on. Start the server with \
         --store, and keep the folder: it has the certificate",
        aside.display()
    )
    .map_err(MigrateError::Output)
}

/// Shows on a terminal how far it is.
fn show(table: &str, rows: u64) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{table}: {rows} rows");
    }
}
