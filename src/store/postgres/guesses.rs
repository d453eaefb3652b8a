//! Wrong logins, counted for all servers of the database in the table `guesses`. How long the answer to one is
//! held back is decided in `server::limits`.
//!
//! The time is the database's, so the servers' clocks need not agree; if the clock of another primary differs,
//! more or fewer are forgotten, and never more than the most remembered. The table is bounded whatever names
//! are tried: a name is counted in one of 2 to the power of 20 rows, by its hash, and two names that share a row
//! share a count. A row goes when all of it is forgotten.
//!
//! Nobody waits for the disk or a standby because of a wrong login, and the row's lock is held for one statement.

use std::time::Duration;

use super::connection::Connection;
use super::failure::Failure;
use super::lease::millis;
use super::statements;
use super::values::{column, get, number};
use crate::protocol::name::UserName;

/// Makes the table, if an earlier server that does not count in the database has made the others. Such
/// servers and this one run side by side.
pub(super) fn make_table(connection: &mut Connection) -> Result<(), Failure> {
    let found = connection.row("SELECT to_regclass('guesses') IS NOT NULL", &[])?;
    match found.map_or(Ok(false), |row| get(&row, 0))? {
        true => Ok(()),
        false => connection.run(include_str!("schema_guesses.sql")),
    }
}

/// Counts one for a name, and returns how many are remembered of it.
pub(super) fn count(
    connection: &mut Connection,
    name: &UserName,
    forgiven_after: Duration,
    most: u32,
) -> Result<u32, Failure> {
    let (each, most) = (column(millis(forgiven_after)), i64::from(most));
    let row = connection.row(statements::COUNT_GUESS, &[&name.as_str(), &each, &most])?;
    row.map_or(Ok(most as u32), |row| number(&row, 0))
}

/// Removes the rows of which all is forgotten.
pub(super) fn forget(connection: &mut Connection) -> Result<(), Failure> {
    connection
        .execute(statements::FORGET_GUESSES, &[])
        .map(drop)
}
