//! The faults: each kind under load, a few times in a usual test run, and as often as it is told by
//! `scripts/cluster-faults.sh`. What a run is, and what repeats one, is in [`play`](super::play).

use std::sync::Arc;

use super::database::Database;
use super::history::{NEMESIS, What};
use super::network::{DATABASE, Network};
use super::nodes::{Lost, Place, Toward};
use super::play::{BEYOND_THE_LEASE, Nemesis, PROGRESS, beside, each_run, network, nodes};
use super::proxy::{Proxy, Rewrite};

/// Turns the promise off: commits no longer wait for the disk. The servers set it for themselves, so it
/// is changed on the way.
const PROMISE_OFF: Rewrite = (
    b"SET synchronous_commit = on;",
    b"SET synchronous_commit =off;",
);

/// A database, and servers in a network if there can be one.
fn in_network(kind: &str, place: impl Fn(Arc<Network>) -> Place) -> (Database, Place) {
    match network(kind) {
        Some(network) => {
            let database = network.within(DATABASE, Database::in_network);
            (database, place(network))
        }
        None => {
            let database = Database::start();
            let place = beside(&database);
            (database, place)
        }
    }
}

#[test]
fn a_node_is_killed() {
    each_run("kill-node", |run| {
        let (_database, place) = in_network("kill-node", Place::Balanced);
        run.play(&place, |nemesis| {
            let node = nemesis.some_node();
            nemesis.say(&format!("node {node} is killed"));
            nemesis.nodes.all[node].kill();
            nemesis.wait_one_of(&[0, 1_000, BEYOND_THE_LEASE]);
            nemesis.nodes.all[node].start();
            nemesis.say(&format!("node {node} is started"));
        })
    });
}

#[test]
fn a_node_stands_still_beyond_its_lease() {
    each_run("stall-node", |run| {
        let (_database, place) = in_network("stall-node", Place::Balanced);
        run.play(&place, |nemesis| {
            let node = nemesis.some_node();
            nemesis.say(&format!("node {node} is stopped"));
            nemesis.nodes.all[node].stop();
            nemesis.wait(BEYOND_THE_LEASE, BEYOND_THE_LEASE + 2_000);
            nemesis.say(&format!("node {node} goes on"));
            nemesis.nodes.all[node].go_on();
        })
    });
}

#[test]
fn the_database_is_restarted_fast() {
    each_run("restart-database", |run| {
        let mut database = Database::start();
        run.play(&beside(&database), |nemesis| {
            nemesis.say("the database is restarted");
            database.restart_immediately();
        })
    });
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
    each_run("kill-database", |run| {
        let mut database = Database::start();
        run.play(&beside(&database), |nemesis| {
            kill_the_database(nemesis, &mut database);
        })
    });
}

#[test]
fn without_the_promise_the_same_kills_lose_messages() {
    let mut lost = 0;
    each_run("promise-off", |run| {
        let mut database = Database::with(&["wal_writer_delay=10s"]);
        let place = Place::Loopback {
            hosts: vec![Some(database.socket())],
            rewrite: Some(PROMISE_OFF),
        };
        let mut rewritten = 0;
        let verdict = run.play_to_lose(&place, |nemesis| {
            kill_the_database(nemesis, &mut database);
            // It would go on with mail in its memory that the database does not have.
            for node in &mut nemesis.nodes.all {
                node.kill();
                node.start();
            }
            let proxies = nemesis.nodes.all.iter().flat_map(|node| node.hosts());
            rewritten = proxies.map(Proxy::rewritten).sum();
        });
        assert!(rewritten > 0, "the servers no longer say it in these words");
        lost += verdict.lost.len();
        verdict
    });
    assert!(lost > 0, "nothing was lost");
}

#[test]
fn the_network_between_a_node_and_the_database_is_cut() {
    each_run("cut-database", |run| {
        let (_database, place) = in_network("cut-database", Place::Network);
        run.play(&place, |nemesis| {
            let node = nemesis.some_node();
            nemesis.cut(node, Toward::Database);
        })
    });
}

/// No packet says that its connections are over, also not those on which an answer is waited for.
#[test]
fn the_machine_of_the_database_vanishes() {
    if network("vanish-database").is_none() {
        return println!("vanish-database: skipped, it takes a network");
    }
    each_run("vanish-database", |run| {
        let (mut database, place) = in_network("vanish-database", Place::Network);
        run.play(&place, |nemesis| {
            nemesis.say("the machine of the database stands still, and vanishes");
            database.stop();
            nemesis.wait(500, 1_500);
            let nodes = nemesis.nodes.all.len();
            for node in 0..nodes {
                nemesis.nodes.cut(node, Toward::Database, Lost::All);
            }
            database.kill();
            nemesis.wait(0, 1_000);
            place.on_its_host(|| database.begin());
            for node in 0..nodes {
                nemesis.nodes.heal(node, Toward::Database, Lost::All, false);
            }
            nemesis.say("it is there again");
        })
    });
}

