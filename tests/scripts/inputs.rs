//! What a script names as input and does not come: pipes that nobody writes to, signals meanwhile,
//! and files that are something else.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Place;
use crate::harness::process;

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut client = place.client("alice");
    client
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process::spawn(&mut client).unwrap()
}

#[test]
fn a_pipe_without_a_writer_is_waited_for_with_a_word_and_until_a_signal() {
    let place = Place::with(&["alice", "bob"]);
    let pipe = place.path().join("pipe");
    make_pipe(&pipe);
    let passphrase = place.path().join("passphrase");
    crate::harness::write_secret(&passphrase, "a long passphrase");
    let passphrase = passphrase.to_str().unwrap();
    for arguments in [
        &["unread", "--password-file", "pipe"][..],
        &["send", "bob", "--file", "pipe"],
        &["vault", "import", "pipe", "--passphrase-file", passphrase],
        &["vault", "export", "new", "--passphrase-file", "pipe"],
    ] {
        let mut client = start(&place, arguments);
        let mut errors = BufReader::new(client.stderr.take().unwrap());
        let mut word = String::new();
        errors.read_line(&mut word).unwrap();
        assert!(word.contains("waiting for pipe"), "{arguments:?} {word}");
        let pid = Pid::from_raw(client.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = client.wait().unwrap();
        let code = status.code().unwrap();
        // One signal is enough. What it interrupts may have a code of its own.
        assert_eq!(code, 128 + 15, "{arguments:?} {status:?}");
        assert_eq!(status.signal(), None);
    }
    // A writer may come late.
    let mut client = start(&place, &["send", "bob", "--file", "pipe"]);
    let mut errors = BufReader::new(client.stderr.take().unwrap());
    errors.read_line(&mut String::new()).unwrap();
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(b"late").unwrap();
    drop(writer);
    errors.read_to_string(&mut String::new()).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(0));
    let got = place.json("bob", &["fetch"], "");
    assert_eq!(got[0]["text"], "late");
}

#[test]
fn one_signal_ends_the_wait_for_standard_input() {
    let place = Place::with(&["alice"]);
    let client = start(&place, &["send", "bob"]);
    // Until its handlers are there, the signal ends it in the system's way.
    let status_file = format!("/proc/{}/status", client.id());
    let catches = || {
        let status = fs::read_to_string(&status_file).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
        caught & (1 << (15 - 1)) != 0
    };
    crate::harness::eventually("it catches SIGTERM", catches);
    let pid = Pid::from_raw(client.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // Its input stays open.
    let mut client = client;
    let input = client.stdin.take();
    let status = client.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15), "{status:?}");
    drop(input);
}

#[test]
fn what_is_no_export_has_its_code() {
    let place = Place::with(&["alice"]);
    let passphrase = place.path().join("passphrase");
    crate::harness::write_secret(&passphrase, "a long passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let made = place.run(
        "alice",
        &["vault", "export", "export", "--passphrase-file", passphrase],
        "",
    );
    assert_eq!(made.code, 0, "{made:?}");
    let whole = fs::read(place.path().join("export")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).unwrap();
    write("cut", &whole[..whole.len() / 2]);
    write("empty", b"");
    write("text", b"this is no export\n");
    write("newer", b"secure-chat export 9\n1234");
    for (file, code, says) in [
        ("missing", 5, "No such file"),
        (".", 5, "directory"),
        ("empty", 5, "it is not an export"),
        ("text", 5, "it is not an export"),
        ("/dev/zero", 5, "it is not an export"),
        ("newer", 5, "a newer version"),
        ("cut", 3, "the passphrase is wrong, or the file was"),
    ] {
        let arguments = ["vault", "import", file, "--passphrase-file", passphrase];
        let ended = place.run("elsewhere", &arguments, "");
        assert_eq!(ended.code, code, "{file} {ended:?}");
        assert_eq!(ended.out, "", "{file} {ended:?}");
        assert!(ended.err.contains(says), "{file} {ended:?}");
    }
}
