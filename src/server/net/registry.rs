//! The registry of open connections: how many there are, in all and of each address, and
//! which send queues a shutdown has to reach. It accepts nothing and runs no thread:
//! [`accept`](super::accept) registers a connection, and the thread that runs it keeps the
//! [`RegistrationGuard`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::send_queue::SendQueue;
use crate::clock;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::Event;
use crate::server::limits::connections::{ConnectionsPerAddress, TooMany};
use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::log::ConnectionId;
use crate::server::stats::Ending;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Condvar, Mutex};

/// Whether somebody has logged in on a connection. Guests make room for others.
#[derive(Debug, Default)]
pub(crate) struct Standing(AtomicU8);

impl Standing {
    const GUEST: u8 = 0;
    const MEMBER: u8 = 1;
    const DISPLACED: u8 = 2;

    /// Somebody has logged in, or out. A guest who was displaced before stays so.
    pub(crate) fn set_member(&self, member: bool) {
        let (from, to) = match member {
            true => (Self::GUEST, Self::MEMBER),
            false => (Self::MEMBER, Self::GUEST),
        };
        self.change(from, to);
    }

    /// Whether the connection has to make room for another one.
    pub(crate) fn is_displaced(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DISPLACED
    }

    fn is_member(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::MEMBER
    }

    fn is_guest(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::GUEST
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(from, to, success, failure).is_ok()
    }
}

/// An open connection.
struct Open {
    send_queue: Arc<SendQueue>,
    standing: Arc<Standing>,
    since: Instant,
    /// Its client's address: that of the other end, unless a proxy has named another.
    peer: SocketAddr,
    /// The address that it is counted for.
    from: Option<IpPrefix>,
}

/// All open connections.
#[derive(Default)]
pub(crate) struct Connections {
    /// Each of them, in the order in which they came. Held for single operations on the map, alone.
    open: Mutex<BTreeMap<ConnectionId, Open>>,
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
        peer: SocketAddr,
        from: Option<IpPrefix>,
        most: usize,
    ) -> Result<RegistrationGuard, TooMany> {
        if let Some(from) = from {
            self.per_address.lock().enter(from, most)?;
        }
        let standing = Arc::new(Standing::default());
        let open = Open {
            send_queue: Arc::clone(send_queue),
            standing: Arc::clone(&standing),
            since: clock::now(),
            peer,
            from,
        };
        self.open.lock().insert(id, open);
        Ok(RegistrationGuard {
            connections: Arc::clone(self),
            id,
            standing,
        })
    }

    /// Says whose connection it is that a proxy has made; it was not counted for an address before.
    ///
    /// # Errors
    /// The client's address has `most` connections already.
    pub(crate) fn identify(
        &self,
        id: ConnectionId,
        peer: SocketAddr,
        from: Option<IpPrefix>,
        most: usize,
    ) -> Result<(), TooMany> {
        if let Some(from) = from {
            self.per_address.lock().enter(from, most)?;
        }
        if let Some(open) = self.open.lock().get_mut(&id) {
            (open.peer, open.from) = (peer, from);
        }
        Ok(())
    }

    /// The client's address of each connection, by its send queue's place in memory.
    pub(crate) fn peers(&self) -> HashMap<*const SendQueue, SocketAddr> {
        let open = self.open.lock();
        open.values()
            .map(|open| (Arc::as_ptr(&open.send_queue), open.peer))
            .collect()
    }

    /// Ends the guest who came first, if one came at least `grace` ago. Its connection's own
    /// thread tells it and ends; `false` if there is no such guest.
    pub(crate) fn displace_guest(&self, grace: Duration) -> bool {
        let now = clock::now();
        let open = self.open.lock();
        let mut guests = open.values().filter(|open| {
            open.standing.is_guest() && now.saturating_duration_since(open.since) >= grace
        });
        let Some(first) = guests.next() else {
            return false;
        };
        let displaced = first.standing.change(Standing::GUEST, Standing::DISPLACED);
        let send_queue = Arc::clone(&first.send_queue);
        drop(open);
        if displaced {
            send_queue.socket().close_reading();
        }
        displaced
    }

    /// Ends the connections from a network, telling each why. Returns how many that were.
    pub(crate) fn end_from(&self, network: IpPrefix, why: &Refusal) -> usize {
        let open = self.open.lock();
        let banned = open
            .values()
            .filter(|open| network.contains(open.peer.ip()));
        let banned: Vec<_> = banned.map(|open| Arc::clone(&open.send_queue)).collect();
        drop(open);
        for send_queue in &banned {
            send_queue.answer(None, &Err(why.clone()));
            send_queue.flush();
            send_queue.stop_reading_for(Ending::Operator);
        }
        banned.len()
    }

    /// Tells every client that the server shuts down, stops reading from them, and waits
    /// until they are gone, for at most `limit`. Those that are left then are cut off.
    pub(crate) fn shut_down(&self, limit: Duration) {
        for send_queue in self.send_queues() {
            send_queue.event(&Event::ShuttingDown {});
            send_queue.flush();
            send_queue.stop_reading_for(Ending::ShuttingDown);
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
        self.end_all(Ending::ShuttingDown);
    }

    /// Ends all connections of a server that has no lease, and may not say so. Returns how many that were.
    pub(crate) fn end_without_lease(&self) -> usize {
        self.end_all(Ending::NoLease)
    }

    fn end_all(&self, why: Ending) -> usize {
        let all = self.send_queues();
        for send_queue in &all {
            send_queue.end_for(why);
        }
        all.len()
    }

    fn send_queues(&self) -> Vec<Arc<SendQueue>> {
        let open = self.open.lock();
        open.values()
            .map(|open| Arc::clone(&open.send_queue))
            .collect()
    }
}

/// A connection's place in the registry. Dropping it gives the place back, so that a thread
/// that panics gives it back as well.
pub(crate) struct RegistrationGuard {
    connections: Arc<Connections>,
    id: ConnectionId,
    standing: Arc<Standing>,
}

impl RegistrationGuard {
    /// Which connection it registers.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The registry.
    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Whether somebody has logged in on it.
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Ends a guest if somebody has logged in on this connection, which lacks what guests hold.
    pub(crate) fn claim_room(&self) {
        if self.standing.is_member() {
            self.connections.displace_guest(Duration::ZERO);
        }
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        let open = self.connections.open.lock().remove(&self.id);
        if let Some(from) = open.and_then(|open| open.from) {
            self.connections.per_address.lock().leave(from);
        }
        self.connections.closed.notify_all();
    }
}
