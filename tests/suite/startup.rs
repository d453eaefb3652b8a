//! Why a server refuses to start: one sentence that says what to do, and a
//! status that scripts see. And what a start leaves on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Server, run_to_the_end};

/// Asserts that a server does not start, and says this in one sentence.
fn refuses(arguments: &[&str], what: &str, way_out: &str) {
    let (status, text) = run_to_the_end(arguments);
    assert_eq!(status.code(), Some(1), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.starts_with("server: "), "{text}");
    assert!(text.contains(what), "{text}");
    assert!(text.contains(way_out), "{text}");
}

#[test]
fn a_taken_port() {
    let server = Server::start();
    let folder = crate::harness::temporary_folder();
    let (data, address) = (folder.path().join("data"), server.address().to_string());
    let arguments = ["--data", data.to_str().unwrap(), "--listen", &address];
    refuses(&arguments, &address, "choose another with --listen");
    server.register("alice");
}

#[test]
fn an_address_of_another_machine() {
    let folder = crate::harness::temporary_folder();
    // TEST-NET-1 (RFC 5737) is nobody's.
    let address = "192.0.2.1:8080";
    let arguments = [
        "--data",
        folder.path().to_str().unwrap(),
        "--listen",
        address,
    ];
    refuses(&arguments, address, "--listen");
}

#[test]
fn a_folder_that_cannot_be_one() {
    // A file in its place: permissions do not stop a test that runs as root.
    let folder = crate::harness::temporary_folder();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    for data in [file.clone(), file.join("below")] {
        let data = data.to_str().unwrap();
        let arguments = ["--data", data, "--listen", "127.0.0.1:0"];
        refuses(&arguments, data, "choose another with --data");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
}

#[test]
fn a_broken_database() {
    let garbage: Vec<u8> = (0..20_000).map(|i| (i * 31 % 251) as u8).collect();
    let cases: [&[u8]; 3] = [
        b"hello, I am no database at all",
        &garbage,
        b"SQLite format 3\0zz",
    ];
    for content in cases {
        let folder = crate::harness::temporary_folder();
        let database = folder.path().join("chat.db");
        fs::write(&database, content).unwrap();
        let data = folder.path().to_str().unwrap();
        let arguments = ["--data", data, "--listen", "127.0.0.1:0"];
        refuses(&arguments, "chat.db", "restore a backup");
        assert_eq!(
            fs::read(&database).unwrap(),
            content,
            "it is left as it was"
        );
    }
}

#[test]
fn a_database_of_another_program_or_version() {
    for (pragma, value) in [("application_id", 77), ("user_version", 99)] {
        let mut server = Server::start();
        server.kill();
        let database = server.data().join("chat.db");
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.pragma_update(None, pragma, value).unwrap();
        drop(connection);
        let data = server.data();
        let arguments = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        refuses(&arguments, "chat.db", "--data");
    }
}

#[test]
fn two_servers_on_one_folder() {
    let mut server = Server::start();
    let data = server.data();
    let arguments = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    refuses(
        &arguments,
        "another server is running",
        "choose another folder",
    );
    server.register("alice");
    // The lock goes with its process, however that ends.
    server.crash_and_restart();
    server.login("alice");
}

#[test]
fn wrong_flags_are_explained() {
    for arguments in [
        ["--listen", "nowhere"],
        ["--max-line", "1"],
        ["--sender-share", "0"],
        ["--handshake-time", "0"],
        // Before a silent client is asked.
        ["--idle-limit", "60"],
    ] {
        let (status, text) = run_to_the_end(&arguments);
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(text.contains(arguments[0]), "{text}");
    }
}

#[test]
fn a_fingerprint_is_printed_of_what_there_is_and_nothing_is_made() {
    let folder = crate::harness::temporary_folder();
    let data = folder.path().join("data");
    let arguments = ["fingerprint", "--data", data.to_str().unwrap()];
    #[cfg(feature = "tls")]
    refuses(&arguments, "tls-cert.pem", "start it once");
    #[cfg(not(feature = "tls"))]
    refuses(&arguments, "without TLS", "no certificate");
    assert!(!data.exists());
}

#[test]
fn all_that_it_writes_is_its_owners_alone() {
    let server = Server::start();
    server.register("alice");
    let mut names = Vec::new();
    for entry in fs::read_dir(server.data()).unwrap() {
        let entry = entry.unwrap();
        // Certificates are shown to everybody who connects.
        if entry.file_name() != "tls-cert.pem" {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
            names.push(entry.file_name());
        }
    }
    assert!(names.contains(&"chat.db".into()), "{names:?}");
}
