//! The threads that a connection runs on, one at a time: a working thread with a large stack
//! while its peer sends, and a waiting thread with a small one while its peer is silent.
//!
//! A thread never gives back the stack that it has touched (a login touches some twenty
//! kilobytes), nor what the allocator keeps at hand for it. A silent connection therefore
//! moves to a fresh thread that only waits, and its working thread ends; when its peer sends
//! again, it moves to a fresh working thread. Ten thousand silent connections thus cost
//! little memory, and the first request after a silence takes some dozen microseconds longer.
//!
//! What a connection does is decided in [`connection`](super::connection).

use std::io;
use std::time::Duration;

use super::connection::{Connection, Stopped};
use super::registry::RegistrationGuard;
use crate::server::log;
use crate::sync;

/// The stack of a working thread, in bytes: it holds the deepest JSON accepted several
/// times over, and 10,000 of them stay addressable.
const WORKING_STACK: usize = 256 * 1024;

/// The stack of a waiting thread, in bytes. It is less than a quarter of a working thread's,
/// so that the C library never gives a waiting thread a stack that a working one has used.
const WAITING_STACK: usize = 48 * 1024;

/// How many times a waiting thread tries to start a working one before the connection ends.
const MAX_STARTS: u32 = 100;

/// The pause between two of these tries.
const START_PAUSE: Duration = Duration::from_millis(100);

/// A connection with its place in the registry: what moves from thread to thread.
pub(crate) struct Worker {
    /// Dropped before the registration: its session ends before its place is free.
    connection: Connection,
    registration: RegistrationGuard,
}

impl Worker {
    /// A worker that has no thread yet.
    pub(crate) fn new(connection: Connection, registration: RegistrationGuard) -> Box<Self> {
        Box::new(Worker {
            connection,
            registration,
        })
    }

    /// Moves the connection to a new working thread.
    ///
    /// # Errors
    /// The system has no thread to give; the worker comes back.
    pub(crate) fn start(self: Box<Self>) -> Result<(), (io::Error, Box<Self>)> {
        self.move_to_thread(WORKING_STACK, Self::work)
    }

    /// The body of a working thread: runs the connection until it is silent, then moves it to
    /// a waiting thread.
    fn work(mut self: Box<Self>) {
        while self.connection.run() == Stopped::Silent {
            match self.move_to_thread(WAITING_STACK, Self::wait) {
                Ok(()) => return,
                // Running it also waits; only the large stack stays in use.
                Err((_, worker)) => self = worker,
            }
        }
    }

    /// The body of a waiting thread: waits for the peer, then moves the connection to a
    /// working thread.
    fn wait(mut self: Box<Self>) {
        self.connection.wait();
        for _ in 0..MAX_STARTS {
            match self.start() {
                Ok(()) => return,
                Err((_, worker)) => self = worker,
            }
            self.registration.claim_room();
            sync::sleep(START_PAUSE);
        }
        log::error(
            Some(self.registration.id()),
            format_args!("ended, because the system has no thread to run it"),
        );
    }

    fn move_to_thread(
        self: Box<Self>,
        stack: usize,
        body: fn(Box<Self>),
    ) -> Result<(), (io::Error, Box<Self>)> {
        let name = format!("client-{}", self.registration.id().0);
        sync::spawn_with(name, stack, self, body)
    }
}
