//! Replays the fuzzer's seeds on stable: every file in `tests/corpus/TARGET` goes
//! through the same function that `fuzz/fuzz_targets/TARGET.rs` feeds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't read its own files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn seeds_hold_what_the_fuzzer_checks() {
    for (target, run) in targets::ALL {
        let files = files(&root().join("tests/corpus").join(target));
        assert!(!files.is_empty(), "{target} has no seeds");
        for file in &files {
            run(&fs::read(file).unwrap());
        }
        println!("{target}: {} seeds", files.len());
    }
}

#[test]
fn every_fuzz_target_is_replayed() {
    let mut built: Vec<_> = files(&root().join("fuzz/fuzz_targets"))
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    built.sort();
    let mut listed: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    assert_eq!(built, listed);
}

/// The seeds that valid input gives. They are files so that what the fuzzer finds
/// can lie beside them; this says that the files are still what the code makes.
/// With `WRITE_SEEDS` set it writes them.
#[test]
fn seeds_are_still_valid_input() {
    for (target, name, bytes) in targets::seeds() {
        let file = root().join("tests/corpus").join(target).join(&name);
        if std::env::var_os("WRITE_SEEDS").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &bytes).unwrap();
        }
        let there = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(there == bytes, "{}: run with WRITE_SEEDS=1", file.display());
    }
}
