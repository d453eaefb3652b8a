//! The send queues that one turn of work has appended to, to be flushed together at its end,
//! when no lock is held.

use std::sync::Arc;

use super::SendQueue;

/// How many of the queues added last are searched for the one to add.
const SEARCHED: usize = 4;

/// Send queues to flush.
#[derive(Default)]
pub(crate) struct FlushSet(Vec<Arc<SendQueue>>);

impl FlushSet {
    /// Adds a queue. One that is in it twice is flushed twice, which is cheap.
    pub(crate) fn add(&mut self, send_queue: &Arc<SendQueue>) {
        let mut latest = self.0.iter().rev().take(SEARCHED);
        if !latest.any(|known| Arc::ptr_eq(known, send_queue)) {
            self.0.push(Arc::clone(send_queue));
        }
    }

    /// Flushes them all. Hold no lock.
    pub(crate) fn flush(&mut self) {
        for send_queue in self.0.drain(..) {
            send_queue.flush();
        }
    }
}
