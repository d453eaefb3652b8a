//! Whether a recipient in trouble slows other people: the latency of other pairs while senders flood
//! a recipient that stops reading, reads a byte per second, is frozen, or vanishes without a word. It
//! is compared with no flood, and with the same flood to a healthy recipient.

use std::thread;
use std::time::{Duration, Instant};

use super::cable::Cable;
use super::load::flood::Flood;
use super::load::hold::{Holder, Manner};
use super::load::pair::Sender;
use super::load::peer::{Kind, Setup};
use super::load::probe::{Probes, Times};
use super::load::settings::Settings;
use super::load::stats::Series;

/// The pairs whose latency is measured, and how often each sends a message.
const CHATS: usize = 10;
const PERIOD: Duration = Duration::from_millis(10);

/// The senders of the flood: 10,000 messages per second in all.
const SENDERS: usize = 4;
const BURST: usize = 25;

/// How long the flood lasts before the trouble begins.
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    NoFlood,
    Healthy,
    StopsReading,
    ByteASecond,
    Frozen,
    Vanished,
}

const CASES: [Case; 6] = [
    Case::NoFlood,
    Case::Healthy,
    Case::StopsReading,
    Case::ByteASecond,
    Case::Frozen,
    Case::Vanished,
];

/// One case's figures over all rounds.
#[derive(Default)]
struct Figures {
    p50: Series,
    p99: Series,
    max: Series,
    /// The ratio to no flood.
    to_none: Series,
    /// The ratio to a healthy recipient.
    to_healthy: Series,
    failed: usize,
    flood: Series,
    skipped: Option<String>,
}

pub(crate) fn run(settings: &Settings) {
    let mut figures: Vec<Figures> = CASES.iter().map(|_| Figures::default()).collect();
    for _ in 0..settings.rounds {
        let mut p99s: Vec<f64> = Vec::new();
        for (case, figures) in CASES.iter().zip(&mut figures) {
            let (times, rate) = match round(*case, settings.duration) {
                Ok(done) => done,
                Err(why) => {
                    figures.skipped = Some(why);
                    continue;
                }
            };
            let p99 = times.percentile(0.99);
            p99s.push(p99);
            figures.p50.add(times.percentile(0.5));
            figures.p99.add(p99);
            figures.max.add(times.max());
            figures.to_none.add(p99 / p99s[0]);
            figures
                .to_healthy
                .add(p99 / p99s.get(1).copied().unwrap_or(f64::NAN));
            figures.failed += times.failed;
            figures.flood.add(rate);
        }
    }
    for (case, figures) in CASES.iter().zip(&figures) {
        if let Some(why) = &figures.skipped {
            println!("{case:?}: skipped: {why}");
            continue;
        }
        println!(
            "{case:?}: p50 {} us, p99 {} us, longest {:.0} us, {} failed; flood of {:.0} msg/s",
            figures.p50.show(0),
            figures.p99.show(0),
            figures.max.max(),
            figures.failed,
            figures.flood.median(),
        );
        if *case != Case::NoFlood {
            println!(
                "    its p99 / without a flood: {}; / flood to a healthy recipient: {}",
                figures.to_none.show(2),
                figures.to_healthy.show(2)
            );
        }
    }
}

/// The latencies of the other pairs, and the flood's messages per second.
fn round(case: Case, duration: Duration) -> Result<(Times, f64), String> {
    let mut setup = Setup::new(Kind::Server);
    let mut cable = None;
    if case == Case::Vanished {
        let laid = Cable::lay()?;
        setup = setup.listening_on(&laid.near);
        cable = Some(laid);
    }
    let peer = setup.start();
    let chats = Probes::chats(&peer, CHATS, PERIOD);
    let manner = match case {
        Case::StopsReading => Manner::Silent,
        Case::ByteASecond => Manner::Slow,
        _ => Manner::Healthy,
    };
    let namespace = cable.as_ref().map(Cable::namespace);
    let mut holder = Holder::start_in(&peer, "victim", manner, namespace);
    let senders: Vec<Sender> = match case {
        Case::NoFlood => Vec::new(),
        _ => (0..SENDERS)
            .map(|number| Sender::new(&peer, &format!("flood{number}"), "victim"))
            .collect(),
    };
    let start = Instant::now();
    let flood = Flood::start(senders, BURST);
    thread::sleep(WARM_UP);
    if case == Case::Frozen {
        holder.freeze();
    }
    if let Some(cable) = &cable {
        cable.pull()?;
    }
    let from = Instant::now();
    thread::sleep(duration);
    let to = Instant::now();
    let senders = flood.finish().unwrap();
    let sent: u64 = senders.iter().map(|sender| sender.sent).sum();
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    let times = chats.finish().between(from, to);
    // A recipient that comes back gets everything, once and in order.
    if case == Case::Frozen {
        holder.thaw();
    }
    if let Some(cable) = &cable {
        cable.mend()?;
    }
    if manner == Manner::Healthy {
        holder.expect(sent)?;
    }
    Ok((times, rate))
}
