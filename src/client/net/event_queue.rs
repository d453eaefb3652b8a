//! What arrives at the messenger: the person's commands and the server's lines,
//! in one bounded queue. While an answer is awaited, the rest is kept aside in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::CallError;
use crate::client::messenger::command::{Command, CommandResult};
use crate::clock;
use crate::protocol::json::ServerLine;
use crate::protocol::reply::{Event, News};
use crate::sync;

/// How much may wait before the connection's reader waits, too.
const QUEUE: usize = 256;

/// How many bytes may be kept aside during one call: several times the messages
/// that a server leaves unacknowledged. Past it the server is not keeping to the
/// protocol.
const MAX_ASIDE: usize = 4 * 1024 * 1024;

/// One arrival.
pub enum QueuedEvent {
    /// A command, and where its outcome is awaited.
    Command(Command, SyncSender<CommandResult>),
    /// From the connection of this number: a line, or why there will be none.
    Server(u64, Result<ServerLine, CallError>),
}

/// The receiving end.
pub struct EventQueue {
    receiver: Receiver<QueuedEvent>,
    sender: SyncSender<QueuedEvent>,
    aside: VecDeque<QueuedEvent>,
    /// About how many bytes `aside` takes.
    aside_bytes: usize,
}

impl EventQueue {
    /// An empty one.
    pub fn new() -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        EventQueue {
            receiver,
            sender,
            aside: VecDeque::new(),
            aside_bytes: 0,
        }
    }

    /// Where to put arrivals.
    pub fn sender(&self) -> SyncSender<QueuedEvent> {
        self.sender.clone()
    }

    /// The next arrival, if one comes until `deadline`.
    pub fn next(&mut self, deadline: Instant) -> Option<QueuedEvent> {
        match self.first_aside() {
            Some(input) => Some(input),
            None => self.fresh(deadline),
        }
    }

    fn first_aside(&mut self) -> Option<QueuedEvent> {
        let input = self.aside.pop_front()?;
        self.aside_bytes = self.aside_bytes.saturating_sub(weight(&input));
        Some(input)
    }

    /// The next arrival that is here already.
    pub fn ready(&mut self) -> Option<QueuedEvent> {
        self.first_aside().or_else(|| self.receiver.try_recv().ok())
    }

    /// The next arrival that was not kept aside.
    pub(super) fn fresh(&self, deadline: Instant) -> Option<QueuedEvent> {
        let wait = deadline.saturating_duration_since(clock::now());
        match self.receiver.recv_timeout(wait) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // Never: a sender is kept here. Waiting keeps the caller's pace.
                sync::sleep(wait.min(Duration::from_secs(1)));
                None
            }
        }
    }

    /// Why a connection ended, if that was kept aside.
    pub(super) fn end_of(&self, connection: u64) -> Option<CallError> {
        self.aside.iter().rev().find_map(|input| match input {
            QueuedEvent::Server(number, Err(why)) if *number == connection => Some(why.clone()),
            _ => None,
        })
    }

    /// Keeps an arrival for later; `false` if that is too much by now.
    pub(super) fn keep(&mut self, input: QueuedEvent) -> bool {
        self.aside_bytes += weight(&input);
        self.aside.push_back(input);
        self.aside_bytes <= MAX_ASIDE
    }
}

/// About how many bytes an arrival takes.
fn weight(input: &QueuedEvent) -> usize {
    let behind = match input {
        QueuedEvent::Server(_, Ok(ServerLine::Answer(_, Ok(value)))) => weight_of_value(value),
        QueuedEvent::Server(_, Ok(ServerLine::Answer(_, Err(refusal)))) => refusal.message.len(),
        QueuedEvent::Server(_, Ok(ServerLine::Event(event))) => {
            size_of::<Event>() + weight_of_event(event)
        }
        QueuedEvent::Server(_, Err(CallError::Refused(refusal))) => refusal.message.len(),
        QueuedEvent::Server(_, Err(CallError::Lost(why))) => why.len(),
        // The person's own.
        QueuedEvent::Command(..) => 0,
    };
    size_of::<QueuedEvent>() + behind
}

fn weight_of_event(event: &Event) -> usize {
    match event {
        Event::Message(message) => message.body.len(),
        Event::Delivered { ids, .. } => size_of_val(ids.as_slice()),
        Event::Notice(notice) => match &notice.news {
            News::TurnedAway { names, .. } => size_of_val(names.as_slice()),
            News::Unknown => 0,
        },
        Event::PrekeysLow { .. }
        | Event::Replaced {}
        | Event::Ping {}
        | Event::ShuttingDown {}
        | Event::EnvelopesWait { .. }
        | Event::Unknown => 0,
    }
}

/// An answer is not typed before somebody wants it, and `[[],[],…]` takes many
/// times the memory of its line. Parsing has bounded its depth.
fn weight_of_value(value: &Value) -> usize {
    let within = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight_of_value).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| size_of::<String>() + name.len() + weight_of_value(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + within
}

impl Default for EventQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::parse_server_line;

    fn line(text: &str) -> QueuedEvent {
        QueuedEvent::Server(
            1,
            parse_server_line(text.as_bytes()).map_err(CallError::Lost),
        )
    }

    /// How many of an arrival fit beside each other.
    fn fitting(text: &str) -> usize {
        let mut events = EventQueue::new();
        let kept = (0..1_000_000)
            .take_while(|_| events.keep(line(text)))
            .count();
        while events.ready().is_some() {}
        assert_eq!(events.aside_bytes, 0, "what is taken out is not counted");
        kept
    }

    #[test]
    fn what_is_kept_aside_is_bounded_in_bytes_whatever_it_is() {
        let mid = "0".repeat(32);
        let message = |text: &str| {
            format!(r#"{{"event":"message","from":"bob","mid":"{mid}","at":1,"text":"{text}"}}"#)
        };
        let large = fitting(&message(&"x".repeat(16_000)));
        assert!((200..=262).contains(&large), "{large}");
        // All that an honest server leaves unacknowledged.
        let small = fitting(&message(&"x".repeat(500)));
        assert!(small > 2 * 2048, "{small}");
        let nested = fitting(&format!(r#"{{"id":9,"ok":[{}0]}}"#, "[],".repeat(30_000)));
        assert!(nested < 10, "{nested}");
        let pings = fitting(r#"{"event":"ping"}"#);
        assert!(pings < 100_000, "{pings}");
        let ids = vec![format!("\"{mid}\""); 1000].join(",");
        let receipts = fitting(&format!(
            r#"{{"event":"delivered","to":"bob","ids":[{ids}]}}"#
        ));
        assert!((200..=262).contains(&receipts), "{receipts}");
    }
}
