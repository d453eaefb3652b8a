//! What a connection does with the lines that it has read. All lines that arrived together are
//! handled before anything is written, so that a burst of requests costs a few writes, not one
//! each.

use std::fmt;
use std::time::Duration;

use super::Connection;
use crate::clock;
use crate::protocol::ids::MessageId;
use crate::protocol::line_buffer::TooLong;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::{Request, UserName, console, json};
use crate::server::delivery::Now;
use crate::server::log;
use crate::server::log::Level;
use crate::server::net::disconnect;
use crate::server::net::disconnect::Disconnect;
use crate::server::net::send_queue::WireFormat;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::requests::auth;
use crate::transport::proxy_header;

/// A connection ends after this many lines in a row that are not a request.
const MAX_BAD_LINES: u32 = 10;

/// A connection ends after this many failed proofs or passwords in a row.
const MAX_FAILED_LOGINS: u32 = 5;

/// The shortest pause that is made, because sleeping for less costs more than it saves. What was not
/// paused stays missing from the bucket, and makes a later pause longer.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// The lines that arrived together.
pub(super) struct Batch {
    /// When they arrived, or when the last pause between them was over.
    now: Now,
    /// The send queues that they have appended to.
    pub to_flush: FlushSet,
}

impl Batch {
    /// A batch that arrives at this moment.
    pub(super) fn new() -> Self {
        Batch {
            now: Now::read(),
            to_flush: FlushSet::default(),
        }
    }
}

/// A line as its format understands it.
enum ParsedLine {
    Json(json::ParsedLine),
    Console(Result<console::ConsoleLine, Refusal>),
}

impl Connection {
    /// Handles each whole line that was read.
    pub(super) fn handle_lines(&mut self, batch: &mut Batch) -> Result<(), Disconnect> {
        loop {
            if self.send_queue.is_saturated() {
                // Other clients can't answer before they get what was appended for them.
                batch.to_flush.flush();
                self.send_queue.flush();
                self.wait_for_room()?;
                batch.now = Now::read();
            }
            // JSON is parsed where it lies; only the console and errors copy from the line.
            let wire_format = self.wire_format;
            let parsed = match (self.lines.next_line(), wire_format) {
                (None, _) => return Ok(()),
                (Some(Err(TooLong)), _) => {
                    return Err(disconnect::too_long(self.config.max_line));
                }
                (Some(Ok(line)), Some(WireFormat::Json)) => {
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    self.first_line = false;
                    ParsedLine::Json(json::parse_request(line))
                }
                (Some(Ok(line)), _) => {
                    let is_first = self.first_line;
                    self.first_line &= line.is_empty();
                    if is_first && console::is_http(line) {
                        return Err(disconnect::not_http());
                    }
                    if is_first && proxy_header::is_in_line(line) {
                        return Err(disconnect::no_proxy());
                    }
                    let id = auth::random().map(MessageId);
                    ParsedLine::Console(id.and_then(|id| console::parse(line, || id)))
                }
            };
            match parsed {
                ParsedLine::Json((id, Ok(request))) => self.handle(id, request, batch)?,
                ParsedLine::Json((id, Err(refusal))) => self.bad_line(id, refusal, batch)?,
                ParsedLine::Console(Ok(line)) => self.handle_console(line, batch)?,
                ParsedLine::Console(Err(refusal)) => self.bad_line(None, refusal, batch)?,
            }
        }
    }

    /// Handles a request, then keeps the pause that it costs.
    fn handle(
        &mut self,
        id: Option<u64>,
        request: Request,
        batch: &mut Batch,
    ) -> Result<(), Disconnect> {
        self.bad_lines = 0;
        let quick = is_quick(&request);
        if !quick {
            // What is ready does not wait for this one.
            batch.to_flush.flush();
            self.send_queue.flush();
        }
        if !quick || self.deadlines.login.is_some() {
            // Nobody works off the requests of a peer that has left.
            self.watch_peer(Duration::ZERO)?;
        }
        self.handler.set_deadline(self.deadlines.first());
        let failed = self.handler.failed_logins();
        let user = self.handler.user();
        let attempt = Attempt::of(&request);
        let pause = self
            .handler
            .handle(id, request, batch.now, &mut batch.to_flush);
        if self.handler.user() != user {
            self.user_changed(user);
        }
        let wrong = self.handler.failed_logins() > failed;
        if let Some(code) = self.handler.refused()
            && !wrong
        {
            self.log_refusal(attempt, code);
        }
        self.keep_pause(pause, wrong, batch)?;
        match wrong {
            true => self.failed_login(),
            false => Ok(()),
        }
    }

    /// Logs why a request was refused. Only registrations and logins are of interest in general.
    /// A name is logged where it is known to be one: whoever mixes up the words of a console's
    /// command sends a password in its place.
    fn log_refusal(&self, attempt: Attempt, code: Code) {
        let (level, kind, what, name) = match attempt {
            Attempt::Registration(name) => (
                Level::Info,
                "registration_refused",
                "an account",
                Some(name),
            ),
            Attempt::Login(name) => (Level::Info, "login_refused", "a login", Some(name)),
            Attempt::Other => (Level::Debug, "request_refused", "a request", None),
        };
        let name = name.filter(|_| matches!(code, Code::NameTaken | Code::AlreadyOnline));
        let (peer, reason) = (log::ClientAddress(self.peer), code.as_str());
        let mut fields: Vec<log::Field<'_>> = vec![("address", &peer), ("reason", &reason)];
        fields.extend(name.iter().map(|name| ("name", name as &dyn fmt::Display)));
        let named = name.map_or(String::new(), |name| format!(", {name}"));
        let text = format_args!("{peer} was refused {what} ({reason}{named})");
        log::event(level, kind, Some(self.id), &fields, text);
    }

