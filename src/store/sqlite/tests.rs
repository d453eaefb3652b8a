//! The contract, on SQLite.

use std::sync::Arc;

use super::*;
use crate::protocol::ids::{Blob, ByteArray, MessageId};
use crate::protocol::request::{Body, KdfParams, Sender};
use crate::store::{Change, Flags, NewAccount, NewLogin, VaultGeneration};

pub(super) struct Fixture {
    pub(super) store: Sqlite,
    pub(super) folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("chat.db")).unwrap();
        Fixture { store, folder }
    }

    pub(super) fn change(&self, change: Change) -> Changed {
        let batch = Batch {
            changes: vec![change],
            ..Batch::default()
        };
        self.store.commit(&batch).unwrap().remove(0)
    }

    pub(super) fn register(&self, name: &str) -> UserId {
        match self.change(Change::Register(new_account(name))) {
            Changed::Registered(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn put(&self, recipient: UserId, sender: UserId, from: Sender, number: u64) {
        let body = if number.is_multiple_of(2) {
            Body::Envelope(Blob(vec![1; 10].into()))
        } else {
            Body::Plain("hello".into())
        };
        let message = Message {
            number,
            sender,
            from,
            mid: MessageId([number as u8; 16]),
            at: 5,
            body,
        };
        let batch = Batch {
            messages: vec![(recipient, Arc::new(message))],
            ..Batch::default()
        };
        self.store.commit(&batch).unwrap();
    }

    pub(super) fn numbers(&self, recipient: UserId) -> Vec<u64> {
        let page = self.store.page(recipient, bounds(0, u64::MAX)).unwrap();
        page.messages.iter().map(|message| message.number).collect()
    }
}

pub(super) fn bounds(after: u64, before: u64) -> PageBounds {
    PageBounds {
        after,
        before,
        messages: 100,
        rows: 100,
        bytes: 1 << 20,
        envelopes: true,
    }
}

fn kdf() -> KdfParams {
    KdfParams {
        salt: ByteArray([1; 16]),
        memory_kib: 65536,
        passes: 3,
        lanes: 1,
    }
}

/// The login key of [`new_account`].
const LOGIN_KEY: ByteArray<32> = ByteArray([2; 32]);

/// Deletes a new account.
pub(super) fn delete(user: UserId) -> Change {
    let proven = Some(LOGIN_KEY);
    Change::Delete { user, proven }
}

pub(super) fn new_account(name: &str) -> NewAccount {
    NewAccount {
        name: name.parse().unwrap(),
        kdf: kdf(),
        login_key: LOGIN_KEY,
        created: 1,
        invitation: None,
    }
}

#[test]
fn a_password_changes_only_if_it_is_the_one_that_was_proven() {
    let fixture = Fixture::new();
    let alice = fixture.register("alice");
    let [first, second] = [[8; 32], [9; 32]].map(ByteArray);
    let set = |proven, login_key| {
        Change::SetLogin(NewLogin {
            user: alice,
            proven,
            kdf: kdf(),
            login_key,
        })
    };
    let account = || fixture.store.account(&"alice".parse().unwrap()).unwrap();
    // Both were proven with the key of before.
    let batch = Batch {
        changes: vec![set(LOGIN_KEY, first), set(LOGIN_KEY, second)],
        ..Batch::default()
    };
    let changed = fixture.store.commit(&batch).unwrap();
    assert_eq!(changed, [Changed::Done, Changed::OtherLogin]);
    assert_eq!(account().unwrap().login_key, first);
    assert_eq!(fixture.change(delete(alice)), Changed::OtherLogin);
    assert_eq!(account().unwrap().login_key, first);
    fixture.put(alice, alice, Sender::User("alice".parse().unwrap()), 1);
    assert!(!fixture.store.reclaim().unwrap());
    assert_eq!(fixture.numbers(alice), [1], "nothing of it was deleted");
    assert_eq!(fixture.change(set(first, second)), Changed::Done);
}

#[test]
fn names_are_taken_once_and_stay_taken() {
    let fixture = Fixture::new();
    let alice = fixture.register("alice");
    assert_eq!(
        fixture.change(Change::Register(new_account("Alice"))),
        Changed::NameTaken
    );
    assert_eq!(fixture.change(delete(alice)), Changed::Done);
    assert!(
        fixture
            .store
            .account(&"alice".parse().unwrap())
            .unwrap()
            .is_none()
    );
    assert_eq!(
        fixture.change(Change::Register(new_account("alice"))),
        Changed::NameTaken
    );
}

#[test]
fn mail_is_paged_in_order_and_deleted_by_range() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let from = Sender::User("alice".parse().unwrap());
    for number in 1..=10 {
        fixture.put(bob, alice, from, number);
    }
    let page = fixture
        .store
        .page(
            bob,
            PageBounds {
                messages: 3,
                ..bounds(2, 9)
            },
        )
        .unwrap();
    let numbers: Vec<u64> = page.messages.iter().map(|m| m.number).collect();
    assert_eq!((numbers, page.complete), (vec![3, 4, 5], false));
    let page = fixture
        .store
        .page(
            bob,
            PageBounds {
                envelopes: false,
                ..bounds(0, 9)
            },
        )
        .unwrap();
    assert!(
        page.complete
            && page
                .messages
                .iter()
                .all(|m| matches!(m.body, Body::Plain(_)))
    );
    assert_eq!(page.messages[0].from, from);

    let batch = Batch {
        acknowledged: vec![(bob, 2..=4), (bob, 7..=7), (alice, 1..=9)],
        ..Batch::default()
    };
    fixture.store.commit(&batch).unwrap();
    assert_eq!(fixture.numbers(bob), [1, 5, 6, 8, 9, 10]);

    let summary = fixture.store.summary(bob).unwrap();
    assert_eq!(summary.last, 10);
    let [(sender, tally)] = summary.tallies[..] else {
        panic!()
    };
    assert_eq!(
        (sender, tally.envelopes, tally.plain, tally.bytes),
        (alice, 3, 3, 45)
    );
    let place = |number| Place {
        number,
        sender: alice,
        mid: MessageId([number as u8; 16]),
    };
    let store = &fixture.store;
    let places = store.places(bob, &[5, 4, 11]).unwrap();
    assert_eq!(places, [place(5)]);
    assert_eq!(store.places_after(bob, 5, 2).unwrap(), [place(6), place(8)]);
    assert_eq!(store.places_after(bob, 9, 2).unwrap(), [place(10)]);
    assert_eq!(store.message(bob, 5).unwrap().unwrap().mid, place(5).mid);
    assert_eq!(store.message(bob, 4).unwrap(), None);
}

#[test]
fn a_failed_batch_leaves_nothing() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    let from = Sender::User("alice".parse().unwrap());
    fixture.put(bob, alice, from, 1);
    let page = fixture.store.page(bob, bounds(0, 9)).unwrap();
    let again = Arc::new(page.messages[0].clone());
    let fresh = Arc::new(Message {
        number: 2,
        ..page.messages[0].clone()
    });
    let batch = Batch {
        messages: vec![(bob, fresh), (bob, again)],
        ..Batch::default()
    };
    assert!(fixture.store.commit(&batch).is_err(), "number 1 exists");
    assert_eq!(fixture.numbers(bob), [1]);
    fixture.put(bob, alice, from, 2);
    assert_eq!(fixture.numbers(bob), [1, 2], "the connection was reopened");
}

