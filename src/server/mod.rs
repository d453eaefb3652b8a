//! The server.
pub mod mailbox;
