//! The commands for scripts, as a script runs them: the real programs, their outputs, and their
//! exit codes. `docs/SCRIPTS.md` is held against them: its schema, its table, and its examples,
//! which are run as they stand there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "scripts/accounts.rs"]
mod accounts;
#[path = "scripts/beside.rs"]
mod beside;
#[cfg(feature = "tls")]
#[path = "scripts/certificates.rs"]
mod certificates;
#[cfg(all(feature = "tls", target_os = "linux"))]
#[path = "scripts/clock.rs"]
mod clock;
#[path = "scripts/commands.rs"]
mod commands;
#[path = "scripts/config_file.rs"]
mod config_file;
#[path = "scripts/definition.rs"]
mod definition;
#[path = "scripts/examples.rs"]
mod examples;
#[path = "scripts/expiry.rs"]
mod expiry;
#[path = "scripts/golden.rs"]
mod golden;
mod harness;
#[path = "scripts/inputs.rs"]
mod inputs;
#[path = "scripts/losses.rs"]
mod losses;
#[path = "scripts/page.rs"]
mod page;
#[path = "scripts/refusals.rs"]
mod refusals;
#[path = "scripts/transfer.rs"]
mod transfer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::{CLIENT_PASSWORD, Server, process};
use serde_json::Value;
use tempfile::TempDir;

/// A server, and a folder with everybody's vault and password.
pub(crate) struct Place {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
}

impl Place {
    /// With accounts of these names.
    pub(crate) fn with(names: &[&str]) -> Self {
        Place::on(Server::start(), names)
    }

    /// The same, on a server of one's own.
    pub(crate) fn on(server: Server, names: &[&str]) -> Self {
        let place = Place {
            server,
            folder: harness::temporary_folder(),
        };
        harness::write_secret(&place.password(), CLIENT_PASSWORD);
        for name in names {
            let code = place.folder.path().join(format!("{name}.code"));
            let made = place.run(
                name,
                &["register", name, "--recovery-file", code.to_str().unwrap()],
                "",
            );
            assert_eq!(made.code, 0, "{made:?}");
        }
        place
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// A program that finds this server, this account and its password in its environment.
    pub(crate) fn command(&self, program: &str, name: &str) -> Command {
        let mut command = process::command(program);
        command
            .env("SECURE_CHAT_SERVER", self.server.address().to_string())
            .env("SECURE_CHAT_TLS", "off")
            .env("SECURE_CHAT_CLIENT_DATA", self.folder.path().join(name))
            .env("SECURE_CHAT_PASSWORD_FILE", self.password())
            .env("SECURE_CHAT_USER", name)
            // The sockets are in the folder, too.
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(self.folder.path());
        command
    }

    pub(crate) fn client(&self, name: &str) -> Command {
        self.command(env!("CARGO_BIN_EXE_client"), name)
    }

    /// Runs the client to its end.
    pub(crate) fn run(&self, name: &str, arguments: &[&str], input: &str) -> Ended {
        let mut client = self.client(name);
        client.args(arguments);
        end(&mut client, input)
    }

    /// Runs the client, which must succeed. Gives its results, which are JSON.
    pub(crate) fn json(&self, name: &str, arguments: &[&str], input: &str) -> Vec<Value> {
        let ended = self.run(name, &[arguments, &["--json"]].concat(), input);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.json()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

/// Runs a program to its end.
pub(crate) fn end(command: &mut Command, input: &str) -> Ended {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = process::spawn(command).unwrap();
    // A program that refuses may not read it.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    ended(child.wait_with_output().unwrap())
}

pub(crate) fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
