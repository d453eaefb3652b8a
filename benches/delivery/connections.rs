//! Ten thousand connections to one server: the memory that one takes, and how the server serves some
//! of them while the others are silent.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::account::{REST, ask, idle_connections};
use super::load::loops::closed_loops;
use super::load::pair::Pair;
use super::load::peer::{Kind, Peer, kernel_stacks};
use super::load::probe::Probes;
use super::load::settings::Settings;
use super::load::stats::Series;
use super::throughput::PAIRS;
use crate::harness::stream::Stream;

const COUNT: usize = 10_000;

/// Threads that make connections at once.
const MAKERS: usize = 4;

/// The time between two messages of a pair whose latency is measured.
const PERIOD: Duration = Duration::from_millis(50);

/// Memory without and with the connections, in KiB.
struct Memory {
    rss: f64,
    pss: f64,
    stacks: f64,
}

impl Memory {
    fn of(peer: &Peer) -> Self {
        Memory {
            rss: peer.status("VmRSS"),
            pss: peer.pss(),
            stacks: kernel_stacks(),
        }
    }

    fn print(&self, before: &Memory, what: &str, count: usize) {
        let each = |now: f64, before: f64| (now - before) / count as f64;
        println!(
            "{what}: {:.1} KiB RSS per connection, {:.1} PSS, {:.1} of kernel stacks beside it, {count} connections",
            each(self.rss, before.rss),
            each(self.pss, before.pss),
            each(self.stacks, before.stacks),
        );
    }
}

/// Memory per idle connection; one round, because it hardly varies. It does vary
/// with how many log in at once, so both are shown.
pub(crate) fn idle_memory(settings: &Settings) {
    for kind in settings.servers() {
        for makers in [1, MAKERS] {
            let peer = Peer::start(kind);
            let before = Memory::of(&peer);
            let connections = idle_connections(&peer, COUNT, makers);
            let what = format!("{kind:?}, logged in {makers} at a time");
            Memory::of(&peer).print(&before, &what, connections.len());
        }
    }
    let peer = Peer::start(Kind::Bare);
    let before = Memory::of(&peer);
    let named = |number| {
        let mut stream = peer.connect();
        writeln!(stream, "idle{number}").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    };
    let connections: Vec<Stream> = (0..COUNT).map(named).collect();
    thread::sleep(REST);
    Memory::of(&peer).print(&before, "Bare", connections.len());
}

/// Live traffic among some of ten thousand connections: pairs who chat gently, and
/// then pairs in closed loops.
pub(crate) fn under_traffic(settings: &Settings) {
    const IDLE: usize = COUNT - 4 * PAIRS;
    for kind in settings.servers() {
        let [mut rates, mut p50s, mut p99s] = [(); 3].map(|()| Series::default());
        let (mut alive, mut failed) = (0, 0);
        for round in 0..settings.rounds {
            let peer = Peer::start(kind);
            let before = Memory::of(&peer);
            let mut idle = idle_connections(&peer, IDLE, MAKERS);
            let mut pairs = Pair::many(&peer, PAIRS);
            let chats = Probes::chats(&peer, PAIRS, PERIOD);
            let from = Instant::now();
            thread::sleep(settings.duration);
            let to = Instant::now();
            let (rate, _) = closed_loops(
                std::slice::from_ref(&peer),
                &mut pairs,
                64,
                settings.duration,
            );
            rates.add(rate);
            if round == 0 {
                let what = format!("{kind:?}, after traffic");
                Memory::of(&peer).print(&before, &what, COUNT);
                println!("threads of the server: {}", peer.status("Threads"));
            }
            let times = chats.finish().between(from, to);
            failed += times.failed;
            p50s.add(times.percentile(0.5));
            p99s.add(times.percentile(0.99));
            alive += idle.iter_mut().filter_map(|one| ping(one).ok()).count();
        }
        println!(
            "{PAIRS} pairs, {} messages a second each: p50 {} us, p99 {} us, {failed} failed",
            1.0 / PERIOD.as_secs_f64(),
            p50s.show(0),
            p99s.show(0)
        );
        println!("{PAIRS} pairs, window 64: {} msg/s", rates.show(0));
        let wanted = IDLE * settings.rounds;
        println!("idle connections that still answered at the end: {alive} of {wanted}");
    }
}

/// Sends a request and waits for its answer.
fn ping(stream: &mut Stream) -> io::Result<()> {
    let limit = Some(Duration::from_secs(10));
    stream.socket().set_read_timeout(limit)?;
    ask(stream, "ping", json!({})).map(drop)
}
