//! One client's connection, on its own thread: reads bytes, divides them into lines, has the
//! requests handled, and ends the connection with a word to its client.
//!
//! | file | what |
//! | --- | --- |
//! | here | the connection's life: running, pausing, ending |
//! | `proxy` | whose connection it is, where a proxy has made it |
//! | `read` | reads, detects language and TLS, pings and gives up a silent peer |
//! | `lines` | has the lines handled, and answers those that are not a request |
//!
//! What a request does is decided in `requests`; which thread this runs on, in
//! [`worker`](super::worker).

mod lines;
mod proxy;
mod read;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::lines::Batch;
use self::read::Received;
use super::deadlines::Deadlines;
use super::disconnect::Disconnect;
use super::registry::{Connections, RegistrationGuard, Standing};
use super::send_queue::{SendQueue, WireFormat};
use crate::clock;
use crate::protocol::line_buffer::LineBuffer;
use crate::server::config::Config;
use crate::server::delivery::Now;
use crate::server::log;
use crate::server::log::{ConnectionId, Level};
use crate::server::requests::Handler;
use crate::server::shared::Shared;
use crate::transport::buffer::ReadBuffer;
use crate::transport::socket::PeerState;

/// The longest that a client is slowed down at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a client has to read its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why [`Connection::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Nothing has come for a while. [`wait`](Connection::wait) on a thread with a small stack,
    /// then run it again on a new thread.
    Silent,
    /// The connection has ended.
    Ended,
}

/// A connection: its socket, its client's session, and how far it has been read.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    /// The operator's settings when it began.
    config: Arc<Config>,
    id: ConnectionId,
    /// Whether somebody has logged in, for those who need its place.
    standing: Arc<Standing>,
    /// Its client's address: that of the other end, unless a proxy has named another.
    peer: SocketAddr,
    /// Its client is on this machine, and so is the proxy if there is one.
    is_here: bool,
    /// The registry, which is to know whose connection it is, until the proxy has said it.
    unidentified: Option<Arc<Connections>>,
    /// A proxy has made it, and no client is known of it: it may look whether the server answers.
    is_of_proxy: bool,
    send_queue: Arc<SendQueue>,
    handler: Handler,
    /// What was read and TLS has not opened yet.
    raw: ReadBuffer,
    lines: LineBuffer,
    /// `None` until the first byte has shown it.
    wire_format: Option<WireFormat>,
    /// Lines in a row that were no request.
    bad_lines: u32,
    /// No line was read yet.
    first_line: bool,
    /// A log line has said that its client is slowed down.
    slowdown_was_logged: bool,
    /// When the connection ends, whatever its peer does.
    deadlines: Deadlines,
    /// The state of the peer when it was last checked.
    peer_state: PeerState,
    /// When the next ping, timeout or deadline is due if nothing comes.
    next_timer: Instant,
    /// Something has come since this thread began to run the connection.
    has_worked: bool,
    /// A deadline was put off once, since something had come that was not read yet.
    was_late: bool,
    /// When the last bytes came.
    last_received: Instant,
    /// The client was sent a ping since then.
    pinged: bool,
    /// The socket's read timeout at present.
    read_timeout: Duration,
}

