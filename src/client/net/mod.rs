//! The way to the server: its endpoint, the certificates that were seen there, the
//! connection, and the queue of what arrives on it.

pub mod connection;
pub mod endpoint;
pub mod event_queue;
pub mod known_servers;
