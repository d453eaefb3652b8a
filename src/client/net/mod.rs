//! The way to the server: its endpoint, the certificates that were seen there, the
//! connection, and the queue of what arrives on it.

pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod event_queue;
pub(crate) mod known_servers;
