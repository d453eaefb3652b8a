//! The bounded queue of the person's commands and the server's lines. While an answer is
//! awaited, everything else is set aside, in order. Who reads it decides what events mean.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::error::CallError;
use crate::client::messenger::command::{Asker, Command};
use crate::clock;
use crate::protocol::json::ServerLine;
use crate::protocol::reply::{Event, News};
use crate::sync;

/// How many events may wait before the connection's reader and the person wait.
const QUEUE: usize = 256;

/// How many bytes may be set aside during one call: several times what an honest server
/// sends without an acknowledgement. A server that sends more breaks the protocol.
const MAX_ASIDE: usize = 4 * 1024 * 1024;

/// One event.
pub(crate) enum QueuedEvent {
    /// A command, and who asked for it.
    Command(Command, Asker),
    /// A line from the connection of this number, or why it ended.
    Server(u64, Result<ServerLine, CallError>),
}

/// The receiving end.
pub(crate) struct EventQueue {
    receiver: Receiver<QueuedEvent>,
    sender: SyncSender<QueuedEvent>,
    aside: VecDeque<QueuedEvent>,
    /// About how many bytes `aside` takes.
    aside_bytes: usize,
}

impl EventQueue {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        EventQueue {
            receiver,
            sender,
            aside: VecDeque::new(),
            aside_bytes: 0,
        }
    }

    /// Where to put events.
    pub(crate) fn sender(&self) -> SyncSender<QueuedEvent> {
        self.sender.clone()
    }

    /// The next event, if there is one before `deadline`.
    pub(crate) fn next(&mut self, deadline: Instant) -> Option<QueuedEvent> {
        match self.first_aside() {
            Some(event) => Some(event),
            None => self.receive(deadline),
        }
    }

    fn first_aside(&mut self) -> Option<QueuedEvent> {
        let event = self.aside.pop_front()?;
        self.aside_bytes = self.aside_bytes.saturating_sub(weight(&event));
        Some(event)
    }

    /// The next event that is here already.
    pub(crate) fn ready(&mut self) -> Option<QueuedEvent> {
        self.first_aside().or_else(|| self.receiver.try_recv().ok())
    }

    /// The next event that was not set aside, if there is one before `deadline`.
    pub(super) fn receive(&self, deadline: Instant) -> Option<QueuedEvent> {
        let wait = deadline.saturating_duration_since(clock::now());
        match self.receiver.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // Unreachable while `sender` exists. Sleeping keeps a caller's loop from spinning.
                sync::sleep(wait.min(Duration::from_secs(1)));
                None
            }
        }
    }

    /// Why a connection ended, if that was set aside: a refusal that answers no request says more than
    /// the end that follows it.
    pub(super) fn end_of(&self, connection: u64) -> Option<CallError> {
        let of_it = self.aside.iter().filter_map(|event| match event {
            QueuedEvent::Server(number, line) if *number == connection => Some(line),
            _ => None,
        });
        let refusal = of_it.clone().find_map(|line| match line {
            Ok(ServerLine::Answer(None, Err(refusal))) => Some(CallError::Refused(refusal.clone())),
            _ => None,
        });
        refusal.or_else(|| of_it.rev().find_map(|line| line.as_ref().err().cloned()))
    }

    /// Sets an event aside for later; `false` if too many bytes are set aside by then.
    pub(super) fn set_aside(&mut self, event: QueuedEvent) -> bool {
        self.aside_bytes += weight(&event);
        self.aside.push_back(event);
        self.aside_bytes <= MAX_ASIDE
    }
}

/// About how many bytes an event takes.
fn weight(event: &QueuedEvent) -> usize {
    let behind = match event {
        QueuedEvent::Server(_, Ok(ServerLine::Answer(_, Ok(value)))) => weight_of_value(value),
        QueuedEvent::Server(_, Ok(ServerLine::Answer(_, Err(refusal)))) => refusal.message.len(),
        QueuedEvent::Server(_, Ok(ServerLine::Event(event))) => {
            size_of::<Event>() + weight_of_event(event)
        }
        QueuedEvent::Server(_, Err(CallError::Refused(refusal))) => refusal.message.len(),
        // Neither grows with what a server sends.
        QueuedEvent::Server(_, Err(CallError::Lost(_))) | QueuedEvent::Command(..) => 0,
    };
    size_of::<QueuedEvent>() + behind
}

fn weight_of_event(event: &Event) -> usize {
    match event {
        Event::Message(message) => message.body.len(),
        Event::Delivered { ids, .. } => size_of_val(ids.as_slice()),
        Event::Notice(notice) => match &notice.news {
            News::TurnedAway { names, .. } => size_of_val(names.as_slice()),
            News::Announcement { text } => text.len(),
            News::Expired { ids, .. } => size_of_val(ids.as_slice()),
            News::Missed { from, .. } => size_of_val(from.as_slice()),
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

/// About how many bytes an untyped answer takes: `[[],[],…]` takes many times the memory
/// of its line. The parser has bounded its depth.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::net::error::Lost;
    use crate::protocol::json::parse_server_line;

    fn line(text: &str) -> QueuedEvent {
        QueuedEvent::Server(
            1,
            parse_server_line(text.as_bytes())
                .map_err(|error| CallError::Lost(Lost::NotUnderstood(Arc::new(error)))),
        )
    }

    #[test]
    fn a_refusal_says_why_a_connection_ended() {
        let mut events = EventQueue::new();
        assert!(events.end_of(1).is_none());
        let refusal = r#"{"error":{"code":"tls_required","message":"TLS only"}}"#;
        events.set_aside(line(r#"{"event":"ping"}"#));
        events.set_aside(QueuedEvent::Server(2, Err(Lost::NoAnswer.into())));
        assert!(events.end_of(1).is_none());
        events.set_aside(QueuedEvent::Server(1, Err(Lost::Closed.into())));
        let why = events.end_of(1);
        assert!(matches!(why, Some(CallError::Lost(Lost::Closed))));
        events.set_aside(line(refusal));
        assert!(matches!(events.end_of(1), Some(CallError::Refused(_))));
    }

    /// How many of an event can be set aside.
    fn fitting(text: &str) -> usize {
        let mut events = EventQueue::new();
        let kept = (0..1_000_000)
            .take_while(|_| events.set_aside(line(text)))
            .count();
        while events.ready().is_some() {}
        assert_eq!(events.aside_bytes, 0, "what is taken out is not counted");
        kept
    }

    #[test]
    fn what_is_set_aside_is_bounded_in_bytes_whatever_it_is() {
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
