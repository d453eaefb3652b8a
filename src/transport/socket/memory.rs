//! A double of a connected socket, for explorations of schedules: two bounded buffers, both
//! ends in this process, and every wait the scheduler's.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::panic::Location;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{End, PeerState, Socket, WriteOutcome};
use crate::clock;
use crate::sync::{Place, Signal, switch};

/// What both ends share. Nobody waits while it is locked.
struct Link {
    state: std::sync::Mutex<State>,
    changed: Signal,
}

#[derive(Debug)]
struct State {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// Bytes that either buffer holds at most.
    capacity: usize,
    client_closed: bool,
    server_closed: bool,
    /// The server has shut its own reading side.
    reading_closed: bool,
    /// The connection is gone, with what was in the buffers.
    reset: bool,
    read_timeout: Option<Duration>,
}

/// The server's end.
pub(crate) struct ServerEnd(Arc<Link>);

/// The client's end.
#[derive(Clone)]
pub(crate) struct ClientEnd(Arc<Link>);

impl std::fmt::Debug for ServerEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerEnd")
    }
}

/// A connection whose buffers hold `capacity` bytes each way.
pub(crate) fn connect(capacity: usize) -> (Socket, ClientEnd) {
    let link = Arc::new(Link {
        state: std::sync::Mutex::new(State {
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            capacity,
            client_closed: false,
            server_closed: false,
            reading_closed: false,
            reset: false,
            read_timeout: None,
        }),
        changed: Signal::default(),
    });
    let end = End::Memory(ServerEnd(Arc::clone(&link)));
    (Socket { end }, ClientEnd(link))
}

impl Link {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` returns something, for at most `limit`.
    #[track_caller]
    fn wait<T>(
        &self,
        limit: Option<Duration>,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let here = Location::caller();
        let place: Place = (here.file(), here.line());
        let deadline = limit.map(|limit| clock::now() + limit);
        switch();
        loop {
            let found = ready(&mut self.state());
            if found.is_some() {
                self.changed.notify_all();
                return found;
            }
            // Nothing runs between the look and the wait.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            self.changed.wait(left, place);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        switch();
        change(&mut self.state());
        self.changed.notify_all();
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn take(queue: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    let count = queue.len().min(into.len());
    let (first, second) = queue.as_slices();
    let (from_first, from_second) = (count.min(first.len()), count.saturating_sub(first.len()));
    into[..from_first].copy_from_slice(&first[..from_first]);
    into[from_first..count].copy_from_slice(&second[..from_second]);
    drop(queue.drain(..count));
    count
}

impl ServerEnd {
    #[track_caller]
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let limit = self.0.state().read_timeout;
        let read = self.0.wait(limit, |state| {
            if state.reset {
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            // What has come is read first, also after an end.
            match take(&mut state.to_server, into) {
                0 if state.client_closed || state.reading_closed => Some(Ok(0)),
                0 => None,
                count => Some(Ok(count)),
            }
        });
        read.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.state().read_timeout = timeout;
        Ok(())
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<WriteOutcome> {
        switch();
        let mut state = self.0.state();
        if state.reset || state.server_closed {
            return Err(broken());
        }
        let count = bytes.len().min(state.capacity - state.to_client.len());
        if count == 0 {
            return Ok(WriteOutcome::Full);
        }
        state.to_client.extend(bytes.iter().take(count));
        drop(state);
        self.0.changed.notify_all();
        Ok(WriteOutcome::Some(count))
    }

    #[track_caller]
    pub(super) fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        let ready = |state: &mut State| {
            let ended = state.reset || state.client_closed || state.reading_closed;
            (ended || !state.to_server.is_empty()).then_some(())
        };
        Ok(self.0.wait(Some(limit), ready).is_some())
    }

    #[track_caller]
    pub(super) fn wait_writable(&self, limit: Duration) -> io::Result<bool> {
        let ready = |state: &mut State| {
            let ended = state.reset || state.server_closed;
            (ended || state.to_client.len() < state.capacity).then_some(())
        };
        Ok(self.0.wait(Some(limit), ready).is_some())
    }

    #[track_caller]
    pub(super) fn watch_peer(&self, known: PeerState, limit: Duration) -> PeerState {
        let ready = |state: &mut State| {
            let half = state.client_closed || state.reading_closed;
            let present = match (state.reset || half && state.server_closed, half) {
                (true, _) => PeerState::Gone,
                (false, true) => PeerState::HalfClosed,
                (false, false) => PeerState::Open,
            };
            (present != known).then_some(present)
        };
        self.0.wait(Some(limit), ready).unwrap_or(known)
    }

    pub(super) fn close(&self, how: Shutdown) {
        self.0.change(|state| {
            state.reading_closed |= how != Shutdown::Write;
            state.server_closed |= how != Shutdown::Read;
        });
    }
}

impl ClientEnd {
    /// Writes all, waiting for room. `false` when the connection is gone.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let written = self.0.wait(None, |state| {
                if state.reset || state.reading_closed {
                    return Some(None);
                }
                let count = bytes.len().min(state.capacity - state.to_server.len());
                state.to_server.extend(bytes.iter().take(count));
                (count > 0).then_some(Some(count))
            });
            match written.flatten() {
                Some(count) => bytes = &bytes[count..],
                None => return false,
            }
        }
        true
    }

    /// Reads at most `most` bytes, waiting for some. Nothing is the end.
    pub(crate) fn read(&self, most: usize) -> Vec<u8> {
        let read = self.0.wait(None, |state| {
            let mut bytes = vec![0; most.min(state.to_client.len())];
            let count = match state.reset {
                true => 0,
                false => take(&mut state.to_client, &mut bytes),
            };
            bytes.truncate(count);
            (count > 0 || state.reset || state.server_closed).then_some(bytes)
        });
        read.unwrap_or_default()
    }

    /// Says that it sends no more.
    pub(crate) fn close_writing(&self) {
        self.0.change(|state| state.client_closed = true);
    }

    /// Breaks the connection: what is under way is lost.
    pub(crate) fn reset(&self) {
        self.0.change(|state| {
            state.reset = true;
            state.to_client.clear();
            state.to_server.clear();
        });
    }
}
