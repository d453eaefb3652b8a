//! The files under a running server are moved, removed or replaced, or come back mixed from
//! two copies: nothing is accepted into the void, and no log is applied to another database.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{PATIENCE, Server, eventually, plain, run_to_the_end, temporary_folder};

/// Does `change` to the files of a server with an account, and expects it to accept nothing more,
/// to say why, and to end.
fn ends_after(what: &str, change: impl FnOnce(&Path)) -> Server {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    let mut offline = server.register("bob");
    offline.ok("logout", json!({}));
    alice.send("bob", 1, "before").unwrap();
    change(&server.data());
    let mut request = plain("bob", 2, "after");
    request["id"] = json!(99);
    request["op"] = json!("send");
    // The connection may have ended already.
    if alice
        .wire()
        .try_write(format!("{request}\n").as_bytes())
        .is_ok()
    {
        while let Some(line) = alice.wire().line() {
            let refused = line.contains("\"storage\"") || !line.contains("\"id\":99");
            assert!(refused, "{what}: {line}");
        }
    }
    let status = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(1), "{what}");
    let log = server.log();
    assert!(log.contains("under the server"), "{what}: {log}");
    assert!(log.contains("server: ended, because"), "{what}: {log}");
    server
}

#[test]
fn what_was_removed_is_noticed() {
    drop(ends_after("the folder", |data| {
        fs::remove_dir_all(data).unwrap()
    }));
    for file in ["chat.db", "chat.db-wal", "server.lock"] {
        drop(ends_after(file, |data| {
            fs::remove_file(data.join(file)).unwrap()
        }));
    }
}

#[test]
fn what_was_moved_is_noticed() {
    drop(ends_after("the folder", |data| {
        fs::rename(data, data.with_extension("moved")).unwrap();
    }));
    drop(ends_after("chat.db", |data| {
        fs::rename(data.join("chat.db"), data.join("chat.db.old")).unwrap();
    }));
}

#[test]
fn a_link_in_place_of_the_folder_is_followed_to_the_files() {
    drop(ends_after("a link to a copy", |data| {
        let (moved, other) = (data.with_extension("moved"), data.with_extension("other"));
        copy(data, &other, &["chat.db", "chat.db-wal", "server.lock"]);
        fs::rename(data, &moved).unwrap();
        symlink(&other, data).unwrap();
    }));
    // To the same files it only is another way.
    let server = Server::start();
    let mut alice = server.register("alice");
    let data = server.data();
    let moved = data.with_extension("moved");
    fs::rename(&data, &moved).unwrap();
    symlink(&moved, &data).unwrap();
    alice.send("alice", 1, "after").unwrap();
}

#[test]
fn what_was_replaced_is_noticed_and_left_alone() {
    for file in ["chat.db", "chat.db-wal"] {
        let mut content = Vec::new();
        let server = ends_after(file, |data| {
            // As an editor or a restore does it: a new file takes the name.
            content = fs::read(data.join(file)).unwrap();
            fs::write(data.join("copy"), &content).unwrap();
            fs::rename(data.join("copy"), data.join(file)).unwrap();
        });
        let left = fs::read(server.data().join(file)).unwrap();
        assert!(left == content, "{file} was changed");
    }
}

#[test]
fn an_idle_server_notices_too() {
    let mut server = Server::start();
    fs::remove_dir_all(server.data()).unwrap();
    assert_eq!(server.wait(PATIENCE).code(), Some(1));
}

/// Copies the files of a database.
fn copy(from: &Path, to: &Path, files: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for file in files {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

fn starts_not(data: &Path) {
    let data = data.to_str().unwrap();
    let (status, said) = run_to_the_end(&["--data", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("belongs to another copy"), "{said}");
}

#[test]
fn a_backup_beside_an_old_log_is_refused() {
    let folder = temporary_folder();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let mut server = Server::on(&data, &[]);
    server.register("alice");
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    copy(&data, &backup, &["chat.db"]);

    server.start_again();
    server.register("bob");
    server.kill();
    // Both together are whole, with the lock or without it.
    let both = folder.path().join("both");
    copy(
        &data,
        &both,
        &["chat.db", "chat.db-wal", "tls-cert.pem", "tls-key.pem"],
    );
    Server::on(&both, &[]).login("bob");

    copy(&backup, &data, &["chat.db"]);
    let log = fs::read(data.join("chat.db-wal")).unwrap();
    starts_not(&data);
    fs::remove_file(data.join("server.lock")).unwrap();
    starts_not(&data);
    assert_eq!(
        fs::read(data.join("chat.db-wal")).unwrap(),
        log,
        "it is as it was"
    );

    let server = Server::on(&data, &["--new"]);
    server.login("alice");
    assert_eq!(server.client().login("bob").unwrap_err(), "wrong_login");
}

#[test]
fn a_log_beside_a_database_that_was_closed_is_refused() {
    let folder = temporary_folder();
    let (data, hot) = (folder.path().join("data"), folder.path().join("hot"));
    let mut server = Server::on(&data, &[]);
    server.register("alice");
    copy(&data, &hot, &["chat.db-wal"]);
    server.register("bob");
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    copy(&hot, &data, &["chat.db-wal"]);
    starts_not(&data);
    fs::rename(data.join("server.lock"), hot.join("server.lock")).unwrap();
    starts_not(&data);
    fs::remove_file(data.join("chat.db-wal")).unwrap();
    server.start_again();
    server.login("bob");
}

#[test]
fn a_log_that_was_copied_without_its_database_is_refused() {
    let folder = temporary_folder();
    let (data, other) = (folder.path().join("data"), folder.path().join("other"));
    let mut server = Server::on(&data, &[]);
    server.register("alice");
    server.kill();
    let mut another = Server::on(&other, &[]);
    another.register("bob");
    another.kill();
    copy(&other, &data, &["chat.db-wal"]);
    starts_not(&data);
}

#[test]
fn a_server_that_crashed_goes_on_however_often() {
    let mut server = Server::start();
    for name in ["alice", "bob", "carol"] {
        server.register(name);
        server.crash_and_restart();
    }
    for name in ["alice", "bob", "carol"] {
        eventually("the session is free", || {
            server.client().login(name).is_ok()
        });
    }
}
