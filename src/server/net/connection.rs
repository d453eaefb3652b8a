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
use super::send_queue::{Outbox, Spelling, Touched};
use crate::protocol::ids::MessageId;
use crate::protocol::line_buffer::{LineBuffer, TooLong};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::Event;
use crate::protocol::{console, json};
use crate::server::delivery::Now;
use crate::server::log;
use crate::server::log::ConnectionId;
use crate::server::requests::Handler;
use crate::server::shared::Core;
use crate::transport::channel::{Raw, Received};
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
const FAREWELL: Duration = Duration::from_secs(2);

/// What came of waiting for a peer.
enum Heard {
    /// Bytes.
    Something,
    /// Nothing, for a while after the last bytes were handled.
    Silence,
}

/// Why [`Connection::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing has come for a while: [`wait`](Connection::wait), best in a small
    /// thread, then run it again, best in a fresh one.
    Silent,
    /// It is over.
    Over,
}

/// A connection and its thread's state.
pub struct Connection {
    core: Arc<Core>,
    id: ConnectionId,
    peer: SocketAddr,
    outbox: Arc<Outbox>,
    handler: Handler,
    /// What was read and TLS has not opened yet.
    raw: Raw,
    lines: LineBuffer,
    spelling: Option<Spelling>,
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
    pub fn new(core: Arc<Core>, id: ConnectionId, peer: SocketAddr, outbox: Arc<Outbox>) -> Self {
        let now = Instant::now();
        let from = core.limits.network(peer.ip());
        Connection {
            id,
            peer,
            handler: Handler::new(Arc::clone(&core), Arc::clone(&outbox), from, now),
            lines: LineBuffer::new(core.config.max_line),
            outbox,
            raw: Raw::default(),
            spelling: None,
            bad_lines: 0,
            first_line: true,
            slowed: false,
            deadlines: Deadlines::new(now + core.config.login_time),
            peer_state: PeerState::Open,
            deadline: now,
            worked: false,
            heard: now,
            pinged: false,
            timeout: Duration::ZERO,
            core,
        }
    }

    /// Runs it until it is silent or over.
    pub fn run(&mut self) -> Pause {
        loop {
            let handled = match self.read() {
                Ok(Heard::Something) => self.handle_arrived(),
                Ok(Heard::Silence) => return Pause::Silent,
                Err(end) => Err(end),
            };
            if let Err(end) = handled {
                self.say_goodbye(&end);
                return Pause::Over;
            }
        }
    }

