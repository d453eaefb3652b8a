//! The writer: the one thread that commits, everything that waits at once.
//!
//! Mailboxes that have something to write stand in its queue, and it takes their
//! work when it visits; changes of accounts bring a place for the answer. A
//! batch is one transaction. Nobody is answered before it is on disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::mailbox::{HOLD, Wake, Work};
use super::shared_mailbox::{SharedMailbox, damaged};
use crate::clock;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::log;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::stats::Stats;
use crate::store::{Batch, Change, Changed, Store, StoreError};
use crate::sync;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Messages of one batch at most: large enough that the sync costs little a
/// message, small enough that the first sender does not wait long.
const BATCH_MESSAGES: usize = 4096;

/// Bytes of one batch after which no further mailbox is visited.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Rest after a batch that failed. Deletions are tried again at once, and a disk
/// that is full or broken need not be asked more often.
const PAUSE: Duration = Duration::from_millis(100);

/// Batches that may fail while the server stops: one, since a failed sync may be
/// over, and not a second one, since a full disk would keep the server for hours.
const LAST_TRIES: u32 = 2;

/// Where changes and mailboxes wait for the thread that [`start`](Self::start) makes.
#[derive(Default)]
pub(crate) struct Writer {
    /// Guards the queue. Taken under a mailbox's lock, so nothing is locked
    /// while it is held; the thread holds it to take what waits, never to write.
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<SharedMailbox>>,
    /// In order of time, since all wait equally long.
    later: VecDeque<(Instant, Arc<SharedMailbox>)>,
    changes: Vec<(Change, Asker)>,
    stopping: bool,
    /// The thread takes nothing more.
    ended: bool,
}

/// Who waits for a change.
type Asker = SyncSender<Result<Changed, Failure>>;

/// Why a change did not happen, for whoever asked for it.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub Refusal);

/// How the thread ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Acknowledgements that were answered and not recorded: these messages are
    /// delivered once more, and their recipients' clients know them.
    pub unrecorded: u64,
    /// Whether the database's file alone is all of it.
    pub closed: Result<(), StoreError>,
}

/// What became of a load that did not fail.
enum Wrote {
    Something,
    /// There was nothing in it: it says nothing about the disk.
    Nothing,
}

