//! Deriving keys from the console's passwords, a few at a time.
//!
//! A client derives its own key; a person at telnet can't, so the server does, at
//! 64 MiB and a core for a third of a second each. Strangers can ask for that, so
//! at most half of the cores do it, the line for it is short (`limits::turns`), and
//! waiting in it ends after some seconds.

/// Who may have a key derived.
pub(crate) mod turns;

use std::time::{Duration, Instant};

use self::turns::{NoPlace, Ticket, WaitingLine};
use super::in_words;
use super::ip_prefix::IpPrefix;
use super::token_bucket::Rate;
use crate::clock;
use crate::protocol::refusal::{Code, Refusal};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// KdfQueue at the same time, whatever the machine: 64 MiB each.
const MOST: usize = 4;

/// How long one waits for a turn.
const WAIT: Duration = Duration::from_secs(10);

/// How often those who wait are looked at: whether they are still there.
const LOOK: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(crate) struct KdfQueue {
    /// Held for single steps in the line, never while deriving.
    turns: Mutex<WaitingLine>,
    /// Somebody left: it may be another one's turn.
    left: Condvar,
    /// How often each address may ask.
    rate: Option<Rate>,
}

/// A turn; it ends when this is dropped, whatever happens meanwhile.
#[derive(Debug)]
pub(crate) struct KdfSlot<'a> {
    kdf_queue: &'a KdfQueue,
    ticket: Ticket,
}

impl KdfQueue {
    /// With so many a minute for each address; zero is no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        KdfQueue {
            turns: Mutex::new(WaitingLine::new((cores / 2).clamp(1, MOST))),
            left: Condvar::new(),
            rate: Rate::new(per_minute, Duration::from_secs(60), per_minute),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitingLine> {
        // Every statement under it leaves the line whole.
        self.turns.lock()
    }

    /// Waits for a turn, some seconds at most and until `gives_up` says yes, which
    /// is asked now and then. Holds no lock meanwhile.
    ///
    /// # Errors
    /// There is no place in the line, or it took too long.
    pub(crate) fn turn(
        &self,
        from: Option<IpPrefix>,
        now: Instant,
        gives_up: &dyn Fn(Instant) -> bool,
    ) -> Result<KdfSlot<'_>, Refusal> {
        let mut turns = self.lock();
        let ticket = turns.line_up(from, self.rate, now).map_err(refusal)?;
        // From here on dropping it gives the place back.
        let turn = KdfSlot {
            kdf_queue: self,
            ticket,
        };
        let deadline = clock::now() + WAIT;
        while !turns.begin(ticket) {
            // Dropping the turn takes the lock.
            drop(turns);
            let now = clock::now();
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() || gives_up(now) {
                return Err(refusal(NoPlace::Full));
            }
            turns = self.lock();
            if turns.begin(ticket) {
                break;
            }
            turns = self.left.wait_timeout(turns, left.min(LOOK));
        }
        drop(turns);
        // The next one may have a free place, too.
        self.left.notify_all();
        Ok(turn)
    }
}

impl Drop for KdfSlot<'_> {
    fn drop(&mut self) {
        self.kdf_queue.lock().leave(self.ticket);
        self.kdf_queue.left.notify_all();
    }
}

fn refusal(why: NoPlace) -> Refusal {
    let sentence = match why {
        NoPlace::Full => "too many people log in at the moment; try again in a minute".to_owned(),
        NoPlace::Crowded => {
            "too many logins from your address are under way; try again when they are done"
                .to_owned()
        }
        NoPlace::Later(wait) => format!(
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
    fn few_work_at_a_time_and_all_get_their_turn() {
        let kdf_queue = Arc::new(KdfQueue::new(0));
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let [busy, served] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for last in 0..12 {
                let (busy, served) = (&busy, &served);
                let kdf_queue = &kdf_queue;
                scope.spawn(move || {
                    let turn = kdf_queue
                        .turn(network(last), Instant::now(), &|_| false)
                        .unwrap();
                    let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= (most / 2).clamp(1, MOST));
                    std::thread::yield_now();
                    busy.fetch_sub(1, Ordering::SeqCst);
                    served.fetch_add(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
        });
        assert_eq!(served.load(Ordering::SeqCst), 12);
    }

    #[test]
    fn a_stranger_who_keeps_asking_does_not_stop_others() {
        let kdf_queue = KdfQueue::new(30);
        let now = Instant::now();
        let served = (0..1000)
            .filter(|_| kdf_queue.turn(network(1), now, &|_| false).is_ok())
            .count();
        assert_eq!(served, 30);
        let refusal = kdf_queue.turn(network(1), now, &|_| false).unwrap_err();
        assert_eq!(refusal.code, Code::SlowDown);
        assert!(refusal.message.contains("in 2 seconds"), "{refusal}");
        kdf_queue.turn(network(2), now, &|_| false).unwrap();
    }

    #[test]
    fn a_fault_while_deriving_gives_the_turn_back() {
        let kdf_queue = KdfQueue::new(0);
        for _ in 0..=MOST {
            let turn = kdf_queue.turn(None, Instant::now(), &|_| false).unwrap();
            let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _turn = turn;
                std::panic::resume_unwind(Box::new("a fault"));
            }));
            assert!(fault.is_err());
        }
        kdf_queue.turn(None, Instant::now(), &|_| false).unwrap();
    }

    #[test]
    fn who_gives_up_leaves_the_line_at_once() {
        let kdf_queue = KdfQueue::new(0);
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let turn = |gives_up: &dyn Fn(Instant) -> bool| {
            kdf_queue.turn(network(1), Instant::now(), gives_up)
        };
        let busy = (0..(most / 2).clamp(1, MOST)).map(|_| turn(&|_| false).unwrap());
        let busy: Vec<_> = busy.collect();
        let refusal = turn(&|_| true).unwrap_err();
        assert_eq!(refusal.code, Code::SlowDown);
        drop(busy);
        turn(&|_| true).expect("a free turn is nobody's to wait for");
    }
}
