//! Bytes between two machines. Knows sockets, and nothing of what is said over them.

pub mod socket;
