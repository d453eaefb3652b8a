//! What is erased by the clock, and that a clock that jumps erases nothing at once.

use std::time::Duration;

use tempfile::TempDir;

use super::super::*;
use super::create;
use crate::client::vault::aging::DAY_MS;
use crate::crypto::keys::{IdentityKeys, PrekeyBundle, SignedPrekeySecret};
use crate::crypto::os_rng;
use crate::crypto::ratchet::origin::Cause;
use crate::crypto::ratchet::session_set::SessionSet;

const DAY: Duration = Duration::from_millis(DAY_MS);
const START: u64 = 1_700_000_000_000;

fn one_time(vault: &Vault) -> i64 {
    let sql = "SELECT count(*) FROM one_time_prekeys";
    vault.db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// A set with a session in use, and one that was superseded at an age.
fn sessions(superseded_at: u64) -> SessionSet {
    let mut rng = os_rng();
    let theirs = IdentityKeys::generate(&mut rng);
    let our = IdentityKeys::generate(&mut rng);
    let signed = SignedPrekeySecret::generate(&theirs, 1, &mut rng).public();
    let bundle = PrekeyBundle {
        identity: theirs.public(),
        signed_prekey: signed,
        one_time: None,
    };
    let bundle = bundle.verify().unwrap();
    let mut set = SessionSet::new(theirs.public());
    for cause in [Cause::First, Cause::Person] {
        set.start(&our, &bundle, cause, START, superseded_at, &mut rng)
            .unwrap();
    }
    set
}

#[test]
fn keys_are_erased_a_day_at_a_time_and_thirty_days_after_their_use() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let keys = vault.make_identity().unwrap();
    let old = vault.make_signed(&keys, START).unwrap().public().id;
    let new = vault.make_signed(&keys, START + 1).unwrap().public().id;
    vault.make_one_time(3).unwrap();
    let age = vault.age(START).unwrap();
    assert_eq!((age, vault.age(START + 5).unwrap()), (START, START));
    vault.withdraw_one_time(age).unwrap();
    vault.make_one_time(2).unwrap();
    let contact = vault
        .transact(|vault| {
            let contact = vault.contact_or_new(&"bob".parse().unwrap())?.id;
            vault.save_conversation(contact, &sessions(age))?;
            Ok(contact)
        })
        .unwrap();
    let saved = |vault: &Vault| vault.conversation(contact).unwrap().unwrap();
    let both = saved(&vault).to_bytes().len();

    // Ten years ahead, and back again: each counts a day at most.
    let mut now = START + 3_650 * DAY_MS;
    assert_eq!(vault.grow_older(now, DAY).unwrap(), START + DAY_MS);
    assert_eq!(vault.grow_older(START, DAY).unwrap(), START + DAY_MS);
    assert_eq!(vault.grow_older(now, DAY).unwrap(), START + 2 * DAY_MS);
    assert!(vault.has_signed(old).unwrap() && one_time(&vault) == 5);
    for _ in 2..30 {
        now += DAY_MS;
        vault.grow_older(now, DAY).unwrap();
    }
    assert_eq!(
        (one_time(&vault), saved(&vault).to_bytes().len()),
        (5, both)
    );
    for _ in 30..32 {
        now += DAY_MS;
        vault.grow_older(now, DAY).unwrap();
    }
    assert_eq!(one_time(&vault), 2, "30 days after they were withdrawn");
    assert!(!vault.has_signed(old).unwrap() && vault.has_signed(new).unwrap());
    assert!(saved(&vault).to_bytes().len() < both, "one session is gone");
    assert!(saved(&vault).has_session(), "the one in use is not");
}

#[test]
fn an_outbox_of_before_messages_had_numbers_is_read() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let send = crate::protocol::request::Send {
        to: "bob".parse().unwrap(),
        mid: crate::protocol::MessageId([3; 16]),
        body: crate::protocol::Body::Plain("old".into()),
        identity: None,
        again: false,
        after: None,
    };
    let sealed = vault.seal_json(&Row::new(Place::Outbox, 1), &send).unwrap();
    vault
        .db
        .execute("INSERT INTO outbox (seq, sealed) VALUES (1, ?)", [sealed])
        .unwrap();
    let (_, read) = vault.next_in_outbox(0).unwrap().unwrap();
    assert_eq!(read.unwrap().mid, send.mid);
    assert_eq!(vault.number_in_outbox(1).unwrap(), None);
    let number = crate::crypto::ratchet::counters::MessageNumber {
        instance: [1; 16],
        number: 7,
    };
    vault
        .transact(|vault| vault.add_to_outbox(2, &send, Some(number)))
        .unwrap();
    let numbered = vault.number_in_outbox(2).unwrap();
    assert_eq!(numbered, Some((send.to, number)));
}
