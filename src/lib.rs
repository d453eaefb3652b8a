//! Secure Chat: a private messenger for people who run their own server and
//! live in a terminal.

pub mod crypto;
pub mod protocol;
