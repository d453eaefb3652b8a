//! The real client on pipes: lines typed, lines read. It knows nothing of terminals.

use std::io::{BufRead, BufReader, Write, pipe};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use super::{PATIENCE, process};

/// What the client is told as every account's password.
pub const CLIENT_PASSWORD: &str = "correct horse battery";

/// A client that speaks plain TCP unless its flags say otherwise. Dropping it kills it.
pub struct ClientProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Every line read so far, of standard output and standard error, as they were written.
    pub shown: Vec<String>,
}

impl ClientProcess {
    /// Starts a client that keeps its files in `data`.
    pub fn start(server: SocketAddr, data: &Path, flags: &[&str]) -> Self {
        Self::spawn(command(server, data, flags))
    }

    /// Starts a client whose new passwords cost as much as a person's.
    pub fn start_at_full_cost(server: SocketAddr, data: &Path, flags: &[&str]) -> Self {
        let mut command = command(server, data, flags);
        command.env_remove(process::CHEAP_PASSWORDS);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        // One pipe for both: of two, what was written later can be read first.
        let (output, end) = pipe().unwrap();
        command.stdout(end.try_clone().unwrap()).stderr(end);
        let mut child = process::spawn(&mut command).unwrap();
        // It holds ends of the pipe, which is at its end once the client has the last one.
        drop(command);
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                // The reader may have ended.
                let _gone = sender.send(line);
            }
        });
        ClientProcess {
            stdin: child.stdin.take(),
            child,
            lines,
            shown: Vec::new(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    /// Waits for a new line that contains one of `parts`.
    pub fn sees_one_of(&mut self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the client never showed {parts:?} but {:#?}", self.shown);
            };
            self.shown.push(line.clone());
            if parts.iter().any(|part| line.contains(part)) {
                return line;
            }
        }
    }

    /// All lines that were seen.
    pub fn shown(&self) -> &[String] {
        &self.shown
    }

    /// Ends the input, and waits until the client has ended by itself. Returns its exit code.
    pub fn ends(&mut self) -> Option<i32> {
        self.stdin = None;
        self.has_ended()
    }

    /// Waits until the client has ended by itself. Returns its exit code.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.shown.extend(self.lines.iter());
        self.child.wait().unwrap().code()
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

fn command(server: SocketAddr, data: &Path, flags: &[&str]) -> Command {
    // Lines that fail are answered as they are at a keyboard; `join` reads none.
    let keep_going = (flags.first() != Some(&"join")).then_some("--keep-going");
    let mut command = process::command(env!("CARGO_BIN_EXE_client"));
    command
        .arg("--data")
        .arg(data)
        .args(keep_going)
        .args(flags)
        // Flags may say otherwise.
        .env("SECURE_CHAT_SERVER", server.to_string())
        .env("SECURE_CHAT_TLS", "off")
        .env("SECURE_CHAT_PASSWORD", CLIENT_PASSWORD)
        .stdin(Stdio::piped());
    command
}
