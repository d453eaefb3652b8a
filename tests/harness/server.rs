//! The server as a process: its folder, its address, its log, its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::postgres;
use super::process::{self, Listener};
use super::{Client, Console, Disk, PATIENCE, Wire};

/// A running server with a folder of its own. Dropping it kills it.
pub struct Server {
    setup: Setup,
    running: Listener,
}

/// What each of its lives begins with.
struct Setup {
    folder: TempDir,
    flags: Vec<String>,
    /// Commands for a shell that then becomes the server.
    prelude: Option<&'static str>,
    /// The disk that holds its data, if that can lose power or fail.
    disk: Option<Disk>,
    /// The database that it stores in, if the tests are run on PostgreSQL.
    store: Option<String>,
}

impl Server {
    /// A server with default settings.
    pub fn start() -> Self {
        Server::with(&[])
    }

    /// A server with these flags.
    pub fn with(flags: &[&str]) -> Self {
        Server::launch(None, flags, None)
    }

    /// A server whose data are on a disk that can fail.
    pub fn on_disk(seed: u64, flags: &[&str]) -> Self {
        Server::launch(None, flags, Some(seed))
    }

    /// A server in a shell that has run `prelude` first, to set limits.
    pub fn after(prelude: &'static str, flags: &[&str]) -> Self {
        Server::launch(Some(prelude), flags, None)
    }

    /// A server on data that exist already, and stay after its end.
    pub fn on(data: &Path, flags: &[&str]) -> Self {
        let data = data.to_str().expect("the path is text");
        Server::with(&[&["--data", data], flags].concat())
    }

    /// The same, with a store as the flags say, also where the suite is run on PostgreSQL.
    pub fn on_file(data: &Path, flags: &[&str]) -> Self {
        let data = data.to_str().expect("the path is text");
        let mut setup = Setup::new(None, &[&["--data", data], flags].concat(), None);
        setup.store = None;
        let command = setup.command();
        Server::of(setup, command)
    }

    /// A server whose standard error goes elsewhere than to [`log`](Self::log).
    pub fn logging_to(log: impl Into<Stdio>) -> Self {
        let setup = Setup::new(None, &[], None);
        let mut command = setup.command();
        command.stderr(log);
        Server::of(setup, command)
    }

    fn launch(prelude: Option<&'static str>, flags: &[&str], disk: Option<u64>) -> Self {
        let setup = Setup::new(prelude, flags, disk);
        let command = setup.command();
        Server::of(setup, command)
    }

    fn of(setup: Setup, command: Command) -> Self {
        let running = setup.spawn(command);
        Server { setup, running }
    }

    /// Kills it without warning and starts it again on the same folder.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Takes the power away from it and its disk, and starts it again on what is left.
    pub fn lose_power_and_restart(&mut self) {
        self.kill();
        self.disk_mut().cut();
        self.start_again();
    }

    /// Takes the power away after it has been starting for this long.
    pub fn lose_power_while_starting(&mut self, after: Duration) {
        self.kill();
        self.running.child = process::spawn(&mut self.setup.command()).expect("it starts");
        std::thread::sleep(after);
        self.kill();
        self.disk_mut().cut();
    }

    /// The disk it was started on, while it does not run.
    pub fn disk_mut(&mut self) -> &mut Disk {
        let disk = self.setup.disk.as_mut();
        disk.expect("it was started on a disk")
    }

    /// The disk it was started on.
    pub fn disk(&self) -> &Disk {
        let disk = self.setup.disk.as_ref();
        disk.expect("it was started on a disk")
    }

    /// Starts it once it has ended, on a disk that kills it at step `number`; `false`
    /// if it came up before that.
    pub fn is_killed_while_starting(&mut self, number: u32) -> bool {
        self.disk().kill_at(number);
        self.running.child = process::spawn(&mut self.setup.command()).expect("it starts");
        let mut said = String::new();
        let mut stdout = BufReader::new(self.running.child.stdout.take().unwrap());
        while !said.contains("listening on") && stdout.read_line(&mut said).unwrap() > 0 {}
        let killed = !said.contains("listening on");
        self.kill();
        self.disk().spare();
        killed
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.running.child.wait().unwrap();
    }

    /// Starts it on the same folder, once it has ended.
    pub fn start_again(&mut self) {
        self.running = self.setup.spawn(self.setup.command());
    }

