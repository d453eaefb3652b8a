//! The state of a send queue, without its socket and its locks: what waits to be written, who
//! writes it, and who waits for that. `SendQueue` keeps it under one lock.
//!
//! Three things have a state of their own, and none depends on the others:
//!
//! | state | from | to | when |
//! | --- | --- | --- | --- |
//! | [`Writing`] | `Idle` | `Flushing` | a thread begins to write and is the flusher |
//! | | `Flushing` | `Idle` | the flusher finds nothing more to write |
//! | | any | `Ended` | the connection ends; nothing is appended or written from here on |
//! | [`Pushing`] | `Flowing` | `Starved` | a push finds no room |
//! | | `Starved` | `Resuming` | all is written; the thread that sees it runs the hook |
//! | | `Resuming` | `Flowing` or `Starved` | the hook returns, having found room for all or not |
//! | [`Reading`] | `Running` | `AwaitsRoom`, `AwaitsAnswers` | the connection's own thread has to wait |
//! | | `Awaits…` | `Running` | what it waits for has come, or its deadline |

use std::sync::Arc;

use super::WireFormat;

/// From this many unwritten bytes on, nothing is pushed to a session; it falls behind.
pub(super) const PUSH_ROOM: usize = if cfg!(test) { 4 } else { 256 } * 1024;

/// From this many unwritten bytes on, the connection's requests are not read.
pub(super) const REPLY_ROOM: usize = 1024 * 1024;

/// From this many `send`s without an answer on, the connection's requests are not read.
pub(super) const MAX_UNDECIDED: usize = if cfg!(test) { 8 } else { 4096 };

/// The capacity, in bytes, that a buffer may keep for the next batch.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Runs when pushes may go on. It must be called without the lock.
pub(super) type Hook = Arc<dyn Fn() + Send + Sync>;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Nobody; what is appended waits for the next flush.
    Idle,
    /// One thread, which looks at the queue again before it stops.
    Flushing {
        /// Bytes that it has taken from the queue and not written yet.
        in_flight: usize,
    },
    /// The connection has ended. A flusher that is still at work finds out at its next look.
    Ended,
}

/// Whether pushes have found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pushing {
    /// Always so far, or the hook has been run since.
    Flowing,
    /// One has not; it waits for the hook.
    Starved,
    /// A thread runs the hook, and looks again when it returns.
    Resuming {
        /// The hook itself has run out of room.
        starved: bool,
    },
}

/// What the connection's own thread does, which reads the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It does not wait on this queue.
    Running,
    /// It waits until so little is unwritten and undecided that it may read again.
    AwaitsRoom,
    /// It waits until every request is answered and every answer is written.
    AwaitsAnswers,
}

pub(super) struct QueueState {
    queue: Vec<u8>,
    pub wire_format: WireFormat,
    writing: Writing,
    pushing: Pushing,
    reading: Reading,
    on_drained: Option<Hook>,
}

impl QueueState {
    pub(super) fn new() -> Self {
        QueueState {
            queue: Vec::new(),
            wire_format: WireFormat::Json,
            writing: Writing::Idle,
            pushing: Pushing::Flowing,
            reading: Reading::Running,
            on_drained: None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.writing == Writing::Ended
    }

    /// Sets the hook for pushes that have found no room, unless the connection has ended.
    pub(super) fn set_on_drained(&mut self, hook: Option<Hook>) {
        if !self.has_ended() {
            self.on_drained = hook;
        }
    }

    /// Appends what `write` writes, unless the connection has ended. Returns the queue's length.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>, WireFormat)) -> usize {
        if !self.has_ended() {
            write(&mut self.queue, self.wire_format);
        }
        self.queue.len()
    }

    fn unwritten(&self) -> usize {
        match self.writing {
            Writing::Flushing { in_flight } => self.queue.len() + in_flight,
            Writing::Idle | Writing::Ended => self.queue.len(),
        }
    }

    /// Whether another message may be pushed. If not, the hook is due once all is written.
    pub(super) fn has_room(&mut self) -> bool {
        let room = self.unwritten() < PUSH_ROOM;
        if !room {
            self.pushing = match self.pushing {
                Pushing::Flowing | Pushing::Starved => Pushing::Starved,
                Pushing::Resuming { .. } => Pushing::Resuming { starved: true },
            };
        }
        room
    }

    /// Makes the caller the flusher and gives it what waits. `None` if there is another
    /// flusher or nothing to write; `pending` says that TLS has bytes of its own to write.
    pub(super) fn begin_flush(&mut self, pending: bool) -> Option<Vec<u8>> {
        if self.writing != Writing::Idle || self.queue.is_empty() && !pending {
            return None;
        }
        Some(self.take_batch(Vec::new()))
    }

    /// Takes the flusher's buffer, whose bytes are written, for the next batch. With `None` the
    /// caller is the flusher no more: there is nothing to write, or the connection has ended.
    pub(super) fn next_batch(&mut self, mut written: Vec<u8>, pending: bool) -> Option<Vec<u8>> {
        if self.has_ended() {
            return None;
        }
        written.clear();
        if written.capacity() > KEPT_CAPACITY {
            written = Vec::new();
        }
        if self.queue.is_empty() && !pending {
            // Of two empty buffers, keep the one that has grown already.
            if written.capacity() > self.queue.capacity() {
                self.queue = written;
            }
            self.writing = Writing::Idle;
            return None;
        }
        Some(self.take_batch(written))
    }

    fn take_batch(&mut self, next_queue: Vec<u8>) -> Vec<u8> {
        let batch = std::mem::replace(&mut self.queue, next_queue);
        self.writing = Writing::Flushing {
            in_flight: batch.len(),
        };
        batch
    }

