//! How a connection reads: what its client speaks, whether under TLS, and what happens while
//! nothing comes.

use std::io;
use std::time::{Duration, Instant};

use super::Connection;
use crate::clock;
use crate::protocol::line_buffer::LineBuffer;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::Event;
use crate::server::net::disconnect;
use crate::server::net::disconnect::Disconnect;
use crate::server::net::send_queue::WireFormat;
use crate::transport::buffer::{ReadBuffer, ReadOutcome};
use crate::transport::proxy_header;
use crate::transport::sniff::Language;

/// Silence after which a connection gives back the memory of its last burst, and changes to a
/// thread with a small stack. A new thread costs a few dozen microseconds.
const RELEASE_MEMORY_AFTER: Duration = Duration::from_secs(5);

/// A wait that ends so much later than it was due to shows that the server stood still.
const STANDSTILL: Duration = Duration::from_millis(100);

/// After a standstill, deadlines move by its length and this much more, so that input which came in
/// time is handled first.
const AFTER_STANDSTILL: Duration = Duration::from_secs(1);

/// What came of reading.
pub(super) enum Received {
    /// Bytes, which are in the line buffer.
    Bytes,
    /// Nothing, for a while after the last bytes were handled.
    Nothing,
}

impl Connection {
    /// Reads, and waits for as long as the peer may be silent.
    pub(super) fn read(&mut self) -> Result<Received, Disconnect> {
        loop {
            let now = clock::now();
            self.next_timer = self.next_timer(now)?;
            let mut timeout = self.next_timer.saturating_duration_since(now);
            if self.has_worked {
                timeout = timeout.min(RELEASE_MEMORY_AFTER);
            }
            self.set_timeout(timeout).map_err(Disconnect::Broken)?;
            let channel = self.send_queue.channel();
            let read = channel.read(&mut self.raw, self.lines.space());
            self.make_up_for_standstill(now + timeout);
            match read {
                Ok(ReadOutcome::End) => {
                    // A thread of the server that ends the connection shuts the socket down.
                    return Err(match self.send_queue.ending() {
                        Some(why) => Disconnect::Ended(why),
                        None if self.standing.is_displaced() => disconnect::displaced(),
                        None => Disconnect::Closed,
                    });
                }
                Ok(ReadOutcome::TlsOnly) => {
                    self.note_received();
                    self.send_queue.flush();
                }
                Ok(ReadOutcome::Bytes(count)) => {
                    self.lines.filled(count);
                    self.note_received();
                    if self.take_proxy_header()? {
                        self.detect_language()?;
                        return Ok(Received::Bytes);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.lines.shrink();
                    self.raw.shrink();
                    self.send_queue.shrink();
                    self.handler.shrink();
                    if std::mem::take(&mut self.has_worked) {
                        return Ok(Received::Nothing);
                    }
                }
                Err(error) => return Err(Disconnect::Broken(error)),
            }
        }
    }

    /// Moves all timers if a wait that was due to end at `due` has ended much later: then the
    /// server itself stood still (SIGSTOP, a suspended machine whose clock went on), and what its
    /// clients have said meanwhile lies unread in the sockets.
    pub(super) fn make_up_for_standstill(&mut self, due: Instant) {
        let late = clock::now().saturating_duration_since(due);
        if late > STANDSTILL {
            self.last_received += late;
            self.next_timer += late;
            self.deadlines.postpone(late + AFTER_STANDSTILL);
        }
    }

    /// Notes that bytes have come, and whether they have completed the handshake.
    fn note_received(&mut self) {
        self.last_received = clock::now();
        self.pinged = false;
        self.has_worked = true;
        if self.deadlines.handshake.is_some() {
            let session = self.send_queue.channel().session();
            if !session.is_some_and(|session| session.is_handshaking()) {
                self.deadlines.handshake = None;
            }
        }
    }

    /// Sets the socket's read timeout, if it changes: amid traffic it stays the same. It is rounded
    /// up to a millisecond, so that a wait never ends just before its deadline.
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Duration::from_millis(timeout.as_millis() as u64 + 1);
        if self.read_timeout != timeout {
            self.send_queue.socket().set_read_timeout(Some(timeout))?;
            self.read_timeout = timeout;
        }
        Ok(())
    }

