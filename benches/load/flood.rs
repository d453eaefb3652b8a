//! Senders with a bounded rate to a recipient that may be in trouble.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::pair::Sender;

/// How often a sender sends its share.
const TICK: Duration = Duration::from_millis(10);

/// Senders at work.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<Sender>>>,
}

impl Flood {
    /// Each sender sends `burst` messages every ten milliseconds, but only once
    /// those before are answered: with `ok`, that is, whoever the recipient is.
    pub(crate) fn start(senders: Vec<Sender>, burst: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender_thread = |mut sender: Sender| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    sender.send(burst)?;
                    sender.answers_to(burst)?;
                    due = (due + TICK).max(Instant::now() - TICK);
                }
                Ok(sender)
            })
        };
        Flood {
            threads: senders.into_iter().map(sender_thread).collect(),
            stop,
        }
    }

    /// Ends the flood, and returns how much was sent, all of which was answered.
    ///
    /// # Errors
    /// A sender was refused or disconnected.
    pub(crate) fn finish(self) -> io::Result<Vec<Sender>> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads.map(|thread| thread.join().unwrap()).collect()
    }
}
