//! A network of a run's own: hosts around a router, each of them a network namespace. A cut has the router lose
//! the packets from one host to another. Nothing is closed and nobody is told, so what follows is what the
//! system's TCP does when a network loses every packet.
//!
//! It takes the right to make namespaces, which root has outside of most containers.

use std::fs::File;
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::harness::process;

/// Where clients are.
pub const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);

/// Where the database is.
pub const DATABASE: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 1);

/// Where HAProxy is.
pub const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

/// From where the nodes take a client's address as it is told.
pub const BALANCERS: &str = "10.0.1.0/24";

/// The port of everything that clients connect to.
pub const PORT: u16 = 7400;

/// Where a node is.
pub fn node(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + number as u8)
}

/// The address that clients connect to on a host.
pub fn door(host: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(host), PORT)
}

/// Run in the router, with the address and the process of each host: connects them, and tries whether packets can
/// be lost.
const CONNECT: &str = r#"
set -e
echo 1 >/proc/sys/net/ipv4/ip_forward
ip rule add from 192.0.2.1 to 192.0.2.2 blackhole
router=10.255.255.254
while [ $# -gt 0 ]; do
    ip link add "to$2" type veth peer name eth0 netns "$2"
    ip address add "$router/32" dev "to$2"
    ip link set "to$2" up
    nsenter --net="/proc/$2/ns/net" sh -ec "
        ip link set lo up
        ip address add $1/32 dev eth0
        ip link set eth0 up
        ip route add $router dev eth0
        ip route add default via $router"
    ip route add "$1" dev "to$2"
    shift 2
done
"#;

/// The hosts and the router between them. It is there until it is dropped, or the test ends.
pub struct Network {
    router: Namespace,
    hosts: Vec<(Ipv4Addr, Namespace)>,
}

/// A network namespace. It lasts as long as this, and as the processes that were started in it.
struct Namespace {
    holder: Child,
}

impl Network {
    /// Lays one with so many nodes; an error says why there can't be one.
    pub fn new(nodes: usize) -> Result<Self, String> {
        let others = [CLIENTS, DATABASE, BALANCER];
        let addresses = (0..nodes).map(node).chain(others);
        let hosts = addresses.map(|address| Ok((address, Namespace::new()?)));
        let network = Network {
            router: Namespace::new()?,
            hosts: hosts.collect::<Result<_, String>>()?,
        };
        let mut connect = network.router.command("sh");
        connect.args(["-c", CONNECT, "connect"]);
        for (address, host) in &network.hosts {
            connect.args([address.to_string(), host.holder.id().to_string()]);
        }
        done(&mut connect)?;
        Ok(network)
    }

    /// Runs something on a host: its threads, processes and connections are there.
    pub fn within<T: Send>(&self, host: Ipv4Addr, run: impl FnOnce() -> T + Send) -> T {
        let namespace = self.hosts.iter().find(|(address, _)| *address == host);
        let namespace = namespace.expect("there is such a host").1.file();
        let there = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            run()
        };
        std::thread::scope(|scope| match scope.spawn(there).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Loses all packets from one host to another.
    pub fn cut(&self, from: Ipv4Addr, to: Ipv4Addr) {
        self.rule("add", from, to);
    }

    /// Loses them no more.
    pub fn heal(&self, from: Ipv4Addr, to: Ipv4Addr) {
        self.rule("delete", from, to);
    }

    fn rule(&self, what: &str, from: Ipv4Addr, to: Ipv4Addr) {
        let (from, to) = (from.to_string(), to.to_string());
        let mut ip = self.router.command("ip");
        ip.args(["rule", what, "from", &from, "to", &to, "blackhole"]);
        done(&mut ip).unwrap();
    }
}

impl Namespace {
    fn new() -> Result<Self, String> {
        let mut holder = Command::new("unshare");
        holder
            .args(["--net", "sh", "-c", "echo made && exec sleep infinity"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Ok(mut holder) = process::spawn(&mut holder) else {
            return Err("there is no unshare here".to_owned());
        };
        let mut said = String::new();
        let mut output = std::io::BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let namespace = Namespace { holder };
        match said.trim() {
            "made" => Ok(namespace),
            _ => Err("who runs the tests may not make network namespaces".to_owned()),
        }
    }

    fn file(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap()
    }

    /// A command that runs in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        command.args([&namespace, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        process::kill(&mut self.holder);
    }
}

/// Runs a command; an error is what it has said.
fn done(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
