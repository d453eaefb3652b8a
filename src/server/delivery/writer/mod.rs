//! The writer: the one thread that commits, with a queue of what waits for it.
//!
//! A mailbox that has something to write is put in the queue, and the writer takes its
//! work when the mailbox's turn comes. A change of an account carries the channel on which its
//! answer is returned. All mail that waits is committed as one transaction, and nobody is answered before
//! it is on disk. Changes go ahead of it, in a transaction of their own, so that a login does
//! not wait for more than the batch under way. When nothing waits, and now and then when
//! something always does, the store gets a moment to clear up. `batch` makes a transaction and
//! copes with damage; `folding` is the thread that folds the store's log, for which mail waits, in
//! part, and changes do not.

mod batch;
mod folding;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::batch::{Part, Recent};
use self::folding::Folding;
use super::mailbox::{WRITE_DELAY, Wake};
use super::refusals::write_failed;
use super::shared_mailbox::{FollowUp, SharedMailbox};
use crate::clock;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::log;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::stats::Stats;
use crate::store::{Change, Changed, Store, StoreError};
use crate::sync::{self, Condvar, Mutex, Receiver, SyncSender, sync_channel};

/// The time between two turns in which the store clears up: with nothing else to do, and beside
/// other work. A turn takes some milliseconds, by which a login may wait longer. While a
/// mailbox is being drained, most of that work is wasted: the pages that it moves are about to be
/// deleted.
const RECLAIM_IDLE: Duration = Duration::from_millis(20);
const RECLAIM_BUSY: Duration = Duration::from_millis(200);

/// The pause after a batch that failed. Deletions are tried again with the next batch,
/// and a disk that is full or broken need not be asked more often.
const PAUSE: Duration = Duration::from_millis(100);

/// The thread ends at this many failed batches while the server stops. One failed sync
/// may pass; a full disk must not keep the server from stopping.
const LAST_TRIES: u32 = 2;

/// Changes and mailboxes that wait for the writer's thread.
#[derive(Default)]
pub(crate) struct Writer {
    /// Guards the queue. Nothing else is locked while it is held, and the thread holds it
    /// to take what waits, never to write. Every statement under it leaves the queue whole.
    queue: Mutex<Queue>,
    /// Something is there for the writer's thread.
    arrived: Condvar,
    /// Something is there for the thread that folds.
    long_log: Condvar,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<SharedMailbox>>,
    /// Mailboxes to be written at a moment, earliest first: all wait equally long.
    later: VecDeque<(Instant, Arc<SharedMailbox>)>,
    changes: Vec<(Change, ChangeReply)>,
    folding: Folding,
    /// There is a thread that folds.
    can_fold: bool,
    /// The thread shall end once nothing waits.
    stopping: bool,
    /// The thread takes nothing more.
    ended: bool,
}

/// Where the outcome of a change goes.
type ChangeReply = SyncSender<Result<Changed, Refusal>>;

/// How the thread ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How many acknowledgements were answered but not recorded. Their messages are
    /// delivered once more, and the recipients' clients recognise them.
    pub unrecorded: u64,
    /// Whether the database's file alone is all of it.
    pub closed: Result<(), StoreError>,
}

/// What the thread took from the queue.
struct Taken {
    mailboxes: VecDeque<Arc<SharedMailbox>>,
    changes: Vec<(Change, ChangeReply)>,
    /// The store is being folded, so it can't clear up.
    folding: bool,
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.mailboxes.is_empty() && self.changes.is_empty()
    }
}

/// What came of a batch that did not fail.
enum Committed {
    Something,
    /// The batch was empty, so it says nothing about the disk.
    Nothing,
}

/// Ends the queue when the thread panics, unless it was told that the thread ends in the ordinary way:
/// whoever waits for a change is told, and the server notices that it has to shut down.
struct EndOnPanic<'a>(Option<&'a Writer>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        let Some(writer) = self.0 else {
            return;
        };
        let mut queue = writer.queue.lock();
        queue.ended = true;
        let changes = std::mem::take(&mut queue.changes);
        drop(queue);
        // Without their senders, the receivers return.
        drop(changes);
    }
}