    /// The same, but it may end before it listens; says whether it does.
    pub fn tries_to_start_again(&mut self) -> bool {
        match Listener::start(&mut self.setup.command()) {
            Some(running) => self.running = running,
            None => return false,
        }
        true
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.running.child);
        // It fails only when the process has ended already.
        let _ = kill_process(pid, signal);
    }

    /// Lets it open so many files at most from here on.
    #[cfg(target_os = "linux")]
    pub fn limit_descriptors(&self, count: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit {
            current: Some(count),
            maximum: Some(count),
        };
        let pid = Pid::from_child(&self.running.child);
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.running.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.running.child.try_wait().unwrap().is_none()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.setup.data()
    }

    /// Messages in its database, as another process sees them.
    pub fn mail_on_disk(&self) -> i64 {
        let count = self.look("SELECT count(*) FROM mail");
        count.expect("it counts")
    }

    /// The one number that a query finds in its database, as another process sees it.
    pub fn look(&self, query: &str) -> Option<i64> {
        if let Some(store) = &self.setup.store {
            return postgres::ask(store, query).parse().ok();
        }
        let database = rusqlite::Connection::open(self.data().join("chat.db")).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Changes its database behind its back.
    pub fn tamper(&self, statement: &str) {
        if let Some(store) = &self.setup.store {
            postgres::ask(store, statement);
            return;
        }
        let database = rusqlite::Connection::open(self.data().join("chat.db")).unwrap();
        database.execute_batch(statement).unwrap();
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.setup.log()).unwrap()
    }

    /// A connection that has said nothing yet.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.running.address)
    }

    /// A connection under TLS that has said nothing yet.
    #[cfg(feature = "tls")]
    pub fn wire_tls(&self) -> Wire {
        Wire::connect_tls(self.running.address)
    }

    /// A JSON client that is not logged in.
    pub fn client(&self) -> Client {
        Client::new(self.wire())
    }

    /// A new account, logged in.
    pub fn register(&self, name: &str) -> Client {
        let mut client = self.client();
        client.register(name);
        client
    }

    /// An account that exists, logged in.
    pub fn login(&self, name: &str) -> Client {
        let mut client = self.client();
        client.login(name).expect("the login is right");
        client
    }

    /// A person at telnet.
    pub fn console(&self) -> Console {
        Console::new(self.wire())
    }

    /// The target of one of its descriptors.
    pub fn descriptor(&self, number: u32) -> String {
        let link = fs::read_link(format!("/proc/{}/fd/{number}", self.running.child.id()));
        link.unwrap().to_string_lossy().into_owned()
    }

    /// Threads that serve a connection at present.
    pub fn connections(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.running.child.id())).unwrap();
        // A thread may end between the listing and the look.
        let names = tasks
            .flatten()
            .map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.starts_with("client-")).count()
    }

    /// Memory in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        process::status(self.running.child.id(), "VmRSS")
    }

    /// Processor time used so far, in clock ticks (a hundredth of a second).
    pub fn cpu_ticks(&self) -> u64 {
        process::cpu_ticks(self.running.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.running.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}---", self.log());
        }
    }
}

impl Setup {
    fn new(prelude: Option<&'static str>, flags: &[&str], disk: Option<u64>) -> Self {
        let folder = super::temporary_folder();
        let mut setup = Setup {
            store: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            prelude,
            disk: disk.map(|seed| Disk::new(folder.path(), seed)),
            folder,
        };
        setup.store = postgres::store_of(&setup.data());
        setup
    }

    fn data(&self) -> PathBuf {
        let named = self.flags.iter().position(|flag| flag == "--data");
        match (named.and_then(|at| self.flags.get(at + 1)), &self.disk) {
            (Some(data), _) => PathBuf::from(data),
            (None, Some(disk)) => disk.root().join("data"),
            (None, None) => self.folder.path().join("data"),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self) -> Command {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log())
            .unwrap();
        let mut command = command(self.prelude);
        if !self.flags.iter().any(|flag| flag == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !self.flags.iter().any(|flag| flag == "--data") {
            command.arg("--data").arg(self.data());
        }
        if let Some(store) = &self.store {
            command.args(["--store", store]);
        }
        command
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(disk) = &self.disk {
            disk.carry(&mut command);
        }
        command
    }

    fn spawn(&self, mut command: Command) -> Listener {
        Listener::start(&mut command).unwrap_or_else(|| {
            let log = fs::read_to_string(self.log()).unwrap();
            panic!("the server did not start: {log}")
        })
    }
}

/// The server, in a shell that has run `prelude` first if there is one. The shell
/// becomes the server, so that its process id is the server's.
fn command(prelude: Option<&str>) -> Command {
    const SERVER: &str = env!("CARGO_BIN_EXE_server");
    let Some(prelude) = prelude else {
        return process::command(SERVER);
    };
    let mut command = process::command("sh");
    command.args(["-c", &format!("{prelude}; exec \"$0\" \"$@\""), SERVER]);
    command
}

/// Runs a server that is expected not to start. Returns how it ended and what
/// it said.
pub fn run_to_the_end(arguments: &[&str]) -> (ExitStatus, String) {
    let mut command = command(None);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = process::spawn(&mut command).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the server runs, but it should not have started");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}
