//! Accepting connections, under any pressure, and a thread for each.

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::core::Core;
use super::log::{self, ConnectionId};
use super::outbox::{Outbox, Spelling};
use super::visit::Visit;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::Event;
use crate::transport::socket::{self, AcceptError, Socket};

/// How often the listener looks whether it should stop.
const LOOK: Duration = Duration::from_millis(200);

/// Pauses after an accept that failed for lack of something, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All open connections.
#[derive(Default)]
pub struct Connections {
    /// Held for single operations on the map.
    open: Mutex<HashMap<u64, Arc<Outbox>>>,
    closed: Condvar,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Outbox>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every client that the server goes down, stops reading from them,
    /// and waits until they are gone, at most `limit`.
    pub fn say_goodbye(&self, limit: Duration) {
        let outboxes: Vec<_> = self.lock().values().cloned().collect();
        for outbox in &outboxes {
            outbox.event(&Event::ShuttingDown {});
            outbox.flush();
            outbox.socket().close_reading();
        }
        let deadline = Instant::now() + limit;
        let mut open = self.lock();
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.closed.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let stuck: Vec<_> = open.values().cloned().collect();
        drop(open);
        for outbox in stuck {
            outbox.end();
        }
    }
}

/// Takes a connection out of the table when its thread ends, however it ends.
pub struct Guest {
    connections: Arc<Connections>,
    /// Which connection.
    pub id: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
        self.connections.closed.notify_all();
    }
}

/// The accept loop.
pub struct Listener {
    core: Arc<Core>,
    connections: Arc<Connections>,
    listener: TcpListener,
    /// Given up for a moment when descriptors run out, so that a waiting
    /// connection can be accepted and closed instead of spinning on it.
    spare: Option<File>,
    next_id: u64,
    pause: Duration,
}

impl Listener {
    /// A listener on an open socket.
    pub fn new(core: Arc<Core>, connections: Arc<Connections>, listener: TcpListener) -> Self {
        Listener {
            core,
            connections,
            listener,
            spare: spare_descriptor(),
            next_id: 1,
            pause: FIRST_PAUSE,
        }
    }

    /// Accepts until told to stop.
    pub fn run(mut self, stopping: &AtomicBool) {
        while !stopping.load(Ordering::Acquire) {
            match socket::wait_for_connection(&self.listener, LOOK) {
                Ok(true) => self.accept(),
                Ok(false) => {}
                Err(error) => {
                    log::error(None, format_args!("the listener failed to wait: {error}"));
                    std::thread::sleep(LONGEST_PAUSE);
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
                AcceptError::NoDescriptor => self.out_of(&error),
                AcceptError::Pause => self.out_of(&error),
            },
        }
    }

    /// Turns one waiting connection away with the spare descriptor, then pauses.
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
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.spare = spare_descriptor();
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr) {
        let connections = self.connections.lock().len();
        let refusal = if connections >= self.core.config.max_clients {
            self.core.counters.refused.add(1);
            Some(Refusal::new(
                Code::ServerFull,
                "the server has as many connections as it takes; try again later",
            ))
        } else {
            None
        };
        // Accepted sockets inherit nothing here but on some systems.
        let socket = match stream
            .set_nonblocking(false)
            .and_then(|()| Socket::new(stream))
        {
            Ok(socket) => socket,
            Err(_) => return, // Gone already.
        };
        let outbox = Arc::new(Outbox::new(socket));
        if let Some(refusal) = refusal {
            return turn_away(&outbox, &refusal);
        }
        self.core.counters.connections.add(1);
        let id = self.next_id;
        self.next_id += 1;
        self.connections.lock().insert(id, Arc::clone(&outbox));
        let guest = Guest {
            connections: Arc::clone(&self.connections),
            id,
        };
        let core = Arc::clone(&self.core);
        let connection = Connection::new(core, ConnectionId(id), peer, Arc::clone(&outbox));
        // What comes back is dropped after its peer was told.
        if let Err((error, _visit)) = Visit::new(connection, guest).start() {
            log::error(None, format_args!("no thread for a connection: {error}"));
            let full = Refusal::new(
                Code::ServerFull,
                "the server has no thread for you; try again later",
            );
            turn_away(&outbox, &full);
            std::thread::sleep(FIRST_PAUSE);
        }
    }
}

/// One sentence a person can read and a program can find a code in; never waits.
fn turn_away(outbox: &Arc<Outbox>, refusal: &Refusal) {
    outbox.set_spelling(Spelling::Console);
    outbox.answer(None, &Err(refusal.clone()));
    outbox.flush();
    outbox.end();
}

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
