//! Another certificate in the place of the one that several servers of a database show.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificates::{People, Way, certificate, operator};
use crate::harness::{Server, eventually, postgres, run_to_the_end, temporary_folder};

/// Servers of one database, with the folders that they run on.
struct Nodes {
    folder: TempDir,
    store: String,
    servers: Vec<Server>,
}

const NODES: [&str; 3] = ["first", "second", "third"];

impl Nodes {
    fn start() -> Self {
        let folder = temporary_folder();
        let store = postgres::database(&folder.path().join("first"));
        let mut nodes = Nodes {
            folder,
            store,
            servers: Vec::new(),
        };
        for number in 0..NODES.len() {
            if number > 0 {
                fs::create_dir(nodes.data(number)).unwrap();
                nodes.copy_certificate(0, number);
            }
            let started = nodes.start_one(number);
            nodes.servers.push(started);
        }
        nodes
    }

    fn data(&self, number: usize) -> PathBuf {
        self.folder.path().join(NODES[number])
    }

    fn flags(&self, number: usize) -> [&str; 4] {
        ["--store", &self.store, "--node", NODES[number]]
    }

    fn start_one(&self, number: usize) -> Server {
        let server = Server::on_file(&self.data(number), &self.flags(number));
        // Before that, a signal ends it.
        eventually("it is ready", || server.log().contains("reach this one at"));
        server
    }

    fn copy_certificate(&self, from: usize, to: usize) {
        for file in ["tls-cert.pem", "tls-key.pem"] {
            fs::copy(self.data(from).join(file), self.data(to).join(file)).unwrap();
        }
    }

    fn operator(&self, number: usize, arguments: &[&str]) -> Result<String, String> {
        operator(
            &self.data(number),
            &[arguments, &["--store", &self.store]].concat(),
        )
    }
}

#[test]
fn servers_of_one_database_change_one_by_one_and_nobody_is_alarmed_on_the_way() {
    let mut nodes = Nodes::start();
    let old = certificate(&nodes.data(0));
    let way = Way::to(nodes.servers[0].address());
    let turn = |nodes: &Nodes, number: usize| way.turn(nodes.servers[number].address());
    let people = People::at(way.address);
    for name in ["alice", "bob"] {
        people.register(name, &old);
    }
    let said = nodes.operator(0, &["certificate", "rotate"]).unwrap();
    assert!(said.contains("certificate finish"), "{said}");
    let new = certificate(&nodes.data(0));
    // To and fro between servers with either, nobody is alarmed, and only the step forward is said.
    assert!(people.follows("alice"));
    people.knows("alice", &format!("{new} also {old} was {old}"));
    // Somebody who begins at the new one takes its word for the old one.
    people.register("carol", &new);
    people.knows("carol", &format!("{new} also {old}"));
    for (number, name) in [(1, "alice"), (0, "alice"), (2, "alice"), (2, "carol")] {
        turn(&nodes, number);
        assert!(!people.follows(name), "{name} at {number}");
    }
    assert!(!people.follows_at("alice", &people.with(&old)));
    // Mail passes between servers that show different ones.
    turn(&nodes, 1);
    let sent = people.run("bob", &people.place, &["send", "alice", "across"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    people.knows("bob", &old);
    turn(&nodes, 0);
    let got = people.run("alice", &people.place, &["fetch"]);
    assert!(got.out.contains("across"), "{got:?}");
    // Links name the old one, which leads to either.
    for number in [0, 1] {
        let link = nodes.operator(number, &["invite"]).unwrap();
        assert!(link.contains(&format!("chat://{old}@")), "{link}");
    }
    let refused = nodes.operator(1, &["certificate", "finish"]).unwrap_err();
    assert!(refused.contains("third, this server"), "{refused}");
    let refused = nodes.operator(0, &["certificate", "rotate"]).unwrap_err();
    assert!(refused.contains("before you announce another"), "{refused}");
    // With the old one a server still starts; one takes the new one as it runs, one with a new start.
    nodes.servers[1].kill();
    nodes.servers[1] = nodes.start_one(1);
    let old_files = temporary_folder();
    for file in ["tls-cert.pem", "tls-key.pem"] {
        fs::copy(nodes.data(2).join(file), old_files.path().join(file)).unwrap();
    }
    nodes.copy_certificate(0, 1);
    nodes.servers[1].signal(Signal::HUP);
    eventually("the second shows it", || {
        nodes.servers[1].log().contains(&new)
    });
    let refused = nodes.operator(0, &["certificate", "finish"]).unwrap_err();
    assert!(refused.contains("third not yet"), "{refused}");
    nodes.servers[2].kill();
    nodes.copy_certificate(0, 2);
    nodes.servers[2] = nodes.start_one(2);
    turn(&nodes, 2);
    assert!(!people.follows("alice"));
    people.knows("alice", &format!("{new} also {old} was {old}"));
    nodes.operator(2, &["certificate", "finish"]).unwrap();
    // Now the old one counts no more: for clients, and for servers.
    assert!(!people.follows("alice"));
    people.knows("alice", &format!("{new} was {old}"));
    turn(&nodes, 1);
    assert!(!people.follows("carol"));
    people.knows("carol", &new);
    assert!(
        people.follows("bob"),
        "who was away follows afterwards, too"
    );
    let link = nodes.operator(1, &["invite"]).unwrap();
    assert!(link.contains(&format!("chat://{new}@")), "{link}");
    for file in ["tls-cert.pem", "tls-key.pem"] {
        fs::copy(old_files.path().join(file), nodes.data(2).join(file)).unwrap();
    }
    nodes.servers[2].signal(Signal::HUP);
    eventually("it stays as it was", || {
        let log = nodes.servers[2].log();
        log.contains(
            "the certificate stays as it was: the other servers of the database don't show",
        )
    });
    nodes.servers[2].kill();
    let data = nodes.data(2).display().to_string();
    let arguments = [
        &["--listen", "127.0.0.1:0", "--data", &data][..],
        &nodes.flags(2),
    ]
    .concat();
    let (status, said) = run_to_the_end(&arguments);
    assert!(!status.success());
    assert!(
        said.contains("the servers of this database show the certificate"),
        "{said}"
    );
}
