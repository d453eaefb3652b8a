//! The server: from a socket to a mailbox and back.
//!
//! A thread per connection reads requests ([`connection`], [`handler`]); what it
//! has for others it puts into their [`send_queue`]. Mail goes through the
//! recipient's [`mailbox`], run by [`mailbox`] and [`delivery`]; one [`writer`]
//! commits. The server never imports the ratchet: it can't read messages.
//!
//! Locks, outermost first: the postbox table, one postbox, then an outbox or the
//! writer's queue. The session table and the connection table are never held
//! together with another. No lock is held across a read, a write or a commit;
//! the store's own locks guard its connections.

pub mod config;
mod data_folder;
pub mod delivery;
pub mod limits;
pub mod log;
pub mod net;
pub mod requests;
pub mod run;
pub mod shared;
pub mod stats;