impl Writer {
    /// Starts the thread. It ends after [`stop`](Self::stop), once nothing waits or
    /// the disk takes no more, closes the store, and says how that went.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(
        self: &Arc<Self>,
        store: Arc<dyn Store>,
        stats: Arc<Stats>,
    ) -> std::io::Result<Receiver<Ended>> {
        self.start_folding(Arc::clone(&store))?;
        let writer = Arc::clone(self);
        let (sender, ended) = sync_channel(1);
        sync::spawn("writer", None, move || {
            let mut end = EndOnPanic(Some(&writer));
            let unrecorded = writer.run(&*store, &stats);
            end.0 = None;
            // Nobody listens if the process is ending without it.
            let _ = sender.send(Ended {
                unrecorded,
                closed: store.close(),
            });
        })?;
        Ok(ended)
    }

    /// Puts a mailbox in the queue.
    pub(crate) fn enqueue(&self, mailbox: &Arc<SharedMailbox>, wake: Wake) {
        let mut queue = self.queue.lock();
        if queue.ended {
            return;
        }
        match wake {
            Wake::Now => queue.ready.push_back(Arc::clone(mailbox)),
            Wake::Later => queue
                .later
                .push_back((clock::now() + WRITE_DELAY, Arc::clone(mailbox))),
        }
        // For a later turn the thread must wake only if it would sleep past it. After folding it
        // wakes in any case.
        let waits = queue.folding == Folding::Alone;
        let notify = !waits && (wake == Wake::Now || queue.later.len() == 1);
        drop(queue);
        if notify {
            self.arrived.notify_one();
        }
    }

    /// Makes a change, and waits until it is on disk. Hold no lock.
    ///
    /// # Errors
    /// Nothing changed.
    pub(crate) fn change(&self, change: Change) -> Result<Changed, Refusal> {
        match self.submit(change).recv() {
            Ok(Ok(changed)) => Ok(changed),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::new(
                Code::ShuttingDown,
                "the server is shutting down",
            )),
        }
    }

    /// Makes a change some time soon. The receiver may be dropped.
    pub(crate) fn submit(&self, change: Change) -> Receiver<Result<Changed, Refusal>> {
        let (sender, receiver) = sync_channel(1);
        let mut queue = self.queue.lock();
        if !queue.ended {
            queue.changes.push((change, sender));
        }
        drop(queue);
        self.arrived.notify_one();
        receiver
    }

    /// How many mailboxes and changes wait.
    pub(crate) fn waiting(&self) -> usize {
        let queue = self.queue.lock();
        queue.ready.len() + queue.later.len() + queue.changes.len()
    }

    /// Asks the thread to end once all that waits is written, or can't be.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.arrived.notify_one();
    }

    /// Whether the thread has ended: it stores nothing any more, and refuses changes.
    pub(crate) fn has_ended(&self) -> bool {
        self.queue.lock().ended
    }

    /// Commits what waits until it is time to end. Returns how many acknowledgements were
    /// not recorded.
    fn run(&self, store: &dyn Store, stats: &Stats) -> u64 {
        // A full disk refuses every batch, perhaps for hours. It is logged when that begins
        // and when it ends, so that the log does not fill the disk further.
        let mut refused: u64 = 0;
        let mut recent = Recent::default();
        let mut last_tries = LAST_TRIES;
        // When the store clears up next. A crash may have left something to clear up.
        let mut reclaim_at = Some(clock::now());
        loop {
            self.look_after_log(store, recent.stores);
            let Some(taken) = self.wait(reclaim_at) else {
                return recent.unrecorded;
            };
            if !taken.folding && reclaim_at.is_some_and(|at| at <= clock::now()) {
                let pause = if taken.is_empty() {
                    RECLAIM_IDLE
                } else {
                    RECLAIM_BUSY
                };
                reclaim_at = reclaim(store).then(|| clock::now() + pause);
            }
            if taken.is_empty() {
                continue;
            }
            match self.write(store, stats, taken, &mut recent) {
                Ok(Committed::Something) if refused > 0 => {
                    log::info(
                        None,
                        format_args!("the database works again; batches refused: {refused}"),
                    );
                    refused = 0;
                }
                Ok(Committed::Something) => {
                    reclaim_at = reclaim_at.or_else(|| Some(clock::now() + RECLAIM_BUSY));
                }
                Ok(Committed::Nothing) => {}
                Err(error) => {
                    if refused == 0 {
                        log::error(
                            None,
                            format_args!(
                                "nothing of a batch was stored: {error}; senders are told to try \
                                 again, until it works"
                            ),
                        );
                    }
                    refused += 1;
                    if self.queue.lock().stopping {
                        last_tries -= 1;
                    }
                    if last_tries == 0 {
                        return recent.unrecorded + self.give_up(&write_failed(&error));
                    }
                    sync::sleep(PAUSE);
                }
            }
        }
    }

    /// Refuses all that waits and all that is yet to come. Returns how many
    /// acknowledgements were not recorded.
    fn give_up(&self, refusal: &Refusal) -> u64 {
        let mut queue = self.queue.lock();
        queue.ended = true;
        self.long_log.notify_one();
        let ready = std::mem::take(&mut queue.ready);
        let later = std::mem::take(&mut queue.later);
        let changes = std::mem::take(&mut queue.changes);
        drop(queue);
        for (_, reply) in changes {
            // A receiver that was dropped needs no answer.
            let _ = reply.send(Err(refusal.clone()));
        }
        let mut to_flush = FlushSet::default();
        let mut unrecorded = 0;
        for mailbox in ready.into_iter().chain(later.into_iter().map(|(_, m)| m)) {
            let (abandoned, follow_up) = mailbox.update(&mut to_flush, |state, effects| {
                state.machine.abandon(refusal, effects)
            });
            unrecorded += abandoned as u64;
            self.follow_up(&mailbox, follow_up);
        }
        to_flush.flush();
        unrecorded
    }

    /// Puts a mailbox in the queue again if it asks for that. The writer's events make no
    /// receipts.
    fn follow_up(&self, mailbox: &Arc<SharedMailbox>, follow_up: FollowUp) {
        if let Some(wake) = follow_up.wake {
            self.enqueue(mailbox, wake);
        }
    }

    /// Waits for work, at most until `limit`: what it returns then may be empty. Returns `None`
    /// when it is time to end.
    fn wait(&self, limit: Option<Instant>) -> Option<Taken> {
        let mut queue = self.queue.lock();
        loop {
            let now = clock::now();
            while let Some((due, _)) = queue.later.front()
                && (*due <= now || queue.stopping)
            {
                let (_, mailbox) = queue.later.pop_front()?;
                queue.ready.push_back(mailbox);
            }
            let waits = queue.folding == Folding::Alone;
            let folding = queue.folding.is_under_way();
            let limit = limit.filter(|_| !folding);
            let mail = !queue.ready.is_empty() && !waits;
            let waited = limit.is_some_and(|limit| limit <= now) && !queue.stopping;
            if mail || waited || !queue.changes.is_empty() {
                return Some(Taken {
                    mailboxes: match waits {
                        false => std::mem::take(&mut queue.ready),
                        true => VecDeque::new(),
                    },
                    changes: std::mem::take(&mut queue.changes),
                    folding,
                });
            }
            let due = queue.later.front().map(|(due, _)| *due);
            queue = match due.into_iter().chain(limit).min() {
                _ if waits => self.arrived.wait(queue),
                // The store is closed when what is being folded beside mail is done.
                _ if queue.stopping => {
                    queue.ended = true;
                    self.long_log.notify_one();
                    return None;
                }
                Some(moment) => {
                    let wait = moment.saturating_duration_since(now);
                    self.arrived.wait_timeout(queue, wait)
                }
                None => self.arrived.wait(queue),
            };
        }
    }

    /// Commits what was taken from the queue, and answers everybody who waits for it.
    ///
    /// # Errors
    /// Some of it was not stored, and can be tried again.
    fn write(
        &self,
        store: &dyn Store,
        stats: &Stats,
        taken: Taken,
        recent: &mut Recent,
    ) -> Result<Committed, StoreError> {
        let changes = taken.changes.into_iter();
        let changes: Vec<Part> = changes.map(|(what, to)| Part::Change(what, to)).collect();
        let changed = self.commit(store, stats, &changes);
        let mut to_flush = FlushSet::default();
        let mut parts = Vec::new();
        let now = clock::now();
        if !changes.is_empty() {
            recent.change = Some(now);
        }
        let all = recent.room(now);
        let mut room = all;
        let mut mailboxes = taken.mailboxes;
        while !room.is_full() {
            let Some(mailbox) = mailboxes.pop_front() else {
                break;
            };
            let (work, follow_up) = mailbox.take_work(now, room, &mut to_flush);
            self.follow_up(&mailbox, follow_up);
            recent.unrecorded += work.abandoned as u64;
            room.take(&work);
            if !work.messages.is_empty() || !work.acknowledged.is_empty() {
                parts.push(Part::Mailbox(mailbox, work));
            }
        }
        self.put_back(mailboxes);
        to_flush.flush();
        if !parts.is_empty() {
            recent.stores = all.messages - room.messages > all.deletions - room.deletions;
        }
        match (changed, self.commit(store, stats, &parts)) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Committed::Nothing), Ok(Committed::Nothing)) => Ok(Committed::Nothing),
            _ => Ok(Committed::Something),
        }
    }

    /// Commits parts as one transaction, and answers everybody who waits for them.
    fn commit(
        &self,
        store: &dyn Store,
        stats: &Stats,
        parts: &[Part],
    ) -> Result<Committed, StoreError> {
        let mut to_flush = FlushSet::default();
        let mut results = Vec::with_capacity(parts.len());
        batch::commit_by_halves(store, stats, parts, &mut results);
        let mut outcome = Ok(Committed::Nothing);
        for (part, result) in parts.iter().zip(results) {
            match (&result, &outcome) {
                (Ok(_), Ok(_)) => outcome = Ok(Committed::Something),
                (Err(StoreError::Damaged(_) | StoreError::Locked(_)), _) | (Ok(_), Err(_)) => {}
                (Err(error), _) => outcome = Err(error.clone()),
            }
            self.answer(part, result, &mut to_flush);
        }
        to_flush.flush();
        outcome
    }

    /// Tells everybody who waits for a part what became of it.
    fn answer(
        &self,
        part: &Part,
        result: Result<Option<Changed>, StoreError>,
        to_flush: &mut FlushSet,
    ) {
        match part {
            Part::Change(change, reply) => {
                let changed = match result {
                    Ok(changed) => changed.ok_or_else(not_answered),
                    Err(error) => {
                        if let StoreError::Damaged(why) = &error {
                            report_damaged_account(change, why);
                        }
                        Err(write_failed(&error))
                    }
                };
                // A receiver that was dropped needs no answer.
                let _ = reply.send(changed);
            }
            Part::Mailbox(mailbox, work) => {
                if let Err(StoreError::Damaged(why)) = &result {
                    mailbox.set_aside(why);
                }
                let ((), follow_up) = mailbox.update(to_flush, |state, effects| match &result {
                    Ok(_) => state.machine.committed(work, effects),
                    Err(error) => {
                        let now = clock::now();
                        let refusal = write_failed(error);
                        state.machine.failed(work, &refusal, now, effects);
                    }
                });
                self.follow_up(mailbox, follow_up);
            }
        }
    }

    /// Puts mailboxes that did not fit into the batch back at the front of the queue.
    fn put_back(&self, mut mailboxes: VecDeque<Arc<SharedMailbox>>) {
        if !mailboxes.is_empty() {
            let mut queue = self.queue.lock();
            mailboxes.append(&mut queue.ready);
            queue.ready = mailboxes;
        }
    }
}

