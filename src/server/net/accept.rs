//! Accepting connections, under any pressure, and a thread for each.

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::send_queue::{SendQueue, WireFormat};
use super::worker::Worker;
use crate::clock;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::Event;
use crate::server::limits::connections::ConnectionsPerAddress;
use crate::server::limits::ip_prefix::IpPrefix;
use crate::server::log;
use crate::server::log::ConnectionId;
use crate::server::shared::Shared;
use crate::sync;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::transport::socket;
use crate::transport::socket::{AcceptError, Socket};

/// How often the listener looks whether it should stop.
const LOOK: Duration = Duration::from_millis(200);

/// Pauses after an accept that failed for lack of something, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All open connections.
#[derive(Default)]
pub(crate) struct Connections {
    /// Held for single operations on the map.
    open: Mutex<HashMap<u64, Arc<SendQueue>>>,
    /// How many each address has. Held for single operations, alone.
    per_address: Mutex<ConnectionsPerAddress>,
    closed: Condvar,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<SendQueue>>> {
        self.open.lock()
    }

    fn per_address(&self) -> MutexGuard<'_, ConnectionsPerAddress> {
        self.per_address.lock()
    }

    /// Tells every client that the server goes down, stops reading from them,
    /// and waits until they are gone, at most `limit`.
    pub(crate) fn say_goodbye(&self, limit: Duration) {
        let outboxes: Vec<_> = self.lock().values().cloned().collect();
        for send_queue in &outboxes {
            send_queue.event(&Event::ShuttingDown {});
            send_queue.flush();
            send_queue.socket().close_reading();
        }
        let deadline = clock::now() + limit;
        let mut open = self.lock();
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            open = self.closed.wait_timeout(open, left);
        }
        let stuck: Vec<_> = open.values().cloned().collect();
        drop(open);
        for send_queue in stuck {
            send_queue.end();
        }
    }
}

/// Takes a connection out of the table when its thread ends, however it ends.
pub(crate) struct RegistrationGuard {
    connections: Arc<Connections>,
    /// Which connection.
    pub id: u64,
    /// As which address it is counted.
    from: Option<IpPrefix>,
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        if let Some(from) = self.from {
            self.connections.per_address().leave(from);
        }
        self.connections.lock().remove(&self.id);
        self.connections.closed.notify_all();
    }
}

/// The accept loop.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    listener: TcpListener,
    /// Given up for a moment when descriptors run out, so that a waiting
    /// connection can be accepted and closed instead of spinning on it.
    spare: Option<File>,
    next_id: u64,
    pause: Duration,
    /// That there are too many connections was logged.
    full: bool,
}

impl Listener {
    /// A listener on an open socket.
    pub(crate) fn new(
        shared: Arc<Shared>,
        connections: Arc<Connections>,
        listener: TcpListener,
    ) -> Self {
        Listener {
            shared,
            connections,
            listener,
            spare: spare_descriptor(),
            next_id: 1,
            pause: FIRST_PAUSE,
            full: false,
        }
    }

    /// Accepts until told to stop.
    pub(crate) fn run(mut self, stopping: &AtomicBool) {
        while !stopping.load(Ordering::Acquire) {
            match socket::wait_for_connection(&self.listener, LOOK) {
                Ok(true) => self.accept(),
                Ok(false) => {}
                Err(error) => {
                    log::error(None, format_args!("the listener failed to wait: {error}"));
                    sync::sleep(LONGEST_PAUSE);
                }
            }
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, peer)) => {
                if self.pause != FIRST_PAUSE {
                    log::info(None, format_args!("connections are accepted again"));
                    self.pause = FIRST_PAUSE;
                }
                self.welcome(stream, peer);
            }
            Err(error) => match socket::judge_accept_error(&error) {
                AcceptError::Harmless => {}
                AcceptError::Exhausted => self.out_of(&error),
            },
        }
    }

    /// WaitingLine one waiting connection away with the spare descriptor, then pauses.
    fn out_of(&mut self, error: &std::io::Error) {
        if self.pause == FIRST_PAUSE {
            log::error(
                None,
                format_args!("connections can't be accepted for now: {error}"),
            );
        }
        if self.spare.take().is_some() {
            drop(self.listener.accept());
        }
        sync::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.spare = spare_descriptor();
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr) {
        let from = self.shared.limits.network(peer.ip());
        let admitted = self.admit(from);
        // Accepted sockets inherit nothing here but on some systems.
        let socket = match stream
            .set_nonblocking(false)
            .and_then(|()| Socket::new(stream))
        {
            Ok(socket) => socket,
            Err(_) => return, // Gone already.
        };
        let send_queue = Arc::new(SendQueue::new(socket));
        let guard = match admitted {
            Ok(guard) => guard,
            Err(refusal) => return turn_away(&send_queue, &refusal),
        };
        self.shared.stats.connections.add(1);
        let id = guard.id;
        self.connections.lock().insert(id, Arc::clone(&send_queue));
        let shared = Arc::clone(&self.shared);
        let connection = Connection::new(shared, ConnectionId(id), peer, Arc::clone(&send_queue));
        // What comes back is dropped after its peer was told.
        if let Err((error, _visit)) = Worker::new(connection, guard).start() {
            log::error(None, format_args!("no thread for a connection: {error}"));
            let full = Refusal::new(
                Code::ServerFull,
                "the server has no thread for you; try again later",
            );
            turn_away(&send_queue, &full);
            sync::sleep(FIRST_PAUSE);
        }
    }

    /// Counts a newcomer, whose end is noticed from here on, whichever it is; or
    /// says why there may be none.
    fn admit(&mut self, from: Option<IpPrefix>) -> Result<RegistrationGuard, Refusal> {
        if self.is_full() {
            self.shared.stats.refused.add(1);
            return Err(Refusal::new(
                Code::ServerFull,
                "the server has as many connections as it takes; try again later",
            ));
        }
        if let Some(refusal) = self.crowded(from) {
            return Err(refusal);
        }
        let id = self.next_id;
        self.next_id += 1;
        Ok(RegistrationGuard {
            connections: Arc::clone(&self.connections),
            id,
            from,
        })
    }

    /// Whether there are as many connections as may be.
    fn is_full(&mut self) -> bool {
        let connections = self.connections.lock().len();
        let most = self.shared.config.max_clients;
        let full = connections >= most;
        if full && !self.full {
            log::warn(
                None,
                format_args!("there are {most} connections, the most; newcomers are refused"),
            );
        }
        // Once for each time it fills up, not for each newcomer.
        self.full = full || self.full && connections > most / 2;
        full
    }

    /// Counts a connection of this address, or says why there may be none.
    fn crowded(&self, from: Option<IpPrefix>) -> Option<Refusal> {
        let from = from?;
        let most = self.shared.limits.settings().clients_per_address;
        let too_many = self.connections.per_address().enter(from, most).err()?;
        self.shared.stats.refused.add(1);
        if too_many.first {
            log::warn(
                None,
                format_args!("{from} has {most} connections, the most for one; more are refused"),
            );
        }
        Some(Refusal::new(
            Code::ServerFull,
            format!(
                "your address has as many connections as one may have, {most}; close one first"
            ),
        ))
    }
}

/// One sentence a person can read and a program can find a code in; never waits.
fn turn_away(send_queue: &Arc<SendQueue>, refusal: &Refusal) {
    send_queue.set_wire_format(WireFormat::Console);
    send_queue.answer(None, &Err(refusal.clone()));
    send_queue.flush();
    send_queue.end();
}

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
