//! The reader of the server's log may stop reading or leave, and nobody waits for it.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{PATIENCE, Server, eventually, plain, process};

/// A pipe that takes no more bytes before somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

fn people_can_talk(server: &Server) {
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    alice.ok("send", plain("bob", 1, "hello"));
    assert_eq!(bob.message().body, "hello");
    // A refused login is logged, too.
    assert!(server.client().login("bob").is_err());
    bob.ok("logout", json!({}));
    bob.login("bob").unwrap();
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let (mut reader, writer) = full_pipe();
    let mut server = Server::logging_to(writer);
    people_can_talk(&server);
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    // What was written before the end is whole, and nothing else is in it.
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.trim_start().is_empty() || log.contains(" info  "));
}

#[test]
fn a_log_that_is_read_again_goes_on_where_it_stopped() {
    let (mut reader, writer) = full_pipe();
    let mut server = Server::logging_to(writer);
    people_can_talk(&server);
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        log
    });
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    let log = reading.join().unwrap();
    for part in [
        "logged in as alice",
        "logged in as bob",
        "bob logged out",
        "ended: 1 messages",
    ] {
        assert!(log.contains(part), "{part}: {}", log.trim_start());
    }
    assert!(!log.contains("dropped"), "{}", log.trim_start());
}

#[test]
fn a_log_whose_reader_has_left_stops_nobody() {
    let (reader, writer) = io::pipe().unwrap();
    let mut server = Server::logging_to(writer);
    drop(reader);
    people_can_talk(&server);
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
}

#[test]
fn closed_descriptors_are_nobodys_log() {
    let mut server = Server::after("exec 2>&- 0<&-", &[]);
    people_can_talk(&server);
    for descriptor in [0, 2] {
        assert_eq!(server.descriptor(descriptor), "/dev/null");
    }
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    let database = rusqlite::Connection::open(server.data().join("chat.db")).unwrap();
    let sound = "PRAGMA integrity_check";
    let sound: String = database.query_row(sound, [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    assert_eq!(server.log(), "");
}

#[test]
fn a_server_that_does_not_start_ends_without_a_reader() {
    let folder = crate::harness::temporary_folder();
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let (_reader, writer) = full_pipe();
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    command
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(writer);
    let mut child = process::spawn(&mut command).unwrap();
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
}

#[test]
fn whatever_takes_the_place_of_the_logs_file_stops_nobody() {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let folder = crate::harness::temporary_folder();
    let log = folder.path().join("log");
    let mut server = Server::with(&["--log-file", log.to_str().unwrap()]);
    // A server that has not begun to serve ends at a signal.
    server.register("early");
    let logged = |text: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    let kinds: [(&str, &dyn Fn()); 3] = [
        ("pipe", &|| {
            rustix::fs::mkfifoat(rustix::fs::CWD, &log, mode).unwrap()
        }),
        ("folder", &|| fs::create_dir(&log).unwrap()),
        ("link", &|| std::os::unix::fs::symlink(&log, &log).unwrap()),
    ];
    for (kind, put) in kinds {
        let aside = folder.path().join(format!("before-{kind}"));
        fs::rename(&log, &aside).unwrap();
        put();
        server.signal(Signal::HUP);
        eventually(
            &format!("the {kind} is logged where lines went before"),
            || fs::read_to_string(&aside).is_ok_and(|log| log.contains("can't be opened again")),
        );
        let name = format!("user-{kind}");
        server.register(&name);
        // The right file comes, and is used.
        match kind {
            "folder" => fs::remove_dir(&log).unwrap(),
            _ => fs::remove_file(&log).unwrap(),
        }
        server.signal(Signal::HUP);
        eventually("the new file is there", || log.is_file());
        server.register(&format!("later-{kind}"));
        eventually("the new file is written", || {
            logged(&format!("logged in as later-{kind}"))
        });
    }
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
}
