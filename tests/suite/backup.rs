//! Backups: made under load, checked, sealed, restored; and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::harness::{Server, eventually, plain, process, temporary_folder, write_secret};

/// Runs a command of the server's on this data folder.
pub fn command(data: &Path, arguments: &[&str]) -> Output {
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    command.args(arguments).arg("--data").arg(data);
    command.output().unwrap()
}

pub fn succeeds(data: &Path, arguments: &[&str]) -> String {
    let output = command(data, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one sentence of a command that fails.
pub fn fails(data: &Path, arguments: &[&str]) -> String {
    let output = command(data, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_under_load_restores_all_that_was_accepted_before_it() {
    let server = Server::start();
    server.register("bob");
    let mut alice = server.register("alice");
    let folder = temporary_folder();
    let backup = folder.path().join("backup");
    let (accepted, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut fewest = 0;
    let mut most = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if ended.load(Ordering::Acquire) {
                    break;
                }
                alice.ok("send", plain("bob", number, &number.to_string()));
                accepted.store(number + 1, Ordering::Release);
            }
        });
        eventually("there is load", || accepted.load(Ordering::Acquire) > 50);
        fewest = accepted.load(Ordering::Acquire);
        succeeds(&server.data(), &["backup", text(&backup)]);
        most = accepted.load(Ordering::Acquire) + 1;
        eventually("there is load after it", || {
            accepted.load(Ordering::Acquire) > most + 50
        });
        ended.store(true, Ordering::Release);
    });
    let mode = fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names(folder.path()), ["backup"], "no draft is left");
    let checked = succeeds(folder.path(), &["check", text(&backup)]);
    assert!(checked.contains("2 accounts"), "{checked}");

    let restored = folder.path().join("restored");
    let said = succeeds(&restored, &["restore", text(&backup)]);
    assert!(said.contains("2 accounts"), "{said}");
    assert_eq!(
        fs::metadata(&restored).unwrap().permissions().mode() & 0o777,
        0o700
    );
    for name in ["tls-cert.pem", "tls-key.pem"] {
        let original = fs::read(server.data().join(name)).ok();
        assert_eq!(fs::read(restored.join(name)).ok(), original, "{name}");
    }
    drop(server);
    let server = Server::on(&restored, &[]);
    let mut bob = server.client();
    bob.login_with("bob", json!({"receive": false})).unwrap();
    let mut count = 0;
    loop {
        let fetched = bob.ok("fetch", json!({}));
        let sent = fetched["sent"].as_u64().unwrap();
        let mut ids = Vec::new();
        for _ in 0..sent {
            let message = bob.message();
            assert_eq!(message.body, count.to_string());
            ids.push(message.mid);
            count += 1;
        }
        if sent == 0 {
            break;
        }
        bob.ack("alice", &ids);
    }
    assert!((fewest..=most).contains(&count), "{fewest} {count} {most}");
    // What comes later is not taken for what the backup had.
    let mut alice = server.login("alice");
    alice.ok("send", plain("bob", 1 << 40, "after"));
    assert_eq!(bob.ok("fetch", json!({}))["sent"], 1);
}

