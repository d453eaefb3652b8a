//! Secure Chat: a private messenger for people who run their own server and
//! live in a terminal.

// Tests may stop at the first surprise; the product may not.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod client;
pub mod crypto;
pub mod protocol;
pub mod server;
pub mod store;
pub mod transport;
