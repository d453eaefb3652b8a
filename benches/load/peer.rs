//! A process under measurement: a relay or the server, with its CPU time, memory
//! and descriptors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::process::{self, Listener};
use crate::harness::stream::Stream;
use crate::harness::temporary_folder;

/// How every server is started. The limits are out of the way: what is measured
/// is the server's speed, not its patience with a load generator.
const SERVER_FLAGS: &[&str] = &[
    "--search-rate",
    "0",
    "--message-rate",
    "0",
    "--max-clients",
    "12000",
    "--mailbox-messages",
    "100000000",
    "--mailbox-mib",
    "100000",
    "--sender-share",
    "100",
];

/// The flags of a server that listens on another address than loopback.
const OPEN_FLAGS: &[&str] = &["--plaintext"];

/// The kinds of process that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bare,
    Acked,
    Server,
    ServerTls,
}

impl Kind {
    /// Whether it speaks the server's protocol.
    pub(crate) fn is_server(self) -> bool {
        matches!(self, Kind::Server | Kind::ServerTls)
    }

    /// Whether the sender is told of each message's arrival.
    pub(crate) fn answers(self) -> bool {
        self != Kind::Bare
    }
}

/// How to start a process.
pub(crate) struct Setup {
    kind: Kind,
    core: Option<usize>,
    ip: String,
    descriptors: Option<u64>,
    flags: &'static [&'static str],
    store: Option<(String, String)>,
    certificate_of: Option<PathBuf>,
}

impl Setup {
    /// On loopback, on any core, a server's limits out of the way.
    pub(crate) fn new(kind: Kind) -> Self {
        Setup {
            kind,
            flags: SERVER_FLAGS,
            core: None,
            ip: "127.0.0.1".to_owned(),
            descriptors: None,
            store: None,
            certificate_of: None,
        }
    }

    /// A server on a PostgreSQL database, under this name, which shows the certificate of another one.
    pub(crate) fn on_database(mut self, store: &str, node: &str, other: Option<&Peer>) -> Self {
        self.store = Some((store.to_owned(), node.to_owned()));
        self.certificate_of = other.map(|other| other.folder.path().join("data"));
        self
    }

    /// Pinned to one core, with `taskset`.
    pub(crate) fn on_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Listening on another address of this machine.
    pub(crate) fn listening_on(mut self, ip: &str) -> Self {
        self.ip = ip.to_owned();
        self
    }

    /// Limits the program to this many descriptors, unless the system lets it raise the limit.
    pub(crate) fn descriptors(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// A server with other flags.
    pub(crate) fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(self) -> Peer {
        let folder = temporary_folder();
        let log = folder.path().join("server.log");
        let mut command = self.command();
        match self.kind.is_server() {
            false => command.arg("--relay"),
            true => {
                command.args(["--listen", &format!("{}:0", self.ip)]);
                command.args(self.flags);
                if self.ip != "127.0.0.1" {
                    command.args(OPEN_FLAGS);
                }
                let data = folder.path().join("data");
                if let Some((store, node)) = &self.store {
                    command.args(["--store", store, "--node", node]);
                }
                if let Some(other) = &self.certificate_of {
                    std::fs::create_dir(&data).unwrap();
                    for file in ["tls-cert.pem", "tls-key.pem"] {
                        std::fs::copy(other.join(file), data.join(file)).unwrap();
                    }
                }
                command.arg("--data").arg(data)
            }
        };
        let errors = std::fs::File::create(&log).unwrap();
        let running = Listener::start(command.stderr(errors)).expect("it starts");
        Peer {
            address: running.address,
            running,
            kind: self.kind,
            log,
            folder,
        }
    }

    /// The program, behind what gives it its core and descriptors. Each replaces
    /// itself by the next, so that the child's number is the program's.
    fn command(&self) -> Command {
        let mut words = Vec::new();
        if let Some(core) = self.core {
            words.extend(["taskset", "-c"].map(str::to_owned));
            words.push(core.to_string());
        }
        if let Some(count) = self.descriptors {
            words.extend(["sh", "-c"].map(str::to_owned));
            words.push(format!("ulimit -n {count} && exec \"$0\" \"$@\""));
        }
        words.push(match self.kind.is_server() {
            true => env!("CARGO_BIN_EXE_server").to_owned(),
            false => std::env::current_exe().unwrap().display().to_string(),
        });
        let mut command = process::command(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// A running process. Dropping it ends it.
pub(crate) struct Peer {
    running: Listener,
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    log: PathBuf,
    folder: TempDir,
}

impl Peer {
    /// On loopback, on any core.
    pub(crate) fn start(kind: Kind) -> Self {
        Setup::new(kind).start()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Stream {
        Stream::connect(self.address, self.kind == Kind::ServerTls).unwrap()
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        process::cpu_ticks(self.id()) as f64 / 100.0
    }

    /// A number of its `status` file: `VmRSS` and `VmHWM` in KiB, `Threads`…
    pub(crate) fn status(&self, what: &str) -> f64 {
        process::status(self.id(), what) as f64
    }

    /// Its proportional set size, in KiB.
    pub(crate) fn pss(&self) -> f64 {
        process::number_after(&self.proc_text("smaps_rollup"), "Pss") as f64
    }

    /// Resets `VmHWM` to the present size.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5").unwrap();
    }

    /// The file of the database's write-ahead log.
    pub(crate) fn database_log(&self) -> PathBuf {
        self.folder.path().join("data").join("chat.db-wal")
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .count()
    }

    /// Those of them that are sockets: the database keeps a few files open more
    /// or less, as many readers as it needed at once.
    pub(crate) fn sockets(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// How many descriptors it may open.
    pub(crate) fn descriptor_limit(&self) -> f64 {
        let limits = self.proc_text("limits");
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.unwrap().split_whitespace().next().unwrap();
        soft.parse().unwrap_or(f64::INFINITY)
    }

    /// Asks it to end, and returns the last line of its log.
    pub(crate) fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.running.child), Signal::TERM).unwrap();
        let status = self.running.child.wait().unwrap();
        let log = std::fs::read_to_string(&self.log).unwrap();
        assert!(status.success(), "{status}: {log}");
        log.lines().last().unwrap_or_default().to_owned()
    }

    fn id(&self) -> u32 {
        self.running.child.id()
    }

    fn proc_text(&self, file: &str) -> String {
        process::proc_text(self.id(), file)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        process::kill(&mut self.running.child);
    }
}

/// Kernel stacks of all processes, in KiB: the difference around a number of
/// threads is theirs.
pub(crate) fn kernel_stacks() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    process::number_after(&text, "KernelStack") as f64
}
