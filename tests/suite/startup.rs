//! Why a server refuses to start: one sentence that says what to do, and a
//! status that scripts see. And what a start leaves on the disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
#[cfg(feature = "tls")]
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{PATIENCE, Server, random, run_to_the_end};

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
        assert!(
            text.contains("Usage: server") || text.contains("'--help'"),
            "{text}"
        );
        assert!(!text.contains("secure-chat "), "the program's name: {text}");
    }
}

#[test]
fn help_that_could_not_be_written_is_no_success() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    for flag in ["--help", "--version"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.arg(flag).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("server: the output can't be written"),
            "{said}"
        );
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

/// A server that has served alice and was stopped.
fn stopped() -> Server {
    let mut server = Server::start();
    server.register("alice");
    stop(&mut server);
    server
}

fn stop(server: &mut Server) {
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success(), "{}", server.log());
}

/// Asserts that a folder is refused, and that `--new` begins on it.
#[cfg(feature = "tls")]
fn refuses_without_new(data: &Path, what: &str) {
    let listen = ["--listen", "127.0.0.1:0"];
    let arguments = [&["--data", data.to_str().unwrap()], &listen[..]].concat();
    refuses(&arguments, what, "--new");
    let server = Server::on(data, &["--new"]);
    server.register("somebody");
}

#[cfg(feature = "tls")]
#[test]
fn a_folder_that_has_lost_something_is_refused_unless_asked_to_begin_anew() {
    let remove = |data: &Path, name: &str| fs::remove_file(data.join(name)).unwrap();
    let database = "its database chat.db is missing or empty";
    type Lose<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Lose); 8] = [
        (database, &|data| remove(data, "chat.db")),
        (database, &|data| {
            fs::write(data.join("chat.db"), "").unwrap()
        }),
        ("nothing is in its database", &|data| {
            // What copying the file alone gave while all was in the log.
            remove(data, "chat.db");
            let header = rusqlite::Connection::open(data.join("chat.db")).unwrap();
            header.pragma_update(None, "journal_mode", "WAL").unwrap();
        }),
        ("chat.db-wal", &|data| {
            remove(data, "chat.db");
            fs::write(data.join("chat.db-wal"), "somebody's mail").unwrap();
        }),
        ("chat.db-wal", &|data| {
            for name in ["chat.db", "tls-cert.pem", "tls-key.pem"] {
                remove(data, name);
            }
            fs::write(data.join("chat.db-wal"), "somebody's mail").unwrap();
        }),
        ("tls-key.pem is missing", &|data| {
            remove(data, "tls-key.pem")
        }),
        ("tls-cert.pem is missing", &|data| {
            remove(data, "tls-cert.pem")
        }),
        ("tls-cert.pem is missing", &|data| {
            fs::write(data.join("tls-cert.pem"), "").unwrap();
        }),
    ];
    for (what, lose) in cases {
        let server = stopped();
        lose(&server.data());
        refuses_without_new(&server.data(), what);
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_log_without_its_database_is_kept() {
    let server = stopped();
    fs::remove_file(server.data().join("chat.db")).unwrap();
    fs::write(server.data().join("chat.db-wal"), "somebody's mail").unwrap();
    drop(Server::on(&server.data(), &["--new"]));
    let kept = fs::read_dir(server.data()).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let old = entry.file_name().to_string_lossy().contains("wal.old");
        old && fs::read_to_string(entry.path()).unwrap() == "somebody's mail"
    });
    assert!(kept);
}

#[test]
fn a_stop_leaves_one_file_and_a_copy_of_it_serves_everybody() {
    let mut server = Server::start();
    for name in ["bob", "carol"] {
        server.register(name).ok("logout", json!({}));
    }
    let mut alice = server.register("alice");
    for number in 0..50 {
        let to = ["bob", "carol"][number as usize % 2];
        alice.send(to, number, &format!("text {number}")).unwrap();
    }
    // While somebody is connected, and while nobody is.
    stop(&mut server);
    let names = || -> Vec<_> {
        let entries = fs::read_dir(server.data()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("chat.db")).collect()
    };
    assert_eq!(names(), ["chat.db"]);

    for certificate in [true, false] {
        let folder = crate::harness::temporary_folder();
        let copied: &[&str] = match certificate && cfg!(feature = "tls") {
            true => &["chat.db", "tls-cert.pem", "tls-key.pem"],
            false => &["chat.db"],
        };
        for name in copied {
            fs::copy(server.data().join(name), folder.path().join(name)).unwrap();
        }
        let copy = Server::on(folder.path(), &[]);
        for (first, name) in [(0, "bob"), (1, "carol")] {
            let mut client = copy.client();
            assert_eq!(client.login(name).unwrap()["plain"], 25);
            for number in (first..50).step_by(2) {
                assert_eq!(client.message().body, format!("text {number}"));
            }
        }
        copy.login("alice");
        #[cfg(feature = "tls")]
        assert_eq!(copy.log().contains("another certificate"), !certificate);
    }
}

#[test]
fn a_kill_at_any_step_of_the_first_start_leaves_what_starts() {
    let mut server = Server::on_disk(random(), &[]);
    let mut step = 0;
    loop {
        step += 1;
        server.kill();
        server.disk_mut().wipe();
        if !server.is_killed_while_starting(step) {
            break;
        }
        server.start_again();
    }
    println!("{} steps", step - 1);
    assert!(step > 20, "the steps were not met");
    server.start_again();
    server.register("alice");
}

#[test]
fn a_kill_at_any_step_of_a_stop_leaves_what_starts() {
    let mut server = Server::on_disk(random(), &[]);
    server.register("bob").ok("logout", json!({}));
    server.register("alice").send("bob", 0, "hello").unwrap();
    let mut step = 0;
    loop {
        step += 1;
        server.register(&format!("user{step}"));
        server.disk().kill_at(step);
        server.signal(Signal::TERM);
        let status = server.wait(PATIENCE);
        server.disk().spare();
        server.start_again();
        assert_eq!(server.login("bob").message().body, "hello");
        if status.code() == Some(0) {
            break;
        }
    }
    println!("{} steps", step - 1);
    assert!(step > 4, "the steps were not met");
}

#[test]
fn another_program_on_the_database_is_named_as_the_cause() {
    let server = stopped();
    let other = rusqlite::Connection::open(server.data().join("chat.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let data = server.data();
    let arguments = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    refuses(&arguments, "another program uses", "end it");
}

#[test]
fn a_database_cut_short_is_called_damaged() {
    let mut server = Server::start();
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    for number in 0..20 {
        alice.send("bob", number, &"x".repeat(10_000)).unwrap();
    }
    stop(&mut server);
    let database = File::options()
        .write(true)
        .open(server.data().join("chat.db"))
        .unwrap();
    database.set_len(20 * 4096).unwrap();
    let data = server.data();
    let arguments = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    refuses(&arguments, "is damaged", "restore a backup");
}