#[test]
fn a_sealed_backup_opens_with_its_passphrase_only() {
    let mut server = Server::start();
    server.register("bob");
    let folder = temporary_folder();
    let at = |name: &str| folder.path().join(name);
    let (right, wrong, shown) = (at("right"), at("wrong"), at("shown"));
    write_secret(&right, "a long passphrase\n");
    write_secret(&wrong, "another passphrase\n");
    fs::write(&shown, "a long passphrase\n").unwrap();
    fs::set_permissions(&shown, fs::Permissions::from_mode(0o644)).unwrap();
    let backups = at("backups");
    fs::create_dir(&backups).unwrap();
    let sealed = |passphrase: &Path| {
        let (to, file) = (text(&backups).to_owned(), text(passphrase).to_owned());
        vec![
            "backup".to_owned(),
            to,
            "--passphrase-file".to_owned(),
            file,
        ]
    };
    let arguments = sealed(&right);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // A stopped server is backed up, too.
    server.signal(rustix::process::Signal::TERM);
    server.wait(crate::harness::PATIENCE);
    let before = names(&server.data());
    succeeds(&server.data(), &arguments);
    assert_eq!(names(&server.data()), before, "nothing is left behind");
    let made = names(&backups);
    assert!(made[0].ends_with(".backup.sealed"), "{made:?}");
    let backup = backups.join(&made[0]);
    let content = fs::read(&backup).unwrap();
    for part in [&b"SQLite format"[..], b"PRIVATE KEY", b"bob"] {
        assert!(!content.windows(part.len()).any(|found| found == part));
    }
    let target = at("restored");
    let restore = |file: &Path, passphrase: Option<&Path>| {
        let mut arguments = vec!["restore", text(file)];
        if let Some(passphrase) = passphrase {
            arguments.extend(["--passphrase-file", text(passphrase)]);
        }
        fails(&target, &arguments)
    };
    assert!(restore(&backup, None).contains("--passphrase-file"));
    assert!(restore(&backup, Some(&wrong)).contains("passphrase is wrong"));
    assert!(restore(&backup, Some(&shown)).contains("chmod 600"));
    let cut = at("cut");
    fs::write(&cut, &content[..content.len() - 1]).unwrap();
    assert!(restore(&cut, Some(&right)).contains("cut off"));
    assert!(!target.exists() || names(&target).is_empty());
    let passphrase = ["--passphrase-file", text(&right)];
    succeeds(
        &target,
        &[&["check", text(&backup)][..], &passphrase].concat(),
    );
    succeeds(
        &target,
        &[&["restore", text(&backup)][..], &passphrase].concat(),
    );
    let restored = Server::on(&target, &[]);
    restored.login("bob");
}

#[test]
fn old_backups_make_room_and_nothing_is_overwritten() {
    let server = Server::start();
    server.register("bob");
    let folder = temporary_folder();
    let data = server.data();
    let mut made = Vec::new();
    for _ in 0..4 {
        let said = succeeds(&data, &["backup", text(folder.path()), "--keep", "2"]);
        made.push(PathBuf::from(said.trim_end()));
    }
    let left: Vec<_> = names(folder.path())
        .iter()
        .map(|name| folder.path().join(name))
        .collect();
    assert_eq!(left, made[2..]);
    let said = fails(&data, &["backup", text(&made[3])]);
    assert!(said.contains("exists and was left as it is"), "{said}");
    let said = fails(&data, &["restore", text(&made[3])]);
    assert!(said.contains("is not empty"), "{said}");
    let nowhere = folder.path().join("nowhere/at/all");
    fails(&data, &["backup", text(&nowhere)]);
    fails(
        &data,
        &["backup", text(&folder.path().join("x")), "--keep", "2"],
    );
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn what_is_no_whole_backup_is_one_sentence_and_restores_nothing() {
    let server = Server::start();
    server.register("bob");
    let folder = temporary_folder();
    let at = |name: &str| folder.path().join(name);
    let (backup, target) = (at("backup"), at("restored"));
    succeeds(&server.data(), &["backup", text(&backup)]);
    let whole = fs::read(&backup).unwrap();
    let broken = at("broken");
    for length in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&broken, &whole[..length]).unwrap();
        fails(&target, &["check", text(&broken)]);
        fails(&target, &["restore", text(&broken)]);
        assert!(!target.exists() || names(&target).is_empty(), "{length}");
    }
    fs::write(&broken, "neither this nor that").unwrap();
    fails(&target, &["restore", text(&broken)]);
    fails(&target, &["restore", text(&at("missing"))]);
    fails(&target, &["restore", text(folder.path())]);
    let newer = at("newer");
    fs::copy(&backup, &newer).unwrap();
    let database = rusqlite::Connection::open(&newer).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let said = fails(&target, &["restore", text(&newer)]);
    assert!(said.contains("newer version"), "{said}");
    let said = fails(&at("no-folder"), &["backup", text(&at("b"))]);
    assert!(said.contains("there is no"), "{said}");
    assert!(!at("no-folder").exists() && !at("b").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_no_half_of_a_backup() {
    let server = Server::start();
    server.register("bob");
    let folder = temporary_folder();
    let backup = folder.path().join("backup");
    // A file may have at most so many blocks of 512 bytes, and exceeding that is an error.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" backup \"$1\" --data \"$2\"";
    let mut command = process::command("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_server"), text(&backup)]);
    let output = command.arg(server.data()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(names(folder.path()).is_empty());
    server.login("bob");
}
