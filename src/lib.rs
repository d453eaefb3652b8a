//! Secure Chat: a private messenger for people who run their own server and
//! live in a terminal.
//!
//! One crate makes two programs, `server` and `client`. The server takes, stores and delivers
//! messages that it cannot read; the client encrypts them and keeps the keys.
//!
//! # The map
//!
//! Dependencies point downward only, and no two files import each other, except for a module and
//! its parts; `tests/tidy.rs` checks both.
//!
//! | room | what is in it | what it may import |
//! | --- | --- | --- |
//! | [`client`] | the terminal client: screen, commands, login, messenger, vault | `transport`, `crypto`, `protocol` |
//! | [`server`] | connections, requests, mailboxes and their delivery, limits | `store`, `transport`, `protocol`, and of `crypto` what checks a login |
//! | [`store`] | the server's accounts, public keys and mail, on disk | `protocol` |
//! | [`transport`] | bytes between two machines, with or without TLS | `protocol` |
//! | [`crypto`] | keys, X3DH, the Double Ratchet, its cipher, passwords | nothing |
//! | [`protocol`] | requests, replies, events, in JSON and for the console | nothing |
//!
//! `client`, `server`, `store` and `transport` also import [`fs`] (private files that survive a
//! power cut), [`sync`] (threads and locks) and [`clock`] (the time). Both programs import
//! [`command_line`] (how it and the config file are parsed), [`xdg`] (where files belong) and
//! [`appearance`] (the banner and the colours).
//!
//! The server never imports the ratchet, so the layout shows that it cannot read messages. What
//! tests and benchmarks need of the private rooms is in [`programs`].
//!
//! To follow a message through the server, begin at [`server::net::connection`], then read
//! [`server::requests`], [`server::delivery`] and [`server::delivery::mailbox`]. To follow its
//! encryption, begin at [`crypto::ratchet::session_set`]. `docs/PROTOCOL.md` describes the
//! wire, `docs/ARCHITECTURE.md` the threads and locks, `docs/CONTRIBUTING.md` how to build and test.
//!
//! # The promise
//!
//! Once the sender has its `ok`, the message reaches the recipient's device
//! exactly once, in the order accepted, whatever crashes in between. A message is
//! accepted when it is synced to the server's disk or acknowledged by the
//! recipient's client, whichever comes first; the recipient's vault, which
//! remembers every id it has taken, makes it exactly once. The one exception:
//! mail from a blocked sender gets the same `ok` and is dropped.
//!
//! # The threat model
//!
//! 1. The server and the network are hostile; the two endpoints are not.
//! 2. They learn who writes to whom, when, and roughly how much; never what.
//! 3. They can delay and drop. Forging, changing, replaying and relabelling fail
//!    at a MAC over names, identities, id and text.
//! 4. A key stolen today opens no earlier message, and no later one once both
//!    sides have answered each other (X3DH, Double Ratchet).
//! 5. The first identity seen for a name is pinned; a swapped one is never
//!    accepted silently. Only comparing safety numbers proves the first.
//! 6. The password stays with the client. The server keeps a public key, and a
//!    proof serves one nonce of one server. The console's login is the exception.
//! 7. What is on the client's disk is sealed under the password; bare ids and
//!    times are not.
//! 8. Unencrypted messages (the console's) are readable on the way, never sent
//!    unasked, and marked.
//! 9. Input of every sender is bounded in memory and in time.
//! 10. Not covered: a compromised endpoint, traffic analysis, a flood of traffic.

// Most rooms are private. Their links work in the documentation that contributors build, with
// --document-private-items, and show as plain names in the public one.
#![allow(rustdoc::private_intra_doc_links)]
// Tests may stop at the first surprise; the product may not.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod appearance;
mod client;
mod clock;
mod command_line;
pub mod crypto;
mod fs;
pub mod protocol;
mod server;
mod store;
mod sync;
pub mod transport;
mod xdg;

/// What the two programs run, and the few inner parts that tests and benchmarks need.
/// Everything else in `client`, `server` and `store` is private to the crate.
pub mod programs {
    /// The terminal client.
    pub mod client {
        pub use crate::client::app::main;
        pub use crate::client::messenger::Trust;
        pub use crate::client::vault::{
            Closed, EncryptionStatus, Opened, Vault, VaultFile, reads_back,
        };
    }

    /// The server.
    pub mod server {
        pub use crate::server::import::import_documents;
        pub use crate::server::peers::peer_frames_read_back;
        pub use crate::server::run::main;
    }
}
