//! What is left of a deleted account in the bytes of the server's files.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

use super::admin::done;
use super::journal::publish;
use crate::harness::{PATIENCE, Server, credentials, eventually, plain, temporary_folder};

/// The files of a folder, with those in folders below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let files = entries.flat_map(|entry| match entry.path().is_dir() {
        true => files(&entry.path()),
        false => vec![entry.path()],
    });
    files.collect()
}

/// The files of a folder in which these bytes stand.
pub(super) fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = files(folder);
    found.retain(|file| {
        // A socket has none.
        let content = std::fs::read(file).unwrap_or_default();
        content.windows(bytes.len()).any(|part| part == bytes)
    });
    found
}

/// Whether a text stands in a file of a folder.
pub(super) fn anywhere(folder: &Path, text: &str) -> bool {
    !files_with(folder, text.as_bytes()).is_empty()
}

/// Whether a text stands in the database or in the log beside it.
fn on_disk(server: &Server, text: &str) -> bool {
    ["chat.db", "chat.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(server.data().join(name)).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

#[test]
fn the_mail_that_waited_for_a_deleted_account_is_erased_while_the_server_runs() {
    let server = Server::start();
    let mut alice = server.register("alice");
    server.register("bob").ok("logout", json!({}));
    let secret = "a text that nobody is to find again";
    for number in 0..1200 {
        // Some are so long that they have pages of their own.
        let filler = "x".repeat(if number % 10 == 0 { 9000 } else { 10 });
        alice.ok("send", plain("bob", number, &format!("{filler} {secret}")));
    }
    assert!(on_disk(&server, secret), "it is stored first");
    let mut bob = server.client();
    bob.login_with("bob", json!({"receive": false})).unwrap();
    let nonce = bob.nonce();
    let proof = credentials()[0].prove_delete("bob", &nonce);
    bob.ok("delete_account", json!({"proof": proof}));
    eventually("it is erased", || !on_disk(&server, secret));
    // What others have is as it was.
    server.register("carol").ok("logout", json!({}));
    alice.ok("send", plain("carol", 5000, "still here"));
    assert_eq!(server.login("carol").message().body, "still here");
}

/// Carol, with all that a server holds of somebody, among others; she is away. Returns bytes that are hers
/// alone.
fn with_carol(server: &Server) -> Vec<Vec<u8>> {
    let data = server.data();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| server.register(name));
    let mut carol = server.client();
    let registration = credentials()[1].registration("carol", &carol.nonce());
    carol.ok("register", registration);
    publish(&mut carol);
    publish(&mut alice);
    carol.ok("block", json!({"name": "bob"}));
    let mut marks: Vec<Vec<u8>> = vec![b"said to carol".to_vec(), b"said by carol".to_vec()];
    for number in 0..150 {
        alice.ok(
            "send",
            plain("bob", number, &format!("said to bob {number}")),
        );
        carol.ok(
            "send",
            plain("bob", number, &format!("said by carol {number}")),
        );
    }
    // Bob has all of it; what waits for him is others'.
    for _ in 0..300 {
        let message = bob.message();
        bob.ack(&message.from, &[message.mid]);
    }
    carol.ok("logout", json!({}));
    for number in 150..300 {
        alice.ok(
            "send",
            plain("carol", number, &format!("said to carol {number}")),
        );
    }
    let database = Connection::open(data.join("chat.db")).unwrap();
    let row = "SELECT login_key, identity_signing, identity_dh, prekey, prekey_signature
               FROM users WHERE name = 'carol'";
    let keys: [Vec<u8>; 5] = database
        .query_row(row, [], |row| {
            Ok([
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ])
        })
        .unwrap();
    marks.extend(keys);
    marks
}

/// Waits until none of these bytes stand in a file of a folder.
fn nothing_is_left(folder: &Path, marks: &[Vec<u8>]) {
    for mark in marks {
        let mut left = files_with(folder, mark);
        let what = format!("{:?} is gone from {left:?}", String::from_utf8_lossy(mark));
        eventually(&what, || {
            left = files_with(folder, mark);
            left.is_empty()
        });
    }
}

#[test]
fn no_byte_of_an_account_that_the_operator_removes_is_left() {
    for running in [true, false] {
        let mut server = Server::start();
        let data = server.data();
        let marks = with_carol(&server);
        for mark in &marks {
            assert!(!files_with(&data, mark).is_empty(), "it is stored first");
        }
        if !running {
            server.signal(Signal::TERM);
            assert!(server.wait(PATIENCE).success());
        }
        done(&data, &["user", "remove", "carol"]);
        match running {
            true => nothing_is_left(&data, &marks),
            // Nobody is there who would do it later.
            false => {
                for mark in &marks {
                    assert!(files_with(&data, mark).is_empty());
                }
                server.start_again();
            }
        }
        assert_eq!(server.look("SELECT count(*) FROM blocks"), Some(0));
        server
            .login("alice")
            .send("bob", 999, "life goes on")
            .unwrap();
    }
}

#[test]
fn a_removed_account_leaves_the_backups_as_they_are_rotated_out() {
    let folder = temporary_folder();
    let backups = folder.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    let journal = backups.join("secure-chat.journal");
    let server = Server::with(&["--journal", journal.to_str().unwrap()]);
    let data = server.data();
    let marks = with_carol(&server);
    let back_up = || done(&data, &["backup", backups.to_str().unwrap(), "--keep", "2"]);
    back_up();
    back_up();
    done(&data, &["user", "remove", "carol"]);
    // A backup has no free room, and so nothing that was delivered.
    for mark in marks.iter().filter(|mark| **mark != b"said by carol") {
        assert_eq!(files_with(&backups, mark).len(), 2);
    }
    let in_journal = || std::fs::read_to_string(&journal).unwrap();
    let key = credentials()[1].login_key();
    nothing_is_left(&data, &marks);
    back_up();
    back_up();
    for mark in &marks {
        assert!(files_with(&backups, mark).is_empty());
    }
    // In the journal keys are text.
    eventually("the journal has no key of hers", || {
        !in_journal().contains(&key)
    });
    let hers = in_journal();
    let hers: Vec<_> = hers.lines().filter(|line| line.contains("carol")).collect();
    assert!(
        matches!(hers[..], [line] if line.contains("deleted")),
        "{hers:?}"
    );
    assert!(in_journal().contains(&credentials()[0].login_key()));
}

#[test]
fn an_old_copy_of_before_an_upgrade_goes_after_a_month() {
    let mut server = Server::start();
    let data = server.data();
    server.kill();
    let [old, new] = ["chat.db.schema-1", "chat.db.schema-2"].map(|name| data.join(name));
    for copy in [&old, &new] {
        std::fs::write(copy, "a copy").unwrap();
    }
    let day = std::time::Duration::from_secs(24 * 3600);
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(std::time::SystemTime::now() - 31 * day)
        .unwrap();
    server.start_again();
    eventually("the old one is removed", || !old.exists());
    assert!(new.exists());
    assert!(
        server.log().contains("schema-1 was removed"),
        "{}",
        server.log()
    );
}