#[test]
fn search_is_a_prefix_in_pages() {
    let fixture = Fixture::new();
    for name in ["al", "alice", "alf", "bob", "al-z", "al_z"] {
        fixture.register(name);
    }
    let hidden = fixture.register("alan");
    let flags = Flags {
        listed: false,
        presence: true,
        refuse_unencrypted: false,
    };
    fixture.change(Change::SetFlags(hidden, flags));
    let names = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(|name| name.parse().unwrap());
        let found = fixture
            .store
            .search(hidden, "al", after.as_ref(), limit)
            .unwrap();
        found.iter().map(|found| found.name.to_string()).collect()
    };
    assert_eq!(names(None, 10), ["al", "al-z", "al_z", "alf", "alice"]);
    assert_eq!(names(Some("al_z"), 1), ["alf"]);
    assert!(
        fixture
            .store
            .search(hidden, "%", None, 10)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn foreign_and_newer_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "just some text, longer than a header".repeat(40)).unwrap();
    assert!(Sqlite::open(&text).is_err());
    assert!(
        std::fs::read_to_string(&text)
            .unwrap()
            .starts_with("just some text")
    );

    let newer = folder.path().join("newer");
    drop(Sqlite::open(&newer).unwrap());
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let message = Sqlite::open(&newer).err().unwrap().to_string();
    assert!(message.contains("newer version"), "{message}");
}

