//! An attack as threads that count what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::load::peer::Peer;
use super::stage::Attacker;

/// An attack that has begun, or why it could not.
pub(crate) type Begun = Result<Box<dyn Attacker>, String>;

/// Counts, each with the word for what was counted.
pub(crate) type Counts = Vec<(usize, &'static str)>;

/// What one thread does until it is told to stop.
pub(crate) type Work = Box<dyn FnOnce(&AtomicBool) -> Counts + Send>;

/// Threads that count what they do.
pub(crate) struct Raid {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Counts>>,
}

impl Raid {
    /// Starts this many threads that do the same thing.
    pub(crate) fn begin(
        count: usize,
        work: impl Fn(&AtomicBool) -> Counts + Send + Sync + 'static,
    ) -> Begun {
        let work = Arc::new(work);
        let one = |_| {
            let work = Arc::clone(&work);
            Box::new(move |stop: &AtomicBool| work(stop)) as Work
        };
        Self::of((0..count).map(one).collect())
    }

    /// Starts a thread for each work.
    pub(crate) fn of(works: Vec<Work>) -> Begun {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |work: Work| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || work(&stop))
        };
        let threads = works.into_iter().map(one).collect();
        Ok(Box::new(Raid { stop, threads }))
    }
}

impl Attacker for Raid {
    fn end(self: Box<Self>, _peer: &Peer) -> Result<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut totals = Counts::new();
        for thread in self.threads {
            let counts = thread.join().map_err(|_| "the attacker broke down")?;
            for (count, word) in counts {
                match totals.iter_mut().find(|(_, known)| *known == word) {
                    Some((total, _)) => *total += count,
                    None => totals.push((count, word)),
                }
            }
        }
        let words = totals.iter().map(|(count, word)| format!("{count} {word}"));
        Ok(words.collect::<Vec<_>>().join(", "))
    }
}
