//! The connections that read, shared by all threads. What is read over them is not its business.
//!
//! Reads are short, and a thread for each client must not mean a connection for each client. Who
//! asks for much leaves connections for those who ask for little: a lane bounds how many reads of
//! its kind go on at once.

use crate::sync::{Condvar, Mutex};

/// At most this many connections read.
const MAX_CONNECTIONS: usize = 4;

/// How many of them may search mail at once, open mailboxes, and count wrong logins.
const MAX_SEARCHING: usize = 1;
const MAX_OPENING: usize = 2;
const MAX_COUNTING: usize = 1;

/// What a read is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    /// It is over at once.
    Short,
    /// It looks at many places.
    Search,
    /// It counts a mailbox.
    Opening,
    /// It counts a wrong login, of which strangers may send many.
    Counting,
}

/// The connections.
pub(super) struct Pool<C> {
    /// Held to take or return a connection, never during a read, and every statement under it
    /// leaves the value whole.
    state: Mutex<State<C>>,
    freed: Condvar,
}

struct State<C> {
    idle: Vec<C>,
    /// How many connections there are, idle or not.
    open: usize,
    searching: usize,
    opening: usize,
    counting: usize,
    closed: bool,
}

impl<C> State<C> {
    fn count(&mut self, lane: Lane) -> Option<(&mut usize, usize)> {
        match lane {
            Lane::Short => None,
            Lane::Search => Some((&mut self.searching, MAX_SEARCHING)),
            Lane::Opening => Some((&mut self.opening, MAX_OPENING)),
            Lane::Counting => Some((&mut self.counting, MAX_COUNTING)),
        }
    }
}

/// A place among those that read.
pub(super) enum Borrowed<C> {
    /// With a connection that was idle.
    Idle(C),
    /// The borrower opens a connection.
    New,
}

impl<C> Pool<C> {
    /// Without connections.
    pub(super) fn new() -> Self {
        Pool {
            state: Mutex::new(State {
                idle: Vec::new(),
                open: 0,
                searching: 0,
                opening: 0,
                counting: 0,
                closed: false,
            }),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place; `None` if the pool is closed. It has to be given back with
    /// [`put_back`](Self::put_back).
    pub(super) fn borrow(&self, lane: Lane) -> Option<Borrowed<C>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let waits = state
                .count(lane)
                .is_some_and(|(count, most)| *count == most);
            if !waits {
                let idle = state.idle.pop();
                if idle.is_some() || state.open < MAX_CONNECTIONS {
                    if let Some((count, _)) = state.count(lane) {
                        *count += 1;
                    }
                    return Some(match idle {
                        Some(connection) => Borrowed::Idle(connection),
                        None => {
                            state.open += 1;
                            Borrowed::New
                        }
                    });
                }
            }
            state = self.freed.wait(state);
        }
    }

    /// Gives a place back, with its connection if that still works.
    pub(super) fn put_back(&self, lane: Lane, connection: Option<C>) {
        let mut state = self.state.lock();
        if let Some((count, _)) = state.count(lane) {
            *count -= 1;
        }
        // Closing a connection may block, so it is not dropped under the lock.
        let dropped = match connection {
            Some(connection) if !state.closed => {
                state.idle.push(connection);
                None
            }
            other => {
                state.open -= 1;
                other
            }
        };
        drop(state);
        self.freed.notify_all();
        drop(dropped);
    }

    /// Drops the idle connections, since another was found broken.
    pub(super) fn drop_idle(&self) {
        let mut state = self.state.lock();
        let dropped = std::mem::take(&mut state.idle);
        state.open -= dropped.len();
        drop(state);
        self.freed.notify_all();
        drop(dropped);
    }

    /// Lets no read begin any more. Those under way drop their connections when they end.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.drop_idle();
    }
}
