//! What every client has done and seen, as JSON lines in the order in which it happened. All clients
//! are threads of one process, so their times are of one monotonic clock.
//!
//! What a client does is written down before it does it, what it sees after it has seen it. So a
//! server that has answered in between has done so between the two times.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the history began.
    pub at: u64,
    /// The account, or [`NEMESIS`].
    pub who: String,
    /// The connection, numbered over all accounts; 0 for what belongs to none.
    #[serde(default)]
    pub session: u64,
    #[serde(flatten)]
    pub what: What,
}

/// Who breaks and heals.
pub const NEMESIS: &str = "*";

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// The welcome of a login was read; `node` is the server that was dialled.
    Began { node: usize },
    /// The client is done with the session, because of this: `replaced`, `closed`, `left`…
    Ended { how: String },
    /// A message goes out. Messages with a `number` are sent in its order to each recipient, each of
    /// them until it is accepted.
    Sent {
        to: String,
        mid: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
        #[serde(default)]
        again: bool,
    },
    /// Its `ok` was read.
    Accepted { to: String, mid: u64 },
    /// It was refused.
    Refused { to: String, mid: u64, code: String },
    /// A message was pushed.
    Arrived { from: String, mid: u64 },
    /// It was not in the vault, is now, and is shown.
    Shown {
        from: String,
        mid: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// An acknowledgement goes out.
    Acking { request: u64 },
    /// It was answered: so many messages are gone from the server.
    Acked { request: u64, count: u64 },
    /// From here on nothing passes between clients and this node…
    Cut { node: usize },
    /// …until here.
    Healed { node: usize },
    /// Something else that was done to servers or the database, for the reader.
    Fault { what_was_done: String },
}

/// Writes a history.
pub struct Recorder {
    began: Instant,
    /// The file. It is locked while the time is read, so that the lines are in order.
    file: Mutex<File>,
}

impl Recorder {
    pub fn new(path: &Path) -> Self {
        Recorder {
            began: Instant::now(),
            file: Mutex::new(File::create(path).unwrap()),
        }
    }

    pub fn record(&self, who: &str, session: u64, what: What) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry {
            at: self.began.elapsed().as_micros() as u64,
            who: who.to_owned(),
            session,
            what,
        };
        let line = serde_json::to_string(&entry).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Reads a history.
pub fn read(path: &Path) -> Vec<Entry> {
    let lines = BufReader::new(File::open(path).unwrap()).lines();
    lines.map(|line| parse(&line.unwrap())).collect()
}

/// Reads a line of one.
pub fn parse(line: &str) -> Entry {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
