//! A full disk under a vault: a clear sentence, and nothing is acknowledged or sent
//! that is not safe. With space again, all goes on.

use super::*;
use crate::disk::Fault;

/// What `VAULT` is among the client's exit codes.
const VAULT: i32 = 5;

fn say(world: &World, name: &str, text: &str) -> (Option<i32>, String) {
    let mut command = world.command(name, 0);
    command.args(["--user", name]);
    world.script(command, text)
}

#[test]
fn a_full_disk_acknowledges_nothing_and_sends_nothing() {
    let world = World::with_disks(&["alice"]);
    world.register_both();
    let disk = &world.disks["alice"];
    assert_eq!(say(&world, "bob", "/msg alice before\n").0, Some(0));
    assert_eq!(say(&world, "alice", "/msg bob before\n").0, Some(0));

    let mut alice = Talker::start(&world, "alice", None);
    disk.begin(Fault::Full);
    // It arrives, can't be kept, and ends the session.
    assert_eq!(
        say(&world, "bob", "/msg alice while it was full\n").0,
        Some(0)
    );
    assert_eq!(alice.child.wait().unwrap().code(), Some(VAULT));
    let why: Vec<_> = alice.errors.iter().collect();
    assert!(
        why.iter()
            .any(|line| line.contains("full") && line.contains("check the free space")),
        "{why:?}"
    );
    alice.fed.store(false, Ordering::Relaxed);
    alice.feeder.join().unwrap();
    // Nor does anything leave.
    let (code, text) = say(&world, "alice", "/msg bob never sent\n");
    assert_eq!(code, Some(VAULT), "{text}");
    disk.end(Fault::Full);

    assert_eq!(say(&world, "alice", "/msg bob after\n").0, Some(0));
    let sent = account(&world).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    assert_eq!(sent, 4);
}
