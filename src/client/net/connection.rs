//! The connection to the server: requests out, lines in. All socket handling of
//! the client is here; when to connect again is decided by the messenger.
//!
//! The login owns it first, then the messenger. A thread called `connection-N` reads
//! until the connection ends and puts every line into the event queue. There is one way
//! to learn of a lost connection: that thread's last event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::challenge::Challenge;
use super::endpoint::OpenedChannel;
use super::error::{CallError, Lost};
use super::event_queue::{EventQueue, QueuedEvent};
use crate::clock;
use crate::protocol::json;
use crate::protocol::json::ServerLine;
use crate::protocol::line_buffer::LineBuffer;
use crate::protocol::reply::{Event, Greeting};
use crate::protocol::request::Hello;
use crate::protocol::{ByteArray, Refusal, Request, VERSION, limits};
use crate::sync;
use crate::transport::buffer::{ReadBuffer, ReadOutcome};
use crate::transport::channel::Channel;
use crate::transport::fingerprint::Fingerprint;

/// How long an answer may take before the connection counts as lost: a server
/// that writes to a slow disk answers late, not never.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How long the reader of a closed connection may take to report why it was closed.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// How long a write may be stuck before the connection counts as lost.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// An open connection that has said hello.
pub(crate) struct Connection {
    channel: Arc<Channel>,
    certificate: Option<Fingerprint>,
    number: u64,
    next_id: u64,
    greeting: Greeting,
}

impl Connection {
    /// Begins to read an open channel, and says hello.
    ///
    /// # Errors
    /// The server refuses the connection, or it is lost.
    pub(crate) fn over(opened: OpenedChannel, events: &mut EventQueue) -> Result<Self, CallError> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let OpenedChannel {
            channel,
            raw,
            certificate,
            is_replaced: _,
            remembered,
        } = opened;
        let channel = Arc::new(channel);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let reading = Arc::clone(&channel);
        let queue = events.sender();
        sync::spawn(format!("connection-{number}"), None, move || {
            read_lines(&reading, raw, number, &queue)
        })?;
        let mut connection = Connection {
            channel,
            certificate,
            number,
            next_id: 1,
            greeting: Greeting {
                server: String::new(),
                version: VERSION,
                oldest: VERSION,
                nonce: ByteArray([0; 32]),
                certificate: None,
                max_line: limits::MAX_SERVER_LINE,
                previous: None,
                successions: Vec::new(),
            },
        };
        connection.hello(events)?;
        if let Some(remembered) = remembered {
            let previous = connection.greeting.previous;
            let heard = remembered.hear(previous.map(|previous| Fingerprint(previous.0)));
            heard.map_err(|error| Lost::NotOpened(Arc::new(error)))?;
        }
        Ok(connection)
    }

    /// Says hello (again): every proof needs a nonce of its own.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub(crate) fn hello(&mut self, events: &mut EventQueue) -> Result<(), CallError> {
        let hello = Request::Hello(Hello {
            version: VERSION,
            certificate: None,
        });
        self.greeting = self.call(events, &hello)?;
        if self.greeting.oldest > VERSION {
            self.close();
            return Err(Lost::ServerTooNew.into());
        }
        Ok(())
    }

    /// What a proof has to sign on this connection since the last hello.
    pub(crate) fn challenge(&self) -> Challenge {
        Challenge {
            nonce: self.greeting.nonce,
            certificate: self.certificate,
        }
    }

    /// The number that marks this connection's events in the queue.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Sends a request and waits for the answer. What else arrives meanwhile stays in the
    /// queue, in order; the server's pings are answered at once.
    ///
    /// # Errors
    /// The server's refusal, or that the connection is lost.
    pub(crate) fn call<T: DeserializeOwned>(
        &mut self,
        events: &mut EventQueue,
        request: &Request,
    ) -> Result<T, CallError> {
        let id = match self.post(request) {
            Err(lost @ CallError::Lost(_)) => {
                return Err(self.last_words(events).unwrap_or(lost));
            }
            posted => posted?,
        };
        let deadline = clock::now() + ANSWER_TIME;
        loop {
            let Some(event) = events.receive(deadline) else {
                self.close();
                return Err(Lost::NoAnswer.into());
            };
            match event {
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
                    events.set_aside(QueuedEvent::Server(number, Err(why.clone())));
                    return Err(why);
                }
                other => {
                    if !events.set_aside(other) {
                        self.close();
                        return Err(Lost::TooMuch.into());
                    }
                }
            }
        }
    }

    /// Why the connection ended, as its reader knows it: a server that refuses a
    /// connection says so, and may have closed it before anything could be written.
    fn last_words(&self, events: &mut EventQueue) -> Option<CallError> {
        if let Some(why) = events.end_of(self.number) {
            return Some(why);
        }
        let deadline = clock::now() + LAST_WORDS_TIME;
        while let Some(event) = events.receive(deadline) {
            events.set_aside(event);
            if let Some(why) = events.end_of(self.number) {
                return Some(why);
            }
        }
        None
    }

    /// Sends a request without waiting; returns the id that the answer will carry.
    ///
    /// # Errors
    /// The connection is lost; the queue gets the same from its reader.
    pub(crate) fn post(&mut self, request: &Request) -> Result<u64, CallError> {
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
    pub(crate) fn pong(&mut self) {
        let mut line = Vec::new();
        if json::write_request(&mut line, None, &Request::Ping).is_some() {
            // The reader reports a lost connection.
            let _lost = self.write(&line);
        }
    }

    /// Closes the connection, which ends its reader.
    pub(crate) fn close(&self) {
        self.channel.socket().close();
    }

    fn write(&self, line: &[u8]) -> Result<(), CallError> {
        self.channel.write_all(line, WRITE_TIME).map_err(|error| {
            self.close();
            error.into()
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
    serde_json::from_value(value).map_err(|error| Lost::WrongAnswer(Arc::new(error)).into())
}

/// The reader thread. It ends with the connection, or when nobody reads the queue.
fn read_lines(
    channel: &Channel,
    mut raw: ReadBuffer,
    number: u64,
    events: &SyncSender<QueuedEvent>,
) {
    let mut buffer = LineBuffer::new(limits::MAX_SERVER_LINE);
    let why = loop {
        match channel.read(&mut raw, buffer.space()) {
            Ok(ReadOutcome::End) => break Lost::Closed.into(),
            // Whatever TLS has to answer leaves with the next request.
            Ok(ReadOutcome::TlsOnly) => continue,
            Ok(ReadOutcome::Bytes(count)) => buffer.filled(count),
            Err(error) => break error.into(),
        }
        if let Err(why) = queue_lines(&mut buffer, number, events) {
            break why;
        }
    };
    // A server whose line was not understood learns it by the close.
    channel.socket().close();
    let _client_ended = events.send(QueuedEvent::Server(number, Err(why)));
}

/// Puts every whole line into the queue.
fn queue_lines(
    buffer: &mut LineBuffer,
    number: u64,
    events: &SyncSender<QueuedEvent>,
) -> Result<(), CallError> {
    while let Some(line) = buffer.next_line() {
        let line = line.map_err(|_| Lost::LineTooLong)?;
        if let Some(refusal) = json::console_refusal(line) {
            return Err(CallError::Refused(refusal));
        }
        let line =
            json::parse_server_line(line).map_err(|error| Lost::NotUnderstood(Arc::new(error)))?;
        events
            .send(QueuedEvent::Server(number, Ok(line)))
            .map_err(|_| Lost::ClientEnded)?;
    }
    Ok(())
}