#[test]
fn no_statement_needs_temporary_space_or_looks_at_all_the_mail() {
    let fixture = Fixture::new();
    let writer = fixture.store.writer.lock();
    let connection = writer.as_ref().unwrap();
    let plan = |statement: &str| -> Vec<String> {
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let mut statement = connection.prepare(&explain).unwrap();
        let values: Vec<i64> = (0..statement.parameter_count() as i64).collect();
        let steps = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(3));
        steps.unwrap().map(Result::unwrap).collect()
    };
    let temporary = |step: &String| {
        ["TEMP B-TREE", "MATERIALIZE", "CO-ROUTINE", "LIST SUBQUERY"]
            .iter()
            .any(|what| step.contains(what))
    };
    for (name, statement) in statements::ALL {
        let steps = plan(statement);
        assert!(!steps.iter().any(temporary), "{name}: {steps:?}");
        // The ends of the table are one step each.
        let whole = steps.iter().any(|step| step == "SCAN mail");
        assert!(!whole || name.ends_with("_MAIL"), "{name}: {steps:?}");
    }
    // It can fail.
    let sorted = "SELECT sender, max(body) FROM mail WHERE recipient = 1 GROUP BY sender";
    assert!(plan(sorted).iter().any(temporary));
}

#[test]
fn every_statement_is_in_the_list() {
    for (file, text) in [
        ("read.rs", include_str!("read.rs")),
        ("write.rs", include_str!("write.rs")),
        ("expiry.rs", include_str!("expiry.rs")),
    ] {
        for verb in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
            assert!(!text.contains(&format!("{verb} ")), "{file}: {verb}");
        }
    }
}

#[test]
fn temporary_space_is_memory_on_every_connection() {
    let fixture = Fixture::new();
    let temp_store = |connection: &Connection| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, "temp_store", |row| row.get(0))
    };
    assert_eq!(fixture.store.read(Lane::Short, temp_store).unwrap(), 2);
    let writer = fixture.store.writer.lock();
    assert_eq!(temp_store(writer.as_ref().unwrap()).unwrap(), 2);
}

#[test]
fn a_closed_store_is_one_file() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.register("alice"), fixture.register("bob"));
    fixture.put(bob, alice, Sender::User("alice".parse().unwrap()), 1);
    assert_eq!(fixture.numbers(bob), [1]);
    fixture.store.close().unwrap();
    assert!(fixture.store.summary(bob).is_err(), "reads have ended");
    assert_eq!(std::fs::read_dir(fixture.folder.path()).unwrap().count(), 1);
    let copy = fixture.folder.path().join("copy.db");
    std::fs::copy(fixture.folder.path().join("chat.db"), &copy).unwrap();
    let copy = Sqlite::open(&copy).unwrap();
    assert_eq!(copy.summary(bob).unwrap().last, 1);
    assert_eq!(copy.secret(), fixture.store.secret());
}

#[test]
fn what_is_found_tells_a_first_start_from_a_server_that_has_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let nothing = Found::Nothing { log: false };
    assert_eq!(inspect(&path).unwrap(), nothing);
    std::fs::write(&path, "").unwrap();
    assert_eq!(inspect(&path).unwrap(), nothing);
    std::fs::write(wal_path(&path), "something").unwrap();
    assert_eq!(inspect(&path).unwrap(), Found::Nothing { log: true });
    std::fs::remove_file(wal_path(&path)).unwrap();

    let header = Connection::open(&path).unwrap();
    header.pragma_update(None, "journal_mode", "WAL").unwrap();
    drop(header);
    assert_eq!(inspect(&path).unwrap(), Found::Empty);

    let store = Sqlite::open(&path).unwrap();
    assert_eq!(inspect(&path).unwrap(), Found::Made { begun: false });
    store.mark_used().unwrap();
    store.mark_used().unwrap();
    store.close().unwrap();
    assert_eq!(inspect(&path).unwrap(), Found::Made { begun: true });
}

