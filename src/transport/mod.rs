//! Bytes between two machines: sockets, TLS, and which language a connection speaks. What the
//! bytes mean is decided in `protocol`.
//!
//! | file | what |
//! | --- | --- |
//! | `address`, `host`, `fingerprint` | what a person types to name a server, and its certificate |
//! | `invitation` | the link of an invitation |
//! | `qr_code` | a link as a picture on a terminal |
//! | `sniff` | a connection's language, by its first byte |
//! | `proxy_header` | for whom a proxy connects |
//! | `socket` | a TCP socket: timeouts, non-blocking writes, closing |
//! | `buffer` | bytes that were read and are not decrypted yet |
//! | `tls` | TLS sessions, without sockets |
//! | `channel` | a socket with or without TLS, for one reader and any writers |
//! | `connector` | the client's handshake with a server |

pub mod address;
pub mod buffer;
pub mod channel;
pub mod connector;
pub mod fingerprint;
mod host;
pub mod invitation;
pub mod proxy_header;
pub mod qr_code;
pub mod sniff;
pub mod socket;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/stub.rs"]
pub mod tls;
