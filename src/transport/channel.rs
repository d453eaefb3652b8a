//! A connection's bytes, in the open or under TLS, for one reader and several writers.
//!
//! One thread reads while another writes. Under TLS both need the session's keys, which are
//! behind a lock. That lock is held only to encrypt or decrypt, never while a socket is read or
//! written, so a peer that doesn't read can't keep us from reading, nor the reverse.
//!
//! Only one thread may write at a time, because encrypted bytes have to leave in the order in
//! which they were encrypted. The caller sees to that.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use super::buffer::{ReadBuffer, ReadOutcome};
use super::socket::{Socket, WriteOutcome};
use super::tls::TlsSession;

/// A connected socket and, once TLS has begun, its session.
pub struct Channel {
    socket: Socket,
    session: OnceLock<Box<TlsSession>>,
}

impl Channel {
    /// A channel in the open.
    pub fn new(socket: Socket) -> Self {
        Channel {
            socket,
            session: OnceLock::new(),
        }
    }

    /// Puts the channel under TLS. The reader calls it before anything is written.
    pub fn begin_tls(&self, session: TlsSession) {
        // Callers do this once; a second session would be ignored.
        let _second = self.session.set(Box::new(session));
    }

    /// The socket: for timeouts and for closing.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The session, if there is TLS.
    pub fn session(&self) -> Option<&TlsSession> {
        self.session.get().map(Box::as_ref)
    }

    /// Reads the bytes that are there, or waits for some until the socket's timeout. The reader
    /// passes the same `raw` each time.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] after the timeout; any other ends the connection.
    #[cfg_attr(test, track_caller)]
    pub fn read(&self, raw: &mut ReadBuffer, into: &mut [u8]) -> io::Result<ReadOutcome> {
        let Some(session) = self.session() else {
            return Ok(match self.socket.read(into)? {
                0 => ReadOutcome::End,
                count => ReadOutcome::Bytes(count),
            });
        };
        if raw.is_empty() && !raw.more_inside {
            match self.socket.read(raw.space())? {
                0 => return Ok(ReadOutcome::End),
                count => raw.filled(count),
            }
        }
        session.open(raw, into)
    }

    /// Encrypts bytes, if there is TLS, together with what TLS itself has to send.
    ///
    /// # Errors
    /// The session has ended.
    pub fn seal(&self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self.session() {
            Some(session) => session.seal(&bytes),
            None => Ok(bytes),
        }
    }

    /// Whether TLS itself has something to send. To send it, [`seal`](Self::seal) no bytes and
    /// write the result.
    pub fn has_pending(&self) -> bool {
        self.session().is_some_and(TlsSession::has_pending)
    }

    /// Tells the peer, with the next bytes that are sealed, that nothing follows them.
    pub fn close_notify(&self) {
        if let Some(session) = self.session() {
            session.close_notify();
        }
    }

    /// Encrypts and writes all bytes, waiting for room. It suits an end that has one writer with
    /// nothing else to do meanwhile.
    ///
    /// # Errors
    /// The peer took nothing for `limit`, or the connection has ended.
    pub fn write_all(&self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        let sealed = self.session().map(|session| session.seal(bytes));
        let sealed = sealed.transpose()?;
        let mut rest = sealed.as_deref().unwrap_or(bytes);
        while !rest.is_empty() {
            match self.socket.try_write(rest)? {
                WriteOutcome::Some(count) => rest = &rest[count..],
                WriteOutcome::Full => {
                    if !self.socket.wait_writable(limit)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
        Ok(())
    }
}
