//! The connections over which other servers ask this one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::connection::{PeerConnection, Received, TICK};
use super::frames::FrameBuffer;
use super::host::Host;
use super::message::{Call, Called, Forwarded};
use super::reply::{PeerReply, Returned};
use super::wire;
use super::wire::{MAX_REQUEST, Request};
use crate::server::delivery::resend::Resends;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::stats::Stats;
use crate::store::UserId;
use crate::store::lease::Lease;
use crate::sync;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::transport::buffer::ReadBuffer;
use crate::transport::channel::Channel;

/// How many calls are under way at once, of all servers together.
const MAX_CALLS: usize = if cfg!(test) { 4 } else { 64 };

/// The stack of the thread that writes, in bytes.
const STACK: usize = 128 * 1024;

/// The stack of a call's thread, in bytes.
const CALL_STACK: usize = 256 * 1024;

/// Of how many senders it is remembered what they send again. Past that, it is read again.
const MAX_SENDERS: usize = 256;

/// What the connections of all other servers share.
pub(super) struct Served {
    pub host: Arc<dyn Host>,
    /// Calls under way.
    pub calls: Arc<AtomicUsize>,
    pub stats: Arc<Stats>,
}

/// A connection of another server.
pub(super) struct Serving {
    connection: Arc<PeerConnection>,
    served: Arc<Served>,
    /// What is known of the messages that each sender sends again.
    again: HashMap<UserId, Resends>,
    returned: Arc<Returned>,
}

impl Serving {
    /// Begins to answer a server that is known.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn begin(served: Arc<Served>, channel: Channel, lease: Lease) -> io::Result<Self> {
        channel.socket().set_read_timeout(Some(TICK))?;
        let connection = Arc::new(PeerConnection::new(channel, true, lease));
        let writing = Arc::clone(&connection);
        sync::spawn("peer-replies", Some(STACK), move || {
            writing.write_out();
        })?;
        Ok(Serving {
            connection,
            served,
            again: HashMap::new(),
            returned: Arc::default(),
        })
    }

    /// The connection, to end it.
    pub(super) fn connection(&self) -> &Arc<PeerConnection> {
        &self.connection
    }

    /// Does what is asked, until the end. Returns why it has ended.
    pub(super) fn run(&mut self, mut raw: ReadBuffer) -> String {
        let mut frames = FrameBuffer::new(MAX_REQUEST);
        let why = loop {
            match self.connection.read(&mut raw, &mut frames) {
                Ok(Received::Bytes) => {
                    if let Err(why) = self.handle(&mut frames) {
                        break why;
                    }
                    if !self.connection.wait_for_room() {
                        break "it was closed here".to_owned();
                    }
                }
                Ok(Received::Nothing) => self.again.clear(),
                Ok(Received::End) => break "the connection was closed".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        self.connection.close();
        why
    }

    /// Does what all whole frames that have come ask for.
    fn handle(&mut self, frames: &mut FrameBuffer) -> Result<(), String> {
        let mut to_flush = FlushSet::default();
        let handled = self.handle_frames(frames, &mut to_flush);
        to_flush.flush();
        handled
    }

    fn handle_frames(
        &mut self,
        frames: &mut FrameBuffer,
        to_flush: &mut FlushSet,
    ) -> Result<(), String> {
        while let Some(frame) = frames
            .next()
            .map_err(|_| "a frame is too long".to_owned())?
        {
            match wire::read_request(frame).map_err(|error| error.to_string())? {
                Request::Forward(id, forward) => {
                    self.connection.came(1);
                    self.served.stats.peers.received.add(1);
                    let reply = PeerReply::new(&self.connection, id, &forward, &self.returned);
                    if self.returned.includes(&forward) {
                        reply.answer(Forwarded::NotHere);
                        continue;
                    }
                    let mut first = Resends::default();
                    let again = match forward.send.again {
                        true => remembered(&mut self.again, forward.sender),
                        false => &mut first,
                    };
                    self.served.host.forwarded(forward, again, reply, to_flush);
                }
                Request::Call(id, call) => self.call(id, call),
                Request::Event(told) => self.served.host.event(told.name, told.event, to_flush),
            }
        }
        Ok(())
    }

    /// Has a call carried out on a thread of its own, if there is one.
    fn call(&self, id: u64, call: Call) {
        self.connection.came(1);
        let connection = Arc::clone(&self.connection);
        let answer = move |called: &Called| {
            connection.answer(|queue| wire::write_called(queue, id, called));
        };
        let Some(place) = CallPlace::take(&self.served.calls) else {
            return answer(&Called::Busy);
        };
        let host = Arc::clone(&self.served.host);
        let work = (place, host, call, answer);
        let spawned = sync::spawn_with("peer-call", CALL_STACK, work, |work| {
            let (_place, host, call, answer) = work;
            answer(&host.called(call));
        });
        if let Err((_, (_place, _, _, answer))) = spawned {
            answer(&Called::Busy);
        }
    }
}

/// What is known of the messages that a sender sends again.
fn remembered(all: &mut HashMap<UserId, Resends>, sender: UserId) -> &mut Resends {
    if all.len() >= MAX_SENDERS && !all.contains_key(&sender) {
        all.clear();
    }
    all.entry(sender).or_default()
}

/// A place among the calls under way.
struct CallPlace(Arc<AtomicUsize>);

impl CallPlace {
    fn take(calls: &Arc<AtomicUsize>) -> Option<Self> {
        let before = calls.fetch_add(1, Ordering::AcqRel);
        let place = CallPlace(Arc::clone(calls));
        (before < MAX_CALLS).then_some(place)
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
