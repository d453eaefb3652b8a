//! The connection to the server: requests out, lines in. All socket handling of
//! the client is here.
//!
//! It is owned by whoever speaks for the account; a thread called `link-N` reads
//! until the connection ends and puts every line into the inbox. There is one way
//! to learn of a lost connection: that thread's last arrival. Reconnecting is
//! decided elsewhere.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::endpoint::OpenedChannel;
use super::event_queue::{EventQueue, QueuedEvent};
use crate::clock;
use crate::protocol::json;
use crate::protocol::json::ServerLine;
use crate::protocol::line_buffer::LineBuffer;
use crate::protocol::reply::{Event, Greeting};
use crate::protocol::request::Hello;
use crate::protocol::{Code, Refusal, Request, VERSION, limits};
use crate::sync;
use crate::transport::buffer::{ReadBuffer, ReadOutcome};
use crate::transport::channel::Channel;
use crate::transport::fingerprint::Fingerprint;

/// How long an answer may take before the connection counts as lost: a server
/// that writes to a slow disk answers late, not never.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How long the reader of a connection that is closed may take to say why.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// How long a write may be stuck before the connection counts as lost.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Why a request has no success to show, or a connection none any more.
#[derive(Debug, Clone)]
pub enum CallError {
    /// The server said no.
    Refused(Refusal),
    /// The connection is gone, or was never made.
    Lost(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused(refusal) => f.write_str(&said(refusal)),
            CallError::Lost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

/// A refusal's sentence, marked as what it is: the words of a server that may be
/// hostile, never this program's own. Where they end is seen, too.
pub(crate) fn said(refusal: &Refusal) -> String {
    format!("the server says \"{}\"", refusal.message.replace('"', "'"))
}

/// An open connection that has said hello.
pub struct Connection {
    channel: Arc<Channel>,
    certificate: Option<Fingerprint>,
    number: u64,
    next_id: u64,
    greeting: Greeting,
}

impl Connection {
    /// Begins to read an open connection, and says hello.
    ///
    /// # Errors
    /// A sentence about what is in the way.
    pub fn over(opened: OpenedChannel, events: &mut EventQueue) -> Result<Self, CallError> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let OpenedChannel {
            channel,
            raw,
            certificate,
        } = opened;
        let channel = Arc::new(channel);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let reading = Arc::clone(&channel);
        let inbox_end = events.sender();
        sync::spawn(format!("link-{number}"), None, move || {
            read_lines(&reading, raw, number, &inbox_end)
        })
        .map_err(lost)?;
        let mut connection = Connection {
            channel,
            certificate,
            number,
            next_id: 1,
            greeting: Greeting {
                server: String::new(),
                version: VERSION,
                oldest: VERSION,
                nonce: crate::protocol::ByteArray([0; 32]),
                certificate: None,
                max_line: limits::MAX_SERVER_LINE,
            },
        };
        connection.hello(events)?;
        Ok(connection)
    }

    /// Says hello (again): every proof needs a nonce of its own.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn hello(&mut self, events: &mut EventQueue) -> Result<(), CallError> {
        let hello = Request::Hello(Hello { version: VERSION });
        self.greeting = self.call(events, &hello)?;
        if self.greeting.oldest > VERSION {
            self.close();
            return Err(CallError::Lost(
                "the server speaks only newer versions of the protocol; update this client"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// What the server said to the last hello.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// The certificate that this connection's server has shown; none without TLS,
    /// whatever the server says.
    pub fn certificate(&self) -> Option<Fingerprint> {
        self.certificate
    }

    /// Which connection it is: the number on its arrivals.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Asks and waits for the answer. What else arrives meanwhile stays in the
    /// inbox, in order; the server's pings are answered at once.
    ///
    /// # Errors
    /// The server's refusal, or that the connection is lost.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        events: &mut EventQueue,
        request: &Request,
    ) -> Result<T, CallError> {
        let id = match self.post(request) {
            Err(CallError::Lost(why)) => {
                return Err(self.last_words(events).unwrap_or(CallError::Lost(why)));
            }
            posted => posted?,
        };
        let deadline = clock::now() + ANSWER_TIME;
        loop {
            let Some(input) = events.fresh(deadline) else {
                self.close();
                return Err(CallError::Lost("the server does not answer".to_owned()));
            };
            match input {
                QueuedEvent::Server(number, Ok(ServerLine::Answer(about, answer)))
                    if number == self.number && (about == Some(id) || about.is_none()) =>
                {
                    return typed(answer);
                }
                QueuedEvent::Server(number, Ok(ServerLine::Event(event)))
                    if number == self.number && matches!(*event, Event::Ping {}) =>
                {
                    self.pong();
                }
                QueuedEvent::Server(number, Err(why)) if number == self.number => {
                    events.keep(QueuedEvent::Server(number, Err(why.clone())));
                    return Err(why);
                }
                other => {
                    if !events.keep(other) {
                        self.close();
                        return Err(CallError::Lost(
                            "the server sent too much instead of an answer".to_owned(),
                        ));
                    }
                }
            }
        }
    }

    /// Why the connection ended, as its reader knows it: a server that turns one
    /// away says so, and may have gone before anything could be written to it.
    fn last_words(&self, events: &mut EventQueue) -> Option<CallError> {
        if let Some(why) = events.end_of(self.number) {
            return Some(why);
        }
        let deadline = clock::now() + LAST_WORDS_TIME;
        while let Some(input) = events.fresh(deadline) {
            events.keep(input);
            if let Some(why) = events.end_of(self.number) {
                return Some(why);
            }
        }
        None
    }

    /// Sends without waiting and gives the id that the answer will carry.
    ///
    /// # Errors
    /// That the connection is lost; its reader says so, too.
    pub fn post(&mut self, request: &Request) -> Result<u64, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = Vec::new();
        if json::write_request(&mut line, Some(id), request).is_none() {
            return Err(CallError::Refused(Refusal::bad_request(
                "this operation exists on the console only",
            )));
        }
        self.write(&line)?;
        Ok(id)
    }

    /// Answers a ping; any line is an answer.
    pub fn pong(&mut self) {
        let mut line = Vec::new();
        if json::write_request(&mut line, None, &Request::Ping).is_some() {
            // A lost connection is the reader's to tell.
            let _lost = self.write(&line);
        }
    }

    /// Ends the connection; its reader notices and ends, too.
    pub fn close(&self) {
        self.channel.socket().close();
    }

    fn write(&self, line: &[u8]) -> Result<(), CallError> {
        self.channel.write_all(line, WRITE_TIME).map_err(|error| {
            self.close();
            lost(error)
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads an answer as the type that its request has.
///
/// # Errors
/// The refusal, or that the answer has another form.
pub(crate) fn typed<T: DeserializeOwned>(
    answer: Result<serde_json::Value, Refusal>,
) -> Result<T, CallError> {
    let value = answer.map_err(CallError::Refused)?;
    serde_json::from_value(value)
        .map_err(|error| CallError::Lost(format!("the server's answer is not understood: {error}")))
}

fn lost(error: io::Error) -> CallError {
    CallError::Lost(format!("the connection is lost: {error}"))
}

/// The reader thread: ends with the connection, or when nobody listens any more.
fn read_lines(
    channel: &Channel,
    mut raw: ReadBuffer,
    number: u64,
    events: &SyncSender<QueuedEvent>,
) {
    let mut buffer = LineBuffer::new(limits::MAX_SERVER_LINE);
    let why = loop {
        match channel.read(&mut raw, buffer.space()) {
            Ok(ReadOutcome::End) => {
                break CallError::Lost("the server closed the connection".to_owned());
            }
            // What TLS may want to say leaves with the next request.
            Ok(ReadOutcome::Nothing) => continue,
            Ok(ReadOutcome::Bytes(count)) => buffer.filled(count),
            Err(error) => break lost(error),
        }
        if let Err(why) = hand_over(&mut buffer, number, events) {
            break why;
        }
    };
    // The other side learns of a line that was not understood by the close.
    channel.socket().close();
    let _gone = events.send(QueuedEvent::Server(number, Err(why)));
}

/// What a server says that refuses the connection before it knows the language:
/// one line of the console's.
pub(super) fn refusal_in(line: &[u8]) -> Option<Refusal> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("-ERR ")?;
    let (code, sentence) = line.split_once(' ')?;
    let known = Code::ALL.iter().find(|known| known.as_str() == code);
    let code = known.copied().unwrap_or(Code::Unknown);
    Some(Refusal::new(code, sentence.trim_end().to_owned()))
}

fn hand_over(
    buffer: &mut LineBuffer,
    number: u64,
    events: &SyncSender<QueuedEvent>,
) -> Result<(), CallError> {
    while let Some(line) = buffer.next_line() {
        let line = line
            .map_err(|_| CallError::Lost("the server sent a line that is too long".to_owned()))?;
        if let Some(refusal) = refusal_in(line) {
            return Err(CallError::Refused(refusal));
        }
        let line = json::parse_server_line(line).map_err(CallError::Lost)?;
        events
            .send(QueuedEvent::Server(number, Ok(line)))
            .map_err(|_| CallError::Lost("the client is done".to_owned()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_in_the_consoles_words_keeps_its_code() {
        let refusal = refusal_in(b"-ERR server_full the server is full\r").unwrap();
        assert_eq!(refusal.code, Code::ServerFull);
        assert_eq!(refusal.message, "the server is full");
        let newer = refusal_in(b"-ERR brand_new some sentence").unwrap();
        assert_eq!(newer.code, Code::Unknown);
        for other in [&b"-ERR"[..], b"+OK fine", b"-ERR \xff x", b"{}", b""] {
            assert_eq!(refusal_in(other), None);
        }
    }
}
