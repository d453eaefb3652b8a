//! A backup and an export that end in the middle, or are something else.

use std::fs;
use std::path::PathBuf;

use super::{Place, copy, export, is_refused, meaning, run};
use crate::harness::write_secret;

#[test]
fn a_backup_that_ends_in_the_middle_is_one_sentence_and_restores_nothing() {
    let place = Place::new();
    let passphrase = place.at("passphrase");
    write_secret(&passphrase, "a long passphrase\n");
    let passphrase = ["--passphrase-file", passphrase.to_str().unwrap()];
    let sealed = place.at("sealed");
    let make = ["backup", sealed.to_str().unwrap()];
    assert_eq!(place.run(&place.data(), &make, &passphrase).code, 0);
    for (whole, more) in [(place.at("backup"), &[][..]), (sealed, &passphrase[..])] {
        let whole = fs::read(whole).unwrap();
        let cut = place.at("cut");
        for length in [0, 1, 20, 4096, whole.len() / 2, whole.len() - 1] {
            fs::write(&cut, &whole[..length]).unwrap();
            for command in ["check", "restore"] {
                let arguments = [command, cut.to_str().unwrap()];
                let data = place.at("restored");
                let mut process = place.command(&data, &arguments);
                let temporary = place.at("temporary");
                fs::create_dir_all(&temporary).unwrap();
                process.env("TMPDIR", &temporary);
                let ended = run(process, more);
                is_refused(&ended, &arguments);
                assert!(!data.exists(), "{arguments:?} of {length} bytes");
                assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
            }
        }
    }
    for wrong in [
        place.at("missing"),
        place.data(),
        PathBuf::from("/dev/null"),
    ] {
        for command in ["check", "restore"] {
            let arguments = [command, wrong.to_str().unwrap()];
            is_refused(
                &place.run(&place.at("restored"), &arguments, &[]),
                &arguments,
            );
            assert!(!place.at("restored").exists());
        }
    }
}

#[test]
fn an_export_that_ends_in_the_middle_is_one_sentence_and_imports_nothing() {
    let place = Place::new();
    let cut = place.at("cut");
    for format in fs::read_dir(export("")).unwrap() {
        let format = format.unwrap().path();
        for name in fs::read_dir(&format).unwrap() {
            let path = name.unwrap().path();
            // It is read as the messages are, and who is online is passed over.
            if path.to_string_lossy().contains("online_peers") {
                continue;
            }
            let whole = fs::read(&path).unwrap();
            // Not between two documents, which may have the same length: such a file is whole. With
            // other files than the first, the accounts are read in vain, which takes its time.
            let early = path.to_string_lossy().contains("accounts");
            let lengths = [whole.len() - 3, whole.len() / 3 - 2];
            for length in &lengths[..1 + usize::from(early)] {
                let data = place.copy("copy");
                let before = meaning(&data);
                copy(&format, &cut);
                fs::write(cut.join(path.file_name().unwrap()), &whole[..*length]).unwrap();
                let arguments = ["import", "mongo", cut.to_str().unwrap()];
                let ended = place.run(&data, &arguments, &[]);
                // What comes before the cut may have been skipped, and said.
                is_refused(&ended, &[path.to_str().unwrap()]);
                assert_eq!(meaning(&data), before, "{path:?} {ended:?}");
            }
        }
    }
}
