//! Kill -9 at random moments, with the real programs in pipes: of the sender, the
//! receiver, the server, and in the middle of `/passwd`. At the end both vaults are
//! compared by message id: nothing lost, nothing twice, the order kept.
//!
//! Six kills by default; `scripts/vault-crash.sh` runs the same with many more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at its first surprise"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use secure_chat::programs::client::{Closed, EncryptionStatus, Opened, Vault, VaultFile};
use secure_chat::protocol::UserName;

/// A full or failing disk under a vault.
#[cfg(target_os = "linux")]
#[path = "vault/full.rs"]
mod full;
mod harness;
/// The same, with the power cut instead of a kill.
#[cfg(target_os = "linux")]
#[path = "vault/power.rs"]
mod power;
/// What is left on the disk and in memory.
#[cfg(target_os = "linux")]
#[path = "vault/traces.rs"]
mod traces;

use harness::{Disk, disk, process, temporary_folder};

const PASSWORDS: [&str; 2] = ["correct horse", "battery staple"];

/// Xorshift: which moments are random matters little, that they repeat helps.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn nap(&mut self, most: u64) {
        thread::sleep(Duration::from_millis(self.below(most)));
    }
}

fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let _gone = sender.send(line);
        }
    });
    lines
}

struct World {
    home: tempfile::TempDir,
    address: String,
    server: Child,
    /// By whom they belong to, if these can fail: alice's, bob's, the server's.
    disks: HashMap<&'static str, Disk>,
    /// Which of the passwords alice has now.
    password: usize,
}

impl World {
    fn new() -> Self {
        World::with_disks(&[])
    }

