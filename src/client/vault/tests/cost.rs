//! What the vault costs: benchmarks, which print and assert nothing. Run them with
//! `cargo test --release --lib vault::tests::cost -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;
use crate::crypto::keys::IdentityKeys;
use crate::crypto::ratchet::session_set::SessionSet;
use data_encoding::HEXLOWER;

fn id(number: u64) -> MessageId {
    // Ids are random, so they must not come in order.
    let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    MessageId(mixed.to_be_bytes())
}

fn received() -> MessageRecord {
    MessageRecord {
        outgoing: false,
        state: DeliveryState::Received,
        ..record("a message of a length that people write, with some more words in it")
    }
}

/// Takes messages in one transaction, as the messenger does, without decrypting them.
fn take_messages(vault: &mut Vault, numbers: std::ops::Range<u64>, sessions: &SessionSet) {
    vault
        .transact(|vault| {
            for number in numbers {
                let mid = id(number);
                assert!(!vault.is_seen(1, &mid)?);
                vault.mark_seen(1, &mid)?;
                let seq = vault.add_message(1, &mid, number, &received())?;
                vault.mark_unread(seq)?;
                vault.save_conversation(1, sessions)?;
            }
            Ok(())
        })
        .unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "a benchmark"]
fn taking_256_messages() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    vault
        .transact(|vault| vault.contact_or_new(&"bob".parse().unwrap()).map(drop))
        .unwrap();
    let sessions = SessionSet::new(IdentityKeys::generate(&mut os_rng()).public());
    let mut times = Vec::new();
    for round in 0..80 {
        let begun = Instant::now();
        take_messages(&mut vault, round * 256..(round + 1) * 256, &sessions);
        times.push(begun.elapsed());
        let unread: Vec<i64> = vault.all_unread().unwrap().iter().map(|m| m.seq).collect();
        vault.transact(|vault| vault.mark_read(&unread)).unwrap();
    }
    println!("taking 256 messages: {:?} (median of 80)", median(times));
}

#[test]
#[ignore = "a benchmark"]
fn opening_with_a_million_messages() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    vault
        .transact(|vault| vault.contact_or_new(&"bob".parse().unwrap()).map(drop))
        .unwrap();
    let count = 1_000_000;
    for first in (0..count).step_by(20_000) {
        vault
            .transact(|vault| {
                for number in first..first + 20_000 {
                    vault.mark_seen(1, &id(number))?;
                    vault.add_message(1, &id(number), number, &received())?;
                }
                Ok(())
            })
            .unwrap();
    }
    drop(vault);
    let size = fs::metadata(file(&dir)).unwrap().len();
    let mut times = Vec::new();
    for _ in 0..9 {
        let closed = take(&dir).unwrap().read().unwrap();
        let slot = closed.passwords().next().unwrap();
        let key = closed.derive(slot, "right").unwrap().wrapping_key;
        drop(closed);
        // All but the derivation of the password.
        let begun = Instant::now();
        let vault = take(&dir).unwrap().read().unwrap().open(&key).unwrap();
        times.push(begun.elapsed());
        drop(vault);
    }
    println!(
        "opening with {count} messages, {} MB: {:?} (median of 9)",
        size >> 20,
        median(times)
    );
    let mut vault = open(&dir, "right").unwrap();
    let timed = |what: &str, work: &mut dyn FnMut(&mut Vault)| {
        let begun = Instant::now();
        work(&mut vault);
        println!("  {what}: {:?}", begun.elapsed());
    };
    let mut timed = timed;
    timed("the last 20 messages", &mut |vault| {
        assert_eq!(vault.history(None, 20).unwrap().len(), 20);
    });
    timed("a contact without messages", &mut |vault| {
        assert_eq!(vault.history(Some(2), 20).unwrap(), []);
    });
    timed("a message by its id", &mut |vault| {
        assert!(vault.message_by_mid(1, &id(5)).unwrap().is_some());
    });
    timed("an id that no message has", &mut |vault| {
        let absent = HEXLOWER.encode(&id(2 * count).0);
        assert!(vault.find_message(Some(&absent)).unwrap().is_none());
    });
    timed("256 more", &mut |vault| {
        let sessions = SessionSet::new(IdentityKeys::generate(&mut os_rng()).public());
        take_messages(vault, count..count + 256, &sessions);
    });
}
