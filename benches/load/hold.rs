//! A recipient in a process of its own, so that it can be stopped, or live behind
//! a cable that is pulled.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::{Pid, Signal, kill_process};

use super::account;
use super::pair::Recipient;
use super::peer::{Kind, Peer};
use crate::harness::process;
use crate::harness::stream::Stream;

/// A reader in trouble has little room in the kernel, so that trouble comes soon.
const SMALL_BUFFER: usize = 4096;

/// The longest that such a process lives.
const LIFETIME: Duration = Duration::from_secs(300);

/// How a recipient behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Reads and acknowledges everything.
    Healthy,
    /// Reads nothing.
    Silent,
    /// Reads a byte per second.
    Slow,
}

/// The process. Dropping it kills it, even if it is frozen.
pub(crate) struct Holder {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Holder {
    /// Registers `name` from another process; returns once it is logged in.
    pub(crate) fn start(peer: &Peer, name: &str, manner: Manner) -> Self {
        Self::start_in(peer, name, manner, None)
    }

    /// Does the same in the network namespace with this name.
    pub(crate) fn start_in(
        peer: &Peer,
        name: &str,
        manner: Manner,
        namespace: Option<&str>,
    ) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = match namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let tls = peer.kind == Kind::ServerTls;
        command
            .args(["--hold", &peer.address.to_string(), name])
            .args([format!("{manner:?}"), format!("{tls}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = process::spawn(&mut command).unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Holder { child, said };
        assert_eq!(holder.line(), "ready");
        holder
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Stops the process with SIGSTOP.
    pub(crate) fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets the process continue.
    pub(crate) fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Waits until a healthy one has got so many messages, each once and in order;
    /// an error says what is missing.
    pub(crate) fn expect(&mut self, count: u64) -> Result<(), String> {
        writeln!(self.child.stdin.as_ref().unwrap(), "{count}").unwrap();
        match self.line() {
            line if line == format!("received {count}, repeated 0") => Ok(()),
            line => Err(format!("{line} of {count}")),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

/// The body of the process.
pub(crate) fn run(arguments: &[String]) {
    thread::spawn(|| {
        thread::sleep(LIFETIME);
        std::process::exit(1);
    });
    let [address, name, manner, tls] = arguments else {
        panic!("--hold ADDRESS NAME MANNER TLS");
    };
    let address: SocketAddr = address.parse().unwrap();
    let tls = tls == "true";
    let stream = account::register(Stream::connect(address, tls).unwrap(), name);
    let received = Arc::new(AtomicU64::new(0));
    let repeated = Arc::new(AtomicU64::new(0));
    match manner.as_str() {
        "Healthy" => {
            let counts = (Arc::clone(&received), Arc::clone(&repeated));
            let kind = if tls { Kind::ServerTls } else { Kind::Server };
            let mut recipient = Recipient::over(stream, kind, name, "");
            thread::spawn(move || {
                while let Ok(count) = recipient.receive() {
                    counts.0.fetch_add(count as u64, Ordering::Relaxed);
                    counts.1.store(recipient.repeated(), Ordering::Relaxed);
                }
            });
        }
        "Silent" => {
            shrink(&stream);
            thread::spawn(move || {
                thread::sleep(LIFETIME);
                drop(stream);
            });
        }
        _ => {
            shrink(&stream);
            let mut stream = stream;
            thread::spawn(move || {
                while matches!(stream.read(&mut [0]), Ok(1)) {
                    thread::sleep(Duration::from_secs(1));
                }
            });
        }
    }
    println!("ready");
    // The end of input is the end.
    for line in io::stdin().lines().map_while(Result::ok) {
        let wanted: u64 = line.parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while received.load(Ordering::Relaxed) < wanted && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        println!(
            "received {}, repeated {}",
            received.load(Ordering::Relaxed),
            repeated.load(Ordering::Relaxed)
        );
    }
}

/// Gives a connection little room for what it does not read.
pub(crate) fn shrink(stream: &Stream) {
    set_socket_recv_buffer_size(stream.socket(), SMALL_BUFFER).unwrap();
}
