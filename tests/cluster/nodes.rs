//! The servers of a run, and the networks between them, clients and the database, which can be cut: those of a
//! [`Network`], or, where there can be none, a proxy on each way.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustix::process::Signal;
use tempfile::TempDir;

use super::balancer::Balancer;
use super::database::Database;
use super::harness::{Client, Server, Wire, eventually, temporary_folder};
use super::network::{self, BALANCER, CLIENTS, DATABASE, Network};
use super::proxy::{Proxy, Rewrite, Target};
use super::world::World;

/// Where the servers of a run are.
pub enum Place {
    /// On this machine's loopback, behind proxies.
    Loopback {
        /// The hosts of the database. One without a target is to come.
        hosts: Vec<Option<Target>>,
        /// What is changed on the way there.
        rewrite: Option<Rewrite>,
    },
    /// Each on a host of its own.
    Network(Arc<Network>),
    /// The same, with HAProxy in front of them all besides.
    Balanced(Arc<Network>),
}

/// What is at the other end of a stretch of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    Clients,
    Database,
    Peers,
}

/// Which packets a cut loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    All,
    /// Those to the node.
    Incoming,
    /// Those from the node.
    Outgoing,
}

/// A server and its networks.
pub struct Node {
    server: Server,
    name: String,
    is_killed: bool,
    ways: Ways,
}

enum Ways {
    Proxies {
        /// Between clients and it.
        front: Proxy,
        /// Between it and each host of its database.
        hosts: Vec<Proxy>,
        /// Between the other nodes and it, once they are led through it.
        peers: Proxy,
    },
    Network(Arc<Network>, Ipv4Addr),
}

/// All servers of a run.
pub struct Nodes {
    pub all: Vec<Node>,
    balancer: Option<Balancer>,
    _folder: TempDir,
}

impl Place {
    /// Runs something on the host of the database.
    pub fn on_its_host<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        match self {
            Place::Loopback { .. } => run(),
            Place::Network(network) | Place::Balanced(network) => network.within(DATABASE, run),
        }
    }
}

impl Nodes {
    /// Starts them.
    pub fn start(count: usize, place: &Place) -> Self {
        let folder = temporary_folder();
        let mut all: Vec<Node> = Vec::new();
        for number in 0..count {
            let name = format!("node{number}");
            let data = folder.path().join(&name);
            if number > 0 {
                // All show the certificate that the first has made.
                fs::create_dir(&data).unwrap();
                for file in ["tls-cert.pem", "tls-key.pem"] {
                    fs::copy(folder.path().join("node0").join(file), data.join(file)).unwrap();
                }
            }
            let start = |store: &str, more: &[&str]| {
                let room = ["--mailbox-messages", "100000000", "--sender-share", "100"];
                let flags = [&["--store", store, "--node", &name][..], &room, more].concat();
                Server::on_file(&data, &flags)
            };
            let (server, ways) = match place {
                Place::Loopback { hosts, rewrite } => {
                    let hosts = hosts.iter().cloned();
                    let hosts: Vec<Proxy> =
                        hosts.map(|host| Proxy::rewriting(host, *rewrite)).collect();
                    let addresses: Vec<String> =
                        hosts.iter().map(|host| host.address.to_string()).collect();
                    let store = format!("postgres://chat@{}/postgres", addresses.join(","));
                    let server = start(&store, &[]);
                    let front = Proxy::new(Some(Target::Tcp(server.address())));
                    let peers = Proxy::new(None);
                    #[rustfmt::skip]
                    let ways = Ways::Proxies { front, hosts, peers };
                    (server, ways)
                }
                Place::Network(network) | Place::Balanced(network) => {
                    let host = network::node(number);
                    let store = format!("postgres://chat@{DATABASE}/postgres?sslmode=disable");
                    let on = network::door(host).to_string();
                    let balancers = network::BALANCERS;
                    let more = ["--listen", &on, "--plaintext", "--proxy-from", balancers];
                    let server = network.within(host, || start(&store, &more));
                    (server, Ways::Network(Arc::clone(network), host))
                }
            };
            all.push(Node {
                server,
                name,
                is_killed: false,
                ways,
            });
        }
        let balancer = match place {
            Place::Balanced(network) => {
                let doors: Vec<_> = (0..count).map(network::node).map(network::door).collect();
                let on = network::door(BALANCER);
                Some(network.within(BALANCER, || Balancer::start(on, &doors)))
            }
            _ => None,
        };
        Nodes {
            all,
            balancer,
            _folder: folder,
        }
    }

