//! Where the server waits for a limited time: which of these waits the scenarios have to let run
//! out, and which they can't reach. `scripts/schedules.sh` compares this with those that did.
//!
//! This is about delivery. The log, the metrics, the operator's commands, backups and SQLite's
//! readers have waits of their own; a scenario contains none of these.

use std::fs;
use std::path::{Path, PathBuf};

/// What a wait with a limit looks like in the source.
const WAITS: [&str; 8] = [
    ".wait_timeout(",
    ".recv_timeout(",
    "sync::sleep(",
    "socket().wait_readable(",
    "socket.wait_readable(",
    "socket().wait_writable(",
    "socket.watch_peer(",
    "channel.read(",
];

/// Waits that no scenario reaches: the file, a part of the line, and why.
const OUT_OF_REACH: [(&str, &str, &str); 7] = [
    (
        "src/server/delivery/homes.rs",
        "sync::sleep(RETRY)",
        "another server is waited for, and a scenario has one",
    ),
    (
        "src/server/net/accept.rs",
        "sync::sleep(LONGEST_PAUSE)",
        "the listener is the system's",
    ),
    (
        "src/server/net/accept.rs",
        "sync::sleep(self.pause)",
        "the listener is the system's",
    ),
    (
        "src/server/net/accept.rs",
        "sync::sleep(FIRST_PAUSE)",
        "the listener is the system's",
    ),
    (
        "src/server/net/send_queue/mod.rs",
        "sync::sleep(LEASE_LOOK)",
        "the lease is a database's, and the scenarios' store gives one for ever",
    ),
    (
        "src/server/run.rs",
        "receiver.recv_timeout(CERTIFICATE_TIME)",
        "it reads the certificate's files before anybody is served",
    ),
    (
        "src/server/run.rs",
        "sync::sleep(FILES_CHECK)",
        "it looks at the files on the disk",
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Prints each wait with a limit.
#[test]
fn waits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["delivery", "limits", "net", "requests"] {
        sources(&root.join("src/server").join(folder), &mut files);
    }
    files.push(root.join("src/server/run.rs"));
    files.sort();
    let mut out_of_reach = OUT_OF_REACH.to_vec();
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        let programs = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = programs.lines().enumerate();
        // Without a limit it is a look.
        let waits = lines.filter(|(_, line)| {
            WAITS.iter().any(|wait| line.contains(wait)) && !line.contains("Duration::ZERO")
        });
        for (number, line) in waits {
            let is_it = |(of, part, _): &(&str, &str, &str)| *of == file && line.contains(part);
            let place = format!("{file}:{}", number + 1);
            match out_of_reach.iter().position(is_it) {
                Some(index) => {
                    let (_, _, why) = out_of_reach.remove(index);
                    println!("{place} is out of reach: {why}");
                }
                None => println!("{place} has to run out"),
            }
        }
    }
    assert!(out_of_reach.is_empty(), "not there: {out_of_reach:?}");
}
