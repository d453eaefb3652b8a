//! Two real clients with their vaults: how many messages a script sends through them, how long a
//! message takes to its `ok`, and how many were never written to the server's disk because the
//! recipient's vault was faster.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::load::pair::BODY;
use super::load::peer::{Kind, Peer};
use super::load::settings::Settings;
use super::load::stats::{Series, percentile};
use super::proxy::{Answered, Proxy};
use crate::harness::{ClientProcess, temporary_folder};

/// The time between two messages of a person who types fast.
const PERIOD: Duration = Duration::from_millis(50);

/// Messages that a script sends as fast as the client takes them, for each second
/// of the setting.
const EACH_SECOND: usize = 500;

/// The longest that all may take to be answered.
const PATIENCE: Duration = Duration::from_secs(120);

/// The figures of all rounds.
#[derive(Default)]
struct Figures {
    rate: Series,
    p50: Series,
    p99: Series,
    elided: Series,
}

pub(crate) fn run(settings: &Settings) {
    let fast = (EACH_SECOND as f64 * settings.duration.as_secs_f64()) as usize;
    let slow = (settings.duration.as_secs_f64() / PERIOD.as_secs_f64()) as usize;
    let [mut typed, mut script] = [(); 2].map(|()| Figures::default());
    for _ in 0..settings.rounds {
        round(&mut typed, slow, Some(PERIOD));
        round(&mut script, fast, None);
    }
    for (what, figures) in [("20 messages a second", typed), ("a script", script)] {
        println!(
            "{what}: {} msg/s; send to ok: p50 {} ms, p99 {} ms; {} % of the writes elided",
            figures.rate.show(0),
            figures.p50.show(2),
            figures.p99.show(2),
            figures.elided.show(1)
        );
    }
}

/// Alice sends `count` messages to Bob.
fn round(figures: &mut Figures, count: usize, period: Option<Duration>) {
    let folder = temporary_folder();
    let peer = Peer::start(Kind::Server);
    let proxy = Proxy::start(peer.address);
    let bob = register(peer.address, folder.path(), "bob");
    let mut alice = register(proxy.address, folder.path(), "alice");
    // The first message opens the conversation, and is not counted.
    alice.types("/to bob");
    alice.types("first");
    wait_for(&proxy, 1);
    for number in 0..count {
        alice.types(&format!("{number:0BODY$}"));
        thread::sleep(period.unwrap_or_default());
    }
    let answered = wait_for(&proxy, count + 1);
    finish(alice);
    let heard = finish(bob);
    let shown = heard
        .iter()
        .filter(|line| line.contains("alice: 0"))
        .count();
    assert_eq!(shown, count, "Bob's client showed others: {heard:?}");
    figures.add(&answered[1..], &peer.stop());
}

/// Waits until this many messages have their `ok`.
fn wait_for(proxy: &Proxy, count: usize) -> Vec<Answered> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answered = proxy.answered();
        if answered.len() >= count {
            return answered;
        }
        let refused = proxy.refused();
        assert!(refused.is_empty(), "{refused:?}");
        let some = answered.len();
        assert!(Instant::now() < deadline, "{some} of {count} were answered");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Figures {
    fn add(&mut self, answered: &[Answered], last_line: &str) {
        let mut times: Vec<f64> = answered
            .iter()
            .map(|message| (message.ok - message.sent).as_secs_f64() * 1e3)
            .collect();
        times.sort_by(f64::total_cmp);
        self.p50.add(percentile(&times, 0.5));
        self.p99.add(percentile(&times, 0.99));
        let first = answered.iter().map(|message| message.sent).min();
        let last = answered.iter().map(|message| message.ok).max();
        let taken = last.unwrap() - first.unwrap();
        self.rate.add(answered.len() as f64 / taken.as_secs_f64());
        let number = |what: &str| -> f64 {
            let before = last_line.split(what).next().unwrap();
            let word = before.split_whitespace().last();
            word.and_then(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("no number of messages{what} in: {last_line}"))
        };
        let (taken, written) = (number(" messages taken"), number(" written"));
        self.elided.add((1.0 - written / taken) * 100.0);
    }
}

/// A client that has made an account and is logged in.
fn register(server: SocketAddr, folder: &Path, name: &str) -> ClientProcess {
    let mut client = ClientProcess::start(server, &folder.join(name), &[]);
    client.types(&format!("/register {name}"));
    client.sees_one_of(&["created"]);
    client
}

/// Ends the client's input, waits for its end, and returns what it has shown.
fn finish(mut client: ClientProcess) -> Vec<String> {
    let code = client.ends();
    assert_eq!(code, Some(0), "{:?}", client.shown);
    std::mem::take(&mut client.shown)
}
