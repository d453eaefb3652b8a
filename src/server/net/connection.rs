//! One client's life, on its own thread: bytes in, lines, requests, goodbye.
//!
//! All lines that arrived together are handled before anything is written, so
//! that a burst of requests costs a few writes, not one each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadlines::Deadlines;
use super::disconnect;
use super::disconnect::Disconnect;
use super::send_queue::{FlushSet, SendQueue, WireFormat};
use crate::clock;
use crate::protocol::ids::MessageId;
use crate::protocol::line_buffer::{LineBuffer, TooLong};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::Event;
use crate::protocol::{console, json};
use crate::server::delivery::Now;
use crate::server::log;
use crate::server::log::ConnectionId;
use crate::server::requests::Handler;
use crate::server::shared::Shared;
use crate::transport::buffer::{ReadBuffer, ReadOutcome};

use crate::transport::sniff::Language;
use crate::transport::socket::PeerState;

/// Lines in a row that are no request, after which a connection ends.
const MAX_BAD_LINES: u32 = 10;

/// Failed logins after which a connection ends.
const MAX_FAILED_LOGINS: u32 = 5;

/// A shorter pause is left to grow: sleeping costs more than it.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// No connection is left alone for longer, whatever its client did.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Silence after which a connection gives the memory of its last burst back, its
/// thread's included. A fresh thread costs a few dozen microseconds.
const SETTLE_AFTER: Duration = Duration::from_secs(5);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What came of waiting for a peer.
enum Arrived {
    /// Bytes.
    Something,
    /// Nothing, for a while after the last bytes were handled.
    Silence,
}

/// Why [`Connection::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Nothing has come for a while: [`wait`](Connection::wait), best in a small
    /// thread, then run it again, best in a fresh one.
    Silent,
    /// It is over.
    Over,
}

/// A connection and its thread's state.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    id: ConnectionId,
    peer: SocketAddr,
    send_queue: Arc<SendQueue>,
    handler: Handler,
    /// What was read and TLS has not opened yet.
    raw: ReadBuffer,
    lines: LineBuffer,
    wire_format: Option<WireFormat>,
    bad_lines: u32,
    first_line: bool,
    /// That its client asks too fast was logged.
    slowed: bool,
    /// When it ends, whatever its peer does.
    deadlines: Deadlines,
    /// As far as it has been looked at.
    peer_state: PeerState,
    /// The next moment at which silence means something.
    deadline: Instant,
    /// Something was handled since the thread was fresh.
    worked: bool,
    /// When the peer was last heard.
    heard: Instant,
    pinged: bool,
    /// How long the socket waits at present.
    timeout: Duration,
}