    /// When the next ping, timeout or deadline is due if nothing comes. Sends the ping or ends the
    /// connection if it is due at `now`.
    fn next_timer(&mut self, now: Instant) -> Result<Instant, Disconnect> {
        self.check_deadlines()?;
        if let Some(first) = self.deadlines.first() {
            return Ok(first);
        }
        let config = &self.config;
        if !self.pinged && now >= self.last_received + config.idle_limit {
            // The server stood still or was busy, so nobody was asked yet.
            self.last_received = now.checked_sub(config.ping_after).unwrap_or(now);
        }
        let (ping, drop) = (
            self.last_received + config.ping_after,
            self.last_received + config.idle_limit,
        );
        // A connection that was busy for long has not looked yet what has come meanwhile.
        if now >= drop && !self.has_unread() {
            return Err(disconnect::timed_out(
                "nothing was heard from you for too long; connect again",
            ));
        }
        if !self.pinged && now >= ping {
            self.pinged = true;
            self.send_queue.event(&Event::Ping {});
            self.send_queue.flush();
        }
        Ok(if self.pinged { drop } else { ping.min(drop) })
    }

    /// Ends the connection if one of its deadlines is past. The first time, what has come is read
    /// before that: the server may have stood still at any moment, and it may have come in time.
    pub(super) fn check_deadlines(&mut self) -> Result<(), Disconnect> {
        // Most connections have none, and so need no system call for the time.
        let Some(first) = self.deadlines.first() else {
            return Ok(());
        };
        let now = clock::now();
        if now >= first && !self.was_late && self.has_unread() {
            self.was_late = true;
            self.deadlines.postpone(now - first + AFTER_STANDSTILL);
        }
        match self.deadlines.due(now) {
            None => Ok(()),
            Some(due) => Err(disconnect::deadline_past(due)),
        }
    }

    /// Whether something has come that was not read yet, the end included.
    fn has_unread(&self) -> bool {
        let socket = self.send_queue.socket();
        self.raw.holds_more() || socket.wait_readable(Duration::ZERO).unwrap_or(true)
    }

    /// Decides by the first byte what the client speaks, and again under TLS. Ends an unencrypted
    /// connection from another machine, and a console there, unless the operator permits it.
    fn detect_language(&mut self) -> Result<(), Disconnect> {
        let (None, Some(&first)) = (self.wire_format, self.lines.rest().first()) else {
            return Ok(());
        };
        if proxy_header::begins(self.lines.rest()) {
            return Err(disconnect::no_proxy());
        }
        let encrypted = self.send_queue.channel().session().is_some();
        match Language::of(first) {
            Language::Tls if !encrypted => return self.begin_tls(),
            Language::Json => self.choose_wire_format(WireFormat::Json),
            Language::Console | Language::Tls => {
                self.choose_wire_format(WireFormat::Console);
                self.handler.without_envelopes();
            }
        }
        let config = self.shared.config();
        let from = self.peer.ip();
        if !encrypted && !config.plaintext && !self.is_here {
            return Err(disconnect::tls_required());
        }
        let may_type = self.is_here || config.console_from.iter().any(|net| net.contains(from));
        match self.wire_format {
            Some(WireFormat::Console) if !may_type => Err(disconnect::no_console()),
            _ => Ok(()),
        }
    }

    /// Begins a TLS session with the bytes that have come so far.
    fn begin_tls(&mut self) -> Result<(), Disconnect> {
        let Some(acceptor) = &self.shared.tls else {
            return Err(Disconnect::Refused(Refusal::new(
                Code::BadRequest,
                "this server was built without TLS; connect in the open",
            )));
        };
        let (session, certificate) = acceptor.accept().map_err(Disconnect::Broken)?;
        self.send_queue.channel().begin_tls(session);
        self.handler.set_certificate(certificate);
        self.raw = ReadBuffer::with(self.lines.rest());
        self.lines = LineBuffer::new(self.config.max_line);
        self.deadlines.handshake = Some(clock::now() + self.config.handshake_time);
        Ok(())
    }
}
