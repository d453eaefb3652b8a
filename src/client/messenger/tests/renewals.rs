//! New sessions, and the numbers across them, as two people see them.

use std::collections::HashSet;

use super::setups::acquainted;
use super::*;
use crate::client::vault::Renewal;
use crate::client::view::{Mark, Tone};
use crate::crypto::message::envelope::{Envelope, Header};
use crate::crypto::ratchet::origin::Cause;

/// The headers of all envelopes that were sent.
fn headers(server: &Double) -> Vec<Header> {
    let world = server.world.lock().unwrap();
    let sends = world.sends.iter();
    sends
        .map(|(_, bytes, _)| Envelope::parse(bytes).unwrap().header)
        .collect()
}

/// How many sessions were started, and for which causes.
pub(super) fn started(server: &Double) -> Vec<Cause> {
    let mut seen = HashSet::new();
    let initial = headers(server).into_iter().filter_map(|header| {
        let origin = header.initial?.origin?;
        seen.insert(header.session_id).then_some(origin.cause)
    });
    initial.collect()
}

fn withhold_one_time(server: &Double, name: &str) {
    let mut world = server.world.lock().unwrap();
    let account = world.accounts.get_mut(&name.parse().unwrap()).unwrap();
    account.published.as_mut().unwrap().one_time.clear();
}

/// An envelope in bob's name that nobody sent: of no session, or of the one in use and far
/// ahead.
fn garbage(number: u8, of: Option<&Header>) -> Incoming {
    let mut bytes = [
        &[2, 1][..],
        &[number; 16],
        &[0x22; 32],
        &[0; 8],
        &[0x44; 48],
    ]
    .concat();
    if let Some(header) = of {
        bytes[2..18].copy_from_slice(&header.session_id);
        bytes[18..50].copy_from_slice(&header.ratchet.ratchet_key);
        bytes[54..58].copy_from_slice(&5_000_u32.to_be_bytes());
    }
    Incoming {
        from: "bob".parse().unwrap(),
        mid: MessageId([number; 16]),
        at: 5,
        body: Body::Envelope(Blob(bytes.into())),
    }
}

#[test]
fn garbage_and_withheld_prekeys_force_no_session_that_long_lived_keys_open() {
    let (server, alice, bob) = acquainted();
    let before = started(&server).len();
    for round in 0..6 {
        withhold_one_time(&server, "bob");
        let last = headers(&server).pop().unwrap();
        let of = (round % 2 == 1).then_some(&last);
        server.push("alice", garbage(100 + round, of));
        alice.sees_undecryptable();
        alice.send("bob", &format!("turn {round}"));
        bob.reads(&format!("turn {round}"));
        bob.send("alice", &format!("back {round}"));
        alice.reads(&format!("back {round}"));
    }
    // What claims to be far ahead of its chain may be true; it starts one, once a day, and
    // that one goes on from the last.
    assert_eq!(started(&server)[before..], [Cause::Linked]);
}

#[test]
fn renew_starts_one_session_that_both_are_told_of() {
    let (server, alice, bob) = acquainted();
    let before = started(&server).len();
    let nobody = alice.run(Command::Renew("carol".parse().unwrap()));
    assert!(nobody.unwrap_err().contains("no contact carol"));
    alice.run(Command::Renew(bob.name)).unwrap();
    alice.sees_line("this client starts a new session with bob");
    alice.send("bob", "in a new one");
    bob.sees_line("alice's client started a new session that does not go on from the one before: its user said /renew");
    bob.reads("in a new one");
    bob.send("alice", "I follow");
    alice.reads("I follow");
    assert_eq!(started(&server)[before..], [Cause::Person]);
    let last = headers(&server).pop().unwrap();
    assert_eq!(last.session_id, headers(&server)[before + 2].session_id);
}

