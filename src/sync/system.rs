//! Threads, locks and waiting, by the system.

use std::io;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

pub(crate) use std::sync::MutexGuard;
pub(crate) use std::sync::atomic;
pub(crate) use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
pub(crate) use std::thread::JoinHandle;

/// A mutual exclusion lock that stays usable after its holder has panicked.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock that nobody holds.
    pub(crate) const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }

    /// Waits for the lock and takes it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition to wait for, together with a [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    /// A condition that nobody waits for.
    pub(crate) const fn new() -> Self {
        Condvar(std::sync::Condvar::new())
    }

    /// Waits for a notification with the lock released. It may also return without one.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits like [`wait`](Self::wait), for at most `limit`.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> MutexGuard<'a, T> {
        let waited = self.0.wait_timeout(guard, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes one waiter.
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiters.
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Starts a named thread. `stack` is its stack in bytes; `None` takes the system's default.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    stack: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = thread::Builder::new().name(name.into());
    match stack {
        Some(bytes) => builder.stack_size(bytes).spawn(body),
        None => builder.spawn(body),
    }
}

/// Sleeps. The caller must hold no lock.
pub(crate) fn sleep(time: Duration) {
    thread::sleep(time);
}