/// What the thread takes along at once.
struct Load {
    mailboxes: VecDeque<Arc<SharedMailbox>>,
    changes: Vec<(Change, Asker)>,
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
        let writer = Arc::clone(self);
        let (sender, ended) = sync_channel(1);
        sync::spawn("writer", None, move || {
            let unrecorded = writer.run(&*store, &stats);
            // Nobody listens if the process is ending without it.
            let _ = sender.send(Ended {
                unrecorded,
                closed: store.close(),
            });
        })?;
        Ok(ended)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every statement under it leaves the queue whole.
        self.queue.lock()
    }

    /// Puts a mailbox in line, as its state asked for.
    pub(crate) fn enqueue(&self, mailbox: &Arc<SharedMailbox>, wake: Wake) {
        let mut queue = self.lock();
        if queue.ended {
            return;
        }
        match wake {
            Wake::Now => queue.ready.push_back(Arc::clone(mailbox)),
            Wake::Later => queue
                .later
                .push_back((clock::now() + HOLD, Arc::clone(mailbox))),
        }
        // For a later visit the thread must wake only if it would sleep past it.
        let notify = wake == Wake::Now || queue.later.len() == 1;
        drop(queue);
        if notify {
            self.arrived.notify_one();
        }
    }

    /// Has a change made, and waits until it is on disk. Hold no lock.
    ///
    /// # Errors
    /// Nothing changed.
    pub(crate) fn change(&self, change: Change) -> Result<Changed, Refusal> {
        let gone = || Refusal::new(Code::ShuttingDown, "the server is shutting down");
        match self.submit(change).recv() {
            Ok(Ok(changed)) => Ok(changed),
            Ok(Err(Failure(refusal))) => Err(refusal),
            Err(_) => Err(gone()),
        }
    }

    /// Has a change made some time soon; the receiver may be dropped.
    pub(crate) fn submit(&self, change: Change) -> Receiver<Result<Changed, Failure>> {
        let (sender, receiver) = sync_channel(1);
        let mut queue = self.lock();
        if !queue.ended {
            queue.changes.push((change, sender));
        }
        drop(queue);
        self.arrived.notify_one();
        receiver
    }

    /// Asks the thread to end once all that waits is written, or can't be.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.arrived.notify_one();
    }

    /// Says how many acknowledgements were not recorded.
    fn run(&self, store: &dyn Store, stats: &Stats) -> u64 {
        // A full disk refuses every batch for hours: it is logged as it begins and
        // as it ends, not to fill the disk further.
        let mut refused: u64 = 0;
        let mut unrecorded = 0;
        let mut last_tries = LAST_TRIES;
        while let Some(load) = self.wait() {
            match self.write(store, stats, load, &mut unrecorded) {
                Ok(Wrote::Something) if refused > 0 => {
                    log::info(
                        None,
                        format_args!("the database works again; batches refused: {refused}"),
                    );
                    refused = 0;
                }
                Ok(_) => {}
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
                    if self.lock().stopping {
                        last_tries -= 1;
                    }
                    if last_tries == 0 {
                        return unrecorded + self.give_up(&refusal(&error));
                    }
                    sync::sleep(PAUSE);
                }
            }
        }
        unrecorded
    }

    /// Refuses all that waits, and whatever comes from here on.
    fn give_up(&self, refusal: &Refusal) -> u64 {
        let mut queue = self.lock();
        queue.ended = true;
        let (ready, later) = (
            std::mem::take(&mut queue.ready),
            std::mem::take(&mut queue.later),
        );
        let changes = std::mem::take(&mut queue.changes);
        drop(queue);
        for (_, asker) in changes {
            let _ = asker.send(Err(Failure(refusal.clone())));
        }
        let mut to_flush = FlushSet::default();
        let waiting = ready.into_iter().chain(later.into_iter().map(|(_, p)| p));
        let given_up = waiting.map(|mailbox| mailbox.abandon(refusal, self, &mut to_flush));
        let unrecorded = given_up.sum::<usize>() as u64;
        to_flush.flush();
        unrecorded
    }

    /// Waits for work; `None` when it is time to end.
    fn wait(&self) -> Option<Load> {
        let mut queue = self.lock();
        loop {
            let now = clock::now();
            while let Some((due, _)) = queue.later.front()
                && (*due <= now || queue.stopping)
            {
                let (_, mailbox) = queue.later.pop_front()?;
                queue.ready.push_back(mailbox);
            }
            if !queue.ready.is_empty() || !queue.changes.is_empty() {
                return Some(Load {
                    mailboxes: std::mem::take(&mut queue.ready),
                    changes: std::mem::take(&mut queue.changes),
                });
            }
            queue = match queue.later.front() {
                _ if queue.stopping => {
                    queue.ended = true;
                    return None;
                }
                Some((due, _)) => {
                    let wait = due.saturating_duration_since(now);
                    self.arrived.wait_timeout(queue, wait)
                }
                None => self.arrived.wait(queue),
            };
        }
    }

    /// Writes a load and answers everybody in it.
    ///
    /// # Errors
    /// Nothing was stored of some of it, and it can be tried again.
    fn write(
        &self,
        store: &dyn Store,
        stats: &Stats,
        load: Load,
        unrecorded: &mut u64,
    ) -> Result<Wrote, StoreError> {
        let mut to_flush = FlushSet::default();
        let mut parts = Vec::new();
        for (change, asker) in load.changes {
            parts.push(Part::Change(change, asker));
        }
        let (mut messages, mut bytes) = (0, 0);
        let now = clock::now();
        let mut mailboxes = load.mailboxes;
        while messages < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Some(mailbox) = mailboxes.pop_front() else {
                break;
            };
            let work = mailbox.take_work(now, BATCH_MESSAGES - messages, self, &mut to_flush);
            *unrecorded += work.given_up as u64;
            messages += work.messages.len();
            bytes += work.messages.iter().map(|m| m.body.len()).sum::<usize>();
            if !work.messages.is_empty() || !work.acknowledged.is_empty() {
                parts.push(Part::Mailbox(mailbox, work));
            }
        }
        self.put_back(mailboxes);
        let mut results = Vec::with_capacity(parts.len());
        store_by_halves(store, stats, &parts, &mut results);
        let mut outcome = Ok(Wrote::Nothing);
        for (part, result) in parts.iter().zip(results) {
            match (&result, &outcome) {
                (Ok(_), Ok(_)) => outcome = Ok(Wrote::Something),
                (Err(StoreError::Damaged(_)), _) | (Ok(_), Err(_)) => {}
                (Err(error), _) => outcome = Err(error.clone()),
            }
            self.answer(part, result, &mut to_flush);
        }
        to_flush.flush();
        outcome
    }

    /// Tells who waits for a part what became of it.
    fn answer(
        &self,
        part: &Part,
        result: Result<Option<Changed>, StoreError>,
        to_flush: &mut FlushSet,
    ) {
        match (part, result) {
            (Part::Change(_, asker), Ok(changed)) => {
                let changed = changed.ok_or_else(|| Failure(not_answered()));
                // Who no longer waits needs no answer.
                let _ = asker.send(changed);
            }
            (Part::Change(change, asker), Err(error)) => {
                if let StoreError::Damaged(why) = &error {
                    report_account(change, why);
                }
                let _ = asker.send(Err(Failure(refusal(&error))));
            }
            (Part::Mailbox(mailbox, work), Ok(_)) => mailbox.committed(work, self, to_flush),
            (Part::Mailbox(mailbox, work), Err(error)) => {
                if let StoreError::Damaged(why) = &error {
                    mailbox.set_aside(why);
                }
                mailbox.failed(work, &refusal(&error), self, to_flush);
            }
        }
    }

    fn put_back(&self, mut mailboxes: VecDeque<Arc<SharedMailbox>>) {
        if !mailboxes.is_empty() {
            let mut queue = self.lock();
            mailboxes.append(&mut queue.ready);
            queue.ready = mailboxes;
        }
    }
}