/// Lets the store clear up. Returns whether there is more to do. What fails is tried again after
/// the next batch, which meets the same fault and reports it.
fn reclaim(store: &dyn Store) -> bool {
    store.reclaim().unwrap_or(false)
}

fn report_damaged_account(change: &Change, why: &dyn fmt::Display) {
    match change.user() {
        Some(user) => log::error(
            None,
            format_args!(
                "account number {} could not be changed, all others go on: {why}; stop the server, \
                 mend the database or restore a backup",
                user.0
            ),
        ),
        None => log::error(None, format_args!("an account could not be made: {why}")),
    }
}

/// The store has answered fewer changes than it was given.
fn not_answered() -> Refusal {
    Refusal::new(
        Code::Internal,
        "the server does not know whether this was done; look before you try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_thread_ends_the_queue_and_those_who_wait() {
        let writer = Arc::new(Writer::default());
        let waiting = writer.submit(Change::Revoke(1));
        let of_the_thread = Arc::clone(&writer);
        let thread = sync::spawn("writer", None, move || {
            let _end = EndOnPanic(Some(&of_the_thread));
            panic!("this panic is the test's");
        });
        assert!(thread.unwrap().join().is_err());
        assert!(writer.has_ended());
        assert!(waiting.recv().is_err());
        let refused = writer.change(Change::Revoke(1)).unwrap_err();
        assert_eq!(refused.code, Code::ShuttingDown);
    }
}
