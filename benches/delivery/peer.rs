//! A process under measurement: a relay or the server, with its CPU and memory.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bare,
    Acked,
    Server,
}

/// Ends with the value.
pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    _folder: Option<TempDir>,
}

impl Peer {
    pub(crate) fn start(kind: Kind) -> Self {
        Self::start_on(kind, None)
    }

    /// Starts it, pinned to one core if asked.
    pub(crate) fn start_on(kind: Kind, core: Option<usize>) -> Self {
        let program = match kind {
            Kind::Server => env!("CARGO_BIN_EXE_server").into(),
            _ => std::env::current_exe().unwrap(),
        };
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut folder = None;
        match kind {
            Kind::Bare => command.args(["--relay", "bare"]),
            Kind::Acked => command.args(["--relay", "acked"]),
            Kind::Server => {
                let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
                command.args(["--listen", "127.0.0.1:0", "--max-clients", "12000"]);
                command.args(["--mailbox-messages", "100000000", "--mailbox-mib", "100000"]);
                command.args(["--sender-share", "100"]);
                command.arg("--data").arg(dir.path());
                folder = Some(dir);
                &mut command
            }
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("it starts").unwrap();
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.parse().unwrap();
            }
        };
        Peer {
            child,
            address,
            kind,
            _folder: folder,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after = stat.rsplit(')').next().unwrap();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    /// A line of its `status` file, in KiB: VmRSS, VmHWM…
    pub(crate) fn memory(&self, what: &str) -> f64 {
        self.proc_kib("status", what)
    }

    /// Its proportional set size, in KiB.
    pub(crate) fn pss(&self) -> f64 {
        self.proc_kib("smaps_rollup", "Pss")
    }

    fn proc_kib(&self, file: &str, what: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
