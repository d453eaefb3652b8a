//! One client's life, on its own thread: bytes in, lines, requests, goodbye.
//!
//! All lines that arrived together are handled before anything is written, so
//! that a burst of requests costs a few writes, not one each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::delivery::Now;
use super::handler::Handler;
use super::log::{self, ConnectionId};
use super::outbox::{Outbox, Spelling, Touched};
use crate::protocol::binary::MessageId;
use crate::protocol::lines::{LineBuffer, TooLong};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::Event;
use crate::protocol::{console, json};
use crate::transport::channel::{Raw, Received};
use crate::transport::sniff::Language;

/// Lines in a row that are no request, after which a connection ends.
const MAX_BAD_LINES: u32 = 10;

/// Failed logins after which a connection ends.
const MAX_FAILED_LOGINS: u32 = 5;

/// What the first failed login costs in time; each further one twice that.
const FAILED_LOGIN_DELAY: Duration = Duration::from_millis(250);

/// Silence after which a connection gives the memory of its last burst back, its
/// thread's included. A fresh thread costs a few dozen microseconds.
const SETTLE_AFTER: Duration = Duration::from_secs(5);

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a connection ended; logged once.
#[derive(Debug)]
enum Disconnect {
    /// The peer closed it.
    Closed,
    /// The network did.
    Broken(io::Error),
    /// `quit`.
    Quit,
    /// Ended from elsewhere: replaced, stalled, shutdown.
    Ended,
    /// The client broke a rule and was told which.
    Refused(Refusal),
}

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
    /// When a login must have succeeded; `None` once it has.
    login_deadline: Option<Instant>,
    /// When a TLS handshake that goes on must be done.
    handshake_deadline: Option<Instant>,
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
        Connection {
            id,
            peer,
            handler: Handler::new(Arc::clone(&core), Arc::clone(&outbox)),
            lines: LineBuffer::new(core.config.max_line),
            outbox,
            raw: Raw::default(),
            spelling: None,
            bad_lines: 0,
            first_line: true,
            login_deadline: Some(now + core.config.login_time),
            handshake_deadline: None,
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
                describe(end)
            ),
        );
        self.outbox.finish(FAREWELL);
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
        match self.outbox.wait_for_room() {
            true => Ok(()),
            false => Err(Disconnect::Ended),
        }
    }

    fn handle_lines(&mut self, touched: &mut Touched) -> Result<(), Disconnect> {
        let now = Now::read();
        loop {
            if self.outbox.is_saturated() {
                // The answers it waits for need these writes.
                touched.flush();
                self.outbox.flush();
                if !self.outbox.wait_for_room() {
                    return Err(Disconnect::Ended);
                }
            }
            // The line is copied out only on the console and for errors: JSON is
            // parsed where it lies.
            let spelling = self.spelling;
            let parsed = match (self.lines.next_line(), spelling) {
                (None, _) => return Ok(()),
                (Some(Err(TooLong)), _) => return Err(too_long(self.core.config.max_line)),
                (Some(Ok(line)), Some(Spelling::Json)) => {
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    self.first_line = false;
                    Line::Json(json::parse_request(line))
                }
                (Some(Ok(line)), _) => {
                    if std::mem::take(&mut self.first_line) && console::is_http(line) {
                        return Err(not_http());
                    }
                    let id = super::accounts::random().map(MessageId);
                    Line::Console(id.and_then(|id| console::parse(line, || id)))
                }
            };
            match parsed {
                Line::Json((id, Ok(request))) => self.handle(id, request, now, touched)?,
                Line::Json((id, Err(refusal))) => self.bad_line(id, refusal)?,
                Line::Console(Ok(line)) => self.handle_console(line, now, touched)?,
                Line::Console(Err(refusal)) => self.bad_line(None, refusal)?,
            }
        }
    }

    fn handle(
        &mut self,
        id: Option<u64>,
        request: crate::protocol::Request,
        now: Now,
        touched: &mut Touched,
    ) -> Result<(), Disconnect> {
        self.bad_lines = 0;
        let failed = self.handler.failed_logins();
        let user = self.handler.user();
        self.handler.handle(id, request, now, touched);
        if self.handler.user() != user {
            self.changed_user(user);
        }
        if self.handler.failed_logins() > failed {
            return self.slow_down();
        }
        Ok(())
    }

    fn changed_user(&mut self, before: Option<crate::protocol::UserName>) {
        match (before, self.handler.user()) {
            (_, Some(user)) => {
                self.login_deadline = None;
                log::info(
                    Some(self.id),
                    format_args!("{} logged in as {user}", self.peer),
                );
            }
            (Some(user), None) => {
                self.login_deadline = Some(Instant::now() + self.core.config.login_time);
                log::info(Some(self.id), format_args!("{user} logged out"));
            }
            (None, None) => {}
        }
    }

    /// A wrong password costs time, in this connection's thread alone.
    fn slow_down(&mut self) -> Result<(), Disconnect> {
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
        std::thread::sleep(FAILED_LOGIN_DELAY * 2u32.pow(failed - 1));
        Ok(())
    }

    fn handle_console(
        &mut self,
        line: console::Line,
        now: Now,
        touched: &mut Touched,
    ) -> Result<(), Disconnect> {
        match line {
            console::Line::Request(request) => return self.handle(None, request, now, touched),
            console::Line::Greeting => self.outbox.text(console::GREETING),
            console::Line::Help => self.outbox.text(console::HELP),
            console::Line::Quit => {
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
                    return Err(match self.outbox.wait_for_room() {
                        true => Disconnect::Closed,
                        false => Disconnect::Ended,
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
        if self.handshake_deadline.is_some() {
            let session = self.outbox.channel().session();
            if !session.is_some_and(|session| session.is_handshaking()) {
                self.handshake_deadline = None;
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
        if let Some(deadline) = self.handshake_deadline {
            if now >= deadline {
                return Err(timed_out("the TLS handshake took too long; connect again"));
            }
            return Ok(deadline);
        }
        if let Some(deadline) = self.login_deadline {
            if now >= deadline {
                return Err(timed_out(
                    "nobody logged in in time; connect again when you are ready",
                ));
            }
            return Ok(deadline);
        }
        let (ping, drop) = (
            self.heard + config.ping_after,
            self.heard + config.idle_limit,
        );
        if now >= drop {
            return Err(timed_out(
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
            false => Err(tls_required()),
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
        self.handshake_deadline = Some(Instant::now() + self.core.config.handshake_time);
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

fn too_long(max_line: usize) -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::LineTooLong,
        format!("a line has at most {max_line} bytes; this connection ends"),
    ))
}

fn not_http() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::NotHttp,
        "this is a chat server, not a web server; use the client, or telnet",
    ))
}

fn tls_required() -> Disconnect {
    Disconnect::Refused(Refusal::new(
        Code::TlsRequired,
        "from other machines this server takes TLS only; use the client, or 'openssl s_client -quiet \
         -connect HOST:PORT' in place of telnet",
    ))
}

fn timed_out(message: &'static str) -> Disconnect {
    Disconnect::Refused(Refusal::new(Code::TimedOut, message))
}

fn describe(end: &Disconnect) -> String {
    match end {
        Disconnect::Closed => "closed the connection".to_owned(),
        Disconnect::Broken(error) => format!("the connection broke ({error})"),
        Disconnect::Quit => "quit".to_owned(),
        Disconnect::Ended => "was disconnected".to_owned(),
        Disconnect::Refused(refusal) => format!("was refused ({})", refusal.code.as_str()),
    }
}
