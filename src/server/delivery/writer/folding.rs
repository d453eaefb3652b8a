//! The thread that folds the store's log, so that nobody who waits for the writer waits for that.
//!
//! Folding takes as long as some dozens of commits, most of it for the disk. Whoever stores mail would wait for that,
//! so most of the log is folded beside such mail, which waits only for the rest, what was committed
//! meanwhile: the log would otherwise grow faster than it is folded. For deletions nobody waits. They wait for all of it,
//! and so leave the disk to the logins, which wait for none of it.

use std::io;
use std::sync::Arc;

use super::Writer;
use crate::store::Store;
use crate::sync;

/// The thread's stack, in bytes.
const STACK: usize = 256 * 1024;

/// Whether the store's log is being folded, or will be soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Folding {
    #[default]
    Not,
    /// Most of it, while mail goes on.
    BesideMail,
    /// Most of it is folded, and the rest will be once the writer's thread holds mail back.
    Mostly,
    /// All of it. Mail waits.
    Alone,
}

impl Folding {
    /// Whether the store is busy with it.
    pub(super) fn is_under_way(self) -> bool {
        matches!(self, Folding::BesideMail | Folding::Alone)
    }

    /// What is next between two batches, if the log is long or not, and the last mail rather `stores` than
    /// deletes.
    fn next(self, is_long: bool, stores: bool) -> Option<Self> {
        match self {
            Folding::Not if is_long && stores => Some(Folding::BesideMail),
            Folding::Not if is_long => Some(Folding::Alone),
            // It has become long once more: mail comes faster than it is folded.
            Folding::BesideMail if is_long => Some(Folding::Alone),
            Folding::Mostly => Some(Folding::Alone),
            Folding::Not | Folding::BesideMail | Folding::Alone => None,
        }
    }

    /// What is next once the thread has folded. If mail was told to wait before that was done beside it,
    /// the rest is.
    fn after(self, beside_mail: bool) -> Self {
        match self {
            Folding::Alone if beside_mail => Folding::Alone,
            _ if beside_mail => Folding::Mostly,
            _ => Folding::Not,
        }
    }
}

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
        let next = queue.folding.next(is_long, stores);
        let Some(next) = next.filter(|_| queue.can_fold) else {
            return;
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

    /// Notes what the thread has folded, and lets mail that waits for it go on.
    fn folded(&self, beside_mail: bool) {
        let mut queue = self.queue.lock();
        queue.folding = queue.folding.after(beside_mail);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_folded_beside_mail_that_is_stored_and_then_alone() {
        use Folding::{Alone, BesideMail, Mostly, Not};
        assert_eq!(Not.next(false, true), None);
        assert_eq!(Not.next(true, true), Some(BesideMail));
        assert_eq!(Not.next(true, false), Some(Alone), "mail is deleted");
        assert_eq!(BesideMail.next(false, true), None);
        for stores in [false, true] {
            assert_eq!(Mostly.next(false, stores), Some(Alone), "the rest is left");
            assert_eq!(
                BesideMail.next(true, stores),
                Some(Alone),
                "it grows too fast"
            );
            assert_eq!(Alone.next(true, stores), None);
        }
        assert_eq!(BesideMail.after(true), Mostly);
        assert_eq!(Alone.after(true), Alone, "the rest is left");
        assert_eq!(Alone.after(false), Not);
    }
}
