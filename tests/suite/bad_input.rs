//! Every subcommand where something is wrong: the folder, the database, its own output. Each ends
//! with one sentence and a code that is not 0, and leaves everything as it was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use super::admin::{Ended, command};
use crate::harness::{Server, process, temporary_folder};

/// All that needs a server's folder. `NEW` is a name that nothing has.
const COMMANDS: &[&[&str]] = &[
    &["user", "add", "zoe", "--password-file", "-"],
    &["user", "list"],
    &["user", "show", "bob"],
    &["user", "disable", "bob"],
    &["user", "enable", "bob"],
    &["user", "remove", "bob"],
    &["user", "reset", "bob"],
    &["invite"],
    &["invite", "list"],
    &["invite", "revoke", "1"],
    &["sessions", "list"],
    &["sessions", "close", "bob"],
    &["ban", "192.0.2.1"],
    &["ban", "list"],
    &["ban", "lift", "192.0.2.1"],
    &["announce", "hello"],
    &["what-we-know", "bob"],
    &["status"],
    &["backup", "NEW"],
];

fn run(data: &Path, arguments: &[&str], new: &Path) -> Ended {
    let arguments = arguments.iter().map(|word| match *word {
        "NEW" => new.to_str().unwrap(),
        word => word,
    });
    let arguments: Vec<&str> = arguments.collect();
    command(data, &arguments, "correct horse battery\n")
}

fn is_refused(ended: &Ended, arguments: &[&str]) {
    assert_eq!(ended.code, 1, "{arguments:?} {ended:?}");
    assert_eq!(ended.out, "", "{arguments:?} {ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{arguments:?} {ended:?}");
    assert!(
        ended.err.len() > 20 && !ended.err.contains("panicked"),
        "{ended:?}"
    );
}

/// All files below a folder with their content. The lock's file says which process had it last.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name() != "server.lock");
    files
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// The folder of a server that has ended in good order.
fn stopped(folder: &Path) -> std::path::PathBuf {
    let data = folder.join("data");
    let mut server = Server::on(&data, &[]);
    server.register("bob");
    server.signal(rustix::process::Signal::TERM);
    server.wait(crate::harness::PATIENCE);
    data
}

#[test]
fn a_folder_that_is_none_is_one_sentence_and_nothing_is_made() {
    let folder = temporary_folder();
    let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
    fs::write(&file, "a file").unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let new = folder.path().join("new");
    for arguments in COMMANDS {
        for data in [&missing, &file, &empty] {
            is_refused(&run(data, arguments, &new), arguments);
        }
        assert!(!missing.exists() && !new.exists(), "{arguments:?}");
        assert_eq!(fs::read(&file).unwrap(), b"a file");
        assert!(content(&empty).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_newer_or_a_broken_database_is_one_sentence_and_stays_as_it_is() {
    let folder = temporary_folder();
    let data = stopped(folder.path());
    let new = folder.path().join("new");
    let database = data.join("chat.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    for broken in [false, true] {
        if broken {
            fs::write(&database, "no database, and long enough to be read as one").unwrap();
        }
        let before = content(&data);
        for arguments in COMMANDS {
            is_refused(&run(&data, arguments, &new), arguments);
            assert_eq!(content(&data), before, "{arguments:?}");
            assert!(!new.exists(), "{arguments:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_no_success() {
    let server = Server::start();
    server.register("bob");
    let data = server.data();
    for arguments in [
        &["user", "list"][..],
        &["user", "list", "--json"],
        &["user", "show", "bob"],
        &["invite"],
        &["invite", "list"],
        &["sessions", "list"],
        &["ban", "list"],
        &["what-we-know", "bob"],
        &["what-we-know", "bob", "--json"],
        &["status"],
        &["fingerprint"],
    ] {
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        let full = File::options().write(true).open("/dev/full").unwrap();
        command.args(arguments).arg("--data").arg(&data);
        let output = command.stdin(Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_ne!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
    server.console().login("bob");
}
