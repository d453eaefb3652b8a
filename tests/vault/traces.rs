//! What a client leaves behind while it runs: nothing in the vault's log, and nothing of its
//! memory for other programs.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use super::*;

/// How long anything may be left.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Waits until `holds`, at most a minute.
fn within_a_minute(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + A_MINUTE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_log_of_an_idle_client_is_empty_within_a_minute() {
    let world = World::new();
    world.register_both();
    let mut command = world.command("alice", 0);
    let mut child = process::spawn(command.args(["--user", "alice"])).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let _said = lines_of(child.stderr.take().unwrap());
    let folder = world.address.replace(':', "_");
    let log = world.data("alice").join(folder).join("alice.vault-wal");
    let length = || log.metadata().map_or(0, |log| log.len());
    for text in ["one", "two"] {
        writeln!(stdin, "/msg bob {text}").unwrap();
        assert!(lines.iter().any(|line| line.contains("stored for bob")));
    }
    assert!(length() > 0, "the ratchet's first state is in the log");
    within_a_minute("an empty log", || length() == 0);
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert!(!log.exists(), "closing removes it");
}

/// Somebody who is not the administrator, to whom all memory is open.
const NOBODY: u32 = 65_534;

#[test]
fn nobody_else_reads_the_memory_of_a_client() {
    let home = temporary_folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    if rustix::process::getuid().is_root() {
        // Where nobody may go, too.
        let client = home.path().join("client");
        std::fs::copy(env!("CARGO_BIN_EXE_client"), &client).unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
        command = Command::new(client);
        command.uid(NOBODY);
    }
    command
        .arg("--data")
        .arg(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = process::spawn(&mut command).unwrap();
    let proc = |file: &str| PathBuf::from(format!("/proc/{}/{file}", child.id()));
    let read = |file: &str| std::fs::read_to_string(proc(file)).unwrap();
    // The files of a process that can be dumped and traced belong to its own user.
    let owner = || proc("mem").metadata().unwrap().uid();
    within_a_minute("memory that belongs to the system", || owner() == 0);
    let limits = read("limits");
    let cores = limits
        .lines()
        .find(|line| line.contains("core file"))
        .unwrap();
    let words: Vec<_> = cores.split_whitespace().skip(4).take(2).collect();
    assert_eq!(words, ["0", "0"], "{cores}");
    let users = read("status");
    let users = users.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!users.contains("\t0"), "{users}");
    child.stdin = None;
    assert!(child.wait().unwrap().success());
}
