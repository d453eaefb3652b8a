//! The thread that folds the store's log, so that nobody who waits for the writer waits for that.
//!
//! Folding takes as long as some dozens of commits. Mail waits for it, since the log would otherwise grow
//! faster than it is folded; a login does not.

use std::io;
use std::sync::Arc;

use super::Writer;
use crate::store::Store;
use crate::sync;

/// The thread's stack, in bytes.
const STACK: usize = 256 * 1024;

impl Writer {
    /// Starts the thread. It ends with the writer's.
    pub(super) fn start_folding(self: &Arc<Self>, store: Arc<dyn Store>) -> io::Result<()> {
        self.queue.lock().can_fold = true;
        let writer = Arc::clone(self);
        sync::spawn("checkpoint", Some(STACK), move || {
            let _thread = Thread(&writer);
            while writer.wait_for_long_log() {
                // What fails is tried again when the log is longer, and the next commit meets
                // the same fault and reports it.
                let _later = store.fold();
                writer.queue.lock().folding = false;
                writer.arrived.notify_one();
            }
        })
        .map(drop)
    }

    /// Has the thread fold the log. Mail waits from here on until that is done.
    pub(super) fn ask_for_folding(&self) {
        let mut queue = self.queue.lock();
        if queue.can_fold && !queue.folding {
            queue.folding = true;
            drop(queue);
            self.long_log.notify_one();
        }
    }

    /// Returns `false` when it is time to end.
    fn wait_for_long_log(&self) -> bool {
        let mut queue = self.queue.lock();
        while !queue.folding && !queue.ended {
            queue = self.long_log.wait(queue);
        }
        !queue.ended
    }
}

/// The thread. However it ends, mail does not wait for it any more.
struct Thread<'a>(&'a Writer);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.can_fold = false;
        queue.folding = false;
        drop(queue);
        self.0.arrived.notify_one();
    }
}
