//! The faults: each kind under load, a few times in a usual test run, and as often as
//! `SECURE_CHAT_FAULTS` says for `scripts/cluster-faults.sh`. `SEED` repeats a run's choices, though
//! not the threads' order. Each prints a line of counts; the history of a run with faults stays beside the other
//! temporary files, and its name is printed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checker::Verdict;
use super::database::Database;
use super::harness::{Dice, random};
use super::history::{NEMESIS, What};
use super::nodes::Nodes;
use super::proxy::{Proxy, Rewrite, Target};
use super::world::{World, run};

/// Faults of each kind in a usual test run.
const FAULTS: u64 = 2;

/// Servers, unless `SECURE_CHAT_NODES` says otherwise.
const NODES: usize = 1;

/// Who uses them.
const PEOPLE: usize = 8;

/// The messages that must be accepted between two faults.
const PROGRESS: u64 = 200;

/// Longer than a lease is waited for.
const BEYOND_THE_LEASE: u64 = 8_500;

/// Turns the promise off: commits no longer wait for the disk. The servers set it for themselves, so it
/// is changed on the way.
const PROMISE_OFF: Rewrite = (
    b"SET synchronous_commit = on;",
    b"SET synchronous_commit =off;",
);

fn number(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().expect("it is a number"))
}

fn nodes() -> usize {
    number("SECURE_CHAT_NODES").map_or(NODES, |count| count as usize)
}

/// What breaks and heals has at hand.
struct Nemesis<'a> {
    world: &'a Arc<World>,
    nodes: &'a mut Nodes,
    dice: Dice,
}

