//! One connection to the database, with the statements that it has prepared. What the statements
//! say stands in `statements`.

use std::collections::HashMap;

use postgres::types::ToSql;
use postgres::{Client, CopyInWriter, Row, Statement};

use super::failure::Failure;

/// What a statement takes.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection.
pub(super) struct Connection {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
}

impl Connection {
    /// Over this client, whose session is set up.
    pub(super) fn new(client: Client) -> Self {
        Connection {
            client,
            prepared: HashMap::new(),
        }
    }

    fn statement(&mut self, sql: &'static str) -> Result<Statement, Failure> {
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
        Ok(self.client.batch_execute(sql)?)
    }

    /// The rows of a statement that is run once.
    pub(super) fn query(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
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