    /// Where clients reach them: each of them, and as often through HAProxy, if there is one.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = self.all.iter().map(Node::door).collect();
        if self.balancer.is_some() {
            let through_it = vec![network::door(BALANCER); self.all.len()];
            addresses.extend(through_it);
        }
        addresses
    }

    /// Makes accounts.
    pub fn register(&self, names: &[String]) {
        for name in names {
            self.all[0].server.register(name);
        }
    }

    /// A client at a node, not logged in.
    pub fn client(&self, node: usize) -> Client {
        Client::new(Wire::connect(self.all[node].door()))
    }

    /// Loses packets between a node and others from here on.
    pub fn cut(&self, node: usize, toward: Toward, lost: Lost) {
        match &self.all[node].ways {
            Ways::Network(network, _) => {
                for (from, to) in self.ways(node, toward, lost) {
                    network.cut(from, to);
                }
            }
            ways => ways.proxies(toward).iter().for_each(Proxy::cut),
        }
    }

    /// Loses them no more. Proxies break all connections if `resets`.
    pub fn heal(&self, node: usize, toward: Toward, lost: Lost, resets: bool) {
        match (&self.all[node].ways, resets) {
            (Ways::Network(network, _), _) => {
                for (from, to) in self.ways(node, toward, lost) {
                    network.heal(from, to);
                }
            }
            (ways, true) => ways.proxies(toward).iter().for_each(Proxy::reset),
            (ways, false) => ways.proxies(toward).iter().for_each(Proxy::heal),
        }
    }

    /// The ways of packets on a stretch of network.
    fn ways(&self, node: usize, toward: Toward, lost: Lost) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let own = network::node(node);
        let others = match toward {
            Toward::Clients => vec![CLIENTS, BALANCER],
            Toward::Database => vec![DATABASE],
            Toward::Peers => (0..self.all.len()).map(network::node).collect(),
        };
        let others = others.into_iter().filter(|other| *other != own);
        let ways = others.flat_map(|other| match lost {
            Lost::All => vec![(other, own), (own, other)],
            Lost::Incoming => vec![(other, own)],
            Lost::Outgoing => vec![(own, other)],
        });
        ways.collect()
    }

    /// Has the nodes reach each other through proxies, from their next connection on, where there
    /// is no network between them that can be cut.
    pub fn lead_peers_through_proxies(&self, database: &Database) {
        for node in &self.all {
            let Ways::Proxies { peers, .. } = &node.ways else {
                continue;
            };
            let proxy = peers.address.to_string();
            let own = format!("node = '{}' AND NOT ended", node.name);
            let address = format!("SELECT address FROM runs WHERE {own}");
            let mut real = String::new();
            eventually("it says where it listens for the others", || {
                real = database.ask(&address);
                !real.is_empty()
            });
            if real != proxy {
                peers.lead_to(Some(Target::Tcp(real.parse().unwrap())));
                database.ask(&format!("UPDATE runs SET address = '{proxy}' WHERE {own}"));
            }
        }
    }

    /// Starts those that have ended by themselves, as a service manager does: one that does not reach the
    /// database yet ends again, and is started by the next call.
    pub fn mend(&mut self, world: &World) {
        for node in &mut self.all {
            if !node.is_killed && !node.server.is_alive() {
                world.fault(&format!("{} has ended by itself and is started", node.name));
                node.tries_to_start();
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

impl Drop for Nodes {
    /// Gives back the connections that the proxies hold.
    fn drop(&mut self) {
        for node in &self.all {
            for toward in [Toward::Clients, Toward::Database, Toward::Peers] {
                node.ways.proxies(toward).iter().for_each(Proxy::reset);
            }
        }
    }
}

impl Node {
    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.is_killed = true;
        if let Ways::Proxies { front, .. } = &self.ways {
            front.lead_to(None);
        }
        self.server.kill();
    }

    /// Starts it once it has ended.
    pub fn start(&mut self) {
        let started = self.tries_to_start();
        assert!(started, "the server did not start: {}", self.server.log());
    }

    /// The same; says whether it listens.
    fn tries_to_start(&mut self) -> bool {
        let server = &mut self.server;
        let started = match &self.ways {
            Ways::Network(network, host) => network.within(*host, || server.tries_to_start_again()),
            Ways::Proxies { front, .. } => {
                let started = server.tries_to_start_again();
                if started {
                    front.lead_to(Some(Target::Tcp(server.address())));
                }
                started
            }
        };
        self.is_killed = !started && self.is_killed;
        started
    }

    /// Has it stand still.
    pub fn stop(&self) {
        self.server.signal(Signal::STOP);
    }

    /// Has it go on.
    pub fn go_on(&self) {
        self.server.signal(Signal::CONT);
    }

    /// The proxies between it and the hosts of its database.
    pub fn hosts(&self) -> &[Proxy] {
        self.ways.proxies(Toward::Database)
    }

    fn door(&self) -> SocketAddr {
        match &self.ways {
            Ways::Proxies { front, .. } => front.address,
            Ways::Network(_, host) => network::door(*host),
        }
    }
}

impl Ways {
    /// The proxies on a stretch; none in a network.
    fn proxies(&self, toward: Toward) -> &[Proxy] {
        match (self, toward) {
            (Ways::Network(..), _) => &[],
            (Ways::Proxies { front, .. }, Toward::Clients) => std::slice::from_ref(front),
            (Ways::Proxies { hosts, .. }, Toward::Database) => hosts,
            (Ways::Proxies { peers, .. }, Toward::Peers) => std::slice::from_ref(peers),
        }
    }
}