impl Nemesis<'_> {
    /// Waits for a time between these, in milliseconds, while servers that end are started again.
    fn wait(&mut self, least: u64, most: u64) {
        let time = least + self.dice.below(most - least + 1);
        let until = Instant::now() + Duration::from_millis(time);
        while Instant::now() < until && !self.world.has_failed() {
            self.nodes.mend(self.world);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One of these, in milliseconds.
    fn wait_one_of(&mut self, times: &[u64]) {
        let time = times[self.dice.below(times.len() as u64) as usize];
        self.wait(time, time + 500);
    }

    fn some_node(&mut self) -> usize {
        self.dice.below(self.nodes.all.len() as u64) as usize
    }

    fn say(&self, what_was_done: &str) {
        self.world.fault(what_was_done);
    }

    /// Breaks what holds these together for a while.
    fn cut(&mut self, proxies: &[Proxy], least: u64, most: u64) {
        for proxy in proxies {
            proxy.cut();
        }
        self.wait(least, most);
        let resets = self.dice.below(2) == 0;
        for proxy in proxies {
            match resets {
                true => proxy.reset(),
                false => proxy.heal(),
            }
        }
    }
}

/// What a run came to.
struct Played {
    kind: &'static str,
    verdict: Verdict,
    history: PathBuf,
    logs: String,
}

/// Plays one kind of fault on the servers of a database with these hosts, and judges. What `fault`
/// breaks, it heals.
fn play(
    kind: &'static str,
    hosts: &[Target],
    rewrite: Option<Rewrite>,
    mut fault: impl FnMut(&mut Nemesis<'_>),
) -> Played {
    let seed = number("SEED").unwrap_or_else(|| random() % 1_000_000);
    let faults = number("SECURE_CHAT_FAULTS").unwrap_or(FAULTS);
    let count = nodes();
    let began = Instant::now();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let history = folder.join(format!("history-{kind}-{seed}.jsonl"));
    println!("{kind}: seed {seed}");
    let mut nodes = Nodes::start(count, hosts, rewrite);
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
    let seconds = began.elapsed().as_secs();
    println!("{kind}: seed {seed}, {count} nodes, {faults} faults, {seconds} s: {verdict}");
    Played {
        kind,
        verdict,
        history,
        logs: nodes.logs(),
    }
}

impl Played {
    /// That the promise was kept. If not, the history stays for whoever looks for the cause.
    fn assert_kept(&self) {
        let Played {
            kind,
            verdict,
            history,
            logs,
        } = self;
        assert!(verdict.accepted as u64 >= PROGRESS, "{verdict}");
        if verdict.faults().is_empty() {
            return self.remove_history();
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

#[test]
fn a_node_is_killed() {
    let database = Database::start();
    let played = play("kill-node", &[database.socket()], None, |nemesis| {
        let node = nemesis.some_node();
        nemesis.say(&format!("node {node} is killed"));
        nemesis.nodes.all[node].kill();
        nemesis.wait_one_of(&[0, 1_000, BEYOND_THE_LEASE]);
        nemesis.nodes.all[node].start();
        nemesis.say(&format!("node {node} is started"));
    });
    played.assert_kept();
}

#[test]
fn a_node_stands_still_beyond_its_lease() {
    let database = Database::start();
    let played = play("stall-node", &[database.socket()], None, |nemesis| {
        let node = nemesis.some_node();
        nemesis.say(&format!("node {node} is stopped"));
        nemesis.nodes.all[node].stop();
        nemesis.wait(BEYOND_THE_LEASE, BEYOND_THE_LEASE + 2_000);
        nemesis.say(&format!("node {node} goes on"));
        nemesis.nodes.all[node].go_on();
    });
    played.assert_kept();
}

#[test]
fn the_database_is_restarted_fast() {
    let mut database = Database::start();
    let hosts = [database.socket()];
    let played = play("restart-database", &hosts, None, |nemesis| {
        nemesis.say("the database is restarted");
        database.restart_immediately();
    });
    played.assert_kept();
}

/// What its processes have not written is gone.
fn kill_the_database(nemesis: &mut Nemesis<'_>, database: &mut Database) {
    database.stop_the_wal_writer();
    nemesis.wait(300, 800);
    nemesis.say("the database is killed");
    database.kill();
    nemesis.wait_one_of(&[0, 1_000, BEYOND_THE_LEASE]);
    database.begin();
    nemesis.say("the database is back");
}

#[test]
fn the_database_is_killed() {
    let mut database = Database::start();
    let hosts = [database.socket()];
    let played = play("kill-database", &hosts, None, |nemesis| {
        kill_the_database(nemesis, &mut database);
    });
    played.assert_kept();
}

#[test]
fn without_the_promise_the_same_kills_lose_messages() {
    let mut database = Database::with(&["wal_writer_delay=10s"]);
    let hosts = [database.socket()];
    let mut rewritten = 0;
    let played = play("promise-off", &hosts, Some(PROMISE_OFF), |nemesis| {
        kill_the_database(nemesis, &mut database);
        // It would go on with mail in its memory that the database does not have.
        for node in &mut nemesis.nodes.all {
            node.kill();
            node.start();
        }
        let proxies = nemesis.nodes.all.iter().flat_map(|node| &node.hosts);
        rewritten = proxies.map(Proxy::rewritten).sum();
    });
    assert!(rewritten > 0, "the servers no longer say it in these words");
    assert!(!played.verdict.lost.is_empty(), "{}", played.verdict);
    played.remove_history();
}

#[test]
fn the_network_between_a_node_and_the_database_is_cut() {
    let database = Database::start();
    let played = play("cut-database", &[database.socket()], None, |nemesis| {
        let node = nemesis.some_node();
        nemesis.say(&format!("node {node} is cut off from the database"));
        let proxies = nemesis.nodes.all[node].hosts.clone();
        nemesis.cut(&proxies, 500, BEYOND_THE_LEASE + 2_000);
        nemesis.say(&format!("node {node} reaches the database again"));
    });
    played.assert_kept();
}

#[test]
fn the_network_between_clients_and_a_node_is_cut() {
    let database = Database::start();
    let played = play("cut-clients", &[database.socket()], None, |nemesis| {
        let node = nemesis.some_node();
        nemesis.world.record(NEMESIS, 0, What::Cut { node });
        let proxy = nemesis.nodes.all[node].front.clone();
        nemesis.cut(&[proxy], 500, BEYOND_THE_LEASE + 2_000);
        nemesis.world.record(NEMESIS, 0, What::Healed { node });
    });
    played.assert_kept();
}

#[test]
fn the_network_between_two_nodes_is_cut() {
    if nodes() < 2 {
        return println!("cut-peers: skipped, there is one node");
    }
    let database = Database::start();
    let played = play("cut-peers", &[database.socket()], None, |nemesis| {
        nemesis.nodes.lead_peers_through_proxies(&database);
        nemesis.wait(500, 1_500);
        let node = nemesis.some_node();
        nemesis.say(&format!("node {node} is cut off from the others"));
        let proxy = nemesis.nodes.all[node].peers.clone();
        nemesis.cut(&[proxy], 500, BEYOND_THE_LEASE + 4_000);
        nemesis.say(&format!("the others reach node {node} again"));
    });
    played.assert_kept();
}

#[test]
fn the_databases_disk_is_full() {
    let mut database = match Database::on_small_disk(96) {
        Ok(database) => database,
        Err(why) => return println!("full-disk: skipped, {why}"),
    };
    let hosts = [database.socket()];
    let played = play("full-disk", &hosts, None, |nemesis| {
        nemesis.say("the database's disk is full");
        database.fill_the_disk();
        nemesis.wait(2_000, 5_000);
        database.make_room();
        nemesis.say("there is room again");
    });
    played.assert_kept();
}

/// Two database servers behind two hosts, of which one is the primary.
struct Pair {
    primary: Database,
    standby: Database,
    /// The primary's place among the hosts.
    first: usize,
}

impl Pair {
    fn start() -> Self {
        let primary = Database::start();
        let standby = primary.synchronous_standby();
        Pair {
            primary,
            standby,
            first: 0,
        }
    }

    fn hosts(&self) -> [Target; 2] {
        [self.primary.socket(), self.standby.socket()]
    }

    /// The standby is the primary from here on; what was the primary is killed, and a new standby
    /// takes its place.
    fn change(&mut self, nemesis: &mut Nemesis<'_>, kill_before: bool) {
        if kill_before {
            nemesis.say("the primary is killed");
            self.primary.kill();
            nemesis.wait_one_of(&[0, 1_000]);
        }
        self.standby.promote();
        nemesis.say("the standby is promoted");
        if !kill_before {
            // Some nodes lose their connections to the old primary, and some keep them.
            for node in 0..nemesis.nodes.all.len() {
                if nemesis.dice.below(2) == 0 {
                    nemesis.nodes.all[node].hosts[self.first].reset();
                }
            }
            nemesis.wait_one_of(&[1_000, BEYOND_THE_LEASE]);
            self.primary.kill();
            nemesis.say("the old primary is killed");
        }
        nemesis
            .world
            .wait_for_progress(PROGRESS, || nemesis.nodes.mend(nemesis.world));
        let standby = self.standby.synchronous_standby();
        self.primary = std::mem::replace(&mut self.standby, standby);
        for node in &nemesis.nodes.all {
            node.hosts[self.first].lead_to(Some(self.standby.socket()));
        }
        self.first = 1 - self.first;
        nemesis.say("there is another standby");
    }
}

#[test]
fn the_database_fails_over_to_its_standby() {
    let mut pair = Pair::start();
    let played = play("fail-over", &pair.hosts(), None, |nemesis| {
        pair.change(nemesis, true);
    });
    played.assert_kept();
}

#[test]
fn the_standby_is_promoted_while_the_primary_is_up() {
    let mut pair = Pair::start();
    let played = play("false-fail-over", &pair.hosts(), None, |nemesis| {
        pair.change(nemesis, false);
    });
    played.assert_kept();
}
