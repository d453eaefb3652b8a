//! The server: from a socket to a mailbox and back.
//!
//! | folder | what |
//! | --- | --- |
//! | [`net`] | accepts connections, runs each on its own thread, writes to them |
//! | [`requests`] | one request in, one outcome out; knows no socket |
//! | [`delivery`] | mailboxes, the writer that commits, the table of sessions |
//! | [`limits`] | how much one address, account or connection may ask for |
//!
//! [`run`] starts and stops it all, [`shared`] is what all connections share, and
//! `data_folder` decides whether a folder may be started on. The server never imports the
//! ratchet: it cannot read messages. docs/ARCHITECTURE.md has the order of its locks.

pub(crate) mod args;
mod banner;
pub(crate) mod config;
mod data_folder;
pub(crate) mod delivery;
mod error;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod net;
pub(crate) mod requests;
pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod stats;
