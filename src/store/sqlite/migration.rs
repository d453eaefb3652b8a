//! From the schema of an older server to this one's, a version at a time.
//!
//! All steps are one transaction with the version's number, so a kill or a full disk leaves the
//! database as it was. `schema.sql` says what the tables are for; a test compares a database that
//! came through these steps with one that was made by it.

use rusqlite::{Connection, TransactionBehavior};

/// The schema's version that this server writes.
pub(super) const SCHEMA_VERSION: i64 = 1 + STEPS.len() as i64;

/// The statements that lead from version 1 to 2, from 2 to 3, and so on.
const STEPS: [&str; 2] = [
    // 2: disabled accounts, resets, invitations, bans.
    "
    ALTER TABLE users ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE resets (
        user    INTEGER PRIMARY KEY REFERENCES users (id),
        key     BLOB    NOT NULL,
        expires INTEGER NOT NULL
    );
    CREATE TABLE invitations (
        id      INTEGER PRIMARY KEY,
        code    BLOB    NOT NULL UNIQUE,
        inviter INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        uses    INTEGER NOT NULL
    );
    CREATE INDEX invitations_of ON invitations (inviter);
    CREATE TABLE bans (
        network TEXT    PRIMARY KEY,
        created INTEGER NOT NULL
    ) WITHOUT ROWID;",
    // 3: what was imported.
    "
    CREATE TABLE imported_accounts (
        user        INTEGER PRIMARY KEY REFERENCES users (id),
        name        TEXT    NOT NULL UNIQUE,
        only_sender INTEGER NOT NULL,
        verifier    BLOB
    );
    CREATE TABLE imported_messages (
        id BLOB PRIMARY KEY
    ) WITHOUT ROWID;",
];

/// Brings a database of ours to this server's version. One that has it is left as it is.
///
/// # Errors
/// Nothing was changed.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version - 1).unwrap_or(STEPS.len());
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if done < STEPS.len() {
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()
}
