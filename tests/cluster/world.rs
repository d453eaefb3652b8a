//! What all people of a run share, and the run itself: people use the nodes while somebody breaks
//! them, then all is healed, all mail fetched, and the history judged.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::checker::{Verdict, judge};
use super::harness::eventually;
use super::history::{NEMESIS, Recorder, What, read};
use super::nodes::Nodes;
use super::person::Person;

/// How long people may take for all that is left to be accepted and fetched, once all is whole.
const CONCLUSION: Duration = Duration::from_secs(120);

/// What all people of a run share.
pub struct World {
    /// The nodes, as clients reach them.
    pub addresses: Vec<SocketAddr>,
    pub names: Vec<String>,
    recorder: Recorder,
    sessions: AtomicU64,
    accepted: AtomicU64,
    /// No new messages from here on.
    closing: AtomicBool,
    /// Those who are closing, and whose messages are all accepted.
    finished: AtomicUsize,
    /// Somebody has failed, so nobody waits for the others.
    failed: AtomicBool,
}

impl World {
    pub fn record(&self, who: &str, session: u64, what: What) {
        if matches!(what, What::Accepted { .. }) {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.recorder.record(who, session, what);
    }

    /// Writes down what is done to the nodes or the database.
    pub fn fault(&self, what_was_done: &str) {
        let what_was_done = what_was_done.to_owned();
        self.record(NEMESIS, 0, What::Fault { what_was_done });
    }

    pub fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Somebody's messages are all accepted.
    pub fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    pub fn all_are_finished(&self) -> bool {
        self.has_failed() || self.finished.load(Ordering::Acquire) == self.names.len()
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until so many more messages are accepted, and does something meanwhile.
    pub fn wait_for_progress(&self, messages: u64, mut meanwhile: impl FnMut()) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("messages are accepted", || {
            meanwhile();
            self.has_failed() || self.accepted.load(Ordering::Relaxed) >= before + messages
        });
    }
}

/// Sets the flag if its thread panics, so that the others end.
struct Alarm<'a>(&'a World);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Release);
            self.0.closing.store(true, Ordering::Release);
        }
    }
}

/// Has so many people use the nodes while `nemesis` breaks and heals them, and judges. All must be whole
/// when `nemesis` returns. The history is written to `path`.
pub fn run(
    nodes: &mut Nodes,
    people: usize,
    seed: u64,
    path: &Path,
    nemesis: impl FnOnce(&Arc<World>, &mut Nodes),
) -> Verdict {
    let world = Arc::new(World {
        addresses: nodes.addresses(),
        names: (0..people)
            .map(|number| format!("person{number}"))
            .collect(),
        recorder: Recorder::new(path),
        sessions: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        closing: AtomicBool::new(false),
        finished: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    });
    nodes.register(&world.names);
    std::thread::scope(|scope| {
        let alarm = Alarm(&world);
        let threads: Vec<_> = (0..people)
            .map(|number| {
                let mut person = Person::new(&world, number, seed);
                let world = Arc::clone(&world);
                scope.spawn(move || {
                    let alarm = Alarm(&world);
                    person.live();
                    person.wait_for_the_others(CONCLUSION);
                    person.fetch_the_rest(CONCLUSION);
                    drop(alarm);
                })
            })
            .collect();
        nemesis(&world, nodes);
        world.closing.store(true, Ordering::Release);
        // A server may end by itself even after the last fault, when it learns of it.
        while !threads.iter().all(|thread| thread.is_finished()) {
            nodes.mend(&world);
            std::thread::sleep(Duration::from_millis(20));
        }
        for thread in threads {
            thread.join().unwrap();
        }
        drop(alarm);
    });
    judge(&read(path))
}
