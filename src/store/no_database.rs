//! What stands for the address of a database in a build without the feature `postgres`: there is none,
//! and whoever names one is told how to build a server that takes it.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The address of a database; no value of it exists.
#[derive(Debug, Clone)]
pub(crate) enum StoreAddress {}

/// This build has no store in a database.
#[derive(Debug)]
pub(crate) struct NotBuilt;

impl fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this server was built without PostgreSQL; build it with cargo build --release \
             --features postgres",
        )
    }
}

impl Error for NotBuilt {}

impl StoreAddress {
    /// Whether a password stands in it.
    pub(crate) fn has_password(&self) -> bool {
        match *self {}
    }
}

impl FromStr for StoreAddress {
    type Err = NotBuilt;

    fn from_str(_: &str) -> Result<Self, NotBuilt> {
        Err(NotBuilt)
    }
}
