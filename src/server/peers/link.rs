//! A link: the connection over which this server asks another one, and the requests that have no answer.
//!
//! However a link ends, each of its requests hears of it once, and none is asked again.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::connection::{NotSent, PeerConnection, Received, TICK};
use super::frames::FrameBuffer;
use super::handshake::Known;
use super::message::{Call, Called, Forward, Forwarded, OnForwarded, Told, Unreachable};
use super::wire;
use super::wire::{MAX_REPLY, Response};
use crate::server::log;
use crate::server::log::Level;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::stats::Stats;
use crate::store::lease::Lease;
use crate::sync;
use crate::sync::{Mutex, SyncSender, sync_channel};
use crate::transport::buffer::ReadBuffer;

/// How long a message waits for room on the link.
const FULL: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 5000 });

/// For how many ticks an end that owes answers may be silent. Ticks of this server's own, so that nobody is
/// silent because this one stood still.
const SILENCE: u32 = 10;

/// The stack of the threads that read and write, in bytes.
const STACK: usize = 256 * 1024;

/// A request without an answer.
enum Request {
    Forward(OnForwarded),
    Call(SyncSender<Called>),
}

/// The requests of a link.
#[derive(Default)]
struct Requests {
    by_id: HashMap<u64, Request, RandomState>,
    last: u64,
    broken: bool,
}

/// A link to another server.
pub(crate) struct Link {
    /// The other server, for the log.
    node: String,
    connection: Arc<PeerConnection>,
    /// The requests without an answer. It may be locked under the connection's own lock, and nothing is
    /// locked under it.
    requests: Mutex<Requests>,
    stats: Arc<Stats>,
}

