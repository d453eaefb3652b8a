//! Power cuts, of the sender, the receiver and the server in turn: each loses what
//! was not synced. Nothing may be lost between the two, or come twice, and they can
//! still read each other.
//!
//! Three cuts by default; `scripts/power-loss.sh` runs the same with many more.

use super::*;
use crate::disk::Fault;

#[test]
fn nothing_is_lost_or_doubled_by_power_cuts() {
    let wanted = std::env::var("SECURE_CHAT_CUTS").map_or(3, |cuts| cuts.parse().unwrap());
    let seed = seed();
    println!("seed {seed}");
    let mut dice = Dice(seed | 1);
    let mut world = World::with_disks(&["alice", "bob", "server"]);
    world.register_both();
    // A vault that was just made is there after a cut, with its folders.
    for disk in world.disks.values_mut() {
        disk.cut_to_the_synced();
    }
    world.kill_server();
    let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let mut alice = Talker::start(&world, "alice", Some(&counts[0]));
    let mut bob = Talker::start(&world, "bob", Some(&counts[1]));
    for number in 0..wanted {
        dice.nap(600);
        match number % 3 {
            0 => {
                alice.kill();
                world.cut("alice");
                alice = Talker::start(&world, "alice", Some(&counts[0]));
            }
            1 => {
                bob.kill();
                world.cut("bob");
                dice.nap(300);
                bob = Talker::start(&world, "bob", Some(&counts[1]));
            }
            _ => {
                world.server.kill().unwrap();
                world.server.wait().unwrap();
                world.cut("server");
                world.start_server();
            }
        }
    }
    alice.finish();
    bob.finish();
    let sent = account(&world).unwrap_or_else(|wrong| panic!("{wrong:#?}, seed {seed}"));
    println!("{wanted} power cuts: {sent} messages, 0 lost, 0 twice, order kept, outboxes empty");
    for (name, disk) in &world.disks {
        println!("{name}: {:?}", disk.damage());
    }
    assert!(sent > 0);
}

#[test]
fn without_syncs_a_cut_forgets_what_was_sent() {
    let mut world = World::with_disks(&["alice"]);
    world.register_both();
    world.disks["alice"].begin(Fault::NoSync);
    let count = Arc::new(AtomicU64::new(0));
    let alice = Talker::start(&world, "alice", Some(&count));
    let bob = Talker::start(&world, "bob", None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while count.load(Ordering::Relaxed) < 50 {
        assert!(Instant::now() < deadline, "nothing is sent");
        thread::sleep(Duration::from_millis(10));
    }
    alice.kill();
    bob.finish();
    world.disks.get_mut("alice").unwrap().cut_to_the_synced();
    let [there, _] = compare_both(&world);
    println!("syncs ignored: {there:?}");
    assert!(there.strange > 0, "{there:?}");
}
