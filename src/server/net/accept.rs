//! The accept loop: accepts connections, refuses those past the limits, and starts a worker
//! for each of the others. It goes on when descriptors, memory or threads run out.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::disconnect;
use super::registry::{Connections, RegistrationGuard};
use super::send_queue::{SendQueue, WireFormat};
use super::worker::Worker;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::log;
use crate::server::log::{ConnectionId, Level};
use crate::server::shared::Shared;
use crate::sync;
use crate::transport::socket;
use crate::transport::socket::{AcceptError, Socket};

/// How often the listener checks whether it should stop.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// The pause after an accept that failed for lack of a resource; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How long a guest may stay before newcomers take its place, when places or descriptors run
/// out: time enough to log in.
const GUEST_GRACE: Duration = Duration::from_secs(10);

/// How many connections there may be above the most while displaced guests leave.
const HEADROOM: usize = 8;

/// Where the doubling ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The accept loop.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    /// At least one.
    listeners: Vec<TcpListener>,
    /// Closed for a moment when descriptors run out, so that a waiting connection can be
    /// accepted and closed, instead of waking this loop again and again.
    spare: Option<File>,
    next_id: u64,
    pause: Duration,
    /// The present shortage of places was logged.
    full_was_logged: bool,
}

impl Listener {
    /// A listener on open sockets.
    pub(crate) fn new(
        shared: Arc<Shared>,
        connections: Arc<Connections>,
        listeners: Vec<TcpListener>,
    ) -> Self {
        Listener {
            shared,
            connections,
            listeners,
            spare: spare_descriptor(),
            next_id: 1,
            pause: FIRST_PAUSE,
            full_was_logged: false,
        }
    }

    /// Accepts connections until `stopping` is set.
    pub(crate) fn run(mut self, stopping: &AtomicBool) {
        while !stopping.load(Ordering::Acquire) {
            match socket::wait_for_connections(&self.listeners, STOP_CHECK) {
                Ok(ready) => ready.into_iter().for_each(|place| self.accept(place)),
                Err(error) => {
                    log::error(None, format_args!("the listener failed to wait: {error}"));
                    sync::sleep(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Accepts a connection of the listener in this place.
    fn accept(&mut self, place: usize) {
        let Some(listener) = self.listeners.get(place) else {
            return;
        };
        match listener.accept() {
            Ok((stream, peer)) => {
                if self.pause != FIRST_PAUSE {
                    log::info(None, format_args!("connections are accepted again"));
                    self.pause = FIRST_PAUSE;
                }
                self.admit(stream, peer);
            }
            Err(error) => match socket::judge_accept_error(&error) {
                AcceptError::Harmless => {}
                AcceptError::NoResource => self.pause_after(&error, place),
            },
        }
    }

    /// Closes one waiting connection by means of the spare descriptor, then pauses.
    fn pause_after(&mut self, error: &std::io::Error, place: usize) {
        if self.pause == FIRST_PAUSE {
            log::error(
                None,
                format_args!("connections can't be accepted for now: {error}"),
            );
        }
        if self.spare.take().is_some()
            && let Some(listener) = self.listeners.get(place)
        {
            drop(listener.accept());
        }
        self.connections.displace_guest(GUEST_GRACE);
        sync::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.spare = spare_descriptor();
    }

    /// Registers a new connection and starts its worker, or tells it why it can't stay.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let config = self.shared.config();
        // On some systems an accepted socket inherits the listener's mode.
        let socket = match stream
            .set_nonblocking(false)
            .and_then(|()| Socket::new(stream))
            .and_then(|socket| {
                socket.set_unacknowledged_limit(config.idle_limit)?;
                Ok(socket)
            }) {
            Ok(socket) => socket,
            Err(_) => return, // The peer has left already.
        };
        let send_queue = Arc::new(SendQueue::new(
            socket,
            Arc::clone(&self.shared.stats),
            self.shared.store.lease(),
        ));
        let by_proxy = config.is_proxy(peer.ip());
        let registration = match self.register(peer, by_proxy, &send_queue) {
            Ok(registration) => registration,
            Err(refusal) => {
                let (address, reason) = (log::ClientAddress(peer), refusal.code.as_str());
                let fields: [log::Field<'_>; 2] = [("address", &address), ("reason", &reason)];
                let text = format_args!("{address} was turned away ({reason})");
                log::event(Level::Debug, "turned_away", None, &fields, text);
                return refuse(&send_queue, &refusal);
            }
        };
        self.shared.stats.connections.add(1);
        let shared = Arc::clone(&self.shared);
        let connection =
            Connection::new(shared, config, &registration, peer, Arc::clone(&send_queue));
        // The worker that comes back ends the connection when it is dropped, which has to
        // happen after the refusal was written.
        if let Err((error, _worker)) = Worker::new(connection, registration).start() {
            log::error(None, format_args!("no thread for a connection: {error}"));
            let refusal = Refusal::new(
                Code::ServerFull,
                "the server has no thread for you; try again later",
            );
            refuse(&send_queue, &refusal);
            self.connections.displace_guest(GUEST_GRACE);
            sync::sleep(FIRST_PAUSE);
        }
    }

    /// Registers a connection, unless there are too many, in all or from its address.
    fn register(
        &mut self,
        peer: SocketAddr,
        by_proxy: bool,
        send_queue: &Arc<SendQueue>,
    ) -> Result<RegistrationGuard, Refusal> {
        // A proxy's connection is judged by its client's address, once that is known.
        if !by_proxy && self.shared.limits.is_banned(peer.ip()) {
            return Err(disconnect::banned());
        }
        if self.is_full() {
            return Err(Refusal::new(
                Code::ServerFull,
                "the server has as many connections as it takes; try again later",
            ));
        }
        let from = match by_proxy {
            true => None,
            false => self.shared.limits.counted_address(peer.ip()),
        };
        let most = self.shared.limits.settings().clients_per_address;
        let id = ConnectionId(self.next_id);
        let registered = self.connections.register(id, send_queue, peer, from, most);
        if registered.is_ok() {
            self.next_id += 1;
        }
        registered.map_err(disconnect::too_many)
    }

    /// Whether there are as many connections as the operator permits.
    fn is_full(&mut self) -> bool {
        let connections = self.connections.count();
        let most = self.shared.config().max_clients;
        let makes_room =
            || connections < most + HEADROOM && self.connections.displace_guest(GUEST_GRACE);
        let full = connections >= most && !makes_room();
        if full && !self.full_was_logged {
            log::warn(
                None,
                format_args!("there are {most} connections, the most; newcomers are refused"),
            );
        }
        // One line each time it fills up, instead of one for each refusal.
        self.full_was_logged = full || self.full_was_logged && connections > most / 2;
        full
    }
}

/// Writes a refusal that a person can read and a program can find a code in, and closes the
/// connection. It never waits.
fn refuse(send_queue: &Arc<SendQueue>, refusal: &Refusal) {
    send_queue.set_wire_format(WireFormat::Console);
    send_queue.answer(None, &Err(refusal.clone()));
    send_queue.flush();
    send_queue.end();
}

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
