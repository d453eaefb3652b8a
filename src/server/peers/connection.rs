//! One connection between two servers: what waits to be written, the thread that writes it, and how much
//! may be under way. Both ends use it; what the bytes mean is in [`wire`].
//!
//! Whoever has something appends it, and one thread writes all that has come together since its last
//! write. Nothing is written while this server's lease does not hold.

use std::io;
use std::time::Duration;

use super::frames::FrameBuffer;
use super::wire;
use crate::clock;
use crate::store::lease::Lease;
use crate::sync;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::transport::buffer::{ReadBuffer, ReadOutcome};
use crate::transport::channel::Channel;
use crate::transport::socket::WriteOutcome;

/// From this many unwritten bytes on, a request waits, and an end that answers reads no further ones.
const MAX_UNWRITTEN: usize = if cfg!(test) { 256 } else { 4096 } * 1024;

/// From this many requests without an answer on, it is the same.
const MAX_IN_FLIGHT: usize = if cfg!(test) { 4096 } else { 65_536 };

/// How long a read waits before its thread looks around.
pub(super) const TICK: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

/// After a silence of this length an end that owes answers says that it is there.
const BEAT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });

/// How often an end that seems to take nothing is tried.
const WRITE_ATTEMPT: Duration = Duration::from_millis(500);

/// After this many of these tries it is given up.
const WRITE_ATTEMPTS: u32 = if cfg!(test) { 4 } else { 20 };

/// How often a lease that has ended is looked at.
const LEASE_LOOK: Duration = Duration::from_millis(50);

/// The capacity, in bytes, that a buffer may keep for the next batch.
const KEPT_CAPACITY: usize = 1024 * 1024;

/// Why a request was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotSent {
    /// There was no room for as long as it could wait.
    Full,
    /// The connection has ended.
    Closed,
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes, which are in the frame buffer.
    Bytes,
    /// Nothing for a [`TICK`].
    Nothing,
    /// The other end has closed it, or this one has.
    End,
}

/// A connection whose ends have proven who they are.
pub(super) struct PeerConnection {
    channel: Channel,
    /// Guards what waits to be written. The table of a link's requests may be locked under it, nothing else,
    /// and no system call is made but a wait on it.
    state: Mutex<State>,
    /// Notified when there is something to write, or the end has come: for the one thread that writes.
    filled: Condvar,
    /// Notified when something was written or answered, or the end has come.
    room: Condvar,
    /// Requests without an answer: those that this end has asked, or those that it has to answer.
    in_flight: AtomicUsize,
    /// This end owes the answers, so it says that it is there when they take long.
    answers: bool,
    lease: Lease,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<u8>,
    /// Bytes that the writer has taken and not written yet.
    writing: usize,
    /// TLS has something of its own to write.
    pending: bool,
    /// The writer waits to be woken.
    writer_waits: bool,
    /// Somebody waits for room.
    room_awaited: bool,
    /// What waits is still written, then the connection ends.
    finishing: bool,
    closed: bool,
}

impl State {
    fn unwritten(&self) -> usize {
        self.queue.len() + self.writing
    }
}

impl PeerConnection {
    /// A connection over a channel whose peer is known. `answers` says which end this is.
    pub(super) fn new(channel: Channel, answers: bool, lease: Lease) -> Self {
        PeerConnection {
            channel,
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            room: Condvar::new(),
            in_flight: AtomicUsize::new(0),
            answers,
            lease,
        }
    }

    /// Whether bytes may leave.
    pub(super) fn may_write(&self) -> bool {
        self.lease.holds()
    }

    /// How many requests have no answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Appends a request, once there is room for it. `write` runs under the lock, so that requests
    /// leave in the order of these calls.
    ///
    /// # Errors
    /// There was no room for `patience`, or the connection has ended. `write` did not run.
    pub(super) fn request<T>(
        &self,
        patience: Duration,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Result<T, NotSent> {
        let mut state = self.state.lock();
        let mut deadline = None;
        while !state.closed && self.is_full(&state) {
            let deadline = *deadline.get_or_insert_with(|| clock::now() + patience);
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(NotSent::Full);
            }
            state.room_awaited = true;
            state = self.room.wait_timeout(state, left);
        }
        if state.closed || state.finishing {
            return Err(NotSent::Closed);
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let value = write(&mut state.queue);
        self.wake_writer(&mut state);
        Ok(value)
    }

    /// Appends what needs no answer, if there is room at this moment.
    pub(super) fn offer(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if !state.closed && state.unwritten() < MAX_UNWRITTEN {
            write(&mut state.queue);
            self.wake_writer(&mut state);
        }
    }

    /// Appends the answer to a request that has come.
    pub(super) fn answer(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if !state.closed {
            write(&mut state.queue);
            self.wake_writer(&mut state);
        }
        self.settle(&mut state, 1);
    }

    /// Counts requests that have come: for the thread that reads them.
    pub(super) fn came(&self, requests: usize) {
        self.in_flight.fetch_add(requests, Ordering::Relaxed);
    }

    /// Counts requests of this end as answered, or given up.
    pub(super) fn answered(&self, requests: usize) {
        if requests > 0 {
            self.settle(&mut self.state.lock(), requests);
        }
    }

    fn settle(&self, state: &mut State, requests: usize) {
        self.in_flight.fetch_sub(requests, Ordering::Relaxed);
        self.tell_of_room(state);
    }

    fn tell_of_room(&self, state: &mut State) {
        if std::mem::take(&mut state.room_awaited) {
            self.room.notify_all();
        }
    }

    fn is_full(&self, state: &State) -> bool {
        state.unwritten() >= MAX_UNWRITTEN || self.in_flight() >= MAX_IN_FLIGHT
    }

    fn wake_writer(&self, state: &mut State) {
        if std::mem::take(&mut state.writer_waits) {
            self.filled.notify_one();
        }
    }

    /// Waits until so much is answered and written that further requests may be read. `false` when the
    /// connection has ended.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut state = self.state.lock();
        while !state.closed && self.is_full(&state) {
            state.room_awaited = true;
            state = self.room.wait(state);
        }
        !state.closed
    }