#[test]
fn a_database_with_accounts_has_been_served_with() {
    let fixture = Fixture::new();
    fixture.register("alice");
    let path = fixture.folder.path().join("chat.db");
    assert_eq!(inspect(&path).unwrap(), Found::Made { begun: true });
}

#[test]
fn an_impossible_number_is_damage() {
    for number in [0, -5, i64::MAX, i64::MIN] {
        let store = Fixture::new();
        let (bob, alice) = (store.register("bob"), store.register("alice"));
        store.put(bob, alice, Sender::User("alice".parse().unwrap()), 1);
        assert_eq!(store.store.summary(bob).unwrap().last, 1);
        let raw = rusqlite::Connection::open(store.folder.path().join("chat.db")).unwrap();
        raw.execute("UPDATE mail SET number = ?1", [number])
            .unwrap();
        let refused = store.store.summary(bob);
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "{number}");
    }
}

#[test]
fn a_damaged_index_on_names_is_made_anew() {
    let Fixture { store, folder } = Fixture::new();
    let path = folder.path().join("chat.db");
    let batch = Batch {
        changes: vec![Change::Register(new_account("victim"))],
        ..Batch::default()
    };
    store.commit(&batch).unwrap();
    drop(store);
    let raw = rusqlite::Connection::open(&path).unwrap();
    let root: i64 = raw
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_users_1'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    raw.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(raw);
    let mut content = std::fs::read(&path).unwrap();
    let page = (root as usize - 1) * 4096..root as usize * 4096;
    let at = content[page.clone()]
        .windows(6)
        .position(|part| part == b"victim");
    content[page.start + at.unwrap()..][..6].copy_from_slice(b"nobody");
    std::fs::write(&path, content).unwrap();

    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.name_index(), NameIndex::Rebuilt);
    assert!(store.account(&"victim".parse().unwrap()).unwrap().is_some());
    drop(store);
    assert_eq!(Sqlite::open(&path).unwrap().name_index(), NameIndex::Sound);
}

#[test]
fn the_greatest_generation_of_a_vault_is_kept() {
    let fixture = Fixture::new();
    let alice = fixture.register("alice");
    let tell = |told| match fixture.change(Change::CountLogin(alice, told)) {
        Changed::Login { vault, .. } => vault,
        other => panic!("{other:?}"),
    };
    let [seven, eight, nine, ten] = [7, 8, 9, 10].map(|number| Some(generation(number, 1)));
    assert_eq!(tell(None), None);
    assert_eq!(tell(seven), None);
    assert_eq!(tell(nine), None);
    assert_eq!(
        tell(None),
        nine,
        "a console's login, or one without a vault"
    );
    let of_copy = Some(generation(9, 2));
    assert_eq!(tell(of_copy), nine, "the same vault twice is a copy");
    assert_eq!(tell(eight), nine);
    let without_proof = Some(VaultGeneration {
        number: 11,
        proof: None,
    });
    assert_eq!(tell(without_proof), None);
    assert_eq!(tell(ten), without_proof);
    assert_eq!(tell(Some(generation(u64::MAX, 1))), None);
    assert_eq!(tell(ten), Some(generation(i64::MAX as u64, 1)));
}

fn generation(number: u64, proof: u8) -> VaultGeneration {
    VaultGeneration {
        number,
        proof: Some(ByteArray([proof; 16])),
    }
}

#[test]
fn a_database_of_before_there_were_generations_opens() {
    for dropped in [
        "DROP TABLE vault_generations; DROP TABLE vault_proofs",
        "DROP TABLE vault_proofs",
    ] {
        let fixture = Fixture::new();
        let alice = fixture.register("alice");
        let path = fixture.folder.path().join("chat.db");
        drop(fixture.store);
        let db = Connection::open(&path).unwrap();
        db.execute_batch(dropped).unwrap();
        drop(db);
        let store = Sqlite::open(&path).unwrap();
        let batch = Batch {
            changes: vec![
                Change::CountLogin(alice, Some(generation(3, 1))),
                Change::CountLogin(alice, Some(generation(2, 1))),
            ],
            ..Batch::default()
        };
        let login = |logins, vault| Changed::Login { logins, vault };
        let done = store.commit(&batch).unwrap();
        assert_eq!(done, [login(1, None), login(2, Some(generation(3, 1)))]);
    }
}
