//! The real client on a real pseudo terminal, judged by what a person would see
//! there: a terminal emulator draws what the client prints.
//!
//! Nothing here sleeps for luck. A [`Seat`]'s reader draws everything as it comes,
//! and whoever waits for something looks again whenever there is more, until
//! [`PATIENCE`] is over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use pty_process::blocking::{self, Pty};
use rustix::termios::{LocalModes, tcgetattr};
use secure_chat::crypto::password::{Cost, derive};
use secure_chat::crypto::proof::{Challenge, Credentials, Purpose};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long something may take that must happen. Never reached when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal so high that nothing scrolls away during a test.
const ROWS: u16 = 100;
const COLUMNS: u16 = 100;

const PASSWORD: &str = "correct horse battery";

/// A server of its own for every test.
struct Server {
    child: Child,
    address: String,
    /// What its operator hands out: with the certificate's fingerprint, if there is TLS.
    for_clients: String,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("server"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = |what: &str| {
            let mut lines = lines.by_ref().map(Result::unwrap);
            lines.find_map(|line| line.strip_prefix(what).map(str::to_owned))
        };
        let address = said("listening on ").expect("the server says where it listens");
        let for_clients = match cfg!(feature = "tls") {
            true => said("for clients ").expect("and what to hand out"),
            false => address.clone(),
        };
        // Whatever else it says is read, so that it can't get stuck.
        thread::spawn(move || lines.for_each(drop));
        Server {
            child,
            address,
            for_clients,
            folder,
        }
    }

    /// The arguments of a client that keeps its things in `home`.
    fn arguments(&self, home: &str) -> Vec<String> {
        let data = self.folder.path().join(home).display().to_string();
        ["--server", &self.for_clients, "--data", &data]
            .map(str::to_owned)
            .to_vec()
    }

    /// A client on a terminal.
    fn seat(&self, home: &str) -> Seat {
        Seat::take(&self.arguments(home), &[])
    }

