//! Probes are small steps at a low fixed rate. The time that each takes is what a person would notice
//! while something else goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use super::account::{ask, login, register};
use super::pair::Pair;
use super::peer::{Kind, Peer};
use super::stats::percentile;
use crate::harness::stream::Stream;

/// A step that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause after a login that was turned away.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// One step: when it was due, and how long it took in microseconds, or that it failed.
struct Step {
    due: Instant,
    took: Option<f64>,
}

/// Probes that are running.
pub(crate) struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Step>>>,
}

impl Probes {
    /// No probes yet.
    pub(crate) fn new() -> Self {
        Probes {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        }
    }

    /// Pairs who send a message each `period`, and nothing before it has arrived
    /// and was answered. Their numbers begin behind those of other pairs.
    pub(crate) fn chats(peer: &Peer, count: usize, period: Duration) -> Self {
        let mut probes = Self::new();
        for number in 0..count {
            let mut pair = Pair::new(peer, 90_000 + number);
            pair.set_patience(PATIENCE);
            probes.add(period, move || pair.one_way());
        }
        probes
    }

    /// Somebody who logs in each `period`, and out again. A login that is turned away is tried again
    /// until it is let in, and all of that is one.
    pub(crate) fn logins(peer: &Peer, period: Duration) -> Self {
        drop(register(peer.connect(), "visitor"));
        let (address, tls) = (peer.address, peer.kind == Kind::ServerTls);
        let visit = move || {
            let mut stream = Stream::connect(address, tls)?;
            login(&mut stream, "visitor")?;
            let done = Instant::now();
            ask(&mut stream, "logout", json!({}))?;
            Ok(done)
        };
        let mut probes = Self::new();
        probes.add(period, move || {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match visit() {
                    Err(_) if Instant::now() < deadline => thread::sleep(TRY_AGAIN),
                    ended => return ended,
                }
            }
        });
        probes
    }

    /// Runs `step` every `period`; it returns the moment at which what is measured
    /// was done. A failed step is the last.
    pub(crate) fn add(
        &mut self,
        period: Duration,
        mut step: impl FnMut() -> io::Result<Instant> + Send + 'static,
    ) {
        // Not all at the same moment.
        let offset = period.mul_f64(self.threads.len() as f64 * 0.618 % 1.0);
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || {
            let mut steps = Vec::new();
            let mut due = Instant::now() + offset;
            while !stop.load(Ordering::Relaxed) {
                // Held up by the step before: the wait counts as this one's. Woken
                // late by the system: that is not the server's doing.
                let late = Instant::now() > due;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let start = if late { due } else { Instant::now() };
                let done = step();
                let took = done.as_ref().ok().map(|done| {
                    let taken = done.saturating_duration_since(start);
                    taken.as_secs_f64() * 1e6
                });
                steps.push(Step { due, took });
                if let Err(error) = done {
                    eprintln!("a probe failed: {error}");
                    break;
                }
                due += period;
            }
            steps
        }));
    }

    /// Ends all probes.
    pub(crate) fn finish(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        Record {
            steps: threads.flat_map(|thread| thread.join().unwrap()).collect(),
        }
    }
}

/// The results of probes.
pub(crate) struct Record {
    steps: Vec<Step>,
}

impl Record {
    /// The steps that were due between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Times {
        let due = |step: &&Step| (from..to).contains(&step.due);
        let steps: Vec<&Step> = self.steps.iter().filter(due).collect();
        let mut sorted: Vec<f64> = steps.iter().filter_map(|step| step.took).collect();
        sorted.sort_by(f64::total_cmp);
        Times {
            failed: steps.len() - sorted.len(),
            sorted,
        }
    }
}

/// The durations of steps.
pub(crate) struct Times {
    /// In microseconds, sorted.
    sorted: Vec<f64>,
    pub(crate) failed: usize,
}

impl Times {
    /// The time below which a share of them lies, in microseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        percentile(&self.sorted, share)
    }

    /// The longest, in microseconds.
    pub(crate) fn max(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(f64::NAN)
    }

    /// How many steps succeeded.
    pub(crate) fn succeeded(&self) -> usize {
        self.sorted.len()
    }
}