#[test]
fn the_network_between_clients_and_a_node_is_cut() {
    each_run("cut-clients", |run| {
        let (_database, place) = in_network("cut-clients", Place::Balanced);
        run.play(&place, |nemesis| {
            let node = nemesis.some_node();
            // Behind HAProxy it may be any.
            let nodes = nemesis.nodes.all.len();
            let doors = nemesis.world.addresses.len();
            let doors: Vec<usize> = std::iter::once(node).chain(nodes..doors).collect();
            for &node in &doors {
                nemesis.world.record(NEMESIS, 0, What::Cut { node });
            }
            nemesis.cut(node, Toward::Clients);
            for &node in &doors {
                nemesis.world.record(NEMESIS, 0, What::Healed { node });
            }
        })
    });
}

#[test]
fn the_network_between_two_nodes_is_cut() {
    if nodes() < 2 {
        return println!("cut-peers: skipped, there is one node");
    }
    each_run("cut-peers", |run| {
        let (database, place) = in_network("cut-peers", Place::Network);
        run.play(&place, |nemesis| {
            nemesis.nodes.lead_peers_through_proxies(&database);
            nemesis.wait(500, 1_500);
            let node = nemesis.some_node();
            nemesis.cut(node, Toward::Peers);
        })
    });
}

#[test]
fn the_databases_disk_is_full() {
    if let Err(why) = Database::on_small_disk(96) {
        return println!("full-disk: skipped, {why}");
    }
    each_run("full-disk", |run| {
        let mut database = Database::on_small_disk(96).unwrap();
        run.play(&beside(&database), |nemesis| {
            nemesis.say("the database's disk is full");
            database.fill_the_disk();
            nemesis.wait(2_000, 5_000);
            database.make_room();
            nemesis.say("there is room again");
        })
    });
}

/// Database servers one after the other, each behind a host of its own: the last but one is the primary, and the last
/// its standby, until that is promoted.
struct Succession {
    databases: Vec<Database>,
    /// How many there will be.
    hosts: usize,
}

impl Succession {
    /// Enough for so many fail-overs.
    fn start(fail_overs: u64) -> Self {
        let primary = Database::start();
        let standby = primary.synchronous_standby();
        Succession {
            databases: vec![primary, standby],
            hosts: fail_overs as usize + 1,
        }
    }

    fn place(&self) -> Place {
        let mut hosts: Vec<_> = self.databases.iter().map(|it| Some(it.socket())).collect();
        hosts.resize(self.hosts, None);
        Place::Loopback {
            hosts,
            rewrite: None,
        }
    }

    fn kill_the_primary(&mut self, nemesis: &mut Nemesis<'_>) {
        let primary = self.databases.len() - 2;
        nemesis.say("the primary is killed");
        self.databases[primary].kill();
        nemesis.wait_one_of(&[0, 1_000]);
    }

    fn promote_the_standby(&mut self, nemesis: &Nemesis<'_>) {
        self.databases.last().expect("there is one").promote();
        nemesis.say("the standby is promoted");
    }

    /// Waits until the new primary serves, and gives it a standby, if another fail-over is to come.
    fn go_on(&mut self, nemesis: &mut Nemesis<'_>) {
        let world = nemesis.world;
        world.wait_for_progress(PROGRESS, || nemesis.nodes.mend(world));
        let place = self.databases.len();
        if place == self.hosts {
            return;
        }
        let standby = self.databases[place - 1].synchronous_standby();
        for node in &nemesis.nodes.all {
            node.hosts()[place].lead_to(Some(standby.socket()));
        }
        self.databases.push(standby);
        nemesis.say("there is another standby");
    }
}

#[test]
fn the_database_fails_over_to_its_standby() {
    each_run("fail-over", |run| {
        let mut succession = Succession::start(run.faults);
        run.play(&succession.place(), |nemesis| {
            succession.kill_the_primary(nemesis);
            succession.promote_the_standby(nemesis);
            succession.go_on(nemesis);
        })
    });
}

/// Those of before run until the end.
#[test]
fn the_standby_is_promoted_while_the_primary_is_up() {
    each_run("false-fail-over", |run| {
        let mut succession = Succession::start(run.faults);
        run.play(&succession.place(), |nemesis| {
            let primary = succession.databases.len() - 2;
            succession.promote_the_standby(nemesis);
            // Some nodes lose their connections to the old primary, and some keep them.
            for node in 0..nemesis.nodes.all.len() {
                if nemesis.dice.below(2) == 0 {
                    nemesis.nodes.all[node].hosts()[primary].reset();
                }
            }
            nemesis.wait_one_of(&[1_000, BEYOND_THE_LEASE]);
            // One that begins has not met the new primary yet.
            if nemesis.dice.below(2) == 0 {
                let node = nemesis.some_node();
                nemesis.say(&format!("node {node} is killed and started"));
                nemesis.nodes.all[node].kill();
                nemesis.nodes.all[node].start();
            }
            succession.go_on(nemesis);
        })
    });
}
