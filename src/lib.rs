//! Secure Chat: a private messenger for people who run their own server and
//! live in a terminal.
//!
//! # The map
//!
//! Two programs, `server` and `client`, and the rooms they are made of.
//! Dependencies point downward only; `tests/tidy.rs` holds the edges.
//!
//! | room | what | sees |
//! | --- | --- | --- |
//! | [`client`] | the terminal client: screen, commands, link, vault | `transport`, `files`, `crypto`, `protocol` |
//! | [`server`] | connections, sessions, mailboxes, the one writer | `store`, `transport`, `files`, `protocol`, and of `crypto` what checks a login |
//! | [`store`] | what must not be lost: accounts, public keys, mail | `protocol` |
//! | [`transport`] | bytes between two machines | `files`, `protocol` |
//! | [`files`] | folders and small files that are private and survive a power cut | nobody |
//! | [`crypto`] | keys, X3DH, the Double Ratchet, its cipher, passwords | nobody |
//! | [`protocol`] | requests, replies, events, and their two spellings | nobody |
//!
//! The server never imports the ratchet: it can't read messages, and the layout
//! shows it. To follow a message, begin at [`server::connection`] and go by
//! [`server::handler`] to [`server::delivery`] and [`server::mailbox`]; to follow
//! its encryption, begin at [`crypto::conversation`]. `docs/PROTOCOL.md` has
//! everything that goes over the wire, `docs/ARCHITECTURE.md` the threads and locks.
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
//! 9. Input is bounded, in memory and in time, whoever sends it.
//! 10. Not covered: a compromised endpoint, traffic analysis, a flood of traffic.

// Tests may stop at the first surprise; the product may not.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod client;
pub mod clock;
pub mod crypto;
pub mod fs;
pub mod protocol;
pub mod server;
pub mod store;
pub mod sync;
pub mod transport;
