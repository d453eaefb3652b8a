//! A connection's bytes, in the open or under TLS, for one reader and any writers.
//!
//! Reading and writing go on at the same time. Under TLS both need the session's
//! keys, which are behind a lock; but that lock is held only to turn bytes into
//! other bytes, never while a socket is read or written. So a peer that doesn't
//! read can't keep us from reading, and the other way round.
//!
//! Who writes: one thread at a time, because sealed bytes have to leave in the
//! order in which they were sealed. Seeing to that is the caller's part.

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
    /// In the open.
    pub fn new(socket: Socket) -> Self {
        Channel {
            socket,
            session: OnceLock::new(),
        }
    }

    /// From here on under TLS. The reader calls it, before anything is written.
    pub fn begin_tls(&self, session: TlsSession) {
        // A second handshake is not expected; the first one's session stays.
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

    /// Reads what is there, waiting for it as long as the socket's timeout allows.
    /// `raw` is the reader's own, and always the same.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the time is over; anything else is the end.
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

    /// Turns what is to be written into what crosses the wire, together with
    /// what TLS has to say for itself.
    ///
    /// # Errors
    /// The session is at its end.
    pub fn seal(&self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self.session() {
            Some(session) => session.seal(&bytes),
            None => Ok(bytes),
        }
    }

    /// Whether TLS has something to say for itself: [`seal`](Self::seal) nothing,
    /// and write what comes out.
    pub fn has_pending(&self) -> bool {
        self.session().is_some_and(TlsSession::has_pending)
    }

    /// Says, with the next bytes that are sealed, that nothing follows.
    pub fn close_notify(&self) {
        if let Some(session) = self.session() {
            session.close_notify();
        }
    }

    /// Seals and writes all, waiting for room: for an end that has one writer and
    /// nothing else to do meanwhile.
    ///
    /// # Errors
    /// The peer took nothing for `limit`, or the connection is at its end.
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
