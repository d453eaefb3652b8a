//! A person at the real client: a server, a pseudo terminal, and what is drawn on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pty_process::blocking::{self, Pty};
use rustix::termios::{LocalModes, tcgetattr};
use tempfile::TempDir;

use crate::harness::{Client, Wire, process, temporary_folder};

/// How long something may take that must happen. Never reached when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal so high that nothing scrolls away during a test.
pub(crate) const ROWS: u16 = 100;
pub(crate) const COLUMNS: u16 = 100;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A server of its own for every test.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// What its operator hands out: with the certificate's fingerprint, if there is TLS.
    pub(crate) for_clients: String,
    pub(crate) folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments than where it listens.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let folder = temporary_folder();
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        command
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("server"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = process::spawn(&mut command).unwrap();
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
    pub(crate) fn arguments(&self, home: &str) -> Vec<String> {
        let data = self.folder.path().join(home).display().to_string();
        ["--server", &self.for_clients, "--data", &data]
            .map(str::to_owned)
            .to_vec()
    }

    /// Ends the server, as a crash does.
    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the server again at its address.
    pub(crate) fn start_again(&mut self) {
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        command
            .args(["--listen", &self.address, "--data"])
            .arg(self.folder.path().join("server"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = process::spawn(&mut command).unwrap();
    }

    /// Somebody who speaks JSON and can send any text, with an account.
    pub(crate) fn json_client(&self, name: &str) -> Client {
        let mut client = Client::new(Wire::connect(self.address.parse().unwrap()));
        client.register(name);
        client
    }

    /// A client on a terminal.
    pub(crate) fn seat(&self, home: &str) -> Seat {
        Seat::take(&self.arguments(home), &[])
    }

    /// A client on a terminal, with an account of its own.
    pub(crate) fn person(&self, name: &str) -> Seat {
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
pub(crate) struct Shown {
    pub(crate) raw: Vec<u8>,
    pub(crate) drawn: vt100::Parser,
    pub(crate) ended: bool,
}

impl Shown {
    /// Whether these bytes came lately: in the last pages of output.
    pub(crate) fn raw_contains(&self, bytes: &[u8]) -> bool {
        let lately = &self.raw[self.raw.len().saturating_sub(16 * 1024)..];
        lately.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// A client, its terminal, and the person who looks at it.
pub(crate) struct Seat {
    pub(crate) child: Child,
    pub(crate) pty: Arc<Pty>,
    pub(crate) shown: Arc<(Mutex<Shown>, Condvar)>,
}

impl Seat {
    pub(crate) fn take(arguments: &[String], environment: &[(&str, &str)]) -> Self {
        Seat::at(env!("CARGO_BIN_EXE_client"), arguments, environment)
    }

    /// Another program that uses the client.
    pub(crate) fn at(program: &str, arguments: &[String], environment: &[(&str, &str)]) -> Self {
        Seat::sized(program, arguments, environment, (ROWS, COLUMNS))
    }

    /// On a terminal with so many rows and columns.
    pub(crate) fn sized(
        program: &str,
        arguments: &[String],
        environment: &[(&str, &str)],
        (rows, columns): (u16, u16),
    ) -> Self {
        let (pty, pts) = blocking::open().unwrap();
        pty.resize(pty_process::Size::new(rows, columns)).unwrap();
        let size = |number| NonZeroU16::new(number).unwrap();
        let child = blocking::Command::new(program)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            // The emulator of the tests cuts rows off, unlike the terminals that set these.
            .env_remove("TMUX")
            .env_remove("VTE_VERSION")
            .env_remove("XDG_RUNTIME_DIR")
            .env(process::CHEAP_PASSWORDS, "1")
            .envs(environment.iter().copied())
            .spawn(pts)
            .unwrap();
        process::end_with_this_process(&child);
        let shown = Shown {
            raw: Vec::new(),
            drawn: vt100::Parser::new(size(rows), size(columns), 0),
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
    pub(crate) fn wait(&self, what: &str, good: impl Fn(&Shown) -> bool) {
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
    pub(crate) fn sees(&self, text: &str) {
        self.wait(text, |shown| screen(shown).contains(text));
    }

    /// Waits until the line at the cursor is exactly this.
    pub(crate) fn line(&self, line: &str) {
        self.wait(&format!("a line {line:?}"), |shown| {
            at_cursor(shown) == line
        });
    }

    /// Waits until the line at the cursor is a prompt with nothing typed after it.
    pub(crate) fn prompt(&self, prompt: &str) {
        self.wait(&format!("a prompt {prompt:?}"), |shown| {
            at_cursor(shown) == prompt.trim_end()
        });
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        screen(&self.shown.0.lock().unwrap())
    }

    /// Every byte that came, as text.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.0.lock().unwrap().raw).into_owned()
    }

    /// Presses keys.
    pub(crate) fn keys(&self, keys: &str) {
        self.bytes(keys.as_bytes());
    }

    /// Types bytes, which need not be whole keys.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        (&*self.pty).write_all(bytes).unwrap();
    }

    /// Types a line.
    pub(crate) fn enter(&self, line: &str) {
        self.keys(&format!("{line}\r"));
    }

    /// Types a line that isn't shown.
    pub(crate) fn secret(&self, prompt: &str, secret: &str) {
        self.hidden(prompt);
        self.enter(secret);
    }

    /// Types a line that isn't shown, once its prompt, which may take several rows, is there.
    pub(crate) fn secret_at(&self, prompt: &str, secret: &str) {
        let words = |text: &str| text.split_whitespace().collect::<String>();
        self.wait(prompt, |shown| {
            words(&screen(shown)).contains(&words(prompt))
        });
        self.enter(secret);
    }

    /// Waits for a prompt, and until the terminal has been told not to echo.
    pub(crate) fn hidden(&self, prompt: &str) {
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
    pub(crate) fn register(&self, name: &str) {
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
    pub(crate) fn ends(mut self) -> ExitStatus {
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

pub(crate) fn screen(shown: &Shown) -> String {
    shown.drawn.screen().contents()
}

pub(crate) fn at_cursor(shown: &Shown) -> String {
    let screen = shown.drawn.screen();
    let row = usize::from(screen.cursor_position().0);
    let line = screen.rows(0, COLUMNS).nth(row).unwrap_or_default();
    line.trim_end().to_owned()
}

/// Whether there is a colour or another change of looks in it. Moving the cursor,
/// which editing a line needs, is something else.
pub(crate) fn painted(text: &str) -> bool {
    text.split("\x1b[").skip(1).any(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
            .starts_with('m')
    })
}

/// Copies a folder's files.
pub(crate) fn copy(from: &Path, to: &Path) {
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
