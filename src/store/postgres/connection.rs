//! One connection to the database, with the statements that it has prepared. What the statements
//! say stands in `statements`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use postgres::types::ToSql;
use postgres::{Client, CopyInWriter, Row, Statement};

use super::failure::Failure;

/// What a statement takes.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection.
pub(super) struct Connection {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
    /// PostgreSQL has warned of something.
    warned: Arc<AtomicBool>,
    /// The history that the database goes on with, see [`Timelines`].
    timeline: u32,
    timelines: Timelines,
}

/// The newest timeline that this server has met. A standby that becomes the primary begins another, with a
/// greater number; a primary of before, if it still runs, must not be used any more.
#[derive(Clone, Default)]
pub(super) struct Timelines(Arc<AtomicU32>);

impl Timelines {
    /// Takes note of one.
    pub(super) fn meet(&self, timeline: u32) {
        self.0.fetch_max(timeline, Ordering::AcqRel);
    }

    /// Whether there is a newer one.
    pub(super) fn is_outdated(&self, timeline: u32) -> bool {
        timeline < self.0.load(Ordering::Acquire)
    }
}

impl Connection {
    /// Over this client, whose session is set up; `warned` is set by what PostgreSQL says.
    pub(super) fn new(
        client: Client,
        warned: Arc<AtomicBool>,
        timeline: u32,
        timelines: Timelines,
    ) -> Self {
        Connection {
            client,
            prepared: HashMap::new(),
            warned,
            timeline,
            timelines,
        }
    }

    /// # Errors
    /// It leads to a primary of before.
    fn check(&self) -> Result<(), Failure> {
        match self.timelines.is_outdated(self.timeline) {
            true => Err(Failure::Outdated),
            false => Ok(()),
        }
    }

    /// Runs what ends in a commit. If PostgreSQL warns, as it does when the wait for a synchronous standby
    /// was cancelled, the commit is there, and perhaps nowhere else.
    pub(super) fn confirmed<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.warned.store(false, Ordering::Release);
        let value = run(self)?;
        if self.warned.load(Ordering::Acquire) {
            return Err(Failure::Unconfirmed);
        }
        self.check()?;
        Ok(value)
    }

    /// Commits the transaction under way. After a disconnection it may be committed.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        self.confirmed(|connection| connection.run("COMMIT"))
    }

    fn statement(&mut self, sql: &'static str) -> Result<Statement, Failure> {
        self.check()?;
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Runs a statement, and returns how many rows it has changed.
    pub(super) fn execute(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Failure> {
        let statement = self.statement(sql)?;
        Ok(self.client.execute(&statement, parameters)?)
    }

    /// All rows of a statement.
    pub(super) fn rows(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.statement(sql)?;
        Ok(self.client.query(&statement, parameters)?)
    }

    /// The row of a statement that has one at most.
    pub(super) fn row(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Failure> {
        let statement = self.statement(sql)?;
        Ok(self.client.query_opt(&statement, parameters)?)
    }

    /// Runs statements without parameters and without rows.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), Failure> {
        self.check()?;
        Ok(self.client.batch_execute(sql)?)
    }

    /// The rows of a statement that is run once.
    pub(super) fn query(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.check()?;
        Ok(self.client.query(sql, &[])?)
    }

    /// Takes rows for a table, as a COPY statement says.
    pub(super) fn copy_in(&mut self, sql: &str) -> Result<CopyInWriter<'_>, Failure> {
        Ok(self.client.copy_in(sql)?)
    }

    /// Ends a transaction that failed. Returns whether the connection can be used on.
    pub(super) fn roll_back(&mut self) -> bool {
        !self.client.is_closed() && self.run("ROLLBACK").is_ok()
    }

    /// Says farewell to the database.
    pub(super) fn close(self) -> Result<(), Failure> {
        Ok(self.client.close()?)
    }
}

#[cfg(test)]
impl Connection {
    /// The names of a statement's columns.
    pub(super) fn columns(&mut self, sql: &'static str) -> Result<Vec<String>, Failure> {
        let statement = self.statement(sql)?;
        let columns = statement.columns().iter();
        Ok(columns.map(|column| column.name().to_owned()).collect())
    }

    /// The first column of what statements without parameters return, as text.
    pub(super) fn lines(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let messages = self.client.simple_query(sql)?;
        let lines = messages.iter().filter_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(lines.collect())
    }
}
