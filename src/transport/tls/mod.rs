//! TLS 1.3, by rustls. A session encrypts and decrypts bytes, and knows no socket.
//!
//! Older versions are not offered. This program's client and every `openssl` of recent years
//! speak 1.3, and only 1.3 hides the certificate and has no weak cipher to choose.
//!
//! | file | what |
//! | --- | --- |
//! | here | a session, of either side |
//! | `server` | the server's certificate and ticket keys, and its sessions |
//! | `client` | the client's sessions, and how they check a certificate |
//! | `certificate` | the files of a certificate and its key |
//! | `small_file` | reads those, without waiting for ever |
//! | `validity` | when a certificate ends |
//! | `succession` | one certificate's word about the next |
//! | `error` | why TLS can't be used |
//! | `stub` | the same names for a build without TLS |

mod certificate;
mod client;
mod error;
mod server;
mod small_file;
mod succession;
mod validity;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

pub use self::client::ClientTls;
pub use self::error::TlsError;
pub use self::server::Acceptor;
pub use self::succession::{NotFollowed, follow};

use super::buffer::{ReadBuffer, ReadOutcome};
use crate::clock;
use crate::sync::{Mutex, MutexGuard};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The program's clock for TLS. The one that rustls brings panics before 1970.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_millis(clock::unix_ms());
        Some(UnixTime::since_unix_epoch(now))
    }
}

/// One end of a TLS connection.
pub struct TlsSession {
    /// Guards keys and buffers. Innermost: while it is held, no other lock is taken and no
    /// I/O is done.
    connection: Mutex<rustls::Connection>,
    /// Whether TLS has bytes of its own to write; read without the lock.
    pending: AtomicBool,
}

impl TlsSession {
    fn new(connection: impl Into<rustls::Connection>) -> Self {
        let mut connection = connection.into();
        // Sealed bytes leave at once, so the send queue's bound suffices.
        connection.set_buffer_limit(None);
        TlsSession {
            pending: AtomicBool::new(connection.wants_write()),
            connection: Mutex::new(connection),
        }
    }

    fn lock(&self) -> MutexGuard<'_, rustls::Connection> {
        // After a panic within rustls, the next record fails.
        self.connection.lock()
    }

    /// Decrypts what was read, as far as `into` has room for it.
    pub(super) fn open(&self, raw: &mut ReadBuffer, into: &mut [u8]) -> io::Result<ReadOutcome> {
        let mut connection = self.lock();
        let mut count = 0;
        raw.more_inside = false;
        loop {
            if count < into.len() {
                match connection.reader().read(&mut into[count..]) {
                    // The peer has sent close_notify.
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
            let read = connection.read_tls(&mut rest)?;
            raw.consume(read);
            let processed = connection.process_new_packets();
            self.note_pending(&connection);
            let state =
                processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if into.is_empty() {
                // It came in one piece with the end of the handshake.
                raw.more_inside = state.plaintext_bytes_to_read() > 0;
            }
        }
        Ok(match count {
            0 => ReadOutcome::TlsOnly,
            count => ReadOutcome::Bytes(count),
        })
    }

    /// Encrypts bytes. What TLS itself has to send comes before them.
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

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        self.lock().is_handshaking()
    }
}

#[cfg(test)]
mod tests;