    /// Waits, and does nothing else, until there is something to run for.
    pub fn wait(&self) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Whatever became of it, reading tells.
        let _readable = self.outbox.socket().wait_readable(left);
    }

    /// Which connection it is.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    fn say_goodbye(&mut self, end: &Disconnect) {
        let user = self.handler.user();
        if let Disconnect::Refused(refusal) = end {
            if self.spelling.is_none() {
                self.choose_spelling(Spelling::Console);
            }
            self.outbox.answer(None, &Err(refusal.clone()));
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
            _ => FAREWELL,
        };
        self.outbox.finish(limit);
    }

    /// How long a peer that sends no more still has for its answers.
    fn time_to_answer(&mut self) -> Duration {
        let now = Instant::now();
        let closing = self.deadlines.peer_closed(now);
        closing.saturating_duration_since(now).max(FAREWELL)
    }

    /// Handles what has arrived. Kept apart, so that a thread that only waits has
    /// not touched the stack that this needs.
    #[inline(never)]
    fn handle_arrived(&mut self) -> Result<(), Disconnect> {
        let mut touched = Touched::default();
        let handled = self.handle_lines(&mut touched);
        touched.flush();
        self.outbox.flush();
        handled?;
        self.wait_for_room()
    }

    /// Waits until its answers have left as far as must be before it is read again.
    fn wait_for_room(&self) -> Result<(), Disconnect> {
        if !self.outbox.wait_for_room(self.deadlines.first()) {
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
                .due(Instant::now())
                .map_or(Ok(()), disconnect::past),
        }
    }

    /// Looks whether the peer is still there, for as long as `limit` if it is.
    fn watch_peer(&mut self, limit: Duration) -> Result<(), Disconnect> {
        let socket = self.outbox.socket();
        self.peer_state = socket.watch_peer(self.peer_state, limit);
        match self.peer_state {
            PeerState::Open => {}
            PeerState::HalfClosed => {
                self.deadlines.peer_closed(Instant::now());
            }
            PeerState::Gone if self.outbox.has_ended() => return Err(Disconnect::Ended),
            PeerState::Gone => {
                self.outbox.end(); // Nobody is left to be answered.
                return Err(Disconnect::Closed);
            }
        }
        self.check_deadlines()
    }

    /// Slows the client down. Ends early, with the connection, when its time is up
    /// or its peer has left.
    fn pause(&mut self, pause: Duration) -> Result<(), Disconnect> {
        let until = Instant::now() + pause.min(LONGEST_PAUSE);
        loop {
            let now = Instant::now();
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
        self.outbox.flush();
        Ok(())
    }

    fn handle_lines(&mut self, touched: &mut Touched) -> Result<(), Disconnect> {
        let mut now = Now::read();
        loop {
            if self.outbox.is_saturated() {
                // The answers it waits for need these writes.
                touched.flush();
                self.outbox.flush();
                self.wait_for_room()?;
                now = Now::read();
            }
            // The line is copied out only on the console and for errors: JSON is
            // parsed where it lies.
            let spelling = self.spelling;
            let parsed = match (self.lines.next_line(), spelling) {
                (None, _) => return Ok(()),
                (Some(Err(TooLong)), _) => {
                    return Err(disconnect::too_long(self.core.config.max_line));
                }
                (Some(Ok(line)), Some(Spelling::Json)) => {
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    self.first_line = false;
                    Line::Json(json::parse_request(line))
                }
                (Some(Ok(line)), _) => {
                    if std::mem::take(&mut self.first_line) && console::is_http(line) {
                        return Err(disconnect::not_http());
                    }
                    let id = crate::server::requests::auth::random().map(MessageId);
                    Line::Console(id.and_then(|id| console::parse(line, || id)))
                }
            };
            match parsed {
                Line::Json((id, Ok(request))) => self.handle(id, request, &mut now, touched)?,
                Line::Json((id, Err(refusal))) => self.bad_line(id, refusal)?,
                Line::Console(Ok(line)) => self.handle_console(line, &mut now, touched)?,
                Line::Console(Err(refusal)) => self.bad_line(None, refusal)?,
            }
        }
    }

    fn handle(
        &mut self,
        id: Option<u64>,
        request: crate::protocol::Request,
        now: &mut Now,
        touched: &mut Touched,
    ) -> Result<(), Disconnect> {
        self.bad_lines = 0;
        if self.deadlines.login.is_some() {
            self.watch_peer(Duration::ZERO)?;
        }
        self.handler.set_deadline(self.deadlines.first());
        let failed = self.handler.failed_logins();
        let user = self.handler.user();
        let pause = self.handler.handle(id, request, *now, touched);
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
            touched.flush();
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
                self.deadlines.login = Some(Instant::now() + self.core.config.login_time);
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
        line: console::Line,
        now: &mut Now,
        touched: &mut Touched,
    ) -> Result<(), Disconnect> {
        match line {
            console::Line::Request(request) => return self.handle(None, request, now, touched),
            console::Line::Greeting => self.outbox.text(console::GREETING),
            console::Line::Help => self.outbox.text(console::HELP),
            console::Line::Quit => {
                // The answers to what came before stand before the goodbye.
                touched.flush();
                let limit = self.time_to_answer();
                self.outbox.wait_until_answered(limit);
                self.outbox.text("+OK goodbye\r\n");
                return Err(Disconnect::Quit);
            }
        }
        self.bad_lines = 0;
        Ok(())
    }

    fn bad_line(&mut self, id: Option<u64>, refusal: Refusal) -> Result<(), Disconnect> {
        // What is merely too large is a request, and its sender may go on.
        self.bad_lines += u32::from(refusal.code != Code::TooLarge);
        self.outbox.answer(id, &Err(refusal));
        if self.bad_lines >= MAX_BAD_LINES {
            return Err(Disconnect::Refused(Refusal::new(
                Code::TooManyErrors,
                "too many lines in a row were no requests; see docs/PROTOCOL.md",
            )));
        }
        Ok(())
    }

    /// Waits for bytes as long as the peer may be silent.
    fn read(&mut self) -> Result<Heard, Disconnect> {
        loop {
            let now = Instant::now();
            self.deadline = self.next_deadline(now)?;
            let mut timeout = self.deadline.saturating_duration_since(now);
            if self.worked {
                timeout = timeout.min(SETTLE_AFTER);
            }
            self.set_timeout(timeout).map_err(Disconnect::Broken)?;
            let channel = self.outbox.channel();
            match channel.read(&mut self.raw, self.lines.space()) {
                Ok(Received::End) => {
                    // Whoever ended it from here has shut the socket down, too.
                    return Err(match self.outbox.has_ended() {
                        false => Disconnect::Closed,
                        true => Disconnect::Ended,
                    });
                }
                Ok(Received::Nothing) => {
                    self.heard_something();
                    self.outbox.flush();
                }
                Ok(Received::Bytes(count)) => {
                    self.lines.filled(count);
                    self.heard_something();
                    self.sniff()?;
                    return Ok(Heard::Something);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.lines.settle();
                    self.raw.settle();
                    self.outbox.settle();
                    if std::mem::take(&mut self.worked) {
                        return Ok(Heard::Silence);
                    }
                }
                Err(error) => return Err(Disconnect::Broken(error)),
            }
        }
    }

    fn heard_something(&mut self) {
        self.heard = Instant::now();
        self.pinged = false;
        self.worked = true;
        if self.deadlines.handshake.is_some() {
            let session = self.outbox.channel().session();
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
            self.outbox.socket().set_read_timeout(Some(timeout))?;
            self.timeout = timeout;
        }
        Ok(())
    }

    /// The next moment at which silence means something; asks or gives up if
    /// that moment has come.
    fn next_deadline(&mut self, now: Instant) -> Result<Instant, Disconnect> {
        let config = &self.core.config;
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
            self.outbox.event(&Event::Ping {});
            self.outbox.flush();
        }
        Ok(if self.pinged { drop } else { ping.min(drop) })
    }

    /// Tells the languages apart by the first byte, in the open and again under TLS.
    fn sniff(&mut self) -> Result<(), Disconnect> {
        let (None, Some(&first)) = (self.spelling, self.lines.rest().first()) else {
            return Ok(());
        };
        let encrypted = self.outbox.channel().session().is_some();
        match Language::of(first) {
            Language::Tls if !encrypted => return self.begin_tls(),
            Language::Json => self.choose_spelling(Spelling::Json),
            Language::Console | Language::Tls => {
                self.choose_spelling(Spelling::Console);
                self.handler.without_envelopes();
            }
        }
        let permitted = self.core.config.plaintext || self.peer.ip().to_canonical().is_loopback();
        match encrypted || permitted {
            true => Ok(()),
            false => Err(disconnect::tls_required()),
        }
    }

    /// What came so far is the beginning of a TLS handshake.
    fn begin_tls(&mut self) -> Result<(), Disconnect> {
        let Some(acceptor) = &self.core.tls else {
            return Err(Disconnect::Refused(Refusal::new(
                Code::BadRequest,
                "this server was built without TLS; connect in the open",
            )));
        };
        let (session, certificate) = acceptor.accept().map_err(Disconnect::Broken)?;
        self.outbox.channel().begin_tls(session);
        self.handler.set_certificate(certificate);
        self.raw = Raw::with(self.lines.rest());
        self.lines = LineBuffer::new(self.core.config.max_line);
        self.deadlines.handshake = Some(Instant::now() + self.core.config.handshake_time);
        Ok(())
    }

    fn choose_spelling(&mut self, spelling: Spelling) {
        self.spelling = Some(spelling);
        self.outbox.set_spelling(spelling);
    }
}

impl Drop for Connection {
    /// Whatever ends the thread, a panic included, ends the session.
    fn drop(&mut self) {
        self.handler.leave(Now::read());
        self.outbox.end();
    }
}

enum Line {
    Json(json::Parsed),
    Console(Result<console::Line, Refusal>),
}
