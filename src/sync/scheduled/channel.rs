//! A bounded channel like `std::sync::mpsc`'s, made of the scheduled [`Mutex`] and [`Condvar`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError};
use std::time::Duration;

use super::{Condvar, Mutex};

struct Channel<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    bound: usize,
    senders: usize,
    received: bool,
}

/// A channel for at most `bound` values.
pub(crate) fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let state = State {
        queue: VecDeque::new(),
        bound,
        senders: 1,
        received: true,
    };
    let channel = Arc::new(Channel {
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    (SyncSender(Arc::clone(&channel)), Receiver(channel))
}

/// The end that sends.
pub(crate) struct SyncSender<T>(Arc<Channel<T>>);

impl<T> SyncSender<T> {
    /// Sends, and waits for room.
    ///
    /// # Errors
    /// The receiver is gone.
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state.lock();
        while state.received && state.queue.len() >= state.bound {
            state = self.0.changed.wait(state);
        }
        if !state.received {
            return Err(SendError(value));
        }
        state.queue.push_back(value);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Drop for SyncSender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

/// The end that receives.
pub(crate) struct Receiver<T>(Arc<Channel<T>>);

impl<T> Receiver<T> {
    /// Waits for a value.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(value) = state.queue.pop_front() {
                drop(state);
                self.0.changed.notify_all();
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(RecvError);
            }
            state = self.0.changed.wait(state);
        }
    }

    /// Waits for a value, for at most `limit`.
    ///
    /// # Errors
    /// There is none.
    #[track_caller]
    pub(crate) fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        let deadline = crate::clock::now() + limit;
        let mut state = self.0.state.lock();
        loop {
            if let Some(value) = state.queue.pop_front() {
                drop(state);
                self.0.changed.notify_all();
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(RecvTimeoutError::Disconnected);
            }
            let left = deadline.saturating_duration_since(crate::clock::now());
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            state = self.0.changed.wait_timeout(state, left);
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state.lock().received = false;
        self.0.changed.notify_all();
    }
}
