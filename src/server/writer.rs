//! The writer: the one thread that commits, everything that waits at once.
//!
//! Mailboxes that have something to write stand in its queue, and it takes their
//! work when it visits; changes of accounts bring a place for the answer. A
//! batch is one transaction. Nobody is answered before it is on disk.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::log;
use super::mailbox::{HOLD, Wake, Work};
use super::outbox::Touched;
use super::postbox::Postbox;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Batch, Change, Changed, Store, StoreError};

/// Messages of one batch at most: large enough that the sync costs little a
/// message, small enough that the first sender does not wait long.
const BATCH_MESSAGES: usize = 4096;

/// Bytes of one batch after which no further mailbox is visited.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Rest after a batch that failed. Deletions are tried again at once, and a disk
/// that is full or broken need not be asked more often.
const PAUSE: Duration = Duration::from_millis(100);

/// Where changes and mailboxes wait for the thread that [`start`](Self::start) makes.
#[derive(Default)]
pub struct Writer {
    /// Guards the queue. Taken under a mailbox's lock, so nothing is locked
    /// while it is held; the thread holds it to take what waits, never to write.
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<Postbox>>,
    /// In order of time, since all wait equally long.
    later: VecDeque<(Instant, Arc<Postbox>)>,
    changes: Vec<(Change, SyncSender<Result<Changed, Failure>>)>,
    stopping: bool,
}

/// Why a change did not happen, for whoever asked for it.
#[derive(Debug, Clone)]
pub struct Failure(pub Refusal);

/// What became of a load that did not fail.
enum Wrote {
    Something,
    /// There was nothing in it: it says nothing about the disk.
    Nothing,
}

/// What the thread takes along at once.
struct Load {
    postboxes: VecDeque<Arc<Postbox>>,
    changes: Vec<(Change, SyncSender<Result<Changed, Failure>>)>,
}

impl Writer {
    /// Starts the thread. It ends after [`stop`](Self::stop), once nothing waits.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        self: &Arc<Self>,
        store: Arc<dyn Store>,
        counters: Arc<Counters>,
    ) -> std::io::Result<JoinHandle<()>> {
        let writer = Arc::clone(self);
        std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer.run(&*store, &counters))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every statement under it leaves the queue whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a mailbox in line, as its state asked for.
    pub fn visit(&self, postbox: &Arc<Postbox>, wake: Wake) {
        let mut queue = self.lock();
        match wake {
            Wake::Now => queue.ready.push_back(Arc::clone(postbox)),
            Wake::Later => queue
                .later
                .push_back((Instant::now() + HOLD, Arc::clone(postbox))),
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
    pub fn change(&self, change: Change) -> Result<Changed, Refusal> {
        let gone = || Refusal::new(Code::ShuttingDown, "the server is shutting down");
        match self.submit(change).recv() {
            Ok(Ok(changed)) => Ok(changed),
            Ok(Err(Failure(refusal))) => Err(refusal),
            Err(_) => Err(gone()),
        }
    }

    /// Has a change made some time soon; the receiver may be dropped.
    pub fn submit(&self, change: Change) -> Receiver<Result<Changed, Failure>> {
        let (sender, receiver) = sync_channel(1);
        self.lock().changes.push((change, sender));
        self.arrived.notify_one();
        receiver
    }

    /// Asks the thread to end once all that waits is written.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.arrived.notify_one();
    }

    fn run(&self, store: &dyn Store, counters: &Counters) {
        // A full disk refuses every batch for hours: it is logged as it begins and
        // as it ends, not to fill the disk further.
        let mut refused: u64 = 0;
        while let Some(load) = self.wait() {
            match self.write(store, counters, load) {
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
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits for work; `None` when it is time to end.
    fn wait(&self) -> Option<Load> {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            while let Some((due, _)) = queue.later.front()
                && (*due <= now || queue.stopping)
            {
                let (_, postbox) = queue.later.pop_front()?;
                queue.ready.push_back(postbox);
            }
            if !queue.ready.is_empty() || !queue.changes.is_empty() {
                return Some(Load {
                    postboxes: std::mem::take(&mut queue.ready),
                    changes: std::mem::take(&mut queue.changes),
                });
            }
            queue = match queue.later.front() {
                _ if queue.stopping => return None,
                Some((due, _)) => {
                    let wait = due.saturating_duration_since(now);
                    let waited = self.arrived.wait_timeout(queue, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .arrived
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Writes a load and answers everybody in it.
    ///
    /// # Errors
    /// Nothing of it was stored.
    fn write(
        &self,
        store: &dyn Store,
        counters: &Counters,
        mut load: Load,
    ) -> Result<Wrote, StoreError> {
        let mut touched = Touched::default();
        let mut batch = Batch::default();
        let mut visited = Vec::new();
        let mut bytes = 0;
        let now = Instant::now();
        while batch.messages.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Some(postbox) = load.postboxes.pop_front() else {
                break;
            };
            let space = BATCH_MESSAGES - batch.messages.len();
            let work = postbox.take_work(now, space, self, &mut touched);
            bytes += work.messages.iter().map(|m| m.body.len()).sum::<usize>();
            add(&mut batch, &postbox, &work);
            visited.push((postbox, work));
        }
        self.put_back(load.postboxes);
        let (changes, askers): (Vec<_>, Vec<_>) = load.changes.into_iter().unzip();
        batch.changes = changes;
        let (wrote, result) = match batch.is_empty() {
            true => (Wrote::Nothing, Ok(Vec::new())),
            false => (Wrote::Something, store.commit(&batch)),
        };
        let outcome = match result {
            Ok(changed) => {
                counters.stored.add(batch.messages.len() as u64);
                counters
                    .commits
                    .add(u64::from(matches!(wrote, Wrote::Something)));
                for (asker, changed) in askers.into_iter().zip(changed) {
                    // Who no longer waits needs no answer.
                    let _ = asker.send(Ok(changed));
                }
                for (postbox, work) in &visited {
                    postbox.committed(work, self, &mut touched);
                }
                Ok(wrote)
            }
            Err(error) => {
                let refusal = refusal(&error);
                for asker in askers {
                    let _ = asker.send(Err(Failure(refusal.clone())));
                }
                for (postbox, work) in &visited {
                    postbox.failed(work, &refusal, self, &mut touched);
                }
                Err(error)
            }
        };
        touched.flush();
        outcome
    }

    fn put_back(&self, mut postboxes: VecDeque<Arc<Postbox>>) {
        if !postboxes.is_empty() {
            let mut queue = self.lock();
            postboxes.append(&mut queue.ready);
            queue.ready = postboxes;
        }
    }
}

/// Adds one mailbox's work, with neighbouring deletions made one range.
fn add(batch: &mut Batch, postbox: &Postbox, work: &Work) {
    let recipient = postbox.user;
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
    Refusal::new(
        Code::Storage,
        match error {
            StoreError::Full => {
                "the server's disk is full, nothing was stored; try again later, and tell the operator"
            }
            StoreError::Failed(_) => {
                "the server could not store this; try again later, and tell the operator"
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::postbox::testing::postbox;

    #[test]
    fn neighbours_are_deleted_as_one_range() {
        let postbox = postbox("bob");
        let work = Work {
            messages: Vec::new(),
            acknowledged: [1, 2, 3, 5, 8, 9].into(),
        };
        let mut batch = Batch::default();
        add(&mut batch, &postbox, &work);
        let ranges: Vec<_> = batch
            .acknowledged
            .into_iter()
            .map(|(_, range)| range)
            .collect();
        assert_eq!(ranges, [1..=3, 5..=5, 8..=9]);
    }
}