    /// A client on a terminal, with an account of its own.
    fn person(&self, name: &str) -> Seat {
        let seat = self.seat(name);
        seat.prompt("> ");
        seat.register(name);
        seat
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What a terminal has shown so far.
struct Shown {
    raw: Vec<u8>,
    drawn: vt100::Parser,
    ended: bool,
}

/// A client, its terminal, and whoever looks at it.
struct Seat {
    child: Child,
    pty: Arc<Pty>,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

impl Seat {
    fn take(arguments: &[String], environment: &[(&str, &str)]) -> Self {
        let (pty, pts) = blocking::open().unwrap();
        pty.resize(pty_process::Size::new(ROWS, COLUMNS)).unwrap();
        let size = |number| NonZeroU16::new(number).unwrap();
        let child = blocking::Command::new(env!("CARGO_BIN_EXE_client"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .envs(environment.iter().copied())
            .spawn(pts)
            .unwrap();
        let shown = Shown {
            raw: Vec::new(),
            drawn: vt100::Parser::new(size(ROWS), size(COLUMNS), 0),
            ended: false,
        };
        let seat = Seat {
            child,
            pty: Arc::new(pty),
            shown: Arc::new((Mutex::new(shown), Condvar::new())),
        };
        let (pty, shown) = (Arc::clone(&seat.pty), Arc::clone(&seat.shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                // Linux reports an error once nobody has the terminal open any more.
                let count = (&*pty).read(&mut bytes).unwrap_or(0);
                let mut now = shown.0.lock().unwrap();
                now.raw.extend(&bytes[..count]);
                now.drawn.process(&bytes[..count]);
                now.ended = count == 0;
                shown.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        seat
    }

    /// Waits until what is shown is as it should be.
    fn wait(&self, what: &str, good: impl Fn(&Shown) -> bool) {
        let (shown, changed) = &*self.shown;
        let deadline = Instant::now() + PATIENCE;
        let mut now = shown.lock().unwrap();
        while !good(&now) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !now.ended,
                "{what} never came. The screen:\n{}",
                now.drawn.screen().contents()
            );
            now = changed.wait_timeout(now, left).unwrap().0;
        }
    }

    /// Waits for a text anywhere on the screen.
    fn sees(&self, text: &str) {
        self.wait(text, |shown| screen(shown).contains(text));
    }

    /// Waits until the line at the cursor is exactly this.
    fn line(&self, line: &str) {
        self.wait(&format!("a line {line:?}"), |shown| {
            at_cursor(shown) == line
        });
    }

    /// Waits until the line at the cursor is a prompt with nothing typed after it.
    fn prompt(&self, prompt: &str) {
        self.wait(&format!("a prompt {prompt:?}"), |shown| {
            at_cursor(shown) == prompt.trim_end()
        });
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        screen(&self.shown.0.lock().unwrap())
    }

    /// Every byte that came, as text.
    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.0.lock().unwrap().raw).into_owned()
    }

    /// Presses keys.
    fn keys(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line.
    fn enter(&self, line: &str) {
        self.keys(&format!("{line}\r"));
    }

    /// Types a line that isn't shown.
    fn secret(&self, prompt: &str, secret: &str) {
        self.hidden(prompt);
        self.enter(secret);
    }

    /// Waits for a prompt, and until the terminal has been told not to echo.
    fn hidden(&self, prompt: &str) {
        self.prompt(prompt);
        let deadline = Instant::now() + PATIENCE;
        let echoes = || {
            let modes = tcgetattr(&*self.pty).unwrap().local_modes;
            modes.contains(LocalModes::ECHO)
        };
        while echoes() {
            // There is no event for this; it is a matter of microseconds.
            assert!(Instant::now() < deadline, "the echo was never turned off");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Makes an account through the menu, from its prompt.
    fn register(&self, name: &str) {
        self.enter("1");
        self.prompt("Name: ");
        self.enter(name);
        self.secret("New password (at least 8 characters): ", PASSWORD);
        self.secret("The same password again: ", PASSWORD);
        self.sees(&format!("account {name} created"));
        // An answer of the session shows that its keys are published.
        self.enter("/fetch");
        self.sees("no missed messages");
        self.prompt(&format!("{name}> "));
    }

    /// Waits for the end.
    fn ends(mut self) -> ExitStatus {
        let (shown, changed) = &*self.shown;
        let mut now = shown.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !now.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it never ended:\n{}", screen(&now));
            now = changed.wait_timeout(now, left).unwrap().0;
        }
        drop(now);
        self.child.wait().unwrap()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // One that has ended, and was waited for, is not killed any more.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn screen(shown: &Shown) -> String {
    shown.drawn.screen().contents()
}

fn at_cursor(shown: &Shown) -> String {
    let screen = shown.drawn.screen();
    let row = usize::from(screen.cursor_position().0);
    let line = screen.rows(0, COLUMNS).nth(row).unwrap_or_default();
    line.trim_end().to_owned()
}

/// Whether there is a colour or another change of looks in it. Moving the cursor,
/// which editing a line needs, is something else.
fn painted(text: &str) -> bool {
    text.split("\x1b[").skip(1).any(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
            .starts_with('m')
    })
}

/// Copies a folder's files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_menus_numbers_make_an_account_and_log_in() {
    let server = Server::start();
    let seat = server.person("alice");
    seat.enter("4");
    seat.sees("logged out");
    seat.prompt("> ");
    seat.enter("2");
    seat.prompt("Name: ");
    seat.enter("alice");
    seat.secret("Password for alice: ", PASSWORD);
    seat.sees("logged in as alice");
    seat.prompt("alice> ");
    assert!(!seat.raw().contains(PASSWORD), "the password was shown");
    seat.enter("0");
    assert_eq!(seat.ends().code(), Some(0));
}

#[test]
fn a_message_does_not_tear_the_line_that_is_typed() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    alice.keys("/msg bob half a li");
    alice.line("alice> /msg bob half a li");
    bob.enter("/msg alice are you there?");
    alice.sees("bob: are you there?");
    alice.line("alice> /msg bob half a li");
    alice.keys("ne, then the rest\r");
    bob.sees("alice: half a line, then the rest");
    // It came above, and once.
    let screen = alice.screen();
    assert_eq!(screen.matches("bob: are you there?").count(), 1, "{screen}");
    let (message, line) = (
        screen.find("bob: are you there?"),
        screen.rfind("alice> /msg bob"),
    );
    assert!(message < line, "{screen}");
}

#[test]
fn an_unknown_word_is_an_error_and_is_not_sent() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    alice.enter("/to bob");
    alice.prompt("alice > bob> ");
    alice.enter("/mgs bob a secret");
    alice.sees("there is no command /mgs");
    alice.enter("this goes out");
    bob.sees("alice: this goes out");
    assert!(!bob.screen().contains("secret"), "{}", bob.screen());
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let server = Server::start();
    let alice = server.person("alice");
    assert!(painted(&alice.raw()));

    let bob = Seat::take(&server.arguments("bob"), &[("NO_COLOR", "1")]);
    bob.prompt("> ");
    bob.register("bob");
    assert!(!painted(&bob.raw()), "{:?}", bob.raw());

    let secret = server.folder.path().join("password");
    std::fs::write(&secret, PASSWORD).unwrap();
    let mut piped = Command::new(env!("CARGO_BIN_EXE_client"))
        .args(server.arguments("carol"))
        .arg("--password-file")
        .arg(&secret)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = b"/register carol\n/msg alice from a script\n/search al\n/quit\n";
    piped.stdin.take().unwrap().write_all(script).unwrap();
    let output = piped.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for stream in [&output.stdout, &output.stderr] {
        assert!(!stream.contains(&0x1b), "{output:?}");
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("____"), "a banner in a pipe: {text}");
    assert!(!text.contains("> "), "a prompt in a pipe: {text}");
    alice.sees("carol: from a script");
}

/// Somebody without scruples, who speaks JSON and can send any text.
struct Mallory {
    reader: BufReader<TcpStream>,
}

impl Mallory {
    fn ask(&mut self, request: Value) -> Value {
        let line = format!("{request}\n");
        self.reader.get_mut().write_all(line.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            let count = self.reader.read_line(&mut line).unwrap();
            assert!(count > 0, "the server closed the connection");
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == request["id"] {
                assert!(answer["error"].is_null(), "{request}: {answer}");
                return answer["ok"].take();
            }
        }
    }

    fn register(server: &Server) -> Self {
        let stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut mallory = Mallory {
            reader: BufReader::new(stream),
        };
        let greeting = mallory.ask(json!({"id": 1, "op": "hello", "version": 1}));
        let nonce = BASE64.decode(greeting["nonce"].as_str().unwrap().as_bytes());
        let (salt, cost) = ([7; 16], Cost::FLOOR);
        let key = derive(PASSWORD, &salt, cost).unwrap().login_key;
        let purpose = Purpose::Register(Credentials {
            login_key: key.public(),
            salt,
            cost,
        });
        let challenge = Challenge {
            name: "mallory",
            nonce: &nonce.unwrap().try_into().unwrap(),
            certificate: &[],
        };
        let proof = BASE64.encode(&key.prove(&purpose, &challenge));
        mallory.ask(json!({
            "id": 2, "op": "register", "name": "mallory",
            "kdf": {"salt": BASE64.encode(&salt), "memory_kib": cost.memory_kib,
                    "passes": cost.passes, "lanes": cost.lanes},
            "login_key": BASE64.encode(&key.public()), "proof": proof,
        }));
        mallory
    }
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    let server = Server::start();
    let alice = server.person("alice");
    alice.keys("an unsent line");
    alice.line("alice> an unsent line");
    let before = alice.screen();
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nalice> \u{202e}drowssap\u{9b}31m, seen";
    let mut mallory = Mallory::register(&server);
    mallory.ask(json!({
        "id": 3, "op": "send", "to": "alice", "mid": format!("{:032x}", 1), "text": hostile,
    }));
    alice.sees(", seen");
    alice.line("alice> an unsent line");
    // Where the line was cut for the screen doesn't matter.
    let screen = alice.screen().replace('\n', "");
    let visible = "mallory [UNENCRYPTED]: \\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}alice> \
                   \\u{202e}drowssap\\u{9b}31m, seen";
    assert!(screen.contains(visible), "{screen}");
    let raw = alice.raw();
    for byte in ["\u{1b}[2J", "\u{1b}]0;", "\u{7}", "\u{202e}", "\u{9b}"] {
        assert!(!raw.contains(byte), "{byte:?} reached the terminal");
    }
    let kept = before.lines().next().unwrap();
    assert_eq!(alice.screen().lines().next(), Some(kept), "it was cleared");
}

#[test]
fn ctrl_c_and_ctrl_d_end_it_in_good_order() {
    const CTRL_C: &str = "\u{3}";
    const CTRL_D: &str = "\u{4}";
    let server = Server::start();
    for key in [CTRL_C, CTRL_D] {
        let seat = server.seat("nobody");
        seat.prompt("> ");
        seat.keys(key);
        let pty = Arc::clone(&seat.pty);
        assert_eq!(seat.ends().code(), Some(0), "{key:?}");
        assert_usable(&pty, "at the menu");
    }
    let alice = server.person("alice");
    alice.keys(CTRL_D);
    assert_eq!(alice.ends().code(), Some(0));
    // In the middle of a password, too: and the terminal echoes again.
    let alice = server.seat("alice");
    alice.prompt("> ");
    alice.enter("/login alice");
    alice.hidden("Password for alice: ");
    let pty = Arc::clone(&alice.pty);
    alice.keys(CTRL_C);
    assert_eq!(alice.ends().code(), Some(0));
    assert_usable(&pty, "at a password");
}

/// Whether a shell would find the terminal as one expects it.
fn assert_usable(pty: &Pty, when: &str) {
    let modes = tcgetattr(pty).unwrap().local_modes;
    for mode in [LocalModes::ECHO, LocalModes::ICANON, LocalModes::ISIG] {
        assert!(modes.contains(mode), "{mode:?} is off after an end {when}");
    }
}

#[test]
fn a_second_login_offers_to_take_over() {
    let server = Server::start();
    let first = server.person("alice");
    first.enter("/quit");
    assert_eq!(first.ends().code(), Some(0));
    copy(
        &server.folder.path().join("alice"),
        &server.folder.path().join("elsewhere"),
    );
    let log_in = |home| {
        let seat = server.seat(home);
        seat.prompt("> ");
        seat.enter("/login alice");
        seat.secret("Password for alice: ", PASSWORD);
        seat
    };
    let first = log_in("alice");
    first.prompt("alice> ");
    let second = log_in("elsewhere");
    second.sees("alice is logged in elsewhere. End that session?");
    second.prompt("y/N> ");
    second.enter("n");
    second.sees("log out there, or use --take-over");
    first.enter("/fetch");
    first.sees("no missed messages");
    second.prompt("> ");
    second.enter("/login alice");
    second.secret("Password for alice: ", PASSWORD);
    second.prompt("y/N> ");
    second.enter("y");
    second.sees("logged in as alice");
    second.prompt("alice> ");
    // The first is told, and does not fight for it: an empty line shows where it is.
    first.sees("this account was logged in from elsewhere");
    first.enter("");
    first.prompt("> ");
    second.enter("/fetch");
    second.sees("no missed messages");
}
