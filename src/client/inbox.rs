//! What arrives at the messenger: the person's commands and the server's lines,
//! in one bounded queue. While an answer is awaited, the rest is kept aside in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::messenger::{Command, Outcome};
use crate::protocol::json::ServerLine;

/// How much may wait before the connection's reader waits, too.
const QUEUE: usize = 256;

/// How much may be kept aside during one call: several times what a server
/// leaves unacknowledged. Past it the server is not keeping to the protocol.
const MAX_ASIDE: usize = 20_000;

/// One arrival.
pub enum Input {
    /// A command, and where its outcome is awaited.
    Command(Command, SyncSender<Outcome>),
    /// From the connection of this number: a line, or why there will be none.
    Server(u64, Result<ServerLine, String>),
}

/// The receiving end.
pub struct Inbox {
    receiver: Receiver<Input>,
    sender: SyncSender<Input>,
    aside: VecDeque<Input>,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        Inbox {
            receiver,
            sender,
            aside: VecDeque::new(),
        }
    }

    /// Where to put arrivals.
    pub fn sender(&self) -> SyncSender<Input> {
        self.sender.clone()
    }

    /// The next arrival, if one comes until `deadline`.
    pub fn next(&mut self, deadline: Instant) -> Option<Input> {
        match self.aside.pop_front() {
            Some(input) => Some(input),
            None => self.fresh(deadline),
        }
    }

    /// The next arrival that is here already.
    pub fn ready(&mut self) -> Option<Input> {
        self.aside
            .pop_front()
            .or_else(|| self.receiver.try_recv().ok())
    }

    /// The next arrival that was not kept aside.
    pub(super) fn fresh(&self, deadline: Instant) -> Option<Input> {
        let wait = deadline.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(wait) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // Never: a sender is kept here. Waiting keeps the caller's pace.
                std::thread::sleep(wait.min(Duration::from_secs(1)));
                None
            }
        }
    }

    /// Keeps an arrival for later; `false` if there are too many.
    pub(super) fn keep(&mut self, input: Input) -> bool {
        self.aside.push_back(input);
        self.aside.len() <= MAX_ASIDE
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}
