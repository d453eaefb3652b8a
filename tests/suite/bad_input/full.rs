//! A disk that is full, and an output that takes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::{Folder, LIVE, Place, SUBCOMMANDS, Subcommand, copy, is_refused, meaning, run};
use crate::harness::{Disk, Fault, Server, process, random};

#[test]
fn a_full_disk_is_one_sentence_and_nothing_is_half_done() {
    let place = Place::new();
    let disk = Disk::new(place.folder.path(), random());
    let new = disk.root().join("new");
    let mut refused = BTreeMap::new();
    for command in SUBCOMMANDS {
        // Full from the beginning, and after some writes.
        for writes in [0, 1, 2, 3, 5, 8, 13, 21] {
            let data = disk.root().join("data");
            match command.2 {
                Folder::Made => drop(fs::remove_dir_all(&data)),
                _ => drop(copy(&place.data(), &data)),
            }
            let before = (command.2 != Folder::Made).then(|| meaning(&data));
            let mut process = place.command(&data, &[]);
            let arguments = command.arguments();
            let words = arguments.iter().map(|word| match *word {
                "NEW" => new.to_str().unwrap().to_owned(),
                other => place.word(other),
            });
            process.args(words).env("TMPDIR", disk.root());
            disk.carry(&mut process);
            disk.fill_after(writes);
            let ended = run(process, &[]);
            disk.end(Fault::Full);
            if ended.code == 0 {
                let _new = fs::remove_file(&new);
                break;
            }
            is_refused(&ended, &arguments);
            *refused.entry(command.0).or_insert(0) += 1;
            match before {
                Some(before) => assert_eq!(meaning(&data), before, "{arguments:?} {ended:?}"),
                None => assert!(!data.exists(), "{arguments:?} {ended:?}"),
            }
            let left = fs::read_dir(disk.root()).unwrap();
            let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            assert!(
                left.iter().all(|name| name == "data"),
                "{arguments:?} {left:?}"
            );
        }
    }
    for command in SUBCOMMANDS {
        let writes = matches!(command.2, Folder::Changed | Folder::Made | Folder::Copied);
        if writes && !["user enable"].contains(&command.0) {
            assert!(
                refused.contains_key(command.0),
                "{} wrote nothing",
                command.0
            );
        }
    }
}

#[test]
fn an_output_that_takes_nothing_is_no_success() {
    let place = Place::new();
    let run_into = |command: &Subcommand, data: &Path, more: &[&str]| {
        let mut process = place.command(data, &command.arguments());
        process.args(more);
        let full = File::options().write(true).open("/dev/full").unwrap();
        process
            .stdout(full)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(&mut process).unwrap();
        let input = b"correct horse battery\n";
        let _unread = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_ne!(output.status.code(), Some(0), "{}: {said}", command.0);
        assert_eq!(said.lines().count(), 1, "{}: {said}", command.0);
    };
    for command in SUBCOMMANDS {
        let _new = fs::remove_file(place.at("new"));
        let data = command.folder(&place, "copy");
        run_into(command, &data, &[]);
        fs::remove_dir_all(&data).unwrap();
        // There is no session to be listed.
        if command.2 == Folder::Read && command.0 != "sessions list" {
            run_into(command, &place.copy("copy"), &["--json"]);
        }
    }
    let server = Server::start();
    let _bob = server.register("bob");
    for command in LIVE.iter().filter(|command| command.0 != "ping") {
        run_into(command, &server.data(), &[]);
    }
    server.console().login("bob");
}
