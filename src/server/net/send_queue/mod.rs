//! What a connection has still to be told, and the only way to write to it.
//!
//! Whoever has something for a connection appends it here and, once it holds no
//! lock, calls [`flush`](SendQueue::flush), which writes without blocking. What the
//! kernel does not take is written by a thread that lives only as long as that
//! lasts. So nobody ever waits for somebody else's network.
//!
//! Rules, for whoever changes this:
//! 1. Appending never blocks and never fails; after the end it does nothing.
//! 2. One thread at a time is the flusher; bytes leave in the order appended.
//! 3. No lock is held while a system call runs. Under TLS, bytes are sealed by
//!    the flusher, outside the queue's lock and in the order in which they leave.
//! 4. The queue is bounded by its users: pushes ask [`has_room`](SendQueue::has_room),
//!    the connection's own thread [`wait_for_room`](SendQueue::wait_for_room)s, and
//!    answers from elsewhere are bounded by what is undecided.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::protocol::reply::{Answer, Event, News, Notice};
use crate::protocol::request::Sender;
use crate::protocol::{console, json};
use crate::store::Message;
use crate::sync;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::transport::channel::Channel;
use crate::transport::socket::{Socket, Written};

/// Past so many bytes a session is behind instead of being pushed to.
const PUSH_ROOM: usize = 256 * 1024;

/// Past so many bytes the connection's own requests are not read.
const REPLY_ROOM: usize = 1024 * 1024;

/// A peer that takes nothing for so long is dropped.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Memory a busy outbox keeps for its next batch, in bytes.
const BUSY_SPACE: usize = 64 * 1024;

/// `send`s of one connection without an answer; past it, it is not read.
const MAX_UNDECIDED: usize = 4096;

/// Stack of the thread that writes to a slow peer.
const DRAIN_STACK: usize = 64 * 1024;

/// In which spelling a connection is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireFormat {
    /// JSON lines.
    Json,
    /// The console.
    Console,
}

/// See the module.
pub(crate) struct SendQueue {
    channel: Channel,
    /// Guards the queue and who flushes. The innermost lock: while it is held
    /// nothing else is locked, and no system call is made but a wait on it.
    state: Mutex<QueueState>,
    /// The queue shrank, an answer left, or the end came.
    progressed: Condvar,
    undecided: AtomicUsize,
    /// The connection's thread waits until every answer is decided and has left.
    finishing: AtomicBool,
    /// The queue's length, for a look without the lock.
    queued: AtomicUsize,
}

struct QueueState {
    queue: Vec<u8>,
    wire_format: WireFormat,
    /// Somebody writes at the moment, and will look at the queue again.
    flushing: bool,
    /// Bytes in the flusher's hands.
    in_flight: usize,
    ended: bool,
    /// A push was told that there is no room, and waits for `on_drained`.
    starved: bool,
    /// Somebody runs `on_drained`, and will look at `starved` again.
    resuming: bool,
    on_drained: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl SendQueue {
    /// An empty outbox over a socket.
    pub(crate) fn new(socket: Socket) -> Self {
        SendQueue {
            channel: Channel::new(socket),
            state: Mutex::new(QueueState {
                queue: Vec::new(),
                wire_format: WireFormat::Json,
                flushing: false,
                in_flight: 0,
                ended: false,
                starved: false,
                resuming: false,
                on_drained: None,
            }),
            progressed: Condvar::new(),
            undecided: AtomicUsize::new(0),
            finishing: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
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

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Appending leaves whole lines or is cut back, so a panic elsewhere in
        // the holder's thread does not leave half of one.
        self.state.lock()
    }

    /// Chooses the spelling, once the first byte told it.
    pub(crate) fn set_wire_format(&self, wire_format: WireFormat) {
        self.lock().wire_format = wire_format;
    }

    /// What to do whenever all that waited has left, if [`has_room`](Self::has_room)
    /// was denied before.
    pub(crate) fn set_on_drained(&self, hook: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.lock().on_drained = hook;
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>, WireFormat)) {
        let mut state = self.lock();
        if !state.ended {
            let wire_format = state.wire_format;
            write(&mut state.queue, wire_format);
            self.queued.store(state.queue.len(), Ordering::Relaxed);
        }
    }

    /// Appends the answer to a request.
    pub(crate) fn answer(&self, id: Option<u64>, answer: &Answer) {
        self.append(|queue, wire_format| match wire_format {
            WireFormat::Json => json::write_answer(queue, id, answer),
            WireFormat::Console => console::write_answer(queue, answer),
        });
    }

    /// Appends news.
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
                    let incoming = crate::protocol::reply::Incoming {
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

    /// Whether another message may be pushed. If not, the hook runs once it may.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.lock();
        let room = state.ended || state.queue.len() + state.in_flight < PUSH_ROOM;
        state.starved |= !room;
        room
    }

    /// Counts a request whose answer comes later.
    pub(crate) fn expect_answer(&self) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends such an answer.
    pub(crate) fn late_answer(&self, id: Option<u64>, answer: &Answer) {
        self.answer(id, answer);
        let before = self.undecided.fetch_sub(1, Ordering::SeqCst);
        if before == MAX_UNDECIDED || self.finishing.load(Ordering::SeqCst) {
            // The reader waits with the lock released: take it, so that the
            // notice can't fall between its look and its wait.
            drop(self.lock());
            self.progressed.notify_all();
        }
    }

    /// Whether so much is undecided or unwritten that the reader should pause:
    /// two bytes can ask for a page of help.
    pub(crate) fn is_saturated(&self) -> bool {
        self.undecided.load(Ordering::Relaxed) >= MAX_UNDECIDED
            || self.queued.load(Ordering::Relaxed) >= REPLY_ROOM
    }

    /// Waits until the connection may be read again, or until `deadline`: for the
    /// thread that reads it, holding no lock. `false` when the connection has ended.
    pub(crate) fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        let saturated = |state: &QueueState| {
            state.queue.len() + state.in_flight >= REPLY_ROOM
                || self.undecided.load(Ordering::Relaxed) >= MAX_UNDECIDED
        };
        !self.wait_while(deadline, saturated).ended
    }

