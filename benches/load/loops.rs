//! Pairs in closed loops: each sends again what was answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::pair::Pair;
use super::peer::Peer;

/// The time that runs before the count begins.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);

/// Runs closed loops for a while. Returns messages per second, and CPU seconds of
/// these processes per million.
pub(crate) fn closed_loops(
    peers: &[Peer],
    pairs: &mut [Pair],
    window: usize,
    duration: Duration,
) -> (f64, f64) {
    let (counting, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let total = AtomicU64::new(0);
    thread::scope(|scope| {
        for pair in pairs {
            let (counting, stop, total) = (&counting, &stop, &total);
            scope.spawn(move || {
                pair.sender.send(window).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let count = pair.turn().unwrap();
                    if counting.load(Ordering::Relaxed) {
                        total.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        thread::sleep(WARM_UP);
        let (start, cpu) = (Instant::now(), cpu_of(peers));
        counting.store(true, Ordering::Relaxed);
        thread::sleep(duration);
        counting.store(false, Ordering::Relaxed);
        let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_of(peers) - cpu);
        stop.store(true, Ordering::Relaxed);
        let messages = total.load(Ordering::Relaxed) as f64;
        (messages / elapsed, cpu / messages * 1e6)
    })
}

fn cpu_of(peers: &[Peer]) -> f64 {
    peers.iter().map(Peer::cpu).sum()
}
