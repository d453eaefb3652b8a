//! Every subcommand where something is wrong: the folder, its lock, the socket, the disk, the database,
//! the file that it is given, its own output. Each ends with one sentence that says what to do, and a
//! code that is not 0, and leaves everything as it was.

mod cut;
#[cfg(target_os = "linux")]
mod full;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rusqlite::types::Value;
use tempfile::TempDir;

use super::admin::Ended;
use crate::harness::{Server, process, temporary_folder};

/// What a subcommand does with the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// It looks at nothing in there.
    Unused,
    /// It reads the certificate.
    Certificate,
    /// It reads the database beside whoever writes to it.
    Copied,
    /// It reads the database under the folder's lock.
    Read,
    /// It changes the database under the folder's lock.
    Changed,
    /// It has to be empty.
    Made,
}

/// A subcommand, the rest of a command line with which it succeeds, and what it does to the folder.
struct Subcommand(&'static str, &'static [&'static str], Folder);

/// All of them, for a server that is stopped. [`Place::word`] says what the capital letters stand for.
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand("options", &[], Folder::Unused),
    Subcommand("man", &[], Folder::Unused),
    Subcommand("completions", &["bash"], Folder::Unused),
    Subcommand("config check", &[], Folder::Unused),
    Subcommand("check", &["BACKUP"], Folder::Unused),
    Subcommand("fingerprint", &[], Folder::Certificate),
    Subcommand("backup", &["NEW"], Folder::Copied),
    Subcommand("restore", &["BACKUP"], Folder::Made),
    Subcommand(
        "user add",
        &["zoe", "--password-file", "-"],
        Folder::Changed,
    ),
    Subcommand("user list", &[], Folder::Read),
    Subcommand("user show", &["bob"], Folder::Read),
    Subcommand("user disable", &["bob"], Folder::Changed),
    Subcommand("user enable", &["dave"], Folder::Changed),
    Subcommand("user remove", &["bob"], Folder::Changed),
    Subcommand("user reset", &["bob"], Folder::Changed),
    Subcommand("invite create", &[], Folder::Changed),
    Subcommand("invite list", &[], Folder::Read),
    Subcommand("invite revoke", &["1"], Folder::Changed),
    Subcommand("sessions list", &[], Folder::Read),
    Subcommand("ban", &["192.0.2.7"], Folder::Changed),
    Subcommand("ban list", &[], Folder::Read),
    Subcommand("ban lift", &["192.0.2.1"], Folder::Changed),
    Subcommand("certificate rotate", &[], Folder::Changed),
    Subcommand("certificate list", &[], Folder::Read),
    Subcommand("announce", &["hello"], Folder::Changed),
    Subcommand("what-we-know", &["bob"], Folder::Read),
    Subcommand("import mongo", &["EXPORT"], Folder::Changed),
];

/// Those that need a running server, of ours or of PostgreSQL.
const LIVE: &[Subcommand] = &[
    Subcommand("ping", &[], Folder::Unused),
    Subcommand("status", &[], Folder::Read),
    Subcommand("sessions close", &["bob"], Folder::Read),
    Subcommand("certificate finish", &[], Folder::Read),
    Subcommand(
        "migrate",
        &[
            "--from",
            "DATA",
            "--to",
            "postgres://nobody@127.0.0.1:1/none",
        ],
        Folder::Read,
    ),
];

/// With one of these a sentence says what to do next.
const ADVICE: &[&str] = &[
    "give",
    "choose",
    "make",
    "name",
    "try again",
    "start",
    "stop",
    "use",
    "look",
    "export",
    "move",
    "run",
    "end it",
    "announce",
    "is not logged in",
];

/// A folder with all that the subcommands need.
struct Place {
    folder: TempDir,
}

impl Place {
    /// A server has run there, and has ended in good order.
    fn new() -> Self {
        let place = Place {
            folder: temporary_folder(),
        };
        let mut server = Server::on(&place.data(), &[]);
        server.register("bob");
        server.register("dave");
        for arguments in [
            &["invite", "create"][..],
            &["ban", "192.0.2.1"],
            &["user", "disable", "dave"],
            &["certificate", "rotate"],
            &["backup", "BACKUP"],
        ] {
            let ended = place.run(&place.data(), arguments, &[]);
            assert_eq!(ended.code, 0, "{arguments:?} {ended:?}");
        }
        server.signal(rustix::process::Signal::TERM);
        server.wait(crate::harness::PATIENCE);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.at("data")
    }

    fn word(&self, word: &str) -> String {
        let path = match word {
            "BACKUP" => self.at("backup"),
            "NEW" => self.at("new"),
            "EXPORT" => export("lines-v1"),
            other => return other.to_owned(),
        };
        path.to_str().unwrap().to_owned()
    }

    /// A copy of the server's folder under another name.
    fn copy(&self, name: &str) -> PathBuf {
        copy(&self.data(), &self.at(name))
    }

    fn run(&self, data: &Path, arguments: &[&str], more: &[&str]) -> Ended {
        let command = self.command(data, arguments);
        run(command, more)
    }

    fn command(&self, data: &Path, arguments: &[&str]) -> std::process::Command {
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        let words = arguments.iter().map(|word| match *word {
            "DATA" => data.to_str().unwrap().to_owned(),
            other => self.word(other),
        });
        command.args(words);
        command.arg("--data").arg(data);
        // Nothing listens there.
        command.args(["--listen", "127.0.0.1:1"]);
        command
    }
}

impl Subcommand {
    fn arguments(&self) -> Vec<&'static str> {
        let Subcommand(words, rest, _) = self;
        words.split(' ').chain(rest.iter().copied()).collect()
    }

    /// A folder for it: a copy of the server's, or none.
    fn folder(&self, place: &Place, name: &str) -> PathBuf {
        match self.2 {
            Folder::Made => place.at(name),
            _ => place.copy(name),
        }
    }
}

