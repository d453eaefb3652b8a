//! The registry of open connections: how many there are, in all and of each address, and
//! which send queues a shutdown has to reach. It accepts nothing and runs no thread:
//! [`accept`](super::accept) registers a connection, and the thread that runs it keeps the
//! [`RegistrationGuard`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::send_queue::SendQueue;
use crate::clock;
use crate::protocol::reply::Event;
use crate::server::limits::connections::{ConnectionsPerAddress, TooMany};
use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::log::ConnectionId;
use crate::sync::{Condvar, Mutex};

/// All open connections.
#[derive(Default)]
pub(crate) struct Connections {
    /// The send queue of each. Held for single operations on the map, alone.
    open: Mutex<HashMap<ConnectionId, Arc<SendQueue>>>,
    /// How many each address has. Held for single operations, alone.
    per_address: Mutex<ConnectionsPerAddress>,
    /// Notified when a connection was removed from `open`.
    closed: Condvar,
}

impl Connections {
    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Registers a connection until the guard is dropped. `from` is the address to count
    /// it for, if it is counted, and `most` what one address may have; zero is no limit.
    ///
    /// # Errors
    /// The address has `most` connections already.
    pub(crate) fn register(
        self: &Arc<Self>,
        id: ConnectionId,
        send_queue: &Arc<SendQueue>,
        from: Option<IpPrefix>,
        most: usize,
    ) -> Result<RegistrationGuard, TooMany> {
        if let Some(from) = from {
            self.per_address.lock().enter(from, most)?;
        }
        self.open.lock().insert(id, Arc::clone(send_queue));
        Ok(RegistrationGuard {
            connections: Arc::clone(self),
            id,
            from,
        })
    }

    /// Tells every client that the server shuts down, stops reading from them, and waits
    /// until they are gone, for at most `limit`. Those that are left then are cut off.
    pub(crate) fn shut_down(&self, limit: Duration) {
        for send_queue in self.send_queues() {
            send_queue.event(&Event::ShuttingDown {});
            send_queue.flush();
            send_queue.socket().close_reading();
        }
        let deadline = clock::now() + limit;
        let mut open = self.open.lock();
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            open = self.closed.wait_timeout(open, left);
        }
        drop(open);
        for send_queue in self.send_queues() {
            send_queue.end();
        }
    }

    fn send_queues(&self) -> Vec<Arc<SendQueue>> {
        self.open.lock().values().cloned().collect()
    }
}

/// A connection's place in the registry. Dropping it gives the place back, so that a thread
/// that panics gives it back as well.
pub(crate) struct RegistrationGuard {
    connections: Arc<Connections>,
    id: ConnectionId,
    /// The address that it is counted for.
    from: Option<IpPrefix>,
}

impl RegistrationGuard {
    /// Which connection it registers.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        if let Some(from) = self.from {
            self.connections.per_address.lock().leave(from);
        }
        self.connections.open.lock().remove(&self.id);
        self.connections.closed.notify_all();
    }
}
