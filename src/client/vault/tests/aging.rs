//! What is erased by the clock, and that a clock that jumps erases nothing at once.

use std::time::Duration;

use tempfile::TempDir;

use super::super::*;
use super::{create, record};
use crate::client::vault::aging::DAY_MS;
use crate::crypto::keys::{IdentityKeys, PrekeyBundle, SignedPrekeySecret};
use crate::crypto::os_rng;
use crate::crypto::ratchet::counters::MessageNumber;
use crate::crypto::ratchet::origin::Cause;
use crate::crypto::ratchet::session_set::SessionSet;
use crate::protocol::request::Send;
use crate::protocol::{Blob, Body, ByteArray, MessageId};

const DAY: Duration = Duration::from_millis(DAY_MS);
const START: u64 = 1_700_000_000_000;

fn one_time(vault: &Vault) -> usize {
    vault.numbers(Table::OneTimePrekeys).count()
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
    assert!(vault.has_signed(old) && one_time(&vault) == 5);
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
    assert!(!vault.has_signed(old) && vault.has_signed(new));
    assert!(saved(&vault).to_bytes().len() < both, "one session is gone");
    assert!(saved(&vault).has_session(), "the one in use is not");
}

#[test]
fn the_outbox_keeps_the_number_of_a_message_and_an_earlier_handle() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let number = MessageNumber {
        instance: [1; 16],
        number: 7,
    };
    let mid = MessageId([3; 16]);
    let record = record("numbered");
    let (bob, seq) = vault
        .transact(|vault| {
            let bob = vault.contact_or_new(&"bob".parse().unwrap())?;
            let seq = vault.add_message(bob.id, &mid, 1, &record)?;
            let send = Send {
                to: bob.name,
                mid,
                body: Body::Envelope(Blob([2; 60].as_slice().into())),
                identity: Some(ByteArray([4; 32])),
                again: false,
                after: Some(ByteArray([5; 16])),
            };
            vault.add_to_outbox(seq, &send, Some(number))?;
            Ok((bob.id, seq))
        })
        .unwrap();
    let (place, read) = vault.next_in_outbox(0).unwrap().unwrap();
    assert_eq!((place, read.mid), (seq, mid));
    assert_eq!(read.identity, Some(ByteArray([4; 32])));
    assert_eq!(read.after, Some(ByteArray([5; 16])));
    assert!(!read.again);
    let numbered = vault.number_in_outbox(seq).unwrap();
    assert_eq!(numbered, Some((bob, number)));
}

/// The clock was years ahead once: what it has dated must not stay in use for years.
#[test]
fn a_time_to_come_counts_as_now() {
    const YEAR: u64 = 365 * 24 * 3600 * 1000;
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let keys = vault.make_identity().unwrap();
    assert_eq!(vault.signed_since(YEAR).unwrap(), None);
    vault.make_signed(&keys, 10 * YEAR).unwrap();
    assert_eq!(vault.signed_since(11 * YEAR).unwrap(), Some(10 * YEAR));
    assert_eq!(vault.signed_since(YEAR).unwrap(), Some(YEAR));
    assert_eq!(vault.signed_since(YEAR + 9).unwrap(), Some(YEAR));
    // The next one is the newest, whatever the clock says.
    let next = vault.make_signed(&keys, YEAR + 10).unwrap();
    let (newest, _) = vault.newest_signed().unwrap().unwrap();
    assert_eq!(newest.public().id, next.public().id);
    assert_eq!(vault.signed_since(2 * YEAR).unwrap(), Some(YEAR + 10));

    let renewed = |vault: &Vault| vault.contacts()[0].renewed_at;
    vault
        .transact(|vault| {
            let mut bob = vault.contact_or_new(&"bob".parse().unwrap())?;
            bob.renewed_at = 10 * YEAR;
            vault.save_contact(&bob)?;
            vault.correct_renewals(11 * YEAR)
        })
        .unwrap();
    assert_eq!(renewed(&vault), 10 * YEAR);
    vault
        .transact(|vault| vault.correct_renewals(YEAR))
        .unwrap();
    assert_eq!(renewed(&vault), YEAR);
}