#[test]
fn what_the_server_refused_is_void_and_what_it_dropped_is_missing() {
    let (server, alice, bob) = acquainted();
    server.world.lock().unwrap().refuse_send = Some((Code::TooLarge, "too large"));
    alice.send("bob", "refused");
    alice.sees_line("the message to bob was not sent");
    alice.send("bob", "next");
    bob.reads("next");
    let missing = |events: Vec<ViewEvent>| {
        let said = |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("not arrived"));
        events.iter().filter(|event| said(event)).count()
    };
    assert_eq!(missing(bob.everything()), 0);
    // The server delivers what it said it refused.
    let world = server.world.lock().unwrap();
    let (mid, bytes, _) = world.sends[world.sends.len() - 2].clone();
    drop(world);
    let refused = Incoming {
        from: alice.name,
        mid,
        at: 5,
        body: Body::Envelope(Blob(bytes.into())),
    };
    server.push("bob", refused);
    bob.sees_line("one of the two was told something false");
    assert_eq!(bob.reads("refused"), Mark::None);
}

#[test]
fn what_was_blocked_is_no_gap_to_be_afraid_of() {
    let (server, alice, bob) = acquainted();
    bob.run(Command::Block(alice.name)).unwrap();
    alice.send("bob", "never to arrive");
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    bob.run(Command::Unblock(alice.name)).unwrap();
    alice.send("bob", "heard again");
    bob.sees_line("1 message from alice has not arrived; alice was blocked meanwhile");
    bob.reads("heard again");
    // Another time it is one.
    drop_next(&server, &alice, "dropped");
    alice.send("bob", "after it");
    bob.sees("a warning", |event| match event {
        ViewEvent::Line(Tone::Warning, line) => line.contains("has not arrived").then_some(()),
        _ => None,
    });
}

/// Alice writes, and the server drops it.
pub(super) fn drop_next(server: &Double, alice: &Somebody, text: &str) {
    let block = |on| {
        let mut world = server.world.lock().unwrap();
        let account = world.accounts.get_mut(&"bob".parse().unwrap()).unwrap();
        account.block(alice.name, on);
    };
    block(true);
    alice.send("bob", text);
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    block(false);
}

#[test]
fn a_message_dropped_before_a_new_session_is_said_to_be_missing() {
    let (server, alice, bob) = acquainted();
    drop_next(&server, &alice, "dropped");
    alice.run(Command::Renew(bob.name)).unwrap();
    alice.send("bob", "in a new session");
    bob.sees_line("1 message from alice has not arrived");
    bob.reads("in a new session");
}

#[test]
fn a_copied_vault_starts_anew_once_a_day_and_only_on_proof() {
    let (server, alice, mut bob) = acquainted();
    bob.log_out();
    // The server says that other prekeys are published, which bob's identity never signed.
    let own = {
        let mut world = server.world.lock().unwrap();
        let account = world.accounts.get_mut(&bob.name).unwrap();
        let published = account.published.as_mut().unwrap();
        std::mem::replace(&mut published.signed_prekey.id, 4711)
    };
    bob.log_in();
    bob.run(Command::Contacts).unwrap();
    bob.log_out();
    let renewal = |bob: &Somebody| bob.vault().contact(&alice.name).unwrap().renewal;
    assert_eq!(renewal(&bob), None, "no proof");
    // One that it did sign, and that this vault has had.
    let mut world = server.world.lock().unwrap();
    let account = world.accounts.get_mut(&bob.name).unwrap();
    account.published.as_mut().unwrap().signed_prekey.id = own;
    drop(world);
    bob.log_in();
    bob.log_out();
    assert_eq!(renewal(&bob), None, "an old one played back");
    let mut vault = bob.vault();
    vault.transact(|vault| vault.renew_all()).unwrap();
    drop(vault);
    assert_eq!(renewal(&bob), Some(Renewal::RolledBack));
    bob.log_in();
    bob.send("alice", "anew");
    alice.sees_line("its vault is an older copy, or a copy of it is used elsewhere");
    alice.reads("anew");
}
