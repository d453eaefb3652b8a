//! The repository's rules, as a test: which room of the crate may see which,
//! what a source file looks like, and that the documentation keeps up.
//!
//! | rule | test |
//! | --- | --- |
//! | `crate::` edges between rooms | `rooms_see_only_what_they_may` |
//! | edges between the folders of a room | `folders_see_only_what_they_may` |
//! | no circle of imports between files | `no_two_files_import_each_other` |
//! | header, length, unfinished code | `source_files_are_in_shape` |
//! | white space, notes, a machine's paths | `text_files_are_clean` |
//! | links between Markdown files | `links::links_lead_somewhere` |
//! | paths and tests that Markdown files name | `pages::what_they_name_exists` |
//! | `docs/PROTOCOL.md` against the code | `protocol::the_protocols_page_*` |
//!
//! The scanners are tested on small texts, so that they can be seen to fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/error_texts.rs"]
mod error_texts;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/protocol.rs"]
mod protocol;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use circles::Crate;
use paths::{covers, crate_paths, tokens};

/// What each room may see besides itself: a room, or one module of it. Whatever stands
/// below an entry is allowed with it.
const ROOMS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("crypto", &[]),
    ("clock", &[]),
    // Only its double for unit tests: waiting takes virtual time.
    ("sync", &["clock"]),
    ("fs", &[]),
    ("appearance", &[]),
    ("command_line", &["protocol::nearest"]),
    ("xdg", &[]),
    ("store", &["protocol", "sync", "clock", "fs"]),
    ("transport", &["protocol", "sync", "clock", "fs"]),
    (
        // No ratchet, no cipher: the layout shows that it can't read messages.
        "server",
        &[
            "store",
            "transport",
            "protocol",
            "sync",
            "clock",
            "fs",
            "appearance",
            "command_line",
            "xdg",
            "crypto::account::invitation",
            "crypto::account::password",
            "crypto::account::login_proof",
            "crypto::account::reset",
            "crypto::archive",
            "crypto::os_rng",
            "crypto::handle",
            "crypto::keys",
            "crypto::original",
            "crypto::peer_proof",
        ],
    ),
    (
        "client",
        &[
            "transport",
            "protocol",
            "crypto",
            "sync",
            "clock",
            "fs",
            "appearance",
            "command_line",
            "xdg",
        ],
    ),
    ("bin/server", &["programs::server"]),
    ("bin/client", &["programs::client"]),
    ("bin/secure-chat", &["programs::client"]),
    ("bin/secure-chat-server", &["programs::server"]),
];

/// What each folder or file directly below `server` and `client` may see of its
/// neighbours there. `net` has the send queue, which everybody writes to.
const FOLDERS: &[(&str, &[&str])] = &[
    (
        "server::admin",
        &[
            "args",
            "banner",
            "cluster",
            "config",
            "counted",
            "data_folder",
            "delivery",
            "journal",
            "limits",
            "log",
            "metrics",
            "net",
            "peers",
            "personal_data",
            "requests",
            "rotation",
            "shared",
            "stats",
            "storage",
        ],
    ),
    (
        "server::args",
        &["config", "delivery", "limits", "listen", "log"],
    ),
    ("server::backup", &["config", "counted", "data_folder"]),
    ("server::banner", &["config", "log"]),
    ("server::config", &["delivery", "limits", "listen", "log"]),
    ("server::data_folder", &["config"]),
    ("server::delivery", &["log", "net", "peers", "stats"]),
    (
        "server::cluster",
        &[
            "delivery", "log", "net", "peers", "requests", "shared", "stats",
        ],
    ),
    (
        "server::error",
        &[
            "admin",
            "backup",
            "capacity",
            "data_folder",
            "delivery",
            "import",
            "listen",
            "migrate",
            "ping",
            "storage",
        ],
    ),
    (
        "server::import",
        &[
            "admin",
            "args",
            "config",
            "counted",
            "data_folder",
            "delivery",
            "journal",
            "requests",
        ],
    ),
    ("server::journal", &["config", "log"]),
    ("server::limits", &["log"]),
    ("server::manual", &["args"]),
    (
        "server::net",
        &[
            "config", "delivery", "limits", "log", "requests", "shared", "stats",
        ],
    ),
    (
        "server::metrics",
        &["data_folder", "delivery", "log", "net", "shared", "stats"],
    ),
    ("server::notify", &["log"]),
    (
        "server::peers",
        &["delivery", "log", "net", "rotation", "stats"],
    ),
    ("server::personal_data", &["delivery"]),
    ("server::ping", &["config", "listen"]),
    ("server::reload", &["args", "log", "notify", "shared"]),
    (
        "server::requests",
        &[
            "config",
            "delivery",
            "limits",
            "net",
            "personal_data",
            "shared",
            "stats",
        ],
    ),
    (
        "server::run",
        &[
            "admin",
            "args",
            "backup",
            "banner",
            "capacity",
            "cluster",
            "config",
            "data_folder",
            "delivery",
            "error",
            "import",
            "journal",
            "log",
            "manual",
            "metrics",
            "migrate",
            "net",
            "notify",
            "peers",
            "ping",
            "reload",
            "retention",
            "shared",
            "signals",
            "storage",
        ],
    ),
    ("server::storage", &["config", "data_folder", "log"]),
    ("server::migrate", &["data_folder"]),
    ("server::old_copies", &["log"]),
    (
        "server::retention",
        &["delivery", "log", "old_copies", "shared"],
    ),
    (
        "server::shared",
        &["config", "delivery", "limits", "log", "rotation", "stats"],
    ),
    ("server::signals", &["log", "reload"]),
    (
        "client::app",
        &[
            "args",
            "control",
            "local_time",
            "login",
            "messenger",
            "net",
            "terminal",
            // The query of the history, through `messenger::command`.
            "vault",
            "view",
        ],
    ),
    ("client::args", &["messenger", "net", "terminal"]),
    ("client::control", &["messenger", "view"]),
    (
        "client::login",
        &["messenger", "net", "terminal", "vault", "view"],
    ),
    (
        "client::messenger",
        &["local_time", "login", "net", "vault", "view"],
    ),
    ("client::net", &["messenger"]),
    ("client::terminal", &["app", "local_time", "view"]),
];