    /// The hook, if it is due: a push has found no room, and all is written. A thread that gets it
    /// runs it without the lock, then calls [`end_resume`](Self::end_resume).
    pub(super) fn begin_resume(&mut self) -> Option<Hook> {
        let drained = self.writing == Writing::Idle && self.queue.is_empty();
        if self.pushing != Pushing::Starved || !drained {
            return None;
        }
        let hook = self.on_drained.clone()?;
        self.pushing = Pushing::Resuming { starved: false };
        Some(hook)
    }

    /// The hook has returned.
    pub(super) fn end_resume(&mut self) {
        self.pushing = match self.pushing {
            Pushing::Resuming { starved: true } => Pushing::Starved,
            _ => Pushing::Flowing,
        };
    }

    /// Says what the connection's thread does from here on.
    pub(super) fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Whether the connection's thread has to go on waiting, with `undecided` requests that
    /// have no answer. What it has waited for is forgotten once it has come, so that it is
    /// woken once.
    pub(super) fn still_waits(&mut self, undecided: usize) -> bool {
        let waits = match self.reading {
            Reading::Running => false,
            _ if self.has_ended() => false,
            Reading::AwaitsRoom => self.unwritten() >= REPLY_ROOM || undecided >= MAX_UNDECIDED,
            Reading::AwaitsAnswers => {
                undecided > 0 || self.writing != Writing::Idle || !self.queue.is_empty()
            }
        };
        if !waits {
            self.reading = Reading::Running;
        }
        waits
    }

    /// Whether the connection's thread waits for something that has come, so that it is to be
    /// woken. True once for each wait.
    pub(super) fn wakes_reader(&mut self, undecided: usize) -> bool {
        self.reading != Reading::Running && !self.still_waits(undecided)
    }

    /// Gives the memory of a burst back.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue = Vec::new();
        }
    }

    /// The connection has ended: drops what waits and the hook.
    pub(super) fn end(&mut self) {
        self.writing = Writing::Ended;
        self.queue = Vec::new();
        self.on_drained = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn with(bytes: usize) -> QueueState {
        let mut state = QueueState::new();
        state.append(|queue, _| queue.resize(bytes, b'x'));
        state
    }

    #[test]
    fn one_flusher_at_a_time_and_it_looks_again() {
        let mut state = with(3);
        let batch = state.begin_flush(false).unwrap();
        assert_eq!(batch, b"xxx");
        state.append(|queue, _| queue.push(b'y'));
        assert_eq!(state.begin_flush(false), None, "there is a flusher");
        let batch = state.next_batch(batch, false).unwrap();
        assert_eq!(batch, b"y");
        assert_eq!(state.next_batch(batch, false), None);
        assert_eq!(state.writing, Writing::Idle);
        assert_eq!(state.begin_flush(false), None, "there is nothing to write");
        assert_eq!(state.begin_flush(true), Some(Vec::new()), "but for TLS");
    }

    #[test]
    fn bytes_in_flight_take_room_and_a_starved_push_is_resumed_once() {
        let mut state = with(PUSH_ROOM);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        state.set_on_drained(Some(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })));
        let batch = state.begin_flush(false).unwrap();
        assert!(!state.has_room());
        assert!(state.begin_resume().is_none(), "not all is written");
        assert_eq!(state.next_batch(batch, false), None);
        state.begin_resume().unwrap()();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(state.begin_resume().is_none(), "one thread runs the hook");
        state.append(|queue, _| queue.resize(PUSH_ROOM, b'x'));
        assert!(!state.has_room());
        state.end_resume();
        assert_eq!(state.pushing, Pushing::Starved, "the hook found no room");
        let batch = state.begin_flush(false).unwrap();
        assert_eq!(state.next_batch(batch, false), None);
        assert!(state.begin_resume().is_some());
        state.end_resume();
        assert_eq!(state.pushing, Pushing::Flowing);
    }

    #[test]
    fn the_reader_is_woken_once_when_what_it_waits_for_has_come() {
        let mut state = with(REPLY_ROOM);
        state.set_reading(Reading::AwaitsRoom);
        assert!(state.still_waits(0));
        let batch = state.begin_flush(false).unwrap();
        assert!(!state.wakes_reader(0), "in flight is not written");
        assert_eq!(state.next_batch(batch, false), None);
        assert!(!state.wakes_reader(MAX_UNDECIDED));
        assert!(state.wakes_reader(MAX_UNDECIDED - 1));
        assert!(!state.wakes_reader(0), "it runs already");

        state.set_reading(Reading::AwaitsAnswers);
        assert!(!state.wakes_reader(1));
        state.append(|queue, _| queue.push(b'x'));
        assert!(!state.wakes_reader(0), "the answer is not written");
        let batch = state.begin_flush(false).unwrap();
        assert_eq!(state.next_batch(batch, false), None);
        assert!(state.wakes_reader(0));
    }

    #[test]
    fn after_the_end_nothing_is_kept_and_nobody_waits() {
        let mut state = with(PUSH_ROOM);
        state.set_on_drained(Some(Arc::new(|| {})));
        let batch = state.begin_flush(false).unwrap();
        assert!(!state.has_room());
        state.set_reading(Reading::AwaitsAnswers);
        state.end();
        assert!(!state.still_waits(1));
        assert_eq!(state.append(|queue, _| queue.push(b'x')), 0);
        assert!(
            state.has_room(),
            "a push goes nowhere, and is not kept back"
        );
        assert_eq!(state.next_batch(batch, true), None);
        assert_eq!(state.begin_flush(true), None);
        state.set_on_drained(Some(Arc::new(|| {})));
        assert!(state.begin_resume().is_none() && state.on_drained.is_none());
    }
}
