//! Which server holds a mailbox, in the table `homes`, and which servers there are.

use std::net::{IpAddr, SocketAddr};

use super::connection::Connection;
use super::failure::Failure;
use super::values::{get, number};
use super::{Lane, Postgres, runs, statements};
use crate::store::homes::{Home, Homes, Node, OnEnded, RunId};
use crate::store::{Changed, StoreError, UserId};

/// A claim can give so many numbers: 2 to the power of this.
const CLAIM_BITS: u32 = 32;

impl Homes for Postgres {
    fn run(&self) -> Option<RunId> {
        Some(self.run)
    }

    fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let runs = self.read(Lane::Short, |connection| {
            runs::list(connection, RunId(i64::MAX))
        })?;
        let others = runs.into_iter().filter(|run| run.id != self.run);
        let nodes = others.map(|run| Node {
            run: run.id,
            name: run.node,
            // What can't be read can't be called either.
            address: run.address.and_then(|address| address.parse().ok()),
        });
        Ok(nodes.collect())
    }

    fn has_others(&self) -> bool {
        self.watch.has_others()
    }

    fn home(&self, user: UserId) -> Result<Option<RunId>, StoreError> {
        self.read(Lane::Short, |connection| {
            let row = connection.row(statements::HOME, &[&user.0, &self.run.0])?;
            row.map(|row| get(&row, 0).map(RunId)).transpose()
        })
    }

    fn online(&self, users: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let asked: Vec<i64> = users.iter().map(|user| user.0).collect();
        self.read(Lane::Short, |connection| {
            let rows = connection.rows(statements::ONLINE, &[&asked, &self.run.0])?;
            rows.iter().map(|row| get(row, 0).map(UserId)).collect()
        })
    }

    fn local_address(&self) -> Option<IpAddr> {
        Some(self.local_address)
    }

    fn announce_address(&self, at: SocketAddr) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let mut connection = self.connect(&mut writer)?;
        connection.execute(statements::ANNOUNCE, &[&self.run.0, &at.to_string()])?;
        writer.connection = Some(connection);
        Ok(())
    }

    fn set_on_ended(&self, hook: OnEnded) {
        self.watch.set_on_ended(hook);
    }
}

/// Takes a mailbox to this run, unless another has it that has not ended.
pub(super) fn claim(
    connection: &mut Connection,
    run: RunId,
    user: UserId,
) -> Result<Changed, Failure> {
    if let Some(row) = connection.row(statements::CLAIM_HOME, &[&user.0, &run.0])? {
        let claims: u64 = number(&row, 0)?;
        let first_number = claims << CLAIM_BITS;
        return Ok(Changed::Home(Home::Here { first_number }));
    }
    let holder = connection.row(statements::HOLDER, &[&user.0])?;
    let holder = holder.ok_or(Failure::Value("the home of a mailbox"))?;
    Ok(Changed::Home(Home::At(RunId(get(&holder, 0)?))))
}

/// Passes a mailbox of this run on to another.
pub(super) fn pass_on(
    connection: &mut Connection,
    run: RunId,
    user: UserId,
    to: RunId,
) -> Result<Changed, Failure> {
    let moved = connection.execute(statements::MOVE_HOME, &[&user.0, &run.0, &to.0])?;
    Ok(match moved {
        0 => Changed::Unknown,
        _ => Changed::Done,
    })
}

/// Notes whether the owner of a mailbox of this run has a visible session.
pub(super) fn set_online(
    connection: &mut Connection,
    run: RunId,
    user: UserId,
    online: bool,
) -> Result<Changed, Failure> {
    connection.execute(statements::SET_ONLINE, &[&user.0, &run.0, &online])?;
    Ok(Changed::Done)
}
