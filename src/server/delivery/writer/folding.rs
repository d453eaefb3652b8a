//! The thread that folds the store's log, so that nobody who waits for the writer waits for that.
//!
//! Folding takes as long as some dozens of commits, most of it for the disk. Whoever stores mail would wait for that,
//! so most of the log is folded beside such mail, which waits only for the rest, what was committed
//! meanwhile: the log would otherwise grow faster than it is folded. For deletions nobody waits. They wait for all of it,
//! and so leave the disk to the logins, which wait for none of it.

use std::io;
use std::sync::Arc;

use super::{Folding, Writer};
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
            while let Some(beside_mail) = writer.wait_for_long_log() {
                // What fails is tried again when the log is longer, and the next commit meets
                // the same fault and reports it.
                let _later = store.fold(beside_mail);
                writer.folded(beside_mail);
            }
        })
        .map(drop)
    }

    /// Has the thread fold the log if it is time: most of it beside mail that `stores`, the rest while mail waits, from
    /// here on. Only the writer's thread calls this, between two batches.
    pub(super) fn look_after_log(&self, store: &dyn Store, stores: bool) {
        let is_long = store.wants_folding();
        let queue = self.queue.lock();
        let next = match queue.folding {
            _ if !queue.can_fold => return,
            Folding::Not if is_long && stores => Folding::BesideMail,
            Folding::Not if is_long => Folding::Alone,
            // It has become long once more: mail comes faster than it is folded.
            Folding::BesideMail if is_long => Folding::Alone,
            Folding::Mostly => Folding::Alone,
            Folding::Not | Folding::BesideMail | Folding::Alone => return,
        };
        drop(queue);
        store.prepare_folding(next == Folding::BesideMail);
        let mut queue = self.queue.lock();
        // Meanwhile the thread may have got from `BesideMail` to `Mostly`, or have ended.
        if queue.can_fold {
            queue.folding = next;
            drop(queue);
            self.long_log.notify_one();
        }
    }

    /// Returns whether mail goes on beside it, or `None` when it is time to end.
    fn wait_for_long_log(&self) -> Option<bool> {
        let mut queue = self.queue.lock();
        while !queue.folding.is_under_way() && !queue.ended {
            queue = self.long_log.wait(queue);
        }
        (!queue.ended).then_some(queue.folding == Folding::BesideMail)
    }

    /// Notes what the thread has folded. If mail was to wait before it was done with that, the rest
    /// is next.
    fn folded(&self, beside_mail: bool) {
        let mut queue = self.queue.lock();
        queue.folding = match queue.folding {
            Folding::Alone if beside_mail => Folding::Alone,
            _ if beside_mail => Folding::Mostly,
            _ => Folding::Not,
        };
        drop(queue);
        self.arrived.notify_one();
    }
}

/// The thread. However it ends, mail does not wait for it any more.
struct Thread<'a>(&'a Writer);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.can_fold = false;
        queue.folding = Folding::Not;
        drop(queue);
        self.0.arrived.notify_one();
    }
}