    /// Reads into the frame buffer: for the one thread that reads.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn read(
        &self,
        raw: &mut ReadBuffer,
        frames: &mut FrameBuffer,
    ) -> io::Result<Received> {
        let read = self.channel.read(raw, frames.space());
        if self.channel.has_pending() {
            let mut state = self.state.lock();
            state.pending = true;
            self.wake_writer(&mut state);
        }
        match read {
            Ok(ReadOutcome::Bytes(count)) => {
                frames.filled(count);
                Ok(Received::Bytes)
            }
            Ok(ReadOutcome::TlsOnly) => Ok(Received::Bytes),
            Ok(ReadOutcome::End) => Ok(Received::End),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                frames.shrink();
                raw.shrink();
                Ok(Received::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what comes, until the end: the body of the thread that writes.
    pub(super) fn write_out(&self) {
        let mut written = Vec::new();
        while let Some(batch) = self.next_batch(written) {
            let Ok(sealed) = self.channel.seal(batch) else {
                break;
            };
            if !self.write(&sealed) {
                break;
            }
            written = sealed;
        }
        self.close();
    }

    /// Exchanges a written batch for the next one, for which it waits. `None` at the end.
    fn next_batch(&self, mut written: Vec<u8>) -> Option<Vec<u8>> {
        written.clear();
        if written.capacity() > KEPT_CAPACITY {
            written = Vec::new();
        }
        let mut state = self.state.lock();
        state.writing = 0;
        self.tell_of_room(&mut state);
        let mut beat = clock::now() + BEAT;
        loop {
            if state.closed {
                return None;
            }
            let pending = std::mem::take(&mut state.pending);
            if pending || !state.queue.is_empty() {
                let batch = std::mem::replace(&mut state.queue, written);
                state.writing = batch.len();
                return Some(batch);
            }
            if state.finishing {
                return None;
            }
            let left = beat.saturating_duration_since(clock::now());
            if left.is_zero() {
                beat = clock::now() + BEAT;
                if self.answers && self.in_flight() > 0 {
                    wire::write_beat(&mut state.queue);
                }
                continue;
            }
            state.writer_waits = true;
            state = match self.answers {
                true => self.filled.wait_timeout(state, left),
                false => self.filled.wait(state),
            };
            state.writer_waits = false;
        }
    }

    /// Writes all bytes while the lease holds. `false` if that has failed or the connection has ended.
    fn write(&self, mut rest: &[u8]) -> bool {
        let mut attempts = 0;
        while !rest.is_empty() {
            if !self.lease.holds() {
                if self.is_closed() {
                    return false;
                }
                sync::sleep(LEASE_LOOK);
                continue;
            }
            let socket = self.channel.socket();
            match socket.try_write(rest) {
                Ok(WriteOutcome::Some(count)) => {
                    rest = &rest[count..];
                    attempts = 0;
                }
                Ok(WriteOutcome::Full) => {
                    attempts += 1;
                    let waited = socket.wait_writable(WRITE_ATTEMPT);
                    if attempts > WRITE_ATTEMPTS || waited.is_err() || self.is_closed() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends the connection at once.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue = Vec::new();
        state.room_awaited = false;
        drop(state);
        self.filled.notify_one();
        self.room.notify_all();
        self.channel.socket().close();
    }

    /// Ends the connection once what waits has left, or after `limit`.
    pub(super) fn finish(&self, limit: Duration) {
        let deadline = clock::now() + limit;
        let mut state = self.state.lock();
        state.finishing = true;
        self.wake_writer(&mut state);
        while !state.closed && state.unwritten() > 0 {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            state.room_awaited = true;
            state = self.room.wait_timeout(state, left);
        }
        drop(state);
        self.close();
    }
}
