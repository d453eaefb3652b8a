//! The one-way latency of a single message at a time. The measured process has one core to itself;
//! the load has the other and polls, so that no figure depends on where the scheduler happens to
//! wake a thread.

use std::thread;
use std::time::{Duration, Instant};

use super::load::account::idle_connections;
use super::load::pair::Pair;
use super::load::peer::{Kind, Peer, Setup};
use super::load::settings::Settings;
use super::load::stats::{Series, percentile};

/// The core of the measured process.
const THEIRS: usize = 0;

/// The core of the load.
const OURS: usize = 1;

/// Connections that say nothing.
const IDLE: usize = 10_000;

/// The threads that make these connections.
const MAKERS: usize = 4;

/// Messages that warm up caches and connections.
const WARM_UP: usize = 100;

/// p50 and p99 of several cases, and their ratios to another case in the same round.
struct Comparison {
    cases: Vec<(String, [Series; 2])>,
    ratios: Vec<(usize, usize, [Series; 2])>,
}

impl Comparison {
    fn new(names: &[String], ratios: &[(usize, usize)]) -> Self {
        let case = |name: &String| (name.clone(), Default::default());
        let ratio = |(of, to): &(usize, usize)| (*of, *to, Default::default());
        Comparison {
            cases: names.iter().map(case).collect(),
            ratios: ratios.iter().map(ratio).collect(),
        }
    }

    fn add(&mut self, round: &[[f64; 2]]) {
        for (case, values) in self.cases.iter_mut().zip(round) {
            for (series, value) in case.1.iter_mut().zip(values) {
                series.add(*value);
            }
        }
        for (of, to, series) in &mut self.ratios {
            for (place, series) in series.iter_mut().enumerate() {
                series.add(round[*of][place] / round[*to][place]);
            }
        }
    }

    fn print(&self) {
        for (name, [median, p99]) in &self.cases {
            println!("{name}: p50 {} us, p99 {} us", median.show(1), p99.show(1));
        }
        for (of, to, [median, p99]) in &self.ratios {
            let (of, to) = (&self.cases[*of].0, &self.cases[*to].0);
            println!("{of} / {to}: p50 {}, p99 {}", median.show(2), p99.show(2));
        }
    }
}

/// The server beside both relays.
pub(crate) fn beside_relays(settings: &Settings) {
    let mut kinds = vec![Kind::Bare, Kind::Acked];
    kinds.extend(settings.servers());
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    let ratios: Vec<_> = (1..kinds.len())
        .flat_map(|of| (0..of).map(move |to| (of, to)))
        .collect();
    let mut comparison = Comparison::new(&names, &ratios);
    for _ in 0..settings.rounds {
        let one = |kind: &Kind| {
            let peer = Setup::new(*kind).on_core(THEIRS).start();
            one_way(&peer, settings.duration)
        };
        comparison.add(&kinds.iter().map(one).collect::<Vec<_>>());
    }
    comparison.print();
}

/// The server with many idle connections beside the server without.
pub(crate) fn beside_idle(settings: &Settings) {
    for kind in settings.servers() {
        let names = [format!("{kind:?}"), format!("{kind:?}, {IDLE} idle")];
        let mut comparison = Comparison::new(&names, &[(1, 0)]);
        for _ in 0..settings.rounds {
            let one = |count| {
                let peer = Setup::new(kind).on_core(THEIRS).start();
                let _rest = idle_connections(&peer, count, MAKERS);
                one_way(&peer, settings.duration)
            };
            comparison.add(&[one(0), one(IDLE)]);
        }
        comparison.print();
    }
}

/// p50 and p99 of one message after the other, in microseconds.
fn one_way(peer: &Peer, duration: Duration) -> [f64; 2] {
    let mut pair = Pair::new(peer, 0);
    pair.poll();
    let worker = thread::spawn(move || {
        pin_to_core(OURS);
        for _ in 0..WARM_UP {
            pair.polled_one_way();
        }
        let end = Instant::now() + duration;
        let mut times = Vec::new();
        while Instant::now() < end {
            times.push(pair.polled_one_way().as_secs_f64() * 1e6);
        }
        times
    });
    let mut times = worker.join().unwrap();
    times.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| percentile(&times, share))
}

fn pin_to_core(core: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).unwrap();
}
