//! The servers of a run. Each is reached by clients through a proxy of its own, and reaches each host of
//! its database through another one, so that its networks can be cut.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Signal;
use tempfile::TempDir;

use super::database::Database;
use super::harness::{Server, eventually, temporary_folder};
use super::proxy::{Proxy, Rewrite, Target};
use super::world::World;

/// A server and its networks.
pub struct Node {
    server: Server,
    name: String,
    is_killed: bool,
    /// Between clients and it.
    pub front: Proxy,
    /// Between it and each host of its database.
    pub hosts: Vec<Proxy>,
    /// Between the other nodes and it, once they are led through it.
    pub peers: Proxy,
}

/// All servers of a run.
pub struct Nodes {
    pub all: Vec<Node>,
    _folder: TempDir,
}

impl Nodes {
    /// Starts them, on a database with these hosts.
    pub fn start(count: usize, hosts: &[Target], rewrite: Option<Rewrite>) -> Self {
        let folder = temporary_folder();
        let mut all: Vec<Node> = Vec::new();
        for number in 1..=count {
            let name = format!("node{number}");
            let data = folder.path().join(&name);
            if number > 1 {
                // All show the certificate that the first has made.
                fs::create_dir(&data).unwrap();
                for file in ["tls-cert.pem", "tls-key.pem"] {
                    fs::copy(folder.path().join("node1").join(file), data.join(file)).unwrap();
                }
            }
            let hosts: Vec<Proxy> = hosts
                .iter()
                .map(|host| Proxy::rewriting(Some(host.clone()), rewrite))
                .collect();
            let addresses: Vec<String> =
                hosts.iter().map(|host| host.address.to_string()).collect();
            let store = format!("postgres://chat@{}/postgres", addresses.join(","));
            let room = ["--mailbox-messages", "100000000", "--sender-share", "100"];
            let flags = [&["--store", &store, "--node", &name][..], &room].concat();
            let server = Server::on_file(&data, &flags);
            all.push(Node {
                front: Proxy::new(Some(Target::Tcp(server.address()))),
                peers: Proxy::new(None),
                server,
                name,
                is_killed: false,
                hosts,
            });
        }
        Nodes {
            all,
            _folder: folder,
        }
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|node| node.front.address).collect()
    }

    /// Makes accounts.
    pub fn register(&self, names: &[String]) {
        for name in names {
            self.all[0].server.register(name);
        }
    }

    /// Has the nodes reach each other through proxies, from their next connection on.
    pub fn lead_peers_through_proxies(&self, database: &Database) {
        for node in &self.all {
            let proxy = node.peers.address.to_string();
            let own = format!("node = '{}' AND NOT ended", node.name);
            let address = format!("SELECT address FROM runs WHERE {own}");
            let mut real = String::new();
            eventually("it says where it listens for the others", || {
                real = database.ask(&address);
                !real.is_empty()
            });
            if real != proxy {
                node.peers.lead_to(Some(Target::Tcp(real.parse().unwrap())));
                database.ask(&format!("UPDATE runs SET address = '{proxy}' WHERE {own}"));
            }
        }
    }

    /// Starts those that have ended by themselves, as a service manager does.
    pub fn mend(&mut self, world: &World) {
        for node in &mut self.all {
            if !node.is_killed && !node.server.is_alive() {
                world.fault(&format!("{} has ended by itself and is started", node.name));
                node.start();
            }
        }
    }

    /// What all have logged.
    pub fn logs(&self) -> String {
        let logs = self.all.iter();
        let logs = logs.map(|node| format!("--- {}\n{}", node.name, node.server.log()));
        logs.collect()
    }
}

impl Node {
    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.is_killed = true;
        self.front.lead_to(None);
        self.server.kill();
    }

    /// Starts it once it has ended.
    pub fn start(&mut self) {
        self.server.start_again();
        self.is_killed = false;
        self.front.lead_to(Some(Target::Tcp(self.server.address())));
    }

    /// Has it stand still.
    pub fn stop(&self) {
        self.server.signal(Signal::STOP);
    }

    /// Has it go on.
    pub fn go_on(&self) {
        self.server.signal(Signal::CONT);
    }
}