    /// A world in which these have disks that can fail.
    fn with_disks(owners: &[&'static str]) -> Self {
        let home = temporary_folder();
        let disk = |&owner| (owner, Disk::new(&home.path().join(owner), seed()));
        let disks: HashMap<_, _> = owners.iter().map(disk).collect();
        for (number, password) in PASSWORDS.iter().enumerate() {
            harness::write_secret(&home.path().join(format!("password-{number}")), password);
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let server = serve(home.path(), &address, disks.get("server"));
        World {
            home,
            address,
            server,
            disks,
            password: 0,
        }
    }

    fn kill_server(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.start_server();
    }

    fn start_server(&mut self) {
        let disk = self.disks.get("server");
        self.server = serve(self.home.path(), &self.address, disk);
    }

    /// Takes the power from someone's machine, whose program was killed before.
    fn cut(&mut self, name: &str) {
        self.disks.get_mut(name).unwrap().cut();
    }

    /// Where someone's files are.
    fn data(&self, name: &str) -> PathBuf {
        data(self.home.path(), name, self.disks.get(name))
    }

    fn register_both(&self) {
        for name in ["alice", "bob"] {
            let command = self.command(name, 0);
            let (code, text) = self.script(command, &format!("/register {name}\n"));
            assert_eq!(code, Some(0), "{text}");
        }
    }

    fn password_file(&self, number: usize) -> PathBuf {
        self.home.path().join(format!("password-{number}"))
    }

    fn password_of(&self, name: &str) -> usize {
        if name == "alice" { self.password } else { 0 }
    }

    fn command(&self, name: &str, password: usize) -> Command {
        let mut command = process::command(env!("CARGO_BIN_EXE_client"));
        command
            .args(["--tls", "off", "--server", &self.address, "--data"])
            .arg(self.data(name))
            .arg("--password-file")
            .arg(self.password_file(password))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(disk) = self.disks.get(name) {
            disk.carry(&mut command);
        }
        command
    }

    /// Runs a script to its end; the exit code and everything printed.
    fn script(&self, mut command: Command, script: &str) -> (Option<i32>, String) {
        let mut child = process::spawn(&mut command).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code(), text)
    }

    /// Whether a login with this password works, its vault included.
    fn lets_in(&self, name: &str, password: usize) -> bool {
        for _ in 0..50 {
            let mut command = self.command(name, password);
            command.args(["--user", name]);
            let (code, text) = self.script(command, "");
            match code {
                Some(0) => return true,
                Some(5) => panic!("the server takes a password that opens no vault: {text}"),
                // A session that was just killed, or a server that was.
                _ if text.contains("logged in elsewhere") || code == Some(4) => {
                    thread::sleep(Duration::from_millis(100));
                }
                // What is left to send may take longer than the program does.
                Some(1) => return true,
                _ => return false,
            }
        }
        panic!("no login at all");
    }

    /// How many passwords open alice's vault.
    fn passwords_of_alice(&self) -> usize {
        self.closed_vault("alice").passwords().count()
    }

    fn closed_vault(&self, name: &str) -> Closed {
        let user: UserName = name.parse().unwrap();
        let data = self.data(name);
        let deadline = Instant::now() + Duration::from_secs(5);
        let file = loop {
            match VaultFile::take(&data, &self.address, &user) {
                Ok(file) => break file,
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        file.read().unwrap()
    }

    fn vault(&self, name: &str) -> Vault {
        let mut closed = self.closed_vault(name);
        let slots: Vec<_> = closed.passwords().collect();
        for slot in slots {
            let password = PASSWORDS[self.password_of(name)];
            let derived = closed.derive(slot, password).unwrap();
            closed = match closed.open(&derived.wrapping_key).unwrap() {
                Opened::Open(vault) => return vault,
                Opened::WrongKey(closed) => *closed,
            };
        }
        panic!("the password does not open {name}'s vault");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _dead = self.server.kill();
        let _reaped = self.server.wait();
    }
}

fn data(home: &Path, name: &str, disk: Option<&Disk>) -> PathBuf {
    match disk {
        Some(disk) => disk.root().join("data"),
        None => home.join(name),
    }
}

fn serve(home: &Path, address: &str, disk: Option<&Disk>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command
        .args(["--listen", address, "--data"])
        .arg(data(home, "server", disk))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(disk) = disk {
        disk.carry(&mut command);
    }
    let mut child = process::spawn(&mut command).unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let heard = lines.recv_timeout(Duration::from_secs(20));
    assert!(heard.is_ok(), "the server never listened");
    child
}

/// A client that is fed messages until it is killed or left to finish.
struct Talker {
    child: Child,
    fed: Arc<AtomicBool>,
    feeder: thread::JoinHandle<()>,
    errors: Receiver<String>,
}

impl Talker {
    fn start(world: &World, name: &str, count: Option<&Arc<AtomicU64>>) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut command = world.command(name, world.password_of(name));
            let mut child = process::spawn(command.args(["--user", name])).unwrap();
            let lines = lines_of(child.stdout.take().unwrap());
            let errors = lines_of(child.stderr.take().unwrap());
            let logged_in = lines.iter().any(|line| line.contains("logged in as"));
            if logged_in {
                let fed = Arc::new(AtomicBool::new(true));
                let (count, going) = (count.cloned(), Arc::clone(&fed));
                let (stdin, name) = (child.stdin.take().unwrap(), name.to_owned());
                return Talker {
                    child,
                    fed,
                    feeder: thread::spawn(move || feed_to(stdin, &name, count.as_deref(), &going)),
                    errors,
                };
            }
            child.wait().unwrap();
            let why: Vec<_> = errors.iter().collect();
            assert!(Instant::now() < deadline, "{name} never got in: {why:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.fed.store(false, Ordering::Relaxed);
        self.feeder.join().unwrap();
    }

    /// Its input ends, and it by itself.
    fn finish(mut self) {
        self.fed.store(false, Ordering::Relaxed);
        self.feeder.join().unwrap();
        let status = self.child.wait().unwrap();
        if !status.success() {
            eprintln!("{status}: {:?}", self.errors.try_iter().collect::<Vec<_>>());
        }
    }
}

/// Numbered texts, none ever fed twice, or nothing without a number to count on.
/// Commands that were never read don't count.
fn feed_to(mut stdin: ChildStdin, name: &str, count: Option<&AtomicU64>, going: &AtomicBool) {
    let other = if name == "alice" { "bob" } else { "alice" };
    while going.load(Ordering::Relaxed) {
        if let Some(count) = count {
            let number = count.fetch_add(1, Ordering::Relaxed);
            if writeln!(stdin, "/msg {other} {name} {number}").is_err() {
                return;
            }
        }
        thread::sleep(Duration::from_millis(3));
    }
}

/// What one sent and the other received, compared.
#[derive(Debug)]
#[allow(dead_code, reason = "printed when a test fails")]
struct Comparison {
    sent: usize,
    received: usize,
    /// Sent and not received.
    missing: usize,
    /// ReadOutcome and never sent.
    strange: usize,
    /// What is wrong; time may mend it.
    wrong: Vec<String>,
}

fn compare(sender: &Vault, receiver: &Vault) -> Comparison {
    let sent: Vec<_> = sender
        .whole_history()
        .unwrap()
        .into_iter()
        .filter(|message| message.record.outgoing)
        .map(|message| (message.mid, message.record.text))
        .collect();
    let received: Vec<_> = receiver
        .whole_history()
        .unwrap()
        .into_iter()
        .filter(|message| !message.record.outgoing)
        .collect();
    let mut wrong = Vec::new();
    if sender.unanswered().unwrap() > 0 {
        wrong.push("the outbox is not empty".to_owned());
    }
    for message in &received {
        if message.record.form != EncryptionStatus::Encrypted {
            wrong.push(format!("{}: {:?}", message.mid, message.record.form));
        }
    }
    let received: Vec<_> = received
        .into_iter()
        .map(|message| (message.mid, message.record.text))
        .collect();
    let missing = sent.iter().filter(|one| !received.contains(one)).count();
    let strange = received.iter().filter(|one| !sent.contains(one)).count();
    if sent != received {
        wrong.push("some are missing or strange, came twice or in another order".to_owned());
    }
    Comparison {
        sent: sent.len(),
        received: received.len(),
        missing,
        strange,
        wrong,
    }
}

/// From alice to bob, and back.
fn compare_both(world: &World) -> [Comparison; 2] {
    let (alice, bob) = (world.vault("alice"), world.vault("bob"));
    [compare(&alice, &bob), compare(&bob, &alice)]
}

/// Compares both directions, after as many quiet rounds as it takes to fetch what
/// still waits. How many messages there were, or what is wrong with them.
fn account(world: &World) -> Result<usize, [Comparison; 2]> {
    let mut rounds = 0;
    loop {
        let both = compare_both(world);
        if both.iter().all(|one| one.wrong.is_empty()) {
            return Ok(both.iter().map(|one| one.sent).sum());
        }
        rounds += 1;
        if rounds == 6 {
            return Err(both);
        }
        let quiet = ["alice", "bob"].map(|name| Talker::start(world, name, None));
        thread::sleep(Duration::from_secs(2));
        quiet.into_iter().for_each(Talker::finish);
    }
}

/// Another one each time.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_nanos() as u64
}

#[derive(Default, Debug)]
struct Kills {
    alice: u32,
    bob: u32,
    server: u32,
    passwd: u32,
    /// Of these, how many left the vault with two passwords.
    in_between: u32,
    /// How many left a changed password.
    changed: u32,
    /// And how many came after the vault had its new key.
    finished: u32,
}

fn change_password_and_kill(world: &mut World, dice: &mut Dice, kills: &mut Kills) {
    let next = 1 - world.password;
    let mut command = world.command("alice", world.password);
    command
        .args(["--user", "alice", "--new-password-file"])
        .arg(world.password_file(next));
    let begun = Instant::now();
    let mut child = process::spawn(&mut command).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let errors = lines_of(child.stderr.take().unwrap());
    if lines.iter().any(|line| line.contains("logged in as")) {
        // Gone already, if it is.
        let _written = writeln!(stdin, "/passwd");
        // A login derives two keys and a change three, at whatever pace the machine has now;
        // the later steps come behind them.
        dice.nap(3 * begun.elapsed().as_millis() as u64);
    }
    let _dead = child.kill();
    child.wait().unwrap();
    kills.passwd += 1;
    let is_changed = |line: String| line.contains("encrypted under a new key");
    kills.finished += u32::from(lines.iter().chain(errors.iter()).any(is_changed));
    kills.in_between += u32::from(world.passwords_of_alice() == 2);
    let accepted = [world.password, next].map(|number| world.lets_in("alice", number));
    assert!(
        accepted[0] != accepted[1],
        "one of the two passwords counts: {accepted:?}"
    );
    if accepted[1] {
        world.password = next;
        kills.changed += 1;
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_kills() {
    let wanted: u32 = std::env::var("SECURE_CHAT_VAULT_KILLS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(6);
    let seed = seed();
    println!("seed {seed}");
    let mut dice = Dice(seed | 1);
    let mut world = World::new();
    world.register_both();
    let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let mut kills = Kills::default();
    let mut alice = Talker::start(&world, "alice", Some(&counts[0]));
    let mut bob = Talker::start(&world, "bob", Some(&counts[1]));
    for number in 0..wanted {
        dice.nap(400);
        match number % 4 {
            0 => {
                alice.kill();
                kills.alice += 1;
                alice = Talker::start(&world, "alice", Some(&counts[0]));
            }
            1 => {
                bob.kill();
                kills.bob += 1;
                dice.nap(300);
                bob = Talker::start(&world, "bob", Some(&counts[1]));
            }
            2 => {
                world.kill_server();
                kills.server += 1;
            }
            _ => {
                alice.kill();
                change_password_and_kill(&mut world, &mut dice, &mut kills);
                alice = Talker::start(&world, "alice", Some(&counts[0]));
            }
        }
    }
    alice.finish();
    bob.finish();
    let sent =
        account(&world).unwrap_or_else(|wrong| panic!("{wrong:#?} after {kills:?}, seed {seed}"));
    println!("{kills:?}: {sent} messages, 0 lost, 0 twice, order kept, outboxes empty");
    assert!(sent > 0);
}