impl Link {
    /// Begins a link over a connection whose peer is known.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn begin(
        node: String,
        (channel, raw): Known,
        lease: Lease,
        stats: Arc<Stats>,
    ) -> io::Result<Arc<Self>> {
        channel.socket().set_read_timeout(Some(TICK))?;
        let link = Arc::new(Link {
            node,
            connection: Arc::new(PeerConnection::new(channel, false, lease)),
            requests: Mutex::default(),
            stats,
        });
        let connection = Arc::clone(&link.connection);
        sync::spawn("peer-out", Some(STACK), move || connection.write_out())?;
        let reading = Arc::clone(&link);
        sync::spawn("peer-answers", Some(STACK), move || reading.run(raw))
            .inspect_err(|_| link.connection.close())?;
        link.stats.peers.links.add(1);
        log::info(None, format_args!("linked to {}", link.node));
        Ok(link)
    }

    /// Whether it takes nothing more.
    pub(super) fn is_broken(&self) -> bool {
        self.connection.is_closed()
    }

    /// Passes a message to the server that holds its recipient's mailbox. `done` gets what became of it,
    /// once. Messages from one thread arrive in order. It may take seconds while the link is full.
    ///
    /// # Errors
    /// The link is broken, or has had no room for too long. `done` comes back, and was not called.
    pub(crate) fn forward(&self, forward: &Forward, done: OnForwarded) -> Result<(), OnForwarded> {
        let mut done = Some(done);
        let sent = self.connection.request(FULL, |queue| {
            let request = || done.take().map(Request::Forward);
            if let Some(id) = self.add(request) {
                wire::write_forward(queue, id, forward);
            }
        });
        if sent == Err(NotSent::Full) {
            log::warn(None, format_args!("the link to {} is full", self.node));
        }
        match done {
            None => {
                self.stats.peers.forwarded.add(1);
                Ok(())
            }
            Some(done) => Err(done),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The link is broken or full, or the answer did not come within `patience`.
    pub(super) fn call(&self, call: &Call, patience: Duration) -> Result<Called, Unreachable> {
        let (sender, receiver) = sync_channel(1);
        let asked = self.connection.request(patience.min(FULL), |queue| {
            let id = self.add(|| Some(Request::Call(sender)))?;
            wire::write_call(queue, id, call);
            Some(id)
        });
        let Ok(Some(id)) = asked else {
            return Err(Unreachable);
        };
        self.stats.peers.calls.add(1);
        // A link that breaks drops the other end of the channel.
        let called = receiver.recv_timeout(patience);
        if called.is_err() && self.take(id).is_some() {
            self.connection.answered(1);
        }
        called.map_err(|_| Unreachable)
    }

    /// Tells a session there of an event, if there is room.
    pub(super) fn event(&self, told: &Told) {
        self.connection
            .offer(|queue| wire::write_event(queue, told));
    }

    /// Appends whole frames of events, if there is room.
    pub(super) fn events(&self, frames: &[u8]) {
        self.connection
            .offer(|queue| queue.extend_from_slice(frames));
    }

    /// Ends it once what waits has left.
    pub(super) fn finish(&self, limit: Duration) {
        self.connection.finish(limit);
    }

    /// Ends it at once, as when the run of the other server has ended.
    pub(super) fn break_off(&self, why: &str) {
        self.connection.close();
        let mut requests = self.requests.lock();
        let known = std::mem::replace(&mut requests.broken, true);
        let lost = std::mem::take(&mut requests.by_id);
        drop(requests);
        if !known {
            self.stats.peers.broken.add(1);
            self.log_end(why, lost.len());
        }
        let mut to_flush = FlushSet::default();
        // A call's sender hears of it because its channel is dropped.
        for request in lost.into_values() {
            if let Request::Forward(done) = request {
                self.stats.peers.lost.add(1);
                done(Forwarded::Lost, &mut to_flush);
            }
        }
        to_flush.flush();
    }

    fn log_end(&self, why: &str, lost: usize) {
        let level = if lost == 0 { Level::Info } else { Level::Warn };
        let node = &self.node;
        let fields: [log::Field<'_>; 3] = [("node", node), ("reason", &why), ("lost", &lost)];
        let text = format_args!("the link to {node} has ended: {why}; requests under way: {lost}");
        log::event(level, "link_ended", None, &fields, text);
    }

    /// Notes a request, unless the link is broken, and returns its id.
    fn add(&self, request: impl FnOnce() -> Option<Request>) -> Option<u64> {
        let mut requests = self.requests.lock();
        if requests.broken {
            return None;
        }
        let request = request()?;
        requests.last += 1;
        let id = requests.last;
        requests.by_id.insert(id, request);
        Some(id)
    }

    fn take(&self, id: u64) -> Option<Request> {
        self.requests.lock().by_id.remove(&id)
    }

    /// Takes the answers that come, until the end: the body of the thread that reads.
    fn run(&self, raw: ReadBuffer) {
        let mut end = End(self, "the thread that reads it has panicked".to_owned());
        end.1 = self.read(raw);
    }

    fn read(&self, mut raw: ReadBuffer) -> String {
        let mut frames = FrameBuffer::new(MAX_REPLY);
        let mut silence = 0;
        loop {
            match self.connection.read(&mut raw, &mut frames) {
                Ok(Received::Bytes) => {
                    silence = 0;
                    if let Err(why) = self.handle(&mut frames) {
                        return why;
                    }
                }
                Ok(Received::Nothing) => {
                    // It can't answer what this server may not write.
                    let owes = self.connection.in_flight() > 0 && self.connection.may_write();
                    silence = if owes { silence + 1 } else { 0 };
                    if silence >= SILENCE {
                        return format!("it said nothing for {:?}", TICK * SILENCE);
                    }
                }
                Ok(Received::End) => return "the connection was closed".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Takes all whole frames that have come.
    fn handle(&self, frames: &mut FrameBuffer) -> Result<(), String> {
        let mut answers = Vec::new();
        let parsed = self.parse(frames, &mut answers);
        let mut ready = Vec::with_capacity(answers.len());
        let mut requests = self.requests.lock();
        let mut unknown = None;
        for (id, forwarded) in answers {
            match requests.by_id.remove(&id) {
                Some(Request::Forward(done)) => ready.push((done, forwarded)),
                Some(Request::Call(_)) | None => unknown = Some(id),
            }
        }
        drop(requests);
        self.connection.answered(ready.len());
        self.stats.peers.answered.add(ready.len() as u64);
        let mut to_flush = FlushSet::default();
        for (done, forwarded) in ready {
            done(forwarded, &mut to_flush);
        }
        to_flush.flush();
        match unknown {
            Some(id) => Err(format!("it answered message {id}, which has no question")),
            None => parsed,
        }
    }

    fn parse(
        &self,
        frames: &mut FrameBuffer,
        answers: &mut Vec<(u64, Forwarded)>,
    ) -> Result<(), String> {
        while let Some(frame) = frames
            .next()
            .map_err(|_| "a frame is too long".to_owned())?
        {
            match wire::read_response(frame).map_err(|error| error.to_string())? {
                Response::Answer(id, forwarded) => answers.push((id, forwarded)),
                Response::Called(id, called) => {
                    // Whoever asked may have lost patience.
                    if let Some(Request::Call(asker)) = self.take(id) {
                        self.connection.answered(1);
                        let _gone = asker.send(called);
                    }
                }
                Response::Beat => {}
            }
        }
        Ok(())
    }
}

/// Breaks a link off however the thread that reads it ends.
struct End<'a>(&'a Link, String);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.break_off(&self.1);
    }
}
