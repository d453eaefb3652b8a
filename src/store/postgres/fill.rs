//! Filling an empty database with what a SQLite file holds, in one transaction.

use std::io::Write;
use std::sync::Arc;

use super::connection::Connection;
use super::failure::Failure;
use super::values::get;
use super::{Postgres, read, statements};
use crate::store::StoreError;
use crate::store::migrate::{MigrateError, Moved, TABLES, Table, write_value};
use crate::store::successions;

/// After so many rows it is said how far the work is.
const STEP: u64 = 10_000;

impl Postgres {
    /// See [`migrate::run`](crate::store::migrate::run).
    pub(in crate::store) fn fill(
        &self,
        file: &rusqlite::Connection,
        progress: &mut dyn FnMut(&str, u64),
    ) -> Result<Vec<Moved>, MigrateError> {
        let mut writer = self.writer.lock();
        let mut connection = self.connect(&mut writer).map_err(StoreError::from)?;
        let moved = fill(&mut connection, file, progress);
        if moved.is_err() {
            let _usable = connection.roll_back();
        }
        writer.connection = Some(connection);
        moved
    }
}

impl From<Failure> for MigrateError {
    fn from(failure: Failure) -> Self {
        MigrateError::Store(failure.into())
    }
}

fn unreadable(error: rusqlite::Error) -> MigrateError {
    MigrateError::Store(StoreError::Failed(Arc::new(error)))
}

fn fill(
    connection: &mut Connection,
    file: &rusqlite::Connection,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Vec<Moved>, MigrateError> {
    let value = |key: &str| {
        let read = "SELECT value FROM server WHERE key = ?1";
        let read = file.query_row(read, [key], |row| row.get::<_, Vec<u8>>(0));
        match read {
            Ok(value) => Ok(Some(value)),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(error) => Err(unreadable(error)),
        }
    };
    let secret = value("secret")?.unwrap_or_default();
    if read::value(connection, "secret")?.as_deref() == Some(&secret[..]) {
        return verify(connection, file);
    }
    // Meanwhile it reads from the file.
    connection.run("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0")?;
    let mut there = 0;
    for table in TABLES {
        there += count(connection, *table)?;
    }
    if there > 0 {
        return Err(MigrateError::NotEmpty(there));
    }
    for table in TABLES {
        copy(connection, file, *table, progress)?;
    }
    connection.run(
        "SELECT setval(pg_get_serial_sequence('users', 'id'), max(id)) FROM users;
         SELECT setval(pg_get_serial_sequence('invitations', 'id'), max(id)) FROM invitations",
    )?;
    for key in ["secret", "epoch", successions::KEY] {
        if let Some(value) = value(key)? {
            connection.execute(statements::SET_VALUE, &[&key, &value])?;
        }
    }
    // The numbers to come are above all that the file's servers gave.
    let runs = value("runs")?.and_then(|runs| runs.try_into().ok());
    let runs = runs.map_or(0, u64::from_be_bytes) as i64;
    connection.execute(statements::SKIP_RUNS, &[&runs])?;
    let moved = verify(connection, file)?;
    connection.commit()?;
    Ok(moved)
}

fn copy(
    connection: &mut Connection,
    file: &rusqlite::Connection,
    table: Table,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<(), MigrateError> {
    let mut statement = file.prepare(&table.read()).map_err(unreadable)?;
    let columns = statement.column_count();
    let mut rows = statement.query([]).map_err(unreadable)?;
    let into = format!("COPY {} ({}) FROM STDIN", table.name, table.columns());
    let mut writer = connection.copy_in(&into)?;
    let (mut line, mut count) = (Vec::new(), 0);
    progress(table.name, 0);
    while let Some(row) = rows.next().map_err(unreadable)? {
        line.clear();
        for column in 0..columns {
            if column > 0 {
                line.push(b'\t');
            }
            write_value(&mut line, row.get_ref(column).map_err(unreadable)?);
        }
        line.push(b'\n');
        let written = writer.write_all(&line);
        written.map_err(|error| MigrateError::Store(StoreError::Failed(Arc::new(error))))?;
        count += 1;
        if count % STEP == 0 {
            progress(table.name, count);
        }
    }
    writer.finish().map_err(Failure::Database)?;
    progress(table.name, count);
    Ok(())
}

fn count(connection: &mut Connection, table: Table) -> Result<u64, Failure> {
    let rows = connection.query(&format!("SELECT count(*) FROM {}", table.name))?;
    let count: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
    Ok(count as u64)
}

/// Compares the counts of all tables.
fn verify(
    connection: &mut Connection,
    file: &rusqlite::Connection,
) -> Result<Vec<Moved>, MigrateError> {
    let mut all = Vec::new();
    for table in TABLES {
        let rows = format!("SELECT count(*) FROM {}", table.name);
        let rows = file.query_row(&rows, [], |row| row.get::<_, i64>(0));
        let moved = Moved {
            table: table.name,
            rows: rows.map_err(unreadable)? as u64,
            found: count(connection, *table)?,
        };
        if moved.rows != moved.found {
            return Err(MigrateError::Counts(moved));
        }
        all.push(moved);
    }
    Ok(all)
}