impl Connection {
    /// A new connection.
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: ConnectionId,
        peer: SocketAddr,
        send_queue: Arc<SendQueue>,
    ) -> Self {
        let now = clock::now();
        let from = shared.limits.network(peer.ip());
        Connection {
            id,
            peer,
            handler: Handler::new(Arc::clone(&shared), Arc::clone(&send_queue), from, now),
            lines: LineBuffer::new(shared.config.max_line),
            send_queue,
            raw: ReadBuffer::default(),
            wire_format: None,
            bad_lines: 0,
            first_line: true,
            slowed: false,
            deadlines: Deadlines::new(now + shared.config.login_time),
            peer_state: PeerState::Open,
            deadline: now,
            worked: false,
            heard: now,
            pinged: false,
            timeout: Duration::ZERO,
            shared,
        }
    }

    /// Runs it until it is silent or over.
    pub(crate) fn run(&mut self) -> Pause {
        loop {
            let handled = match self.read() {
                Ok(Arrived::Something) => self.handle_arrived(),
                Ok(Arrived::Silence) => return Pause::Silent,
                Err(end) => Err(end),
            };
            if let Err(end) = handled {
                self.say_goodbye(&end);
                return Pause::Over;
            }
        }
    }

    /// Waits, and does nothing else, until there is something to run for.
    pub(crate) fn wait(&self) {
        let left = self.deadline.saturating_duration_since(clock::now());
        // Whatever became of it, reading tells.
        let _readable = self.send_queue.socket().wait_readable(left);
    }

    /// Which connection it is.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    fn say_goodbye(&mut self, end: &Disconnect) {
        let user = self.handler.user();
        if let Disconnect::Refused(refusal) = end {
            if self.wire_format.is_none() {
                self.choose_wire_format(WireFormat::Console);
            }
            self.send_queue.answer(None, &Err(refusal.clone()));
        }
        log::info(
            Some(self.id),
            format_args!(
                "{} {} left: {}",
                self.peer,
                user.map_or("(not logged in)".to_owned(), |user| user.to_string()),
                end
            ),
        );
        // The account is free from here on. What is undecided is answered all the same.
        self.handler.leave(Now::read());
        let limit = match end {
            Disconnect::Closed => self.time_to_answer(),
            _ => LAST_WORDS,
        };
        self.send_queue.finish(limit);
    }

    /// How long a peer that sends no more still has for its answers.
    fn time_to_answer(&mut self) -> Duration {
        let now = clock::now();
        let closing = self.deadlines.peer_closed(now);
        closing.saturating_duration_since(now).max(LAST_WORDS)
    }

    /// Handles what has arrived. Kept apart, so that a thread that only waits has
    /// not touched the stack that this needs.
    #[inline(never)]
    fn handle_arrived(&mut self) -> Result<(), Disconnect> {
        let mut to_flush = FlushSet::default();
        let handled = self.handle_lines(&mut to_flush);
        to_flush.flush();
        self.send_queue.flush();
        handled?;
        self.wait_for_room()
    }

    /// Waits until its answers have left as far as must be before it is read again.
    fn wait_for_room(&self) -> Result<(), Disconnect> {
        if !self.send_queue.wait_for_room(self.deadlines.first()) {
            return Err(Disconnect::Ended);
        }
        self.check_deadlines()
    }

    fn check_deadlines(&self) -> Result<(), Disconnect> {
        // Most connections have none, and need not ask for the time.
        match self.deadlines.first() {
            None => Ok(()),
            Some(_) => self
                .deadlines
                .due(clock::now())
                .map_or(Ok(()), disconnect::past),
        }
    }

    /// Looks whether the peer is still there, for as long as `limit` if it is.
    fn watch_peer(&mut self, limit: Duration) -> Result<(), Disconnect> {
        let socket = self.send_queue.socket();
        self.peer_state = socket.watch_peer(self.peer_state, limit);
        match self.peer_state {
            PeerState::Open => {}
            PeerState::HalfClosed => {
                self.deadlines.peer_closed(clock::now());
            }
            PeerState::Gone if self.send_queue.has_ended() => return Err(Disconnect::Ended),
            PeerState::Gone => {
                self.send_queue.end(); // Nobody is left to be answered.
                return Err(Disconnect::Closed);
            }
        }
        self.check_deadlines()
    }

    /// Slows the client down. Ends early, with the connection, when its time is up
    /// or its peer has left.
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
        // An answer now and then also shows whether anybody is left to read it.
        self.send_queue.flush();
        Ok(())
    }

    fn handle_lines(&mut self, to_flush: &mut FlushSet) -> Result<(), Disconnect> {
        let mut now = Now::read();
        loop {
            if self.send_queue.is_saturated() {
                // The answers it waits for need these writes.
                to_flush.flush();
                self.send_queue.flush();
                self.wait_for_room()?;
                now = Now::read();
            }
            // The line is copied out only on the console and for errors: JSON is
            // parsed where it lies.
            let wire_format = self.wire_format;
            let parsed = match (self.lines.next_line(), wire_format) {
                (None, _) => return Ok(()),
                (Some(Err(TooLong)), _) => {
                    return Err(disconnect::too_long(self.shared.config.max_line));
                }
                (Some(Ok(line)), Some(WireFormat::Json)) => {
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    self.first_line = false;
                    ParsedLine::Json(json::parse_request(line))
                }
                (Some(Ok(line)), _) => {
                    if std::mem::take(&mut self.first_line) && console::is_http(line) {
                        return Err(disconnect::not_http());
                    }
                    let id = crate::server::requests::auth::random().map(MessageId);
                    ParsedLine::Console(id.and_then(|id| console::parse(line, || id)))
                }
            };
            match parsed {
                ParsedLine::Json((id, Ok(request))) => {
                    self.handle(id, request, &mut now, to_flush)?
                }
                ParsedLine::Json((id, Err(refusal))) => self.bad_line(id, refusal)?,
                ParsedLine::Console(Ok(line)) => self.handle_console(line, &mut now, to_flush)?,
                ParsedLine::Console(Err(refusal)) => self.bad_line(None, refusal)?,
            }
        }
    }

    fn handle(
        &mut self,
        id: Option<u64>,
        request: crate::protocol::Request,
        now: &mut Now,
        to_flush: &mut FlushSet,
    ) -> Result<(), Disconnect> {
        self.bad_lines = 0;
        if self.deadlines.login.is_some() {
            self.watch_peer(Duration::ZERO)?;
        }
        self.handler.set_deadline(self.deadlines.first());
        let failed = self.handler.failed_logins();
        let user = self.handler.user();
        let pause = self.handler.handle(id, request, *now, to_flush);
        if self.handler.user() != user {
            self.changed_user(user);
        }
        let wrong = self.handler.failed_logins() > failed;
        if pause >= LEAST_PAUSE {
            if !wrong && !std::mem::replace(&mut self.slowed, true) {
                log::warn(
                    Some(self.id),
                    format_args!("{} asks faster than it may, and is slowed down", self.peer),
                );
            }
            // Others do not wait for it; its own answer does.
            to_flush.flush();
            self.pause(pause)?;
            *now = Now::read();
        }
        match wrong {
            true => self.failed_login(),
            false => Ok(()),
        }
    }

    fn changed_user(&mut self, before: Option<crate::protocol::UserName>) {
        match (before, self.handler.user()) {
            (_, Some(user)) => {
                self.deadlines.login = None;
                log::info(
                    Some(self.id),
                    format_args!("{} logged in as {user}", self.peer),
                );
            }
            (Some(user), None) => {
                self.deadlines.login = Some(clock::now() + self.shared.config.login_time);
                log::info(Some(self.id), format_args!("{user} logged out"));
            }
            (None, None) => {}
        }
    }

    fn failed_login(&self) -> Result<(), Disconnect> {
        let failed = self.handler.failed_logins();
        log::warn(
            Some(self.id),
            format_args!("{} failed to log in ({failed})", self.peer),
        );
        if failed >= MAX_FAILED_LOGINS {
            return Err(Disconnect::Refused(Refusal::new(
                Code::SlowDown,
                "too many wrong logins; connect again later",
            )));
        }
        Ok(())
    }

    fn handle_console(
        &mut self,
        line: console::ConsoleLine,
        now: &mut Now,
        to_flush: &mut FlushSet,
    ) -> Result<(), Disconnect> {
        match line {
            console::ConsoleLine::Request(request) => {
                return self.handle(None, request, now, to_flush);
            }
            console::ConsoleLine::Greeting => self.send_queue.text(console::GREETING),
            console::ConsoleLine::Help => self.send_queue.text(console::HELP),
            console::ConsoleLine::Quit => {
                // The answers to what came before stand before the goodbye.
                to_flush.flush();
                let limit = self.time_to_answer();
                self.send_queue.wait_until_answered(limit);
                self.send_queue.text("+OK goodbye\r\n");
                return Err(Disconnect::Quit);
            }
        }
        self.bad_lines = 0;
        Ok(())
    }

    fn bad_line(&mut self, id: Option<u64>, refusal: Refusal) -> Result<(), Disconnect> {
        // What is merely too large is a request, and its sender may go on.
        self.bad_lines += u32::from(refusal.code != Code::TooLarge);
        self.send_queue.answer(id, &Err(refusal));
        if self.bad_lines >= MAX_BAD_LINES {
            return Err(Disconnect::Refused(Refusal::new(
                Code::TooManyErrors,
                "too many lines in a row were no requests; see docs/PROTOCOL.md",
            )));
        }
        Ok(())
    }

    /// Waits for bytes as long as the peer may be silent.
    fn read(&mut self) -> Result<Arrived, Disconnect> {
        loop {
            let now = clock::now();
            self.deadline = self.next_deadline(now)?;
            let mut timeout = self.deadline.saturating_duration_since(now);
            if self.worked {
                timeout = timeout.min(SETTLE_AFTER);
            }
            self.set_timeout(timeout).map_err(Disconnect::Broken)?;
            let channel = self.send_queue.channel();
            match channel.read(&mut self.raw, self.lines.space()) {
                Ok(ReadOutcome::End) => {
                    // Whoever ended it from here has shut the socket down, too.
                    return Err(match self.send_queue.has_ended() {
                        false => Disconnect::Closed,
                        true => Disconnect::Ended,
                    });
                }
                Ok(ReadOutcome::Nothing) => {
                    self.heard_something();
                    self.send_queue.flush();
                }
                Ok(ReadOutcome::Bytes(count)) => {
                    self.lines.filled(count);
                    self.heard_something();
                    self.sniff()?;
                    return Ok(Arrived::Something);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.lines.shrink();
                    self.raw.shrink();
                    self.send_queue.shrink();
                    if std::mem::take(&mut self.worked) {
                        return Ok(Arrived::Silence);
                    }
                }
                Err(error) => return Err(Disconnect::Broken(error)),
            }
        }
    }

    fn heard_something(&mut self) {
        self.heard = clock::now();
        self.pinged = false;
        self.worked = true;
        if self.deadlines.handshake.is_some() {
            let session = self.send_queue.channel().session();
            if !session.is_some_and(|session| session.is_handshaking()) {
                self.deadlines.handshake = None;
            }
        }
    }

    /// Sets the socket's timeout, if it is another one than before: in the
    /// middle of traffic it is the same again and again. To the millisecond, and
    /// rounded up, so that a wait never ends just short of its deadline.
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Duration::from_millis(timeout.as_millis() as u64 + 1);
        if self.timeout != timeout {
            self.send_queue.socket().set_read_timeout(Some(timeout))?;
            self.timeout = timeout;
        }
        Ok(())
    }

    /// The next moment at which silence means something; asks or gives up if
    /// that moment has come.
    fn next_deadline(&mut self, now: Instant) -> Result<Instant, Disconnect> {
        let config = &self.shared.config;
        if let Some(first) = self.deadlines.first() {
            self.check_deadlines()?;
            return Ok(first);
        }
        let (ping, drop) = (
            self.heard + config.ping_after,
            self.heard + config.idle_limit,
        );
        if now >= drop {
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

    /// Tells the languages apart by the first byte, in the open and again under TLS.
    fn sniff(&mut self) -> Result<(), Disconnect> {
        let (None, Some(&first)) = (self.wire_format, self.lines.rest().first()) else {
            return Ok(());
        };
        let encrypted = self.send_queue.channel().session().is_some();
        match Language::of(first) {
            Language::Tls if !encrypted => return self.begin_tls(),
            Language::Json => self.choose_wire_format(WireFormat::Json),
            Language::Console | Language::Tls => {
                self.choose_wire_format(WireFormat::Console);
                self.handler.without_envelopes();
            }
        }
        let permitted = self.shared.config.plaintext || self.peer.ip().to_canonical().is_loopback();
        match encrypted || permitted {
            true => Ok(()),
            false => Err(disconnect::tls_required()),
        }
    }

    /// What came so far is the beginning of a TLS handshake.
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
        self.lines = LineBuffer::new(self.shared.config.max_line);
        self.deadlines.handshake = Some(clock::now() + self.shared.config.handshake_time);
        Ok(())
    }

    fn choose_wire_format(&mut self, wire_format: WireFormat) {
        self.wire_format = Some(wire_format);
        self.send_queue.set_wire_format(wire_format);
    }
}

impl Drop for Connection {
    /// Whatever ends the thread, a panic included, ends the session.
    fn drop(&mut self) {
        self.handler.leave(Now::read());
        self.send_queue.end();
    }
}

enum ParsedLine {
    Json(json::ParsedLine),
    Console(Result<console::ConsoleLine, Refusal>),
}
