//! Moving a SQLite store into an empty PostgreSQL database: all tables in one transaction, verified by
//! counts before it is committed. Which folder that is, and what becomes of its file, is decided in
//! `server::migrate`.

use std::error::Error;
use std::fmt;

use rusqlite::types::ValueRef;

use super::StoreError;
use super::postgres::Postgres;
use super::sqlite::Sqlite;

/// The tables, each with its columns in the file and those in the database. What refers to an account
/// comes behind the accounts.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "users",
        from: "id, name, created, deleted, salt, memory_kib, passes, lanes, login_key, logins, \
               last_seen, listed, presence, refuse_unencrypted, identity_signing, identity_dh, \
               prekey_id, prekey, prekey_signature, disabled",
    },
    Table {
        name: "vault_generations",
        from: "user, generation",
    },
    Table {
        name: "vault_proofs",
        from: "user, proof",
    },
    Table {
        name: "resets",
        from: "user, key, expires",
    },
    Table {
        name: "imported_accounts",
        from: "user, name, only_sender, verifier",
    },
    Table {
        name: "imported_messages",
        from: "id",
    },
    Table {
        name: "invitations",
        from: "id, code, inviter, created, expires, uses",
    },
    Table {
        name: "bans",
        from: "network, created",
    },
    Table {
        name: "one_time_prekeys",
        from: "user, id, key",
    },
    Table {
        name: "blocks",
        from: "user, blocked",
    },
    Table {
        name: "mail",
        from: "recipient, number, sender, id, at, kind, body",
    },
    Table {
        name: "expired",
        from: "recipient, number, sender, id, at, told",
    },
];

/// A table that both stores have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// Its columns in the file.
    from: &'static str,
}

impl Table {
    /// Its columns in the database: `user` is a word of SQL.
    pub(super) fn columns(self) -> String {
        self.from.replace("user", "account")
    }

    /// The statement that reads it from the file, in the order of its key.
    pub(super) fn read(self) -> String {
        format!("SELECT {} FROM {}", self.from, self.name)
    }
}

/// How many rows a table has on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The table.
    pub table: &'static str,
    /// The rows that the file has.
    pub rows: u64,
    /// The rows that the database has.
    pub found: u64,
}

/// Why nothing was moved.
#[derive(Debug)]
pub(crate) enum MigrateError {
    /// Either store failed.
    Store(StoreError),
    /// The database has this many accounts, or the like.
    NotEmpty(u64),
    /// The database has not the rows that it was given.
    Counts(Moved),
}

impl From<StoreError> for MigrateError {
    fn from(error: StoreError) -> Self {
        MigrateError::Store(error)
    }
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MigrateError::Store(error) => write!(f, "{error}; nothing was moved"),
            MigrateError::NotEmpty(rows) => write!(
                f,
                "the database is not empty, it has {rows} rows of another server; nothing was moved. \
                 Make an empty one with createdb"
            ),
            MigrateError::Counts(Moved { table, rows, found }) => write!(
                f,
                "of {rows} rows of the table {table}, {found} are in the database; nothing was moved. \
                 Check the file with server backup and server check"
            ),
        }
    }
}

impl Error for MigrateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            MigrateError::Store(error) => Some(error),
            MigrateError::NotEmpty(_) | MigrateError::Counts(_) => None,
        }
    }
}

/// Moves everything, and says after some rows how many there are of the table so far. A move that was
/// completed before is verified once more.
///
/// # Errors
/// The database is as it was.
pub(crate) fn run(
    from: &Sqlite,
    to: &Postgres,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Vec<Moved>, MigrateError> {
    from.reading(|file| to.fill(file, progress))
}

/// A value as COPY reads it.
pub(super) fn write_value(line: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => line.extend_from_slice(b"\\N"),
        ValueRef::Integer(number) => line.extend_from_slice(number.to_string().as_bytes()),
        // No table has such a column.
        ValueRef::Real(number) => line.extend_from_slice(number.to_string().as_bytes()),
        ValueRef::Text(text) => {
            for byte in text {
                match byte {
                    b'\\' => line.extend_from_slice(b"\\\\"),
                    b'\t' => line.extend_from_slice(b"\\t"),
                    b'\n' => line.extend_from_slice(b"\\n"),
                    b'\r' => line.extend_from_slice(b"\\r"),
                    other => line.push(*other),
                }
            }
        }
        ValueRef::Blob(bytes) => {
            line.extend_from_slice(b"\\\\x");
            line.extend_from_slice(data_encoding::HEXLOWER.encode(bytes).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_copy_reads_them() {
        let mut line = Vec::new();
        for value in [
            ValueRef::Null,
            ValueRef::Integer(-7),
            ValueRef::Text(b"a\tb\\c\nd"),
            ValueRef::Blob(&[0, 255]),
        ] {
            write_value(&mut line, value);
            line.push(b'|');
        }
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "\\N|-7|a\\tb\\\\c\\nd|\\\\x00ff|");
    }
}
