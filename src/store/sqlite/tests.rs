//! The contract on SQLite, and what this store promises besides.

use super::*;
use crate::protocol::request::Sender;
use crate::store::Change;
use crate::store::conformance::{Scene, contract, generation, new_account};

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
}

impl Scene for Fixture {
    fn store(&self) -> &dyn Store {
        &self.store
    }
}

contract!(Fixture::new());

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
