//! What is measured. Peers take turns in every round, so that a slow minute of
//! the machine hits all of them alike.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Settings;
use super::account;
use super::peer::{Kind, Peer};
use super::stats::{Series, percentile};
use super::traffic::Pair;

type Scenario = (&'static str, fn(&Settings));

/// By name.
pub(crate) const ALL: &[Scenario] = &[
    ("throughput-64", |settings| throughput(settings, 64)),
    ("throughput-1", |settings| throughput(settings, 1)),
    ("late-acks", late_acks),
    ("latency", latency),
    ("idle-memory", idle_memory),
    ("offline", offline),
];

const PAIRS: usize = 50;

/// Runs closed loops for a while; messages a second, and CPU seconds a million.
fn closed_loops(peer: &Peer, pairs: usize, window: usize, duration: Duration) -> (f64, f64) {
    let mut pairs: Vec<Pair> = (0..pairs).map(|number| Pair::new(peer, number)).collect();
    let (counting, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let total = AtomicU64::new(0);
    thread::scope(|scope| {
        for pair in &mut pairs {
            let (counting, stop, total) = (&counting, &stop, &total);
            scope.spawn(move || {
                pair.send(window);
                while !stop.load(Ordering::Relaxed) {
                    let count = pair.turn();
                    if counting.load(Ordering::Relaxed) {
                        total.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        let (start, cpu) = (Instant::now(), peer.cpu());
        counting.store(true, Ordering::Relaxed);
        thread::sleep(duration);
        counting.store(false, Ordering::Relaxed);
        let (elapsed, cpu) = (start.elapsed().as_secs_f64(), peer.cpu() - cpu);
        stop.store(true, Ordering::Relaxed);
        let messages = total.load(Ordering::Relaxed) as f64;
        (messages / elapsed, cpu / messages * 1e6)
    })
}

fn throughput(settings: &Settings, window: usize) {
    let kinds = [Kind::Bare, Kind::Acked, Kind::Server];
    let mut rates = [const { Series(Vec::new()) }; 3];
    let mut costs = rates.clone();
    let mut to_bare = Series::default();
    let mut to_acked = Series::default();
    let mut cost_to_bare = Series::default();
    for _ in 0..settings.rounds {
        let mut round = [(0.0, 0.0); 3];
        for (place, kind) in kinds.into_iter().enumerate() {
            let peer = Peer::start(kind);
            round[place] = closed_loops(&peer, PAIRS, window, settings.duration);
            rates[place].add(round[place].0);
            costs[place].add(round[place].1);
        }
        to_bare.add(round[2].0 / round[0].0);
        to_acked.add(round[2].0 / round[1].0);
        cost_to_bare.add(round[2].1 / round[0].1);
    }
    for (place, kind) in kinds.into_iter().enumerate() {
        println!(
            "{kind:?}: {} msg/s, {} CPU s per million",
            rates[place].show(0),
            costs[place].show(2)
        );
    }
    println!("server / bare relay:  {} throughput", to_bare.show(2));
    println!("server / acked relay: {} throughput", to_acked.show(2));
    println!(
        "server / bare relay:  {} CPU per message",
        cost_to_bare.show(2)
    );
}

/// Acknowledgements 20 ms late: every message is written before its answer.
fn late_acks(settings: &Settings) {
    let (mut rates, mut ratios) = (Series::default(), Series::default());
    for _ in 0..settings.rounds {
        let bare = closed_loops(&Peer::start(Kind::Bare), PAIRS, 64, settings.duration).0;
        let rate = late_round(&Peer::start(Kind::Server), settings.duration);
        rates.add(rate);
        ratios.add(rate / bare);
    }
    println!("server: {} msg/s", rates.show(0));
    println!("server / bare relay (window 64): {}", ratios.show(2));
}

fn late_round(peer: &Peer, duration: Duration) -> f64 {
    let pairs: Vec<Pair> = (0..PAIRS).map(|number| Pair::new(peer, number)).collect();
    let total = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for pair in pairs {
            let mut receiving = pair.receiving_half();
            let mut pair = pair;
            let (total, stop) = (&total, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && receiving.receive_late(Duration::from_millis(20))
                {}
            });
            scope.spawn(move || {
                pair.send(64);
                while !stop.load(Ordering::Relaxed) {
                    let freed = pair.answers();
                    total.fetch_add(freed as u64, Ordering::Relaxed);
                    pair.send(freed);
                }
                pair.close();
            });
        }
        thread::sleep(Duration::from_millis(300));
        let (start, before) = (Instant::now(), total.load(Ordering::Relaxed));
        thread::sleep(duration);
        let rate = (total.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        rate
    })
}

fn latency(settings: &Settings) {
    let mut results: Vec<(String, Series, Series)> = Vec::new();
    let cases: [(&str, Kind, usize); 4] = [
        ("bare relay", Kind::Bare, 0),
        ("acked relay", Kind::Acked, 0),
        ("server", Kind::Server, 0),
        ("server, 10,000 idle", Kind::Server, 10_000),
    ];
    for (name, _, _) in cases {
        results.push((name.to_owned(), Series::default(), Series::default()));
    }
    let mut rest: Vec<Vec<TcpStream>> = Vec::new();
    for _ in 0..settings.rounds {
        for (place, (_, kind, idle)) in cases.into_iter().enumerate() {
            let peer = Peer::start_on(kind, Some(0));
            rest.push(idle_connections(&peer, idle));
            let times = one_way_times(&peer, settings.duration);
            rest.clear();
            results[place].1.add(percentile(&times, 0.5));
            results[place].2.add(percentile(&times, 0.99));
        }
    }
    for (name, median, p99) in &results {
        println!("{name}: p50 {} us, p99 {} us", median.show(1), p99.show(1));
    }
    let ratio = |a: usize, b: usize| {
        (
            results[a].1.median() / results[b].1.median(),
            results[a].2.median() / results[b].2.median(),
        )
    };
    let (p50, p99) = ratio(2, 1);
    println!("server / acked relay: p50 {p50:.2}, p99 {p99:.2}");
    let (p50, p99) = ratio(3, 2);
    println!("with / without 10,000 idle: p50 {p50:.2}, p99 {p99:.2}");
}

/// One message after the other, polled for, in microseconds and sorted.
fn one_way_times(peer: &Peer, duration: Duration) -> Vec<f64> {
    let peer_pair = Pair::new(peer, 0);
    let polled = |stream: &TcpStream| stream.set_nonblocking(true).unwrap();
    polled(&peer_pair.sender);
    polled(&peer_pair.recipient);
    let worker = thread::spawn(move || {
        let mut pair = peer_pair;
        pin_to_core(1);
        let end = Instant::now() + duration;
        let mut times = Vec::new();
        while Instant::now() < end {
            times.push(pair.one_way().as_secs_f64() * 1e6);
        }
        times
    });
    let mut times = worker.join().unwrap();
    // The first ones warm up caches and connections.
    times.drain(..times.len().min(100));
    times.sort_by(f64::total_cmp);
    times
}

fn pin_to_core(core: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).unwrap();
}

/// Logged-in connections that say nothing.
fn idle_connections(peer: &Peer, count: usize) -> Vec<TcpStream> {
    secure_chat::transport::socket::raise_descriptor_limit(2 * count as u64 + 1000);
    (0..count)
        .map(|number| account::register(peer.connect(), &format!("idle{number}")))
        .collect()
}

fn idle_memory(_settings: &Settings) {
    const COUNT: usize = 10_000;
    let peer = Peer::start(Kind::Server);
    let before = peer.memory("VmRSS");
    let connections = idle_connections(&peer, COUNT);
    thread::sleep(Duration::from_secs(7));
    let count = connections.len() as f64;
    println!(
        "server: {:.1} KiB RSS per idle logged-in connection ({:.1} PSS), {} connections",
        (peer.memory("VmRSS") - before) / count,
        (peer.pss() - before) / count,
        COUNT
    );
    drop(connections);
    let peer = Peer::start(Kind::Bare);
    let before = peer.memory("VmRSS");
    let connections: Vec<Pair> = (0..COUNT / 2)
        .map(|number| Pair::new(&peer, number))
        .collect();
    thread::sleep(Duration::from_secs(1));
    println!(
        "bare relay: {:.1} KiB RSS per connection",
        (peer.memory("VmRSS") - before) / (2 * connections.len()) as f64
    );
}

/// Storing for recipients who are away, then delivering it all.
fn offline(settings: &Settings) {
    const MESSAGES: usize = 400_000;
    let (mut stored, mut drained, mut peak) =
        (Series::default(), Series::default(), Series::default());
    for _ in 0..settings.rounds {
        let peer = Peer::start(Kind::Server);
        let mut pairs: Vec<Pair> = (0..PAIRS).map(|number| Pair::new(&peer, number)).collect();
        for pair in &mut pairs {
            pair.leave();
        }
        let start = Instant::now();
        thread::scope(|scope| {
            for pair in &mut pairs {
                scope.spawn(|| {
                    let each = MESSAGES / PAIRS;
                    pair.send(256);
                    let mut answered = 0;
                    let mut sent = 256;
                    while answered < each {
                        let freed = pair.answers();
                        answered += freed;
                        let more = freed.min(each - sent);
                        if more > 0 {
                            pair.send(more);
                            sent += more;
                        }
                    }
                });
            }
        });
        stored.add(MESSAGES as f64 / start.elapsed().as_secs_f64());
        let before = peer.memory("VmRSS");
        let start = Instant::now();
        thread::scope(|scope| {
            for pair in &mut pairs {
                let peer = &peer;
                scope.spawn(move || {
                    pair.come_back(peer);
                    let mut received = 0;
                    while received < MESSAGES / PAIRS {
                        received += pair.receive();
                    }
                });
            }
        });
        drained.add(MESSAGES as f64 / start.elapsed().as_secs_f64());
        peak.add((peer.memory("VmHWM") - before) / 1024.0);
    }
    println!(
        "stored for offline recipients, synced before ok: {} msg/s",
        stored.show(0)
    );
    println!(
        "drained by acknowledging recipients: {} msg/s",
        drained.show(0)
    );
    println!(
        "memory beyond that before the drain, at the peak: {} MiB",
        peak.show(1)
    );
    println!("syncs of the disk beside it: {:.0} a second", sync_rate());
}

/// Appends of a page with fsync, one after the other, where the data lies.
fn sync_rate() -> f64 {
    use std::io::Write;
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}