/// Lines of a source file at most, blank ones and tests included.
const MAX_LINES: usize = 560;

/// Macros that mark code as unfinished or as a trial.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// Folders that hold nothing of the repository's own.
const FOREIGN: &[&str] = &["target", ".git", "__pycache__", "secure-chat-data"];

#[test]
fn rooms_see_only_what_they_may() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files().iter().filter(|file| is_product(file)) {
        let Some(room) = room(&name(file)) else {
            continue;
        };
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            wrong.push(format!(
                "{}: the room {room} has no line in ROOMS",
                name(file)
            ));
            continue;
        };
        for path in crate_paths(&read(file), &module_of(&name(file)), &[]) {
            seen.insert(room.clone());
            let (line, path) = (path.line, path.text());
            if !covers(&room, &path) && !allowed.iter().any(|entry| covers(entry, &path)) {
                wrong.push(format!("{}:{line}: {room} must not see {path}", name(file)));
            }
        }
    }
    report(&wrong);
    for room in ["server", "store", "protocol", "crypto", "bin/server"] {
        assert!(
            seen.contains(room),
            "no path was found in {room}: is it still there?"
        );
    }
}

#[test]
fn folders_see_only_what_they_may() {
    let known = Crate::read(&modules());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (from, to) in known.edges_between(&["server", "client"]) {
        seen += 1;
        let allowed = FOLDERS.iter().find(|(folder, _)| *folder == from);
        let name = to.rsplit("::").next().unwrap_or_default();
        if !allowed.is_some_and(|(_, allowed)| allowed.contains(&name)) {
            wrong.push(format!(
                "{from} must not see {to}; if it should, say so in FOLDERS"
            ));
        }
    }
    report(&wrong);
    assert!(seen > 10, "only {seen} edges were found");
}

#[test]
fn no_two_files_import_each_other() {
    let files = modules();
    assert!(files.len() > 100, "only {} files were found", files.len());
    report(&Crate::read(&files).circles());
}

#[test]
fn source_files_are_in_shape() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| has_extension(file, "rs")) {
        let (name, text) = (name(file), read(file));
        if !text.starts_with("//!") {
            wrong.push(format!("{name}:1: begins without a //! header"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!(
                "{name}: {lines} lines, over {MAX_LINES}; divide it"
            ));
        }
        let tokens = tokens(&text);
        for pair in tokens.windows(2) {
            if pair[1].text == "!" && UNFINISHED.contains(&pair[0].text.as_str()) {
                wrong.push(format!("{name}:{}: {}!", pair[0].line, pair[0].text));
            }
        }
    }
    report(&wrong);
}

