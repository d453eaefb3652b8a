//! What a connection has still to be sent, and the only way to write to it.
//!
//! A thread that has something for a connection appends it here and, once it holds no lock,
//! calls [`flush`](SendQueue::flush), which writes without blocking. What the kernel does not
//! take is written by a thread that lives only as long as that lasts. So nobody ever waits for
//! somebody else's network.
//!
//! | file | what |
//! | --- | --- |
//! | here | appending, writing, waiting: the queue with its lock, its socket and its threads |
//! | `state` | the states of the queue and how they follow each other, without any of these |
//! | [`flush_set`] | the queues that one turn has appended to |
//!
//! Rules for changes here:
//! 1. Appending never blocks and never fails; after the end it does nothing.
//! 2. One thread at a time is the flusher; bytes leave in the order appended.
//! 3. No lock is held while a system call runs. Under TLS, bytes are sealed by
//!    the flusher, outside the queue's lock and in the order in which they leave.
//! 4. No byte leaves while the server's lease does not hold: that is asked before each system call.
//! 5. The queue is bounded by its users: pushes ask [`has_room`](SendQueue::has_room), the
//!    connection's own thread calls [`wait_for_room`](SendQueue::wait_for_room), and late
//!    answers are bounded by the requests that are undecided.

/// The send queues that one turn has appended to.
pub(crate) mod flush_set;
mod state;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::state::{Hook, MAX_UNDECIDED, QueueState, REPLY_ROOM, Reading};
use crate::clock;
use crate::protocol::reply::{Answer, Event, Incoming, News, Notice};
use crate::protocol::request::Sender;
use crate::protocol::{Body, console, json};
use crate::server::stats::{Ending, Stats};
use crate::store::Message;
use crate::store::lease::Lease;
use crate::sync;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::transport::channel::Channel;
use crate::transport::socket::{Socket, WriteOutcome};

/// A peer that takes no byte for this long is dropped.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// How often a peer that seems to take nothing is tried.
const WRITE_ATTEMPT: Duration = Duration::from_millis(500);

/// How often a lease that has ended is looked at.
const LEASE_LOOK: Duration = Duration::from_millis(50);

/// Stack of the thread that writes to a slow peer.
const DRAIN_STACK: usize = 64 * 1024;

/// The format in which a connection is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireFormat {
    /// JSON lines.
    Json,
    /// The console.
    Console,
}

/// The bytes that one connection has still to be sent, with the socket that they go to.
pub(crate) struct SendQueue {
    channel: Channel,
    /// Guards what waits and the states around it. Innermost: while it is held nothing
    /// else is locked, and no system call is made but a wait on it.
    state: Mutex<QueueState>,
    /// Notified when what the connection's thread waits for has come, or the end.
    reader_wakes: Condvar,
    /// Requests whose answer comes later. Falls only under the lock of `state`.
    undecided: AtomicUsize,
    /// The length of the queue, to be read without the lock.
    queued: AtomicUsize,
    /// Why another thread than the connection's own ends it: the first reason.
    ending: OnceLock<Ending>,
    /// Counts the refusals among the answers.
    stats: Arc<Stats>,
    /// Without it nothing is written.
    lease: Lease,
}

impl SendQueue {
    /// An empty queue over a socket.
    pub(crate) fn new(socket: Socket, stats: Arc<Stats>, lease: Lease) -> Self {
        SendQueue {
            channel: Channel::new(socket),
            state: Mutex::new(QueueState::new()),
            reader_wakes: Condvar::new(),
            undecided: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            ending: OnceLock::new(),
            stats,
            lease,
        }
    }

    /// The connection's bytes: for its one reader.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The socket: for timeouts, and for closing.
    pub(crate) fn socket(&self) -> &Socket {
        self.channel.socket()
    }

    /// Sets the format, which the peer's first byte decides.
    pub(crate) fn set_wire_format(&self, wire_format: WireFormat) {
        self.state.lock().wire_format = wire_format;
    }

