//! Fifty pairs in closed loops: messages per second, and the CPU time of one.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::load::loops::{WARM_UP, closed_loops};
use super::load::pair::Pair;
use super::load::peer::{Kind, Peer};
use super::load::settings::Settings;
use super::load::stats::Series;

/// Pairs at work at once.
pub(crate) const PAIRS: usize = 50;

/// The delay of an acknowledgement that comes too late to spare a write.
const LATE: Duration = Duration::from_millis(20);

/// The server beside both relays.
pub(crate) fn run(settings: &Settings, window: usize) {
    let mut kinds = vec![Kind::Bare, Kind::Acked];
    kinds.extend(settings.servers());
    let mut rates = vec![Series::default(); kinds.len()];
    let mut costs = rates.clone();
    // Of each kind to each of those before it.
    let mut rate_ratios = vec![rates.clone(); kinds.len()];
    let mut cost_ratios = rate_ratios.clone();
    for _ in 0..settings.rounds {
        let mut round: Vec<(f64, f64)> = Vec::new();
        for (place, kind) in kinds.iter().enumerate() {
            let peer = Peer::start(*kind);
            let mut pairs = Pair::many(&peer, PAIRS);
            let (rate, cost) = closed_loops(
                std::slice::from_ref(&peer),
                &mut pairs,
                window,
                settings.duration,
            );
            rates[place].add(rate);
            costs[place].add(cost);
            for (before, (their_rate, their_cost)) in round.iter().enumerate() {
                rate_ratios[place][before].add(rate / their_rate);
                cost_ratios[place][before].add(cost / their_cost);
            }
            round.push((rate, cost));
        }
    }
    for (place, kind) in kinds.iter().enumerate() {
        println!(
            "{kind:?}: {} msg/s, {} CPU s per million",
            rates[place].show(0),
            costs[place].show(2)
        );
    }
    for (place, kind) in kinds.iter().enumerate().skip(1) {
        for (before, other) in kinds.iter().enumerate().take(place) {
            println!(
                "{kind:?} / {other:?}: {} throughput, {} CPU per message",
                rate_ratios[place][before].show(2),
                cost_ratios[place][before].show(2)
            );
        }
    }
}

/// Acknowledgements so late that every message is written before its answer.
pub(crate) fn late_acks(settings: &Settings) {
    let (mut rates, mut ratios) = (Series::default(), Series::default());
    for _ in 0..settings.rounds {
        let peer = Peer::start(Kind::Bare);
        let mut pairs = Pair::many(&peer, PAIRS);
        let bare = closed_loops(
            std::slice::from_ref(&peer),
            &mut pairs,
            64,
            settings.duration,
        )
        .0;
        drop(peer);
        let rate = late_round(&Peer::start(Kind::Server), settings.duration).unwrap();
        rates.add(rate);
        ratios.add(rate / bare);
    }
    println!("server: {} msg/s", rates.show(0));
    println!("server / bare relay (window 64): {}", ratios.show(2));
}

fn late_round(peer: &Peer, duration: Duration) -> io::Result<f64> {
    let total = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for pair in Pair::many(peer, PAIRS) {
            let Pair {
                mut sender,
                mut recipient,
            } = pair;
            let ending = recipient.stream.socket().try_clone()?;
            let (total, stop) = (&total, &stop);
            scope.spawn(move || {
                // Ends with the connection.
                while recipient.take().is_ok() {
                    thread::sleep(LATE);
                    if recipient.acknowledge().is_err() {
                        break;
                    }
                }
            });
            scope.spawn(move || {
                sender.send(64).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let freed = sender.answers().unwrap();
                    total.fetch_add(freed as u64, Ordering::Relaxed);
                    sender.send(freed).unwrap();
                }
                let _ = ending.shutdown(std::net::Shutdown::Both);
            });
        }
        thread::sleep(WARM_UP);
        let (start, before) = (Instant::now(), total.load(Ordering::Relaxed));
        thread::sleep(duration);
        let count = (total.load(Ordering::Relaxed) - before) as f64;
        let elapsed = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        Ok(count / elapsed)
    })
}