impl Connection {
    /// A connection that was accepted from `peer`, before anything is read from it. `config` says
    /// whether that is a proxy.
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: Arc<Config>,
        registration: &RegistrationGuard,
        peer: SocketAddr,
        send_queue: Arc<SendQueue>,
    ) -> Self {
        let now = clock::now();
        let (here, by_proxy) = (peer.ip(), config.is_proxy(peer.ip()));
        let from = shared.limits.counted_address(here).filter(|_| !by_proxy);
        let mut deadlines = Deadlines::new(now + config.login_time);
        deadlines.proxy_header = by_proxy.then_some(now + config.handshake_time);
        let mut handler = Handler::new(Arc::clone(&shared), Arc::clone(&send_queue), from, now);
        handler.set_peer(peer);
        Connection {
            id: registration.id(),
            standing: Arc::clone(registration.standing()),
            peer,
            is_here: here.to_canonical().is_loopback(),
            is_of_proxy: by_proxy,
            unidentified: by_proxy.then(|| Arc::clone(registration.connections())),
            handler,
            lines: LineBuffer::new(config.max_line),
            send_queue,
            raw: ReadBuffer::default(),
            wire_format: None,
            bad_lines: 0,
            first_line: true,
            slowdown_was_logged: false,
            deadlines,
            peer_state: PeerState::Open,
            next_timer: now,
            has_worked: false,
            was_late: false,
            last_received: now,
            pinged: false,
            read_timeout: Duration::ZERO,
            config,
            shared,
        }
    }

    /// Reads and handles requests until the peer is silent or the connection ends.
    pub(crate) fn run(&mut self) -> Stopped {
        loop {
            let handled = match self.read() {
                Ok(Received::Bytes) => self.handle_received(),
                Ok(Received::Nothing) => return Stopped::Silent,
                Err(end) => Err(end),
            };
            if let Err(end) = handled {
                self.disconnect(&end);
                return Stopped::Ended;
            }
        }
    }

    /// Waits until there is something to read or a timer is due, and does nothing else.
    pub(crate) fn wait(&mut self) {
        let left = self.next_timer.saturating_duration_since(clock::now());
        // If the wait fails, the next read fails as well and says why.
        let _readable = self.send_queue.socket().wait_readable(left);
        self.make_up_for_standstill(self.next_timer);
    }

    /// Tells the client why the connection ends, ends its session, and closes the socket once the
    /// answers have left.
    fn disconnect(&mut self, end: &Disconnect) {
        let user = self.handler.user();
        if let Disconnect::Refused(refusal) = end {
            if self.wire_format.is_none() {
                self.choose_wire_format(WireFormat::Console);
            }
            self.send_queue.answer(None, &Err(refusal.clone()));
        }
        end.count(&self.shared.stats.disconnects);
        let name = user.map_or("(not logged in)".to_owned(), |user| user.to_string());
        let reason = end.reason();
        let peer = log::ClientAddress(self.peer);
        let mut fields: Vec<log::Field<'_>> = vec![("address", &peer), ("reason", &reason)];
        if user.is_some() {
            fields.push(("user", &name));
        }
        let text = format_args!("{peer} {name} left: {end}");
        let level = match end {
            // A proxy looks after the server every few seconds.
            Disconnect::Closed | Disconnect::Broken(_) if self.is_of_proxy => Level::Debug,
            _ => Level::Info,
        };
        log::event(level, "left", Some(self.id), &fields, text);
        // The account may log in elsewhere from here on. What is undecided is still answered.
        self.handler.leave(Now::read());
        let limit = match end {
            Disconnect::Closed | Disconnect::Ended(_) => self.time_to_answer(),
            _ => LAST_ANSWERS,
        };
        self.send_queue.finish(limit);
    }

    /// Why another thread has ended the connection.
    fn ended(&self) -> Disconnect {
        match self.send_queue.ending() {
            Some(why) => Disconnect::Ended(why),
            None => Disconnect::Closed,
        }
    }

    /// How long a peer that has closed its side still has to read its answers.
    fn time_to_answer(&mut self) -> Duration {
        let now = clock::now();
        let closing = self.deadlines.peer_closed(now);
        closing.saturating_duration_since(now).max(LAST_ANSWERS)
    }

    /// Handles the lines that have come. It is not inlined, so that a thread that only reads has
    /// not touched the stack that this needs.
    #[inline(never)]
    fn handle_received(&mut self) -> Result<(), Disconnect> {
        let mut batch = Batch::new();
        let handled = self.handle_lines(&mut batch);
        batch.to_flush.flush();
        self.send_queue.flush();
        handled?;
        self.wait_for_room()
    }

    /// Waits until so much is answered and written that the connection may be read again.
    fn wait_for_room(&mut self) -> Result<(), Disconnect> {
        if !self.send_queue.wait_for_room(self.deadlines.first()) {
            return Err(self.ended());
        }
        self.check_deadlines()
    }

    /// Waits for `limit`, and ends early, with an error, if the peer leaves.
    fn watch_peer(&mut self, limit: Duration) -> Result<(), Disconnect> {
        let socket = self.send_queue.socket();
        self.peer_state = socket.watch_peer(self.peer_state, limit);
        match self.peer_state {
            PeerState::Open => {}
            PeerState::HalfClosed => {
                self.deadlines.peer_closed(clock::now());
            }
            PeerState::Gone if self.send_queue.has_ended() => return Err(self.ended()),
            PeerState::Gone => {
                self.send_queue.end(); // Nobody is left to be answered.
                return Err(Disconnect::Closed);
            }
        }
        self.check_deadlines()
    }

    /// Slows the client down by not reading from it. Ends early, with an error, when a deadline of
    /// the connection is past or its peer has left.
    fn pause(&mut self, pause: Duration) -> Result<(), Disconnect> {
        let until = clock::now() + pause.min(LONGEST_PAUSE);
        loop {
            let now = clock::now();
            if now >= until {
                break;
            }
            let next = self
                .deadlines
                .first()
                .map_or(until, |first| first.min(until));
            self.watch_peer(next.saturating_duration_since(now))?;
        }
        // Writing also shows whether the peer is still there.
        self.send_queue.flush();
        Ok(())
    }

    fn choose_wire_format(&mut self, wire_format: WireFormat) {
        self.wire_format = Some(wire_format);
        self.send_queue.set_wire_format(wire_format);
    }
}

impl Drop for Connection {
    /// Ends the session however the thread ends, also by a panic.
    fn drop(&mut self) {
        self.handler.leave(Now::read());
        self.send_queue.end();
    }
}