/// What one mailbox or one asker wants of a batch: stored whole or not at all.
enum Part {
    Change(Change, Asker),
    Mailbox(Arc<SharedMailbox>, Work),
}

/// Stores parts in one transaction. If something is damaged, its halves are stored
/// each for itself, and so on, until what meets the damage stands alone: all others
/// are stored. Whoever is after another stays after it.
fn store_by_halves(
    store: &dyn Store,
    stats: &Stats,
    parts: &[Part],
    results: &mut Vec<Result<Option<Changed>, StoreError>>,
) {
    if parts.is_empty() {
        return;
    }
    let batch = batch_of(parts);
    match store.commit(&batch) {
        Ok(changed) => {
            stats.stored.add(batch.messages.len() as u64);
            stats.commits.add(1);
            let mut changed = changed.into_iter();
            results.extend(parts.iter().map(|part| match part {
                Part::Change(..) => Ok(changed.next()),
                Part::Mailbox(..) => Ok(None),
            }));
        }
        Err(StoreError::Damaged(_)) if parts.len() > 1 => {
            let (first, second) = parts.split_at(parts.len() / 2);
            store_by_halves(store, stats, first, results);
            store_by_halves(store, stats, second, results);
        }
        Err(error) => results.extend(parts.iter().map(|_| Err(error.clone()))),
    }
}

fn batch_of(parts: &[Part]) -> Batch {
    let mut batch = Batch::default();
    for part in parts {
        match part {
            Part::Change(change, _) => batch.changes.push(change.clone()),
            Part::Mailbox(mailbox, work) => add(&mut batch, mailbox, work),
        }
    }
    batch
}

fn report_account(change: &Change, why: &str) {
    match change.user() {
        Some(user) => log::error(
            None,
            format_args!(
                "account number {} could not be changed, all others go on: {why}; stop the server, \
                 mend chat.db or restore a backup",
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

/// Adds one mailbox's work, with neighbouring deletions made one range.
fn add(batch: &mut Batch, mailbox: &SharedMailbox, work: &Work) {
    let recipient = mailbox.user;
    batch
        .messages
        .extend(work.messages.iter().map(|m| (recipient, Arc::clone(m))));
    let mut numbers = work.acknowledged.iter().copied();
    let Some(first) = numbers.next() else {
        return;
    };
    let mut range = first..=first;
    for number in numbers {
        if number == range.end() + 1 {
            range = *range.start()..=number;
        } else {
            batch.acknowledged.push((recipient, range));
            range = number..=number;
        }
    }
    batch.acknowledged.push((recipient, range));
}

fn refusal(error: &StoreError) -> Refusal {
    if let StoreError::Damaged(_) = error {
        return damaged();
    }
    Refusal::new(
        Code::Storage,
        match error {
            StoreError::Full => {
                "the server's disk is full, nothing was stored; try again later, and tell the operator"
            }
            StoreError::Damaged(_) | StoreError::Failed(_) => {
                "the server could not store this; try again later, and tell the operator"
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::delivery::shared_mailbox::testing::mailbox;

    #[test]
    fn neighbours_are_deleted_as_one_range() {
        let mailbox = mailbox("bob");
        let work = Work {
            messages: Vec::new(),
            acknowledged: [1, 2, 3, 5, 8, 9].into(),
            given_up: 0,
        };
        let mut batch = Batch::default();
        add(&mut batch, &mailbox, &work);
        let ranges: Vec<_> = batch
            .acknowledged
            .into_iter()
            .map(|(_, range)| range)
            .collect();
        assert_eq!(ranges, [1..=3, 5..=5, 8..=9]);
    }
}