    /// Waits while the connection lives and `condition` holds, until `deadline`.
    fn wait_while(
        &self,
        deadline: Option<Instant>,
        condition: impl Fn(&QueueState) -> bool,
    ) -> MutexGuard<'_, QueueState> {
        let mut state = self.lock();
        while !state.ended && condition(&state) {
            let Some(deadline) = deadline else {
                state = self.progressed.wait(state);
                continue;
            };
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            state = self.progressed.wait_timeout(state, left);
        }
        state
    }

    /// Whether the connection was ended, or has broken while writing.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Waits until every request has its answer and all that waits has left, or
    /// `limit` is over: for the connection's thread, holding no lock.
    pub(crate) fn wait_until_answered(self: &Arc<Self>, limit: Duration) {
        self.flush();
        self.finishing.store(true, Ordering::SeqCst);
        let unanswered = |state: &QueueState| {
            self.undecided.load(Ordering::SeqCst) > 0 || state.flushing || !state.queue.is_empty()
        };
        drop(self.wait_while(Some(clock::now() + limit), unanswered));
        self.finishing.store(false, Ordering::SeqCst);
    }

    /// Writes what waits, as far as the kernel takes it at once; a thread writes
    /// the rest. Returns at once if somebody else is writing: they look again.
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
                return self.end();
            };
            let mut written = 0;
            while written < sealed.len() {
                match self.socket().try_write(&sealed[written..]) {
                    Ok(Written::Some(count)) => written += count,
                    Ok(Written::Full) => return self.drain_later(sealed, written),
                    Err(_) => return self.end(),
                }
            }
            match self.next_batch(sealed) {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    fn begin_flush(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let nothing = state.queue.is_empty() && !self.channel.has_pending();
        if state.flushing || state.ended || nothing {
            return None;
        }
        state.flushing = true;
        let batch = std::mem::take(&mut state.queue);
        self.queued.store(0, Ordering::Relaxed);
        state.in_flight = batch.len();
        Some(batch)
    }

    /// Swaps a written batch for the next one; `None` when there is none, and
    /// the caller is no longer the flusher.
    fn next_batch(&self, mut done: Vec<u8>) -> Option<Vec<u8>> {
        done.clear();
        let mut state = self.lock();
        if state.in_flight + state.queue.len() >= REPLY_ROOM
            || self.finishing.load(Ordering::SeqCst)
        {
            self.progressed.notify_all();
        }
        state.in_flight = 0;
        if state.ended {
            state.flushing = false;
            return None;
        }
        if done.capacity() > BUSY_SPACE {
            done = Vec::new();
        }
        let batch = std::mem::replace(&mut state.queue, done);
        self.queued.store(0, Ordering::Relaxed);
        if batch.is_empty() && !self.channel.has_pending() {
            // Of two empty buffers, keep the one that has grown already.
            if batch.capacity() > state.queue.capacity() {
                state.queue = batch;
            }
            state.flushing = false;
            return None;
        }
        state.in_flight = batch.len();
        Some(batch)
    }

    /// Gives the memory of a burst back. Call it when nothing has come for a while.
    pub(crate) fn shrink(&self) {
        let mut state = self.lock();
        if state.queue.is_empty() {
            state.queue = Vec::new();
        }
    }

    fn drain_later(self: &Arc<Self>, sealed: Vec<u8>, written: usize) {
        let send_queue = Arc::clone(self);
        let spawned = sync::spawn("drain", Some(DRAIN_STACK), move || {
            send_queue.drain(sealed, written)
        });
        if spawned.is_err() {
            self.end(); // No thread to be had: the slow peer goes first.
        }
    }

    /// Writes to a slow peer until nothing waits, or it stalls for too long.
    fn drain(&self, mut sealed: Vec<u8>, mut written: usize) {
        let mut progress = clock::now();
        loop {
            while written < sealed.len() {
                match self.socket().try_write(&sealed[written..]) {
                    Ok(Written::Some(count)) => {
                        written += count;
                        progress = clock::now();
                    }
                    Ok(Written::Full) => {
                        let left = STALL_LIMIT.saturating_sub(progress.elapsed());
                        if !self.socket().wait_writable(left).unwrap_or(false) {
                            return self.end();
                        }
                    }
                    Err(_) => return self.end(),
                }
            }
            written = 0;
            let Some(batch) = self.next_batch(sealed) else {
                break;
            };
            match self.channel.seal(batch) {
                Ok(next) => sealed = next,
                Err(_) => return self.end(),
            }
        }
        self.resume();
    }

    /// Lets pushes that found no room go on, now that all has left. The hook
    /// flushes in its turn: that one leaves further pushes to this loop, so that
    /// no stack grows with the backlog.
    fn resume(&self) {
        let mut state = self.lock();
        if state.resuming {
            return;
        }
        while state.starved && !state.flushing && state.queue.is_empty() {
            let Some(hook) = state.on_drained.clone() else {
                return;
            };
            state.starved = false;
            state.resuming = true;
            drop(state);
            hook();
            state = self.lock();
            state.resuming = false;
        }
    }

    /// Ends the connection now, dropping what waits; the reader sees the end.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.flushing = false;
        state.in_flight = 0;
        state.queue = Vec::new();
        state.on_drained = None;
        drop(state);
        self.progressed.notify_all();
        self.socket().close();
    }

    /// Ends the connection once every request has its answer and all that waits
    /// has left, or after `limit`.
    pub(crate) fn finish(self: &Arc<Self>, limit: Duration) {
        self.wait_until_answered(limit);
        // Nothing may be sealed behind this, so it comes last.
        self.channel.close_notify();
        self.flush();
        self.socket().close_writing();
        self.end();
    }
}

fn notice(message: &Message) -> Notice {
    let news = match &message.body {
        crate::protocol::Body::Plain(text) => serde_json::from_str(text).unwrap_or(News::Unknown),
        crate::protocol::Body::Envelope(_) => News::Unknown,
    };
    Notice {
        mid: message.mid,
        at: message.at,
        news,
    }
}

/// The outboxes written to in one turn, to be flushed once at its end.
#[derive(Default)]
pub(crate) struct FlushSet(Vec<Arc<SendQueue>>);

impl FlushSet {
    /// Remembers an outbox.
    pub(crate) fn add(&mut self, send_queue: &Arc<SendQueue>) {
        // Usually the same as before; a repeated flush is cheap, but not free.
        if !self
            .0
            .iter()
            .rev()
            .take(4)
            .any(|known| Arc::ptr_eq(known, send_queue))
        {
            self.0.push(Arc::clone(send_queue));
        }
    }

    /// Flushes them all. Hold no lock.
    pub(crate) fn flush(&mut self) {
        for send_queue in self.0.drain(..) {
            send_queue.flush();
        }
    }
}

#[cfg(test)]
mod tests;
