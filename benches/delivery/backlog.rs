//! A million messages wait for one user. This measures the server's memory, the rate at which they
//! leave, with a disconnect in the middle, and how searches, logins and other people's messages
//! are affected.

use std::io;
use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::account::{ask, register};
use super::load::pair::{Recipient, Sender};
use super::load::peer::{Kind, Peer};
use super::load::probe::{Probes, Record};
use super::load::settings::Settings;
use super::load::stats::Series;

const MESSAGES: usize = 1_000_000;

/// How many senders fill the mailbox, and how many unanswered messages each has.
const SENDERS: usize = 4;
const WINDOW: usize = 512;

/// What goes on meanwhile.
const OTHERS: [&str; 4] = ["another pair", "search", "login", "change"];

/// How often.
const CHAT_PERIOD: Duration = Duration::from_millis(5);
const SEARCH_PERIOD: Duration = Duration::from_millis(10);
const LOGIN_PERIOD: Duration = Duration::from_millis(20);
const CHANGE_PERIOD: Duration = Duration::from_millis(10);

/// The phases in which the others are measured. In the second, as many threads as there are cores do
/// nothing but count, and the server has no other work: so much of what follows is the machine's.
const PHASES: [&str; 5] = [
    "before",
    "busy cores",
    "storing",
    "draining at 20,000 a second",
    "draining",
];

/// A pace that leaves the cores time: several times that of a client, which decrypts each message.
const PACE: f64 = 20_000.0;

/// p50, p99 and failures of each.
#[derive(Default)]
struct Felt {
    p50: Series,
    p99: Series,
    done: usize,
    failed: usize,
}

pub(crate) fn run(settings: &Settings) {
    let [mut stored, mut drained, mut again] = [(); 3].map(|()| Series::default());
    let mut memory = [(); 4].map(|()| Series::default());
    let mut felt = [(); OTHERS.len()].map(|()| [(); PHASES.len()].map(|()| Felt::default()));
    for _ in 0..settings.rounds {
        let peer = Peer::start(Kind::Server);
        let mut recipient = Recipient::new(&peer, "hoarder", "");
        recipient.vanish();
        let senders: Vec<Sender> = (0..SENDERS)
            .map(|number| Sender::new(&peer, &format!("filler{number}"), "hoarder"))
            .collect();
        let others = others(&peer);
        let mut moments = vec![Instant::now()];
        thread::sleep(settings.duration);
        let mib = |what| peer.status(what) / 1024.0;
        memory[0].add(mib("VmRSS"));
        moments.push(Instant::now());
        keep_cores_busy(settings.duration);
        moments.push(Instant::now());
        store(senders);
        stored.add(MESSAGES as f64 / moments[2].elapsed().as_secs_f64());
        memory[1].add(mib("VmRSS"));
        memory[2].add(mib("VmHWM"));
        peer.forget_peak();
        moments.push(Instant::now());
        recipient.come_back(&peer);
        drain_slowly(&mut recipient, settings.duration).unwrap();
        moments.push(Instant::now());
        let left = MESSAGES - recipient.total() as usize;
        again.add(drain(&peer, recipient, left).unwrap() as f64);
        drained.add(left as f64 / moments[4].elapsed().as_secs_f64());
        memory[3].add(mib("VmHWM"));
        moments.push(Instant::now());
        for (other, record) in others.into_iter().enumerate() {
            let record: Record = record.finish();
            for (phase, felt) in felt[other].iter_mut().enumerate() {
                let times = record.between(moments[phase], moments[phase + 1]);
                felt.p50.add(times.percentile(0.5));
                felt.p99.add(times.percentile(0.99));
                felt.done += times.succeeded();
                felt.failed += times.failed;
            }
        }
    }
    println!("{MESSAGES} messages for one user, every one checked for its place");
    println!("stored: {} msg/s", stored.show(0));
    println!(
        "drained, with a disconnect in the middle: {} msg/s",
        drained.show(0)
    );
    println!("pushed a second time after it: {} messages", again.show(0));
    for (what, series) in [
        "before",
        "after storing",
        "peak while storing",
        "peak while draining",
    ]
    .iter()
    .zip(&memory)
    {
        println!("server RSS {what}: {} MiB", series.show(1));
    }
    for (other, phases) in OTHERS.iter().zip(&felt) {
        for (phase, felt) in PHASES.iter().zip(phases) {
            println!(
                "{other}, {phase}: p50 {} us, p99 {} us, {} done, {} failed",
                felt.p50.show(0),
                felt.p99.show(0),
                felt.done,
                felt.failed
            );
        }
    }
}

/// What goes on meanwhile, in the order of `OTHERS`.
fn others(peer: &Peer) -> [Probes; OTHERS.len()] {
    let chat = Probes::chats(peer, 1, CHAT_PERIOD);
    let mut search = Probes::new();
    let mut searcher = register(peer.connect(), "searcher");
    search.add(SEARCH_PERIOD, move || {
        ask(&mut searcher, "search", json!({"text": "fil"})).map(|_| Instant::now())
    });
    let logins = Probes::logins(peer, LOGIN_PERIOD);
    // A change of an account waits for the writer as a login does, and for hardly anything else.
    let mut changes = Probes::new();
    let mut changer = register(peer.connect(), "changer");
    let mut listed = true;
    changes.add(CHANGE_PERIOD, move || {
        listed = !listed;
        ask(&mut changer, "settings", json!({"listed": listed})).map(|_| Instant::now())
    });
    [chat, search, logins, changes]
}

fn keep_cores_busy(duration: Duration) {
    let end = Instant::now() + duration;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| while Instant::now() < end {});
        }
    });
}

fn store(senders: Vec<Sender>) {
    thread::scope(|scope| {
        for mut sender in senders {
            scope.spawn(move || sender.send_all(MESSAGES / SENDERS, WINDOW).unwrap());
        }
    });
}

fn drain_slowly(recipient: &mut Recipient, duration: Duration) -> io::Result<()> {
    let (start, mut received) = (Instant::now(), 0);
    while start.elapsed() < duration {
        received += recipient.receive()?;
        let due = start + Duration::from_secs_f64(received as f64 / PACE);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Receives all that is left, half of it on a second connection. Returns how many messages came twice.
fn drain(peer: &Peer, mut recipient: Recipient, left: usize) -> io::Result<u64> {
    let total = recipient.total() as usize + left;
    recipient.receive_all(left / 2)?;
    let received = recipient.total();
    recipient.vanish();
    recipient.come_back(peer);
    recipient.receive_all(total - received as usize)?;
    recipient.settle()?;
    Ok(recipient.repeated())
}
