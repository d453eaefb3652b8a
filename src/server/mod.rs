//! The server: from a socket to a mailbox and back.
//!
//! | file or folder | what |
//! | --- | --- |
//! | [`run`] | starts everything, waits for signals, shuts down |
//! | `admin` | the operator's commands, on a running server and without one |
//! | [`args`], [`config`] | the command line, and the settings that it gives |
//! | `manual` | what the manual page has besides options and commands |
//! | `data_folder` | whether the server may start on a folder |
//! | `backup` | copies of all that the server keeps, and back |
//! | `journal` | what a restore must not undo, as the server and its commands keep it |
//! | `old_copies` | removes copies of the database that lie in the data folder for too long |
//! | `retention` | forgets when people were last seen |
//! | `import` | accounts and messages of the Python program before this one |
//! | `counted` | a count and its noun, in words |
//! | `capacity` | how many connections the system leaves room for |
//! | [`listen`] | where it listens |
//! | [`shared`] | the parts that all connections share |
//! | [`log`], [`metrics`], `banner`, `error`, [`stats`] | what an operator reads |
//! | `signals`, `reload` | what a signal does, and the settings that change while the server runs |
//! | `rotation` | which certificates the servers of the store may show |
//! | `notify` | tells a service manager how the server is |
//! | `personal_data` | what the server holds about a person, as JSON |
//! | `ping` | asks a running server whether it answers |
//! | [`net`] | accepts connections, runs each on its own thread, writes to them |
//! | [`requests`] | carries out one request; knows no socket |
//! | [`delivery`] | mailboxes, the writer that commits, the table of sessions |
//! | [`peers`] | other servers on the same store: links, and what goes over them |
//! | [`cluster`] | what this server does for them |
//! | [`limits`] | how much one address, account or connection may ask for |
//!
//! The server never imports the ratchet, so it cannot read messages. docs/ARCHITECTURE.md has its
//! threads, its queues and the order of its locks.

mod admin;
pub(crate) mod args;
mod backup;
mod banner;
mod capacity;
pub(crate) mod cluster;
pub(crate) mod config;
mod counted;
mod data_folder;
pub(crate) mod delivery;
mod error;
pub(crate) mod import;
mod journal;
pub(crate) mod limits;
pub(crate) mod listen;
pub(crate) mod log;
mod manual;
pub(crate) mod metrics;
#[cfg(feature = "postgres")]
mod migrate;
pub(crate) mod net;
mod notify;
mod old_copies;
pub(crate) mod peers;
mod personal_data;
mod ping;
mod reload;
pub(crate) mod requests;
mod retention;
pub(crate) mod rotation;
pub(crate) mod run;
#[cfg(test)]
mod schedules;
pub(crate) mod shared;
mod signals;
pub(crate) mod stats;
mod storage;