#[test]
fn text_files_are_clean() {
    let mut wrong = Vec::new();
    for file in files() {
        // What decoders are fed is no text, even where its bytes happen to be UTF-8.
        if name(&file).starts_with("tests/corpus/") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&file) else {
            continue; // No text.
        };
        wrong.extend(unclean(&text).map(|(line, what)| format!("{}:{line}: {what}", name(&file))));
    }
    report(&wrong);
}

#[test]
fn the_scanners_find_what_they_look_for() {
    let code = r#"
        //! use crate::server::a;
        use crate::{client, store::{self, sqlite::Sqlite}};
        /* crate::server::b */ const TEXT: &str = "crate::server::c";
        mod tests { use super::super::super::transport::x; use super::*; }
        fn f<'a>(x: &'a str) -> char { crate::crypto::ratchet::g::<u8>(x, '"') }
        use super::{Y, super::protocol::*};
    "#;
    let module = ["server".to_owned(), "requests".to_owned()];
    let found: Vec<String> = crate_paths(code, &module, &[])
        .into_iter()
        .map(|path| format!("{} {}", path.line, path.text()))
        .collect();
    assert_eq!(
        found,
        [
            "3 client",
            "3 store::self",
            "3 store::sqlite::Sqlite",
            "5 transport::x",
            "5 server::requests::*",
            "6 crypto::ratchet::g",
            "7 server::Y",
            "7 protocol::*",
        ]
    );
    assert!(covers("crypto::keys", "crypto::keys::PublicIdentity"));
    assert!(!covers("crypto::keys", "crypto::keystore"));
    assert!(!covers("crypto::keys", "crypto"));

    let text = concat!(
        "ends \n\tx\n",
        "TO",
        "DO: later\nin ",
        "/wo",
        "rk/here\nnet/wo",
        "rk/x\n"
    );
    assert_eq!(
        unclean(text).map(|(line, _)| line).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}

// Files

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the repository, in order.
fn files() -> Vec<PathBuf> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            let last = path.file_name().unwrap_or_default().to_string_lossy();
            if FOREIGN.contains(&last.as_ref()) {
                continue;
            }
            if path.is_dir() {
                collect(&path, into);
            } else {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The path from the repository's root, with `/`.
fn name(file: &Path) -> String {
    let relative = file.strip_prefix(root()).unwrap_or(file);
    relative.to_string_lossy().replace('\\', "/")
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

fn is_product(file: &Path) -> bool {
    has_extension(file, "rs") && name(file).starts_with("src/")
}

/// The library's files, by module.
fn modules() -> Vec<(Vec<String>, String)> {
    files()
        .iter()
        .filter(|file| is_product(file) && !name(file).starts_with("src/bin/"))
        .map(|file| (module_of(&name(file)), read(file)))
        .collect()
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

// Layers

/// `server` for `src/server/…`, `bin/server` for `src/bin/server.rs`; nothing
/// for `src/lib.rs`, which only lists the rooms.
fn room(name: &str) -> Option<String> {
    let path = name.strip_prefix("src/")?.trim_end_matches(".rs");
    let mut parts = path.split('/');
    match parts.next()? {
        "lib" => None,
        "bin" => Some(format!("bin/{}", parts.next()?)),
        room => Some(room.to_owned()),
    }
}

/// The module that a file is, from the crate's root.
fn module_of(name: &str) -> Vec<String> {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod").trim_end_matches("/main");
    if path == "lib" {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

// Texts

/// What is wrong with a text's lines.
fn unclean(text: &str) -> impl Iterator<Item = (usize, String)> {
    // In pieces, or this file would be the first to offend.
    const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
    const MACHINES: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let part_of_a_name = |c: char| c.is_alphanumeric() || "._-~/".contains(c);
    text.lines().enumerate().filter_map(move |(index, line)| {
        let machine = MACHINES.iter().find(|path| {
            line.match_indices(**path)
                .any(|(at, _)| !line[..at].ends_with(part_of_a_name))
        });
        let what = if line.ends_with([' ', '\t', '\r']) {
            "white space at the end".to_owned()
        } else if line.contains('\t') {
            "a tab".to_owned()
        } else if let Some(note) = NOTES.iter().find(|note| line.contains(**note)) {
            format!("{note} belongs into an issue")
        } else if let Some(path) = machine {
            format!("{path} exists on one machine only")
        } else {
            return None;
        };
        Some((index + 1, what))
    })
}
