//! What an error of PostgreSQL, or of a value that it returned, means for the store.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use postgres::error::SqlState;

use crate::store::StoreError;

/// Why an operation on the database failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// PostgreSQL, or the connection to it.
    Database(postgres::Error),
    /// A value that no server of ours has written.
    Value(&'static str),
    /// Another server has ended this one's run.
    Superseded,
    /// A commit was not confirmed by the synchronous standby.
    Unconfirmed,
    /// The database is a primary of before, in whose place another one has come.
    Outdated,
    /// The store is closed.
    Closed,
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Self {
        Failure::Database(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Database(error) => f.write_str(&Failure::message(error)),
            Failure::Value(what) => write!(f, "{what} in the database is impossible"),
            Failure::Superseded => f.write_str(
                "the other servers of the database took this one for dead; start it again",
            ),
            Failure::Unconfirmed => {
                f.write_str("the synchronous standby has not confirmed a commit")
            }
            Failure::Outdated => {
                f.write_str("this primary was replaced by another one, and still runs; stop it")
            }
            Failure::Closed => f.write_str("it is closed"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Failure::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl Failure {
    /// What PostgreSQL has said, or the driver and the system.
    pub(super) fn message(error: &postgres::Error) -> String {
        match (error.as_db_error(), error.source()) {
            (Some(said), _) => said.message().to_owned(),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        }
    }

    /// PostgreSQL's name of the error.
    pub(super) fn state(&self) -> Option<&SqlState> {
        match self {
            Failure::Database(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the connection is of no use any more, and another one may work.
    pub(super) fn is_disconnection(&self) -> bool {
        match self {
            Failure::Database(error) => Self::is_connections(error),
            Failure::Unconfirmed | Failure::Outdated => true,
            Failure::Value(_) | Failure::Superseded | Failure::Closed => false,
        }
    }

    /// Whether an error is the connection's.
    pub(super) fn is_connections(error: &postgres::Error) -> bool {
        match error.code() {
            // Anything that PostgreSQL did not say itself is the connection's.
            None => true,
            Some(state) => {
                state.code().starts_with("08")
                    || [
                        &SqlState::ADMIN_SHUTDOWN,
                        &SqlState::CRASH_SHUTDOWN,
                        &SqlState::CANNOT_CONNECT_NOW,
                        &SqlState::DATABASE_DROPPED,
                        &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                        &SqlState::TOO_MANY_CONNECTIONS,
                    ]
                    .contains(&state)
            }
        }
    }

    /// Whether another server has held a row for too long.
    pub(super) fn is_lock_timeout(&self) -> bool {
        self.state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether the same transaction may succeed when it is run once more.
    pub(super) fn is_conflict(&self) -> bool {
        let Failure::Database(error) = self else {
            return false;
        };
        error.code().is_some_and(|state| {
            [
                &SqlState::T_R_SERIALIZATION_FAILURE,
                &SqlState::T_R_DEADLOCK_DETECTED,
            ]
            .contains(&state)
        })
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let state = match &failure {
            Failure::Database(error) => error.code(),
            Failure::Value(_) => return StoreError::Damaged(Arc::new(failure)),
            _ => None,
        };
        match state {
            Some(state) if *state == SqlState::DISK_FULL => StoreError::Full,
            Some(state) if state.code().starts_with("XX") => StoreError::Damaged(Arc::new(failure)),
            Some(state) if *state == SqlState::LOCK_NOT_AVAILABLE => {
                StoreError::Locked(Arc::new(failure))
            }
            _ => StoreError::Failed(Arc::new(failure)),
        }
    }
}