    /// Sets what to run once all is written after [`has_room`](Self::has_room) was denied.
    pub(crate) fn set_on_drained(&self, hook: Option<Hook>) {
        self.state.lock().set_on_drained(hook);
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>, WireFormat)) {
        let mut state = self.state.lock();
        if self.is_displaced() {
            return;
        }
        let queued = state.append(write);
        self.queued.store(queued, Ordering::Relaxed);
    }

    /// Appends the answer to a request.
    pub(crate) fn answer(&self, id: Option<u64>, answer: &Answer) {
        self.count_refusal(answer);
        self.append(|queue, wire_format| write_answer(queue, wire_format, id, answer));
    }

    fn count_refusal(&self, answer: &Answer) {
        if let Err(refusal) = answer {
            self.stats.refusals.count(refusal.code);
        }
    }

    /// Appends an event.
    pub(crate) fn event(&self, event: &Event) {
        self.append(|queue, wire_format| match wire_format {
            WireFormat::Json => match event {
                Event::EnvelopesWait { .. } => {}
                event => json::write_event(queue, event),
            },
            WireFormat::Console => console::write_event(queue, event),
        });
    }

    /// Appends text that stands outside the protocol: the console's help.
    pub(crate) fn text(&self, text: &str) {
        self.append(|queue, _| queue.extend_from_slice(text.as_bytes()));
    }

    /// Appends an arriving message.
    pub(crate) fn message(&self, message: &Message) {
        match message.from {
            Sender::User(from) => self.append(|queue, wire_format| match wire_format {
                WireFormat::Json => {
                    json::write_message(queue, &from, &message.mid, message.at, &message.body);
                }
                WireFormat::Console => {
                    let incoming = Incoming {
                        from,
                        mid: message.mid,
                        at: message.at,
                        body: message.body.clone(),
                    };
                    console::write_event(queue, &incoming.into());
                }
            }),
            Sender::Server => self.event(&Event::Notice(notice(message))),
        }
    }

    /// Whether another message may be pushed. If not, the hook runs once one may.
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().has_room()
    }

    /// Counts a request whose answer comes later: for the connection's own thread.
    pub(crate) fn expect_answer(&self) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends an answer that was counted by [`expect_answer`](Self::expect_answer).
    pub(crate) fn late_answer(&self, id: Option<u64>, answer: &Answer) {
        self.count_refusal(answer);
        let mut state = self.state.lock();
        if !self.is_displaced() {
            let queued =
                state.append(|queue, wire_format| write_answer(queue, wire_format, id, answer));
            self.queued.store(queued, Ordering::Relaxed);
        }
        self.undecided.fetch_sub(1, Ordering::Relaxed);
        let wakes = state.wakes_reader(self.awaited_answers());
        drop(state);
        if wakes {
            self.reader_wakes.notify_all();
        }
    }

    /// Whether so much is undecided or unwritten that the connection should not be read for
    /// the moment: two bytes can ask for a page of help.
    pub(crate) fn is_saturated(&self) -> bool {
        self.undecided.load(Ordering::Relaxed) >= MAX_UNDECIDED
            || self.queued.load(Ordering::Relaxed) >= REPLY_ROOM
    }

    /// Waits until the connection may be read again, or until `deadline`: for the
    /// thread that reads it, holding no lock. `false` when the connection has ended.
    pub(crate) fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        !self.wait(Reading::AwaitsRoom, deadline).has_ended()
    }

    /// Waits until every request is answered and every answer is written, or
    /// `limit` is over: for the thread that reads the connection, holding no lock.
    pub(crate) fn wait_until_answered(self: &Arc<Self>, limit: Duration) {
        self.flush();
        drop(self.wait(Reading::AwaitsAnswers, Some(clock::now() + limit)));
    }

    /// Waits until `what` has come, the connection has ended or `deadline` is past.
    fn wait(&self, what: Reading, deadline: Option<Instant>) -> MutexGuard<'_, QueueState> {
        let mut state = self.state.lock();
        state.set_reading(what);
        while state.still_waits(self.awaited_answers()) {
            let Some(deadline) = deadline else {
                state = self.reader_wakes.wait(state);
                continue;
            };
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            state = self.reader_wakes.wait_timeout(state, left);
        }
        state.set_reading(Reading::Running);
        state
    }

    /// Whether the connection was ended, or has broken while writing.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().has_ended()
    }

    /// Writes what waits, as far as the kernel takes it at once; a thread writes
    /// the rest. Returns at once if another thread is the flusher: that one looks again.
    pub(crate) fn flush(self: &Arc<Self>) {
        self.write_out();
        self.resume();
    }

    fn write_out(self: &Arc<Self>) {
        let Some(mut batch) = self.begin_flush() else {
            return;
        };
        loop {
            let Ok(sealed) = self.channel.seal(batch) else {
                return self.end_for(Ending::Broken);
            };
            let mut written = 0;
            while written < sealed.len() {
                if !self.lease.holds() {
                    return self.drain_later(sealed, written);
                }
                match self.socket().try_write(&sealed[written..]) {
                    Ok(WriteOutcome::Some(count)) => written += count,
                    Ok(WriteOutcome::Full) => return self.drain_later(sealed, written),
                    Err(_) => return self.end_for(Ending::Broken),
                }
            }
            match self.next_batch(sealed) {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    fn begin_flush(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let batch = state.begin_flush(self.channel.has_pending())?;
        self.queued.store(0, Ordering::Relaxed);
        Some(batch)
    }

    /// Exchanges a written batch for the next one. With `None` there is none, and the caller
    /// is the flusher no more.
    fn next_batch(&self, written: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let batch = state.next_batch(written, self.channel.has_pending());
        self.queued.store(0, Ordering::Relaxed);
        let wakes = state.wakes_reader(self.awaited_answers());
        drop(state);
        if wakes {
            self.reader_wakes.notify_all();
        }
        batch
    }

    /// Gives the memory of a burst back. Call it when nothing has come for a while.
    pub(crate) fn shrink(&self) {
        self.state.lock().shrink();
    }

    fn drain_later(self: &Arc<Self>, sealed: Vec<u8>, written: usize) {
        let send_queue = Arc::clone(self);
        let spawned = sync::spawn("drain", Some(DRAIN_STACK), move || {
            send_queue.drain(sealed, written)
        });
        if spawned.is_err() {
            self.end_for(Ending::NoThread); // The slow peer goes first.
        }
    }

    /// Writes to a slow peer until nothing waits, or it stalls for too long.
    fn drain(&self, mut sealed: Vec<u8>, mut written: usize) {
        let mut progress = clock::now();
        loop {
            while written < sealed.len() {
                if !self.lease.holds() {
                    if self.has_ended() {
                        return;
                    }
                    sync::sleep(LEASE_LOOK);
                    progress = clock::now();
                    continue;
                }
                match self.socket().try_write(&sealed[written..]) {
                    Ok(WriteOutcome::Some(count)) => {
                        written += count;
                        progress = clock::now();
                    }
                    Ok(WriteOutcome::Full) => {
                        let stalled = clock::now().saturating_duration_since(progress);
                        let left = STALL_LIMIT.saturating_sub(stalled);
                        if left.is_zero() {
                            return self.end_for(Ending::Stalled);
                        }
                        if self.wait_to_write(left).is_err() {
                            return self.end_for(Ending::Broken);
                        }
                    }
                    Err(_) => return self.end_for(Ending::Broken),
                }
            }
            written = 0;
            let Some(batch) = self.next_batch(sealed) else {
                break;
            };
            match self.channel.seal(batch) {
                Ok(next) => sealed = next,
                Err(_) => return self.end_for(Ending::Broken),
            }
        }
        self.resume();
    }

    /// Waits until writing may succeed, at most `left`. The system calls a socket writable only
    /// once a third of its buffer is free, which takes a slow reader long; so it is tried before.
    fn wait_to_write(&self, left: Duration) -> io::Result<bool> {
        self.socket().wait_writable(left.min(WRITE_ATTEMPT))
    }

    /// Lets pushes that found no room go on, now that all is written. The hook pushes and
    /// flushes; that flush leaves what is still starved to this loop, so that no stack grows
    /// with the backlog.
    fn resume(&self) {
        let mut state = self.state.lock();
        while let Some(hook) = state.begin_resume() {
            drop(state);
            hook();
            state = self.state.lock();
            state.end_resume();
        }
    }

    /// Ends the connection now, as [`end`](Self::end) does: for another thread than its own.
    pub(crate) fn end_for(&self, why: Ending) {
        let _first = self.ending.set(why);
        self.end();
    }

    /// Stops reading from the connection: for another thread than its own, which sees this, sends
    /// what is left and ends. If that is because its session has lost its place, nothing is appended
    /// from here on: what has no answer is undecided for the client, and its successor asks.
    pub(crate) fn stop_reading_for(&self, why: Ending) {
        // Under the lock, so that nothing is appended once this has returned.
        let state = self.state.lock();
        let _first = self.ending.set(why);
        drop(state);
        self.reader_wakes.notify_all();
        self.socket().close_reading();
    }

    /// Whether the session has lost its place.
    fn is_displaced(&self) -> bool {
        let displaced =
            |why: &Ending| matches!(why, Ending::Replaced | Ending::Revoked | Ending::Operator);
        self.ending.get().is_some_and(displaced)
    }

    /// How many answers the reader waits for before it ends.
    fn awaited_answers(&self) -> usize {
        match self.is_displaced() {
            true => 0,
            false => self.undecided.load(Ordering::Relaxed),
        }
    }

    /// Why another thread ends the connection, if one does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// Ends the connection now, dropping what waits; the reader sees the end.
    pub(crate) fn end(&self) {
        self.state.lock().end();
        self.reader_wakes.notify_all();
        self.socket().close();
    }

    /// Ends the connection once every request has its answer and all that waits
    /// has left, or after `limit`.
    pub(crate) fn finish(self: &Arc<Self>, limit: Duration) {
        self.wait_until_answered(limit);
        // Nothing may be sealed after it.
        self.channel.close_notify();
        self.flush();
        self.socket().close_writing();
        self.end();
    }
}

fn write_answer(queue: &mut Vec<u8>, wire_format: WireFormat, id: Option<u64>, answer: &Answer) {
    match wire_format {
        WireFormat::Json => json::write_answer(queue, id, answer),
        WireFormat::Console => console::write_answer(queue, answer),
    }
}

/// The notice that the server itself has left in a mailbox.
fn notice(message: &Message) -> Notice {
    let news = match &message.body {
        Body::Plain(text) => serde_json::from_str(text).unwrap_or(News::Unknown),
        Body::Envelope(_) => News::Unknown,
    };
    Notice {
        mid: message.mid,
        at: message.at,
        news,
    }
}

#[cfg(test)]
mod tests;
