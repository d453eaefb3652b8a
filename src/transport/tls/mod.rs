//! TLS 1.3, by rustls: a session turns bytes into other bytes, and knows no socket.
//!
//! Older versions are not offered: whoever can build this program's client or
//! has an `openssl` of the last years speaks 1.3, and it alone hides the
//! certificate and has no weak cipher to choose.
//!
//! `server` has the certificate and the keys to tickets, `client` how a server's
//! certificate is checked, `certificate` the files, `stub` the same names for a build
//! without TLS.

mod certificate;
mod client;
mod error;
mod server;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::crypto::CryptoProvider;

pub use self::client::ClientTls;
pub use self::error::TlsError;
pub use self::server::Acceptor;

use super::buffer::{ReadBuffer, ReadOutcome};
use crate::sync::{Mutex, MutexGuard};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// One end of a TLS connection.
pub struct TlsSession {
    /// Guards keys and buffers. Innermost: while it is held nothing else is
    /// locked, and bytes are only turned into other bytes.
    connection: Mutex<rustls::Connection>,
    /// There is something to write, for a look without the lock.
    pending: AtomicBool,
}

impl TlsSession {
    fn new(connection: impl Into<rustls::Connection>) -> Self {
        let mut connection = connection.into();
        // What is sealed leaves at once, so the outbox's bounds are the bounds.
        connection.set_buffer_limit(None);
        TlsSession {
            pending: AtomicBool::new(connection.wants_write()),
            connection: Mutex::new(connection),
        }
    }

    fn lock(&self) -> MutexGuard<'_, rustls::Connection> {
        // A panic within rustls leaves a session that fails the next record.
        self.connection.lock()
    }

    /// Opens what was read, as far as `into` has room for it.
    pub(super) fn open(&self, raw: &mut ReadBuffer, into: &mut [u8]) -> io::Result<ReadOutcome> {
        let mut connection = self.lock();
        let mut count = 0;
        raw.more_inside = false;
        loop {
            if count < into.len() {
                match connection.reader().read(&mut into[count..]) {
                    // The peer said that nothing follows.
                    Ok(0) if count == 0 => return Ok(ReadOutcome::End),
                    Ok(0) => break,
                    Ok(some) => {
                        count += some;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            } else if count > 0 {
                raw.more_inside = true;
                break;
            }
            let mut rest = raw.rest();
            if rest.is_empty() {
                break;
            }
            let taken = connection.read_tls(&mut rest)?;
            raw.taken(taken);
            let processed = connection.process_new_packets();
            self.note_pending(&connection);
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(match count {
            0 => ReadOutcome::Nothing,
            count => ReadOutcome::Bytes(count),
        })
    }

    /// Seals bytes, behind what TLS has to say for itself.
    pub(super) fn seal(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut connection = self.lock();
        connection.writer().write_all(bytes)?;
        // A record adds 22 bytes to at most 16 KiB (RFC 8446, section 5.2).
        let mut sealed = Vec::with_capacity(bytes.len() + bytes.len() / 512 + 64);
        while connection.wants_write() {
            connection.write_tls(&mut sealed)?;
        }
        self.note_pending(&connection);
        Ok(sealed)
    }

    fn note_pending(&self, connection: &rustls::Connection) {
        self.pending
            .store(connection.wants_write(), Ordering::Release);
    }

    pub(super) fn has_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    pub(super) fn close_notify(&self) {
        let mut connection = self.lock();
        connection.send_close_notify();
        self.note_pending(&connection);
    }

    /// Whether the handshake still goes on.
    pub fn is_handshaking(&self) -> bool {
        self.lock().is_handshaking()
    }
}

#[cfg(test)]
mod tests;
