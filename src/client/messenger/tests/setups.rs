//! What many tests begin with: people who know each other.

use super::*;

/// Alice and bob, who have heard each other, alice having compared the number.
pub(super) fn verified() -> (Double, Somebody, Somebody) {
    let (server, alice, bob) = acquainted();
    verify(&alice);
    alice.sees_line("bob is verified");
    (server, alice, bob)
}

/// Alice and bob, who have heard each other.
pub(super) fn acquainted() -> (Double, Somebody, Somebody) {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    alice.send("bob", "hello");
    bob.reads("hello");
    bob.send("alice", "hello back");
    alice.reads("hello back");
    (server, alice, bob)
}

/// Looks at bob's number and says that it is right.
pub(super) fn verify(alice: &Somebody) {
    let bob = "bob".parse().unwrap();
    alice.run(Command::Verify(bob, false)).unwrap();
    alice.run(Command::Verify(bob, true)).unwrap();
}

/// That each reads the other's next text.
pub(super) fn they_talk(alice: &Somebody, bob: &Somebody, what: &str) {
    alice.send("bob", &format!("{what}, asks alice"));
    assert_eq!(bob.reads(&format!("{what}, asks alice")), Mark::None);
    bob.send("alice", &format!("{what}, says bob"));
    assert_eq!(alice.reads(&format!("{what}, says bob")), Mark::None);
}
