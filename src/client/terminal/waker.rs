//! Wakes the main thread of a script that waits for mail, receipts or a signal. What it does then
//! is decided there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use super::InputEvent;

/// Wakes the thread in [`Terminal::wait`](super::Terminal::wait).
pub(crate) struct Waker {
    tell: SyncSender<InputEvent>,
    /// It was woken and has not looked yet, so that many arrivals take one place in its queue.
    pending: AtomicBool,
}

impl Waker {
    pub(super) fn new(tell: SyncSender<InputEvent>) -> Self {
        let pending = AtomicBool::new(false);
        Waker { tell, pending }
    }

    /// Wakes it. It never waits.
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst)
            && self.tell.try_send(InputEvent::Woken).is_err()
        {
            // The queue is full of other reasons to look.
            self.pending.store(false, Ordering::SeqCst);
        }
    }

    /// Whoever was woken is about to look.
    pub(super) fn rearm(&self) {
        self.pending.store(false, Ordering::SeqCst);
    }
}
