//! Runs of one kind of fault: each has a seed of its own, which decides who does what and what is broken when, and
//! which repeats these choices, though not the threads' order. A run ends with a line of counts; the history
//! of one with faults stays beside the other temporary files, and its name is printed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checker::Verdict;
use super::database::Database;
use super::harness::{Dice, random};
use super::history::{What, read};
use super::network::{self, Network};
use super::nodes::{Lost, Nodes, Place, Toward};
use super::world::{World, run};

/// Faults in a run, unless `SECURE_CHAT_FAULTS` says otherwise.
const FAULTS: u64 = 2;

/// Servers, unless `SECURE_CHAT_NODES` says otherwise.
const NODES: usize = 3;

/// Who uses them.
const PEOPLE: usize = 8;

/// The messages that must be accepted between two faults.
pub const PROGRESS: u64 = 200;

/// Longer than a lease is waited for.
pub const BEYOND_THE_LEASE: u64 = 8_500;

fn number(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().expect("it is a number"))
}

/// How many servers there are.
pub fn nodes() -> usize {
    number("SECURE_CHAT_NODES").map_or(NODES, |count| count as usize)
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    kind: &'static str,
    seed: u64,
    pub faults: u64,
}

/// Plays as many runs of a kind as `SECURE_CHAT_RUNS` says, one if it says nothing, or that of `SEED`; the sum of them
/// is printed.
pub fn each_run(kind: &'static str, mut play: impl FnMut(Run) -> Verdict) {
    let seed = number("SEED");
    let runs = match seed {
        Some(_) => 1,
        None => number("SECURE_CHAT_RUNS").unwrap_or(1),
    };
    let faults = number("SECURE_CHAT_FAULTS").unwrap_or(FAULTS);
    let began = Instant::now();
    let mut sum = Verdict::default();
    for _ in 0..runs {
        let seed = seed.unwrap_or_else(|| random() % 1_000_000);
        sum.add(play(Run { kind, seed, faults }));
    }
    let seconds = began.elapsed().as_secs();
    println!("{kind}: {runs} runs of {faults} faults, {seconds} s: {sum}");
}

/// A network for the servers of a run, if there can be one.
pub fn network(kind: &str) -> Option<Arc<Network>> {
    match Network::new(nodes()) {
        Ok(network) => Some(Arc::new(network)),
        Err(why) => {
            println!("{kind}: proxies stand for the network, {why}");
            None
        }
    }
}

/// A place on loopback, with the one database.
pub fn beside(database: &Database) -> Place {
    Place::Loopback {
        hosts: vec![Some(database.socket())],
        rewrite: None,
    }
}

/// What breaks and heals has at hand.
pub struct Nemesis<'a> {
    pub world: &'a Arc<World>,
    pub nodes: &'a mut Nodes,
    pub dice: Dice,
}