fn run(mut command: std::process::Command, more: &[&str]) -> Ended {
    command.args(more);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(&mut command).unwrap();
    // A command that asks for nothing may have ended.
    let input = b"correct horse battery\n";
    let _unread = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn export(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/exports")
        .join(name)
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    let _earlier = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to.to_owned()
}

fn is_refused(ended: &Ended, arguments: &[&str]) {
    assert_eq!(ended.code, 1, "{arguments:?} {ended:?}");
    is_one_sentence(ended, arguments);
}

/// One line on standard error that says what to do.
fn is_one_sentence(ended: &Ended, arguments: &[&str]) {
    assert_eq!(ended.err.lines().count(), 1, "{arguments:?} {ended:?}");
    let said = ended.err.strip_prefix("server: ");
    let said = said.unwrap_or_else(|| panic!("{arguments:?} {ended:?}"));
    let advises = ADVICE.iter().any(|word| said.contains(word));
    assert!(
        advises && !said.contains("panicked"),
        "{arguments:?} {said}"
    );
}

/// All files of a folder with their content. The lock's file says which process had it last, and the
/// audit log what was tried.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    let named = files.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| name != "server.lock" && name != "audit.log")
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// What the database says, but for the server's notes about its own starts; and the names of all files.
/// An opened database has other bytes.
fn meaning(folder: &Path) -> (String, BTreeSet<String>) {
    let database = rusqlite::Connection::open(folder.join("chat.db")).unwrap();
    let mut names = database
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'server' ORDER BY 1",
        )
        .unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut text = String::new();
    for name in names.map(Result::unwrap) {
        let mut rows = database.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|column| row.get::<_, Value>(column).unwrap());
            writeln!(text, "{name} {:?}", values.collect::<Vec<_>>()).unwrap();
        }
    }
    // A certificate is made before it is announced, and announced by the next try.
    let names = content(folder).into_keys();
    let names = names.filter(|name| !name.ends_with(".next.pem"));
    (text, names.collect())
}

#[test]
fn the_tables_here_have_all_subcommands_and_each_of_them_works() {
    let place = Place::new();
    let manual = place.run(&place.data(), &["man"], &[]).out;
    let sections = manual.lines().filter_map(|line| line.strip_prefix(".SS "));
    let mut known: BTreeSet<String> = sections.map(|words| words.replace('\\', "")).collect();
    // It takes an address or a subcommand.
    known.insert("ban".to_owned());
    let tables = SUBCOMMANDS.iter().chain(LIVE);
    let here: BTreeSet<String> = tables.map(|command| command.0.to_owned()).collect();
    assert_eq!(here, known);
    for command in SUBCOMMANDS {
        let _new = fs::remove_file(place.at("new"));
        let data = command.folder(&place, "copy");
        let ended = place.run(&data, &command.arguments(), &[]);
        assert_eq!(ended.code, 0, "{:?} {ended:?}", command.0);
        fs::remove_dir_all(&data).unwrap();
    }
    for command in LIVE {
        let ended = place.run(&place.data(), &command.arguments(), &[]);
        is_refused(&ended, &command.arguments());
    }
}

