//! What an import prints: a line for each document that it skips, how far it is (on a terminal), and
//! what it has done.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::apply::Skip;
use super::document::Position;
use super::error::ImportError;
use crate::clock;
use crate::protocol::sanitize::sanitize;
use crate::server::counted::counted;

/// How often the progress is shown.
const PROGRESS: Duration = Duration::from_millis(500);

/// Counts what was done, and prints it.
pub(super) struct Report {
    json: bool,
    dry_run: bool,
    /// Accounts made.
    pub(super) accounts: u64,
    /// Messages put into mailboxes.
    pub(super) messages: u64,
    /// Documents of `online_peers`.
    pub(super) peers: u64,
    skipped: u64,
    /// Bytes that were read, of how many; each file is read twice.
    read: u64,
    of: u64,
    terminal: bool,
    shown: Instant,
}

impl Report {
    /// A report on files of so many bytes.
    pub(super) fn new(json: bool, dry_run: bool, bytes: u64) -> Self {
        Report {
            json,
            dry_run,
            accounts: 0,
            messages: 0,
            peers: 0,
            skipped: 0,
            read: 0,
            of: bytes.saturating_mul(2),
            terminal: io::stderr().is_terminal(),
            shown: clock::now(),
        }
    }

    /// Says that a document was skipped.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub(super) fn skipped(
        &mut self,
        file: &Path,
        position: Position,
        why: &Skip,
    ) -> Result<(), ImportError> {
        self.skipped += 1;
        self.clear_progress();
        let file = file.display().to_string();
        if !self.json {
            let line = format!("{file}, {position}: skipped: {why}");
            return say(&sanitize(&line));
        }
        let (unit, number) = match position {
            Position::Line(line) => ("line", line),
            Position::Document(number) => ("document", number),
        };
        say(&json!({"file": file, unit: number, "skipped": why.to_string()}).to_string())
    }

    /// Notes that so many more bytes were read, and shows from time to time how far it is.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.read += bytes;
        if !self.terminal || self.shown.elapsed() < PROGRESS {
            return;
        }
        self.shown = clock::now();
        let percent = (self.read.min(self.of) * 100)
            .checked_div(self.of)
            .unwrap_or(0);
        eprint!(
            "\r\x1b[K{} accounts, {} messages, {percent} %",
            self.accounts, self.messages
        );
    }

    fn clear_progress(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// Says what was done.
    ///
    /// # Errors
    /// Standard output does not take it; the import stands.
    pub(super) fn finish(&self) -> Result<(), ImportError> {
        self.clear_progress();
        let Report {
            accounts,
            messages,
            peers,
            skipped,
            dry_run,
            ..
        } = self;
        let done = format!(
            "{} and {}",
            counted(*accounts, "account"),
            counted(*messages, "message")
        );
        let left = format!("{} skipped", counted(*skipped, "document"));
        let text = match (self.json, dry_run) {
            (true, _) => json!({
                "accounts": accounts, "messages": messages, "online_peers": peers,
                "skipped": skipped, "dry_run": dry_run,
            })
            .to_string(),
            (false, true) => format!("{done} would be imported, {left}; nothing was changed"),
            (false, false) => format!(
                "{done} were imported, {left}. Of online_peers, {peers} were passed over: who is online is known from \
                 the connections here"
            ),
        };
        say(&text).map_err(|error| match error {
            ImportError::Output(error) => ImportError::ResultNotSaid(error),
            other => other,
        })
    }
}

fn say(line: &str) -> Result<(), ImportError> {
    writeln!(io::stdout(), "{line}").map_err(ImportError::Output)
}
