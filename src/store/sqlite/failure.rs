//! What an error of SQLite means to the store, and the store's own reasons to fail.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why the store can't be used although SQLite did not fail, or said it too briefly.
#[derive(Debug)]
pub(super) enum Unusable {
    Closed,
    Lost(PathBuf),
    StillRead,
    NotADatabase(rusqlite::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::Lost(path) => {
                return write!(
                    f,
                    "{} was moved, removed or replaced under the server",
                    path.display()
                );
            }
            Unusable::Closed => "it is closed",
            Unusable::StillRead => "a read is still under way",
            Unusable::NotADatabase(_) => "the file is not a database, or is damaged",
        })
    }
}

impl Error for Unusable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Unusable::Closed | Unusable::Lost(_) | Unusable::StillRead => None,
            Unusable::NotADatabase(error) => Some(error),
        }
    }
}

/// Whether an error says that what was read or to be changed is damaged, rather
/// than that the disk or the system failed.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
        ),
        // A value that no server wrote, or a row that is missing.
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// What an error of SQLite means. With `whole`, damage is not limited to what was asked for.
pub(super) fn store_error(error: rusqlite::Error, whole: bool) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::NotADatabase) => {
            StoreError::Failed(Arc::new(Unusable::NotADatabase(error)))
        }
        _ if !whole && is_damage(&error) => StoreError::Damaged(Arc::new(error)),
        _ => StoreError::Failed(Arc::new(error)),
    }
}
