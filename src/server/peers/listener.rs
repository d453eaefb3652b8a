//! Where other servers connect to this one: accepts them, has each prove who it is, and answers it. A stranger
//! learns nothing, and holds one of a few places for some seconds.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::connection::PeerConnection;
use super::handshake;
use super::handshake::Us;
use super::serving::{Served, Serving};
use crate::server::log;
use crate::server::log::Level;
use crate::store::homes::RunId;
use crate::sync;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::transport::socket;
use crate::transport::socket::AcceptError;

/// How many connections may be without a proof at once.
const MAX_STRANGERS: usize = if cfg!(test) { 4 } else { 64 };

/// How often the listener looks whether it should stop.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// The pause after an accept that failed for lack of a resource.
const PAUSE: Duration = Duration::from_millis(500);

/// The stack of a connection's thread, in bytes: it takes messages into mailboxes, as a client's does.
const STACK: usize = 256 * 1024;

/// The connections of other servers.
pub(super) struct Listener {
    us: Arc<Us>,
    /// Connections without a proof.
    strangers: AtomicUsize,
    /// Those with one, by the run at the other end. Held for single operations.
    served: Mutex<HashMap<RunId, Arc<PeerConnection>>>,
    stopped: AtomicBool,
}

/// A connection that is being made. Its place is free once this is dropped.
struct Stranger {
    stream: TcpStream,
    listener: Arc<Listener>,
    served: Arc<Served>,
}

impl Listener {
    /// A listener that accepts nothing yet.
    pub(super) fn new(us: Arc<Us>) -> Self {
        Listener {
            us,
            strangers: AtomicUsize::new(0),
            served: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Starts the thread that accepts.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn start(self: &Arc<Self>, on: TcpListener, served: Served) -> io::Result<()> {
        let (listener, served) = (Arc::clone(self), Arc::new(served));
        sync::spawn("peers", Some(STACK), move || listener.accept(&on, &served)).map(drop)
    }

    fn accept(self: &Arc<Self>, on: &TcpListener, served: &Arc<Served>) {
        while !self.stopped.load(Ordering::Acquire) {
            match socket::wait_for_connection(on, STOP_CHECK) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => sync::sleep(PAUSE),
            }
            match on.accept() {
                Ok((stream, _)) => self.admit(stream, served),
                Err(error) => match socket::judge_accept_error(&error) {
                    AcceptError::Harmless => {}
                    AcceptError::NoResource => sync::sleep(PAUSE),
                },
            }
        }
    }

    /// Gives a connection a thread and time to prove itself, if there is a place.
    fn admit(self: &Arc<Self>, stream: TcpStream, served: &Arc<Served>) {
        let before = self.strangers.fetch_add(1, Ordering::AcqRel);
        let stranger = Stranger {
            stream,
            listener: Arc::clone(self),
            served: Arc::clone(served),
        };
        if before < MAX_STRANGERS && !self.stopped.load(Ordering::Acquire) {
            // If there is no thread it is closed, and comes again.
            let _closed = sync::spawn_with("peer-in", STACK, stranger, Stranger::serve);
        }
    }

    /// Ends the connection of a run that has ended.
    pub(super) fn ended(&self, run: RunId) {
        let connection = self.served.lock().remove(&run);
        if let Some(connection) = connection {
            connection.close();
        }
    }

    /// Accepts nothing more, and ends all connections once what waits has left.
    pub(super) fn stop(&self, limit: Duration) {
        self.stopped.store(true, Ordering::Release);
        let connections: Vec<_> = self.served.lock().drain().map(|(_, one)| one).collect();
        let deadline = crate::clock::now() + limit;
        for connection in connections {
            connection.finish(deadline.saturating_duration_since(crate::clock::now()));
        }
    }
}

impl Stranger {
    /// Has it prove itself, then does what it asks: the body of its thread.
    fn serve(self) {
        let Ok(peer) = self.stream.peer_addr() else {
            return;
        };
        let Ok(stream) = self.stream.try_clone() else {
            return;
        };
        let known = handshake::accept(&self.listener.us, stream);
        let (listener, served) = (Arc::clone(&self.listener), Arc::clone(&self.served));
        drop(self);
        let ((channel, raw), run) = match known {
            Ok(known) => known,
            Err(error) => {
                served.stats.peers.strangers.add(1);
                let peer = log::ClientAddress(peer);
                let text = format_args!("{peer} is no server of this database: {error}");
                return log::event(Level::Debug, "stranger", None, &[("address", &peer)], text);
            }
        };
        let begun = Serving::begin(Arc::clone(&served), channel, listener.us.lease.clone());
        let Ok(mut serving) = begun else {
            return;
        };
        listener.register(run, serving.connection());
        let why = serving.run(raw);
        listener.forget(run, serving.connection());
        let peer = log::ClientAddress(peer);
        let text = format_args!("the server at {peer} asks nothing more: {why}");
        log::event(Level::Info, "peer_left", None, &[("address", &peer)], text);
    }
}

impl Listener {
    /// Notes a connection, and ends the one that the same run had before.
    fn register(&self, run: RunId, connection: &Arc<PeerConnection>) {
        let before = self.served.lock().insert(run, Arc::clone(connection));
        if let Some(before) = before {
            before.close();
        }
        if self.stopped.load(Ordering::Acquire) {
            connection.close();
        }
    }

    fn forget(&self, run: RunId, connection: &Arc<PeerConnection>) {
        let mut served = self.served.lock();
        if served
            .get(&run)
            .is_some_and(|known| Arc::ptr_eq(known, connection))
        {
            served.remove(&run);
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.listener.strangers.fetch_sub(1, Ordering::AcqRel);
    }
}