    /// Keeps the pause that a line costs which is no request and was answered all the same.
    fn keep_pace(&mut self, batch: &mut Batch) -> Result<(), Disconnect> {
        let pause = self.handler.keep_pace(batch.now);
        self.keep_pause(pause, false, batch)
    }

    /// Keeps a pause. All that is ready leaves first, but for the answer to a `wrong` login, which
    /// is what the pause holds back.
    fn keep_pause(
        &mut self,
        pause: Duration,
        wrong: bool,
        batch: &mut Batch,
    ) -> Result<(), Disconnect> {
        if pause < LEAST_PAUSE {
            return Ok(());
        }
        batch.to_flush.flush();
        if !wrong {
            self.send_queue.flush();
            if !std::mem::replace(&mut self.slowdown_was_logged, true) {
                let peer = log::ClientAddress(self.peer);
                let fields: [log::Field<'_>; 1] = [("address", &peer)];
                let text = format_args!("{peer} asks faster than it may, and is slowed down");
                log::event(Level::Warn, "slowed_down", Some(self.id), &fields, text);
            }
        }
        self.pause(pause)?;
        batch.now = Now::read();
        Ok(())
    }

    /// Logs a login or logout, and sets the deadline for a login accordingly.
    fn user_changed(&mut self, before: Option<UserName>) {
        self.standing.set_member(self.handler.user().is_some());
        let peer = log::ClientAddress(self.peer);
        match (before, self.handler.user()) {
            (_, Some(user)) => {
                self.deadlines.login = None;
                self.shared.stats.logins.add(1);
                let fields: [log::Field<'_>; 2] = [("address", &peer), ("user", &user)];
                let text = format_args!("{peer} logged in as {user}");
                log::event(Level::Info, "login", Some(self.id), &fields, text);
            }
            (Some(user), None) => {
                self.deadlines.login = Some(clock::now() + self.config.login_time);
                let fields: [log::Field<'_>; 2] = [("address", &peer), ("user", &user)];
                let text = format_args!("{user} logged out");
                log::event(Level::Info, "logout", Some(self.id), &fields, text);
            }
            (None, None) => {}
        }
    }

    /// Logs a wrong login, and ends the connection after too many.
    fn failed_login(&self) -> Result<(), Disconnect> {
        let failed = self.handler.failed_logins();
        let peer = log::ClientAddress(self.peer);
        let fields: [log::Field<'_>; 2] = [("address", &peer), ("failures", &failed)];
        let text = format_args!("{peer} failed to log in ({failed})");
        log::event(Level::Warn, "login_failed", Some(self.id), &fields, text);
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
        batch: &mut Batch,
    ) -> Result<(), Disconnect> {
        match line {
            console::ConsoleLine::Request(request) => {
                return self.handle(None, request, batch);
            }
            console::ConsoleLine::Greeting => self.send_queue.text(console::GREETING),
            console::ConsoleLine::Help(answer) => self.send_queue.text(&answer),
            console::ConsoleLine::Quit => {
                // The answers to earlier requests come before the goodbye.
                batch.to_flush.flush();
                let limit = self.time_to_answer();
                self.send_queue.wait_until_answered(limit);
                self.send_queue.text("+OK goodbye\r\n");
                return Err(Disconnect::Quit);
            }
        }
        self.bad_lines = 0;
        self.keep_pace(batch)
    }

    /// Refuses a line that is no valid request, and ends the connection after too many in a row.
    fn bad_line(
        &mut self,
        id: Option<u64>,
        refusal: Refusal,
        batch: &mut Batch,
    ) -> Result<(), Disconnect> {
        // A request that is only too large does not count.
        self.bad_lines += u32::from(refusal.code != Code::TooLarge);
        self.log_refusal(Attempt::Other, refusal.code);
        self.send_queue.answer(id, &Err(refusal));
        if self.bad_lines >= MAX_BAD_LINES {
            return Err(Disconnect::Refused(Refusal::new(
                Code::TooManyErrors,
                "too many lines in a row were no requests; see docs/PROTOCOL.md",
            )));
        }
        self.keep_pace(batch)
    }
}

/// What a request is, for the log.
#[derive(Debug, Clone, Copy)]
enum Attempt {
    Registration(UserName),
    Login(UserName),
    Other,
}

impl Attempt {
    fn of(request: &Request) -> Self {
        match request {
            Request::Register(register) => Attempt::Registration(register.name),
            Request::PasswordRegister(register) => Attempt::Registration(register.name),
            Request::Login(login) => Attempt::Login(login.name),
            Request::PasswordLogin(login) => Attempt::Login(login.name),
            _ => Attempt::Other,
        }
    }
}

/// Whether a request is answered from memory, or later: nothing waits for it. The others may
/// wait for the disk or for a turn.
fn is_quick(request: &Request) -> bool {
    // An operation that is missing here is answered in its turn, which is never wrong.
    use Request::{Ack, AckShown, Hello, Ping, Send};
    matches!(request, Send(_) | Ack(_) | AckShown | Hello(_) | Ping)
}
