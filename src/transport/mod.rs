//! Bytes between two machines: sockets, TLS, and telling the languages apart.
//! Knows no request: what the bytes mean is the protocol's.

pub mod address;
pub mod channel;
pub mod fingerprint;
pub mod sniff;
pub mod socket;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "without_tls.rs"]
pub mod tls;
