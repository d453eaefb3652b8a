//! A connection's threads: one at a time, a large one while there is something
//! to do, a small one while its peer is silent.
//!
//! A thread that has handled a login has touched some twenty kilobytes of stack,
//! and the allocator keeps what it freed at hand for that thread alone. Neither
//! comes back while the thread lives. So a connection that falls silent goes over
//! to a thread that does nothing but wait, and back when something comes: ten
//! thousand silent ones cost little, and who speaks after a silence waits some
//! dozen microseconds longer, once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::accept::RegistrationGuard;
use super::connection::{Connection, Pause};
use crate::server::log;
use crate::sync;
use crate::sync::Mutex;

/// The stack of a thread that works, in bytes: the deepest JSON accepted fits
/// several times, and 10,000 of them stay addressable.
const STACK: usize = 256 * 1024;

/// The stack of a thread that waits. Less than a quarter of the other one, so that
/// the C library never gives a waiting thread a stack that a working one has used.
const WAITING_STACK: usize = 48 * 1024;

/// How long to wait for a thread to work in, and how often to ask, before the
/// connection is given up.
const PATIENCE: u32 = 100;
const RETRY: Duration = Duration::from_millis(100);

/// A connection and its place in the table of connections.
pub(crate) struct Worker {
    /// Dropped first: its session ends before its place is free.
    connection: Connection,
    guard: RegistrationGuard,
}

/// No thread was to be had. The visit comes back.
type NoThread = (io::Error, Option<Box<Worker>>);

impl Worker {
    /// A new one; no thread yet.
    pub(crate) fn new(connection: Connection, guard: RegistrationGuard) -> Box<Self> {
        Box::new(Worker { connection, guard })
    }

    /// Goes on in a thread that works.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(self: Box<Self>) -> Result<(), NoThread> {
        self.go_over(STACK, Self::work)
    }

    fn work(mut self: Box<Self>) {
        while self.connection.run() == Pause::Silent {
            match self.go_over(WAITING_STACK, Self::wait) {
                Ok(()) => return,
                // Without a small thread this one will do.
                Err((_, Some(worker))) => self = worker,
                Err((_, None)) => return,
            }
        }
    }

    fn wait(mut self: Box<Self>) {
        self.connection.wait();
        for _ in 0..PATIENCE {
            match self.start() {
                Ok(()) | Err((_, None)) => return,
                Err((_, Some(worker))) => self = worker,
            }
            sync::sleep(RETRY);
        }
        log::error(
            Some(self.connection.id()),
            format_args!("ended: the system has had no thread for it"),
        );
    }

    fn go_over(self: Box<Self>, stack: usize, to: fn(Box<Self>)) -> Result<(), NoThread> {
        let name = format!("client-{}", self.guard.id);
        // A failed spawn drops its closure, so the visit waits beside it.
        let place = Arc::new(Mutex::new(Some(self)));
        let taker = Arc::clone(&place);
        let take = |place: &Mutex<Option<Box<Worker>>>| place.lock().take();
        let spawned = sync::spawn(name, Some(stack), move || {
            let worker = take(&taker);
            drop(taker);
            if let Some(worker) = worker {
                to(worker);
            }
        });
        spawned.map(drop).map_err(|error| (error, take(&place)))
    }
}