impl Nemesis<'_> {
    /// Waits for a time between these, in milliseconds, while servers that end are started again.
    pub fn wait(&mut self, least: u64, most: u64) {
        let time = least + self.dice.below(most - least + 1);
        let until = Instant::now() + Duration::from_millis(time);
        while Instant::now() < until && !self.world.has_failed() {
            self.nodes.mend(self.world);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One of these, in milliseconds.
    pub fn wait_one_of(&mut self, times: &[u64]) {
        let time = times[self.dice.below(times.len() as u64) as usize];
        self.wait(time, time + 500);
    }

    pub fn some_node(&mut self) -> usize {
        self.dice.below(self.nodes.all.len() as u64) as usize
    }

    pub fn say(&self, what_was_done: &str) {
        self.world.fault(what_was_done);
    }

    /// Cuts a node off for a while, shorter or longer than a lease lasts.
    pub fn cut(&mut self, node: usize, toward: Toward) {
        let lost = [Lost::All, Lost::Incoming, Lost::Outgoing][self.dice.below(3) as usize];
        let resets = self.dice.below(2) == 0;
        self.say(&format!("node {node} is cut off, {toward:?}, {lost:?}"));
        self.nodes.cut(node, toward, lost);
        let least = [500, 3_000, BEYOND_THE_LEASE][self.dice.below(3) as usize];
        self.wait(least, least + 2_000);
        self.nodes.heal(node, toward, lost, resets);
        self.say(&format!("node {node} is not cut off any more"));
    }
}

/// What a run came to.
struct Played {
    kind: &'static str,
    verdict: Verdict,
    history: PathBuf,
    logs: String,
}

impl Run {
    /// Plays it on the servers of a database in this place, and judges: that the promise was kept. What `fault` breaks,
    /// it heals.
    pub fn play(self, place: &Place, fault: impl FnMut(&mut Nemesis<'_>) + Send) -> Verdict {
        self.play_somewhere(place, fault).assert_kept()
    }

    /// The same where the promise is not kept; returns what was lost.
    pub fn play_to_lose(
        self,
        place: &Place,
        fault: impl FnMut(&mut Nemesis<'_>) + Send,
    ) -> Verdict {
        let played = self.play_somewhere(place, fault);
        played.remove_history();
        played.verdict
    }

    fn play_somewhere(self, place: &Place, fault: impl FnMut(&mut Nemesis<'_>) + Send) -> Played {
        match place {
            Place::Loopback { .. } => self.play_here(place, fault),
            Place::Network(network) | Place::Balanced(network) => {
                network.within(network::CLIENTS, || self.play_here(place, fault))
            }
        }
    }

    fn play_here(self, place: &Place, mut fault: impl FnMut(&mut Nemesis<'_>)) -> Played {
        let Run { kind, seed, faults } = self;
        let began = Instant::now();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let history = folder.join(format!("history-{kind}-{seed}.jsonl"));
        println!("{kind}: seed {seed}");
        let count = nodes();
        let mut nodes = Nodes::start(count, place);
        let verdict = run(&mut nodes, PEOPLE, seed, &history, |world, nodes| {
            let dice = Dice::seeded(seed);
            let mut nemesis = Nemesis { world, nodes, dice };
            for _ in 0..faults {
                world.wait_for_progress(PROGRESS, || nemesis.nodes.mend(world));
                nemesis.wait(0, 300);
                fault(&mut nemesis);
            }
            world.wait_for_progress(PROGRESS, || nemesis.nodes.mend(world));
        });
        if let Place::Balanced(_) = place {
            let entries = read(&history).into_iter();
            let sessions =
                entries.filter(|entry| matches!(entry.what, What::Began { node } if node >= count));
            let sessions = sessions.count();
            println!("{kind}: seed {seed}, {sessions} sessions through HAProxy");
            assert!(sessions > 0, "nobody was led to a node by HAProxy");
        }
        let seconds = began.elapsed().as_secs();
        println!("{kind}: seed {seed}, {count} nodes, {faults} faults, {seconds} s: {verdict}");
        Played {
            kind,
            verdict,
            history,
            logs: nodes.logs(),
        }
    }
}

impl Played {
    /// That the promise was kept. If not, the history stays for whoever looks for the cause.
    fn assert_kept(self) -> Verdict {
        let Played {
            kind,
            verdict,
            history,
            logs,
        } = &self;
        assert!(verdict.accepted as u64 >= PROGRESS, "{verdict}");
        let as_balancer = format!("{}:", network::BALANCER);
        let is_login = |line: &str| line.contains(&as_balancer) && line.contains("logged in as");
        assert!(
            !logs.lines().any(is_login),
            "somebody was taken for HAProxy: {logs}"
        );
        if verdict.faults().is_empty() {
            self.remove_history();
            return self.verdict;
        }
        let log = history.with_extension("log");
        std::fs::write(&log, logs).unwrap();
        println!(
            "{kind}: the history is {}, the logs {}",
            history.display(),
            log.display()
        );
        for fault in verdict.faults().iter().take(20) {
            println!("{kind}: {fault}");
        }
        panic!("{verdict}");
    }

    fn remove_history(&self) {
        std::fs::remove_file(&self.history).unwrap();
    }
}
