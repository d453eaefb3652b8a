//! Space: what is freed goes back to the disk, and the log stays short.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::tests::Fixture;
use super::*;
use crate::protocol::ids::{Blob, MessageId};
use crate::protocol::request::{Body, Sender};
use crate::store::conformance::{Scene, bounds, delete};

const MIB: u64 = 1024 * 1024;

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Stores so many messages of so many bytes, `numbers` of each batch.
fn fill(store: &Sqlite, recipient: UserId, numbers: std::ops::Range<u64>, bytes: usize) {
    let numbers: Vec<u64> = numbers.collect();
    for numbers in numbers.chunks(400) {
        let message = |number: &u64| Message {
            number: *number,
            sender: UserId(99),
            from: Sender::User("alice".parse().unwrap()),
            mid: MessageId(number.to_be_bytes().repeat(2).try_into().unwrap()),
            at: 1,
            body: Body::Envelope(Blob(vec![7; bytes].into())),
        };
        let messages = numbers
            .iter()
            .map(|number| (recipient, Arc::new(message(number))));
        let batch = Batch {
            messages: messages.collect(),
            ..Batch::default()
        };
        store.commit(&batch).unwrap();
    }
}

fn count(folder: &Path) -> i64 {
    let database = Connection::open(folder.join("chat.db")).unwrap();
    let count = "SELECT count(*) FROM mail";
    database.query_row(count, [], |row| row.get(0)).unwrap()
}

#[test]
fn the_file_shrinks_a_little_at_a_time() {
    let fixture = Fixture::new();
    let (bob, carol) = (fixture.register("bob"), fixture.register("carol"));
    let path = fixture.folder.path().join("chat.db");
    fill(&fixture.store, bob, 1..2501, 20_000);
    fill(&fixture.store, carol, 1..11, 20_000);
    assert!(!fixture.store.reclaim().unwrap(), "nothing is free");
    let batch = Batch {
        acknowledged: vec![(bob, 1..=2500)],
        ..Batch::default()
    };
    fixture.store.commit(&batch).unwrap();
    let mut turns = 0;
    while fixture.store.reclaim().unwrap() {
        turns += 1;
    }
    assert!((80..400).contains(&turns), "{turns} turns");
    let Fixture { store, folder } = fixture;
    store.close().unwrap();
    assert!(size(&path) < 20 * MIB, "{} bytes are left", size(&path));
    assert_eq!(count(folder.path()), 10);
}

#[test]
fn a_deleted_accounts_mail_goes_in_slices_and_goes_on_after_a_crash() {
    let fixture = Fixture::new();
    let (bob, carol) = (fixture.register("bob"), fixture.register("carol"));
    fill(&fixture.store, bob, 1..1701, 10);
    fill(&fixture.store, carol, 1..11, 10);
    fixture.change(delete(bob));
    assert!(
        fixture
            .store
            .account(&"bob".parse().unwrap())
            .unwrap()
            .is_none()
    );
    assert!(fixture.store.reclaim().unwrap());
    let Fixture { store, folder } = fixture;
    assert_eq!(count(folder.path()), 1210);
    drop(store);
    let store = Sqlite::open(&folder.path().join("chat.db")).unwrap();
    while store.reclaim().unwrap() {}
    assert_eq!(count(folder.path()), 10);
}

#[test]
fn a_database_of_an_earlier_server_learns_to_shrink() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let old = Connection::open(&path).unwrap();
    // As it was made before: no mark for shrinking, no index of listed names.
    let schema = include_str!("../../../schema.sql");
    let (begin, rest) = schema.split_once("CREATE INDEX listed_names").unwrap();
    let (_, rest) = rest.split_once(';').unwrap();
    old.execute_batch(begin).unwrap();
    old.execute_batch(rest).unwrap();
    old.pragma_update(None, "journal_mode", "WAL").unwrap();
    old.execute_batch(
        "INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
             VALUES ('bob', 1, zeroblob(16), 65536, 3, 1, zeroblob(32));
         INSERT INTO mail VALUES (1, 5, 1, randomblob(16), 1, 0, zeroblob(100))",
    )
    .unwrap();
    drop(old);
    let store = Sqlite::open(&path).unwrap();
    assert!(store.first_number() > 5);
    let page = store.page(UserId(1), bounds(0, u64::MAX)).unwrap();
    assert_eq!(page.messages.len(), 1);
    assert_eq!(store.search(UserId(1), "bo", None, 5).unwrap().len(), 1);
    let first_number = store.first_number();
    store.close().unwrap();
    let database = Connection::open(&path).unwrap();
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    assert_eq!(pragma("auto_vacuum").unwrap(), 2);
    drop(database);
    assert!(Sqlite::open(&path).unwrap().first_number() > first_number);
}

#[test]
fn the_log_stays_short_while_reads_overlap() {
    let fixture = Fixture::new();
    let bob = fixture.register("bob");
    let log = wal_path(&fixture.folder.path().join("chat.db"));
    fill(&fixture.store, bob, 1..2001, 10);
    let (store, done) = (&fixture.store, AtomicBool::new(false));
    let mut longest = 0;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let read = store
                        .summary(bob)
                        .and_then(|_| store.places_after(bob, 0, 1000));
                    read.unwrap();
                }
            });
        }
        for batch in 0..40 {
            let begin = 10_000 + batch * 400;
            fill(store, bob, begin..begin + 400, 15_000);
            longest = longest.max(size(&log));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(longest < 128 * MIB, "{longest} bytes");
}

#[test]
fn commits_fold_nothing_and_a_folded_log_begins_anew() {
    let fixture = Fixture::new();
    let bob = fixture.register("bob");
    let (store, path) = (&fixture.store, fixture.folder.path().join("chat.db"));
    let pages = || store.checkpoints.pages();
    fill(store, bob, 1..1201, 15_000);
    assert!(store.wants_folding(), "{} pages", pages());
    assert!(size(&path) < MIB, "the log was folded by a commit");

    // While somebody reads the log, it is folded, and goes on.
    let reader = Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM mail")
        .unwrap();
    store.prepare_folding(false);
    store.fold(false).unwrap();
    assert!(size(&path) > 15 * MIB && !store.wants_folding());
    let before = pages();
    fill(store, bob, 1201..1202, 10);
    assert!(pages() > before && !store.wants_folding());
    fill(store, bob, 1202..1402, 15_000);
    assert!(store.wants_folding());

    reader.execute_batch("COMMIT").unwrap();
    store.prepare_folding(false);
    store.fold(false).unwrap();
    fill(store, bob, 1402..1403, 10);
    assert!(pages() < 100 && !store.wants_folding(), "{} pages", pages());
}
