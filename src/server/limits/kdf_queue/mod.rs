//! The queue for deriving keys from the console's passwords, a few at a time.
//!
//! A client derives its own key; a person at telnet can't, so the server does, which costs it
//! 64 MiB and a core for a third of a second. Anybody who can connect may ask for that, so at most
//! half of the cores do it, the line for it is short, and waiting in it ends after some seconds.
//!
//! [`waiting_line`] decides who is next. The derivation itself is `crypto`'s.

mod waiting_line;

use std::time::{Duration, Instant};

use self::waiting_line::{Refused, Ticket, WaitingLine};
use super::in_words;
use super::ip_prefix::IpPrefix;
use super::token_bucket::Rate;
use crate::clock;
use crate::protocol::refusal::{Code, Refusal};
use crate::sync::{Condvar, Mutex};

/// Derivations at the same time, however many cores there are: each takes 64 MiB.
const MAX_SLOTS: usize = 4;

/// How long one waits for a slot.
const WAIT: Duration = Duration::from_secs(10);

/// How often one that waits checks whether its client has left.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Who may derive a key, and who waits for it.
#[derive(Debug)]
pub(crate) struct KdfQueue {
    /// Guards the slots and the line. Held for single steps, never while deriving; alone.
    line: Mutex<WaitingLine>,
    /// Notified when the first in the line or the number of free slots has changed.
    changed: Condvar,
    /// How often each address may ask.
    rate: Option<Rate>,
}

/// The right to derive a key. It ends when this is dropped, also when the holder panics.
#[derive(Debug)]
pub(crate) struct KdfSlot<'a> {
    queue: &'a KdfQueue,
    ticket: Ticket,
}

impl KdfQueue {
    /// A queue that lets each address ask `per_minute` times; zero is no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        KdfQueue {
            line: Mutex::new(WaitingLine::new(slots())),
            changed: Condvar::new(),
            rate: Rate::new(per_minute, Duration::from_secs(60), per_minute),
        }
    }

    /// How many wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.line.lock().waiting()
    }

    /// Waits for a slot, for some seconds at most and only while `gives_up`, which is asked
    /// now and then, says no. Holds no lock meanwhile.
    ///
    /// # Errors
    /// There is no place in the line, or the wait was too long.
    pub(crate) fn acquire(
        &self,
        from: Option<IpPrefix>,
        now: Instant,
        gives_up: &dyn Fn(Instant) -> bool,
    ) -> Result<KdfSlot<'_>, Refusal> {
        let mut line = self.line.lock();
        let ticket = line.join(from, self.rate, now).map_err(refusal)?;
        // From here on, dropping it gives the place back. That takes the lock, so it must not
        // be held on the way out.
        let slot = KdfSlot {
            queue: self,
            ticket,
        };
        let deadline = clock::now() + WAIT;
        while !line.take_slot(ticket) {
            drop(line);
            let now = clock::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() || gives_up(now) {
                return Err(refusal(Refused::LineFull));
            }
            line = self.line.lock();
            if line.take_slot(ticket) {
                break;
            }
            line = self.changed.wait_timeout(line, left.min(CHECK_INTERVAL));
        }
        drop(line);
        // There may be a free slot for the next one, too.
        self.changed.notify_all();
        Ok(slot)
    }
}

/// How many derive at the same time.
fn slots() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, MAX_SLOTS)
}

impl Drop for KdfSlot<'_> {
    fn drop(&mut self) {
        self.queue.line.lock().leave(self.ticket);
        self.queue.changed.notify_all();
    }
}

fn refusal(why: Refused) -> Refusal {
    let sentence = match why {
        Refused::LineFull => {
            "too many people log in at the moment; try again in a minute".to_owned()
        }
        Refused::TooManyFromAddress => {
            "too many logins from your address are under way; try again when they are done"
                .to_owned()
        }
        Refused::TooOften(wait) => format!(
            "too many logins came from your address; try again in {}, or use the client",
            in_words(wait)
        ),
    };
    Refusal::new(Code::SlowDown, sentence)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn network(last: u8) -> Option<IpPrefix> {
        Some(IpPrefix::of([192, 0, 2, last].into()))
    }

    #[test]
    fn few_work_at_a_time_and_all_get_a_slot() {
        let kdf_queue = Arc::new(KdfQueue::new(0));
        let [busy, served] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for last in 0..12 {
                let (busy, served) = (&busy, &served);
                let kdf_queue = &kdf_queue;
                scope.spawn(move || {
                    let slot = kdf_queue
                        .acquire(network(last), Instant::now(), &|_| false)
                        .unwrap();
                    let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= slots());
                    std::thread::yield_now();
                    busy.fetch_sub(1, Ordering::SeqCst);
                    served.fetch_add(1, Ordering::SeqCst);
                    drop(slot);
                });
            }
        });
        assert_eq!(served.load(Ordering::SeqCst), 12);
    }

    #[test]
    fn an_address_that_keeps_asking_does_not_stop_others() {
        let kdf_queue = KdfQueue::new(30);
        let now = Instant::now();
        let served = (0..1000)
            .filter(|_| kdf_queue.acquire(network(1), now, &|_| false).is_ok())
            .count();
        assert_eq!(served, 30);
        let refusal = kdf_queue.acquire(network(1), now, &|_| false).unwrap_err();
        assert_eq!(refusal.code, Code::SlowDown);
        assert!(refusal.message.contains("in 2 seconds"), "{refusal}");
        kdf_queue.acquire(network(2), now, &|_| false).unwrap();
    }

    #[test]
    fn a_fault_while_deriving_gives_the_slot_back() {
        let kdf_queue = KdfQueue::new(0);
        for _ in 0..=MAX_SLOTS {
            let slot = kdf_queue.acquire(None, Instant::now(), &|_| false).unwrap();
            let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _slot = slot;
                std::panic::resume_unwind(Box::new("a fault"));
            }));
            assert!(fault.is_err());
        }
        kdf_queue.acquire(None, Instant::now(), &|_| false).unwrap();
    }

    #[test]
    fn who_gives_up_leaves_the_line_at_once() {
        let kdf_queue = KdfQueue::new(0);
        let acquire = |gives_up: &dyn Fn(Instant) -> bool| {
            kdf_queue.acquire(network(1), Instant::now(), gives_up)
        };
        let busy = (0..slots()).map(|_| acquire(&|_| false).unwrap());
        let busy: Vec<_> = busy.collect();
        let refusal = acquire(&|_| true).unwrap_err();
        assert_eq!(refusal.code, Code::SlowDown);
        drop(busy);
        acquire(&|_| true).expect("a slot that is free needs no waiting");
    }
}
