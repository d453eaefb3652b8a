//! Which server holds a mailbox, in the table `homes`.

use super::Postgres;
use super::failure::Failure;
use crate::store::homes::{Home, Homes, RunId};
use crate::store::{Changed, UserId};

impl Homes for Postgres {}

/// Takes a mailbox to this run. While one server has the database alone, nobody else can have it.
pub(super) fn claim(run: RunId, _user: UserId) -> Result<Changed, Failure> {
    let first_number = (run.0 as u64) << super::open::RUN_BITS;
    Ok(Changed::Home(Home::Here { first_number }))
}
