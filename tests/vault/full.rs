//! A full or failing disk under a vault: a clear sentence, and nothing is acknowledged
//! or sent that is not safe. When the disk works again, all goes on.

use super::*;
use crate::disk::Fault;

/// What `VAULT` is among the client's exit codes.
const VAULT: i32 = 5;

fn say(world: &World, name: &str, text: &str) -> (Option<i32>, String) {
    let mut command = world.command(name, 0);
    command.args(["--user", name]);
    world.script(command, text)
}

/// Alice's client meets the fault when a message arrives; it can't be kept, and ends
/// the session.
fn meet(world: &World, fault: Fault, text: &str) {
    let mut alice = Talker::start(world, "alice", None);
    world.disks["alice"].begin(fault);
    assert_eq!(
        say(world, "bob", &format!("/msg alice {text}\n")).0,
        Some(0)
    );
    assert_eq!(alice.child.wait().unwrap().code(), Some(VAULT));
    let why: Vec<_> = alice.errors.iter().collect();
    let told = |line: &String| line.contains("the vault could not be read or written");
    assert!(why.iter().any(told), "{why:?}");
    alice.fed.store(false, Ordering::Relaxed);
    alice.feeder.join().unwrap();
}

#[test]
fn what_a_vault_cannot_keep_is_neither_acknowledged_nor_sent() {
    let mut world = World::with_disks(&["alice"]);
    world.register_both();
    assert_eq!(say(&world, "bob", "/msg alice before\n").0, Some(0));
    assert_eq!(say(&world, "alice", "/msg bob before\n").0, Some(0));

    meet(&world, Fault::Full, "while it was full");
    let (code, text) = say(&world, "alice", "/msg bob never sent\n");
    assert_eq!(code, Some(VAULT), "{text}");
    assert!(text.contains("the free space"), "{text}");
    world.disks["alice"].end(Fault::Full);

    meet(&world, Fault::FailSync, "while it failed");
    assert!(
        !world.disks["alice"].has(Fault::FailSync),
        "it met no failure"
    );
    // Whatever was not synced by then is not missed.
    world.disks.get_mut("alice").unwrap().cut_to_the_synced();

    assert_eq!(say(&world, "alice", "/msg bob after\n").0, Some(0));
    let sent = account(&world).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    assert_eq!(sent, 5);
}
