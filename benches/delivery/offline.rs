//! Stores messages for absent recipients, then delivers all of them.

use std::thread;
use std::time::{Duration, Instant};

use super::load::pair::Pair;
use super::load::peer::{Kind, Peer};
use super::load::settings::Settings;
use super::load::stats::Series;
use super::throughput::PAIRS;

const MESSAGES: usize = 400_000;

/// The unanswered messages of a sender.
const WINDOW: usize = 256;

pub(crate) fn run(settings: &Settings) {
    let (mut stored, mut drained, mut peak) =
        (Series::default(), Series::default(), Series::default());
    for _ in 0..settings.rounds {
        let peer = Peer::start(Kind::Server);
        let mut pairs = Pair::many(&peer, PAIRS);
        for pair in &pairs {
            pair.recipient.vanish();
        }
        let rate = each(&mut pairs, |pair| {
            pair.sender.send_all(MESSAGES / PAIRS, WINDOW).unwrap();
        });
        stored.add(rate);
        peer.forget_peak();
        let before = peer.status("VmRSS");
        let rate = each(&mut pairs, |pair| {
            pair.recipient.come_back(&peer);
            pair.recipient.receive_all(MESSAGES / PAIRS).unwrap();
            pair.recipient.settle().unwrap();
        });
        drained.add(rate);
        peak.add((peer.status("VmHWM") - before) / 1024.0);
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

/// Lets all pairs do something at once, and returns the messages per second.
fn each(pairs: &mut [Pair], work: impl Fn(&mut Pair) + Sync) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for pair in pairs {
            scope.spawn(|| work(pair));
        }
    });
    MESSAGES as f64 / start.elapsed().as_secs_f64()
}

/// How many pages per second can be appended and synced one by one, on the disk with the data.
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
    f64::from(count) / start.elapsed().as_secs_f64()
}