#[test]
fn a_folder_that_is_none_is_one_sentence_and_nothing_is_made() {
    let place = Place::new();
    let (missing, file) = (place.at("missing"), place.at("file"));
    fs::write(&file, "a file").unwrap();
    let empty = place.at("empty");
    fs::create_dir(&empty).unwrap();
    let below = file.join("data");
    for command in SUBCOMMANDS.iter().chain(LIVE) {
        let arguments = command.arguments();
        let wrong = match command.2 {
            Folder::Unused => &[][..],
            // Another server's folder is wrong for a restore.
            Folder::Made => &[place.data(), file.clone(), below.clone()],
            _ => &[missing.clone(), file.clone(), below.clone(), empty.clone()],
        };
        let before = content(&place.data());
        for data in wrong {
            let ended = place.run(data, &arguments, &[]);
            is_refused(&ended, &arguments);
            assert_eq!(ended.out, "", "{arguments:?}");
        }
        assert!(
            !missing.exists() && !place.at("new").exists(),
            "{arguments:?}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"a file");
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "{arguments:?}");
        assert_eq!(content(&place.data()), before, "{arguments:?}");
    }
}

#[test]
fn a_newer_or_a_broken_database_is_one_sentence_and_stays_as_it_is() {
    let place = Place::new();
    let broken = |path: &Path, newer: bool| match newer {
        true => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.pragma_update(None, "user_version", 99).unwrap();
        }
        false => fs::write(path, "no database, and long enough to be read as one").unwrap(),
    };
    let data = place.copy("broken");
    for newer in [true, false] {
        broken(&data.join("chat.db"), newer);
        broken(&place.at("backup"), newer);
        let before = content(&data);
        for command in SUBCOMMANDS {
            let arguments = command.arguments();
            let data = match command.2 {
                Folder::Unused if command.0 != "check" => continue,
                Folder::Certificate => continue,
                Folder::Made => &place.at("restored"),
                _ => &data,
            };
            let ended = place.run(data, &arguments, &[]);
            is_refused(&ended, &arguments);
            assert_eq!(ended.out, "", "{arguments:?}");
            let says = ended.err.contains("newer version");
            assert_eq!(says, newer, "{arguments:?} {ended:?}");
            assert!(!place.at("restored").exists() && !place.at("new").exists());
        }
        assert_eq!(content(&data), before);
    }
}

#[test]
fn a_lock_that_another_process_holds_is_one_sentence() {
    let place = Place::new();
    // With a socket that nobody answers at, as a killed server leaves it, and without one.
    for dead in [false, true] {
        let data = place.copy("locked");
        if dead {
            drop(UnixListener::bind(data.join("admin.sock")).unwrap());
        }
        let lock = File::open(data.join("server.lock")).unwrap();
        lock.lock().unwrap();
        let before = content(&data);
        // Each waits for a server that may be at its start.
        std::thread::scope(|scope| {
            for command in SUBCOMMANDS.iter().chain(LIVE) {
                let (data, place) = (&data, &place);
                let arguments = command.arguments();
                scope.spawn(move || {
                    let ended = place.run(data, &arguments, &[]);
                    match command.2 {
                        Folder::Read | Folder::Changed | Folder::Made => {
                            is_refused(&ended, &arguments);
                            assert_eq!(ended.out, "", "{arguments:?}");
                        }
                        _ if command.0 == "ping" => is_refused(&ended, &arguments),
                        _ => assert_eq!(ended.code, 0, "{arguments:?} {ended:?}"),
                    }
                });
            }
        });
        assert_eq!(content(&data), before);
        fs::remove_file(place.at("new")).unwrap();
    }
}

#[test]
fn a_dead_socket_hinders_nothing_where_no_server_runs() {
    let place = Place::new();
    for command in SUBCOMMANDS.iter().chain(LIVE) {
        let arguments = command.arguments();
        if command.2 == Folder::Made {
            continue;
        }
        let data = place.copy("copy");
        drop(UnixListener::bind(data.join("admin.sock")).unwrap());
        let ended = place.run(&data, &arguments, &[]);
        match LIVE.iter().any(|live| live.0 == command.0) {
            true => is_refused(&ended, &arguments),
            false => assert_eq!(ended.code, 0, "{arguments:?} {ended:?}"),
        }
        let _new = fs::remove_file(place.at("new"));
    }
}
