//! Vaults that earlier clients wrote, of versions 1 to 3: real ones, and ones that are cut off on their
//! way.

use std::sync::LazyLock;

use rusqlite::Connection;

use super::*;
use crate::crypto::cipher::WrappingKey;

/// Made by the client before version 2: alice, who has verified bob; "hello" and
/// "hello back" were exchanged.
const VERSION_1: &[u8] = include_bytes!("../../../../tests/vault/version-1.vault");

/// Made by the client of commit 9e0251e: the same, and a row or two in every table.
const VERSION_2: &[u8] = include_bytes!("../../../../tests/vault/version-2.vault");

/// Made by the client of commit a74d67e, the first that wrote version 3 as it is: the same, and a number
/// in the outbox. Later clients have added fields to several values.
const VERSION_3: &[u8] = include_bytes!("../../../../tests/vault/version-3.vault");

/// What their passwords derive, at the full cost that they were made with: once for all tests.
static KEY_1: LazyLock<WrappingKey> = LazyLock::new(|| key_of(VERSION_1, "correct horse battery"));
static KEY_2: LazyLock<WrappingKey> = LazyLock::new(|| key_of(VERSION_2, "correct horse"));
static KEY_3: LazyLock<WrappingKey> = LazyLock::new(|| key_of(VERSION_3, "correct horse"));

fn key_of(vault: &[u8], password: &str) -> WrappingKey {
    let dir = TempDir::new().unwrap();
    put(&dir, vault);
    let closed = take(&dir).unwrap().read().unwrap();
    let slot = closed.passwords().next().unwrap();
    closed.derive(slot, password).unwrap().wrapping_key
}

fn put(dir: &TempDir, vault: &[u8]) {
    drop(take(dir).unwrap());
    fs::write(file(dir), vault).unwrap();
}

fn migrated(dir: &TempDir, key: &WrappingKey) -> Vault {
    let closed = take(dir).unwrap().read().unwrap();
    closed.open(key).unwrap().ok().unwrap()
}

fn texts(vault: &Vault) -> Vec<String> {
    let history = vault.whole_history().unwrap().into_iter();
    history.map(|message| message.record.text).collect()
}

/// That all is there which all fixtures have.
fn check_all(vault: &Vault) {
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap().clone();
    assert!(bob.verified && bob.identity.is_some() && !bob.paused);
    assert_eq!(texts(vault)[..2], ["hello", "hello back"]);
    assert!(vault.identity().unwrap().is_some());
    assert!(vault.newest_signed().unwrap().is_some());
    assert!(vault.device().unwrap().registered);
}

fn check_version_1(vault: &Vault) {
    check_all(vault);
    assert!(is_outdated(vault));
}

fn check_version_2(vault: &Vault) {
    check_rows(vault);
    assert!(is_outdated(vault));
}

fn check_version_3(vault: &Vault) {
    check_rows(vault);
    assert!(!is_outdated(vault));
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap();
    let sessions = vault.conversation(bob.id).unwrap().unwrap();
    assert!(sessions.has_session() && bob.renewal.is_none());
    let number = vault.number_in_outbox(vault.last_in_outbox()).unwrap();
    let (to, number) = number.unwrap();
    assert_eq!((to, number.instance, number.number), (bob.id, [7; 16], 3));
}

/// Whether the session with bob is of a version that is only read.
fn is_outdated(vault: &Vault) -> bool {
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap();
    vault.conversation(bob.id).unwrap().unwrap().is_outdated()
}

/// That all is there which the fixtures of versions 2 and 3 have.
fn check_rows(vault: &Vault) {
    check_all(vault);
    let id = |number| MessageId([number; 16]);
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap().id;
    let carol = vault.contact(&"carol".parse().unwrap()).unwrap().id;
    let expected = [
        "unread",
        "",
        "to be encrypted",
        "unencrypted",
        "encrypted",
        "",
    ];
    assert_eq!(texts(vault)[2..], expected);
    assert_eq!(vault.all_unread().unwrap()[0].record.text, "unread");
    assert!(
        (1..=2).all(|n| vault.is_seen(bob, &id(n)).unwrap()) && vault.is_seen(bob, &id(6)).unwrap()
    );
    assert!(!vault.is_seen(bob, &id(5)).unwrap() && !vault.is_seen(carol, &id(1)).unwrap());
    assert_eq!(vault.wanted(bob, 2, 9).unwrap(), [id(2)]);
    assert_eq!(
        vault.wanted(bob, 1, 9).unwrap(),
        [],
        "it was asked for once"
    );
    let to_encrypt = vault.message_by_mid(carol, &id(3)).unwrap().unwrap().seq;
    let control = vault.control_message_by_mid(bob, &id(7)).unwrap().unwrap();
    assert_eq!(control.kind, ControlKind::ResendRequest(vec![id(2)]));
    assert_eq!(
        vault.postponed().unwrap(),
        [(to_encrypt, carol), (control.seq, bob)]
    );
    let (plain, send) = vault.next_in_outbox(0).unwrap().unwrap();
    assert_eq!((send.to.as_str(), send.mid), ("carol", id(4)));
    let (_, send) = vault.next_in_outbox(plain).unwrap().unwrap();
    assert_eq!((send.to.as_str(), send.mid), ("bob", id(5)));
    assert_eq!(send.identity, Some(ByteArray([6; 32])));
    let held = vault.held(bob).unwrap();
    assert_eq!((held.len(), held[0].1.mid, held[0].1.at), (1, id(6), 17));
    assert_eq!(vault.unanswered().unwrap(), 3);
}

fn names(dir: &TempDir) -> Vec<String> {
    let folder = fs::read_dir(dir.path().join("localhost_8080")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = folder
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn version(dir: &TempDir) -> i32 {
    Connection::open(file(dir))
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[test]
fn a_vault_of_an_earlier_version_opens_and_becomes_one_of_this() {
    type Check = fn(&Vault);
    let fixtures: [(_, _, Check); 3] = [
        (VERSION_1, &KEY_1, check_version_1),
        (VERSION_2, &KEY_2, check_version_2),
        (VERSION_3, &KEY_3, check_version_3),
    ];
    for (bytes, key, check) in fixtures {
        let dir = TempDir::new().unwrap();
        put(&dir, bytes);
        let vault = migrated(&dir, key);
        check(&vault);
        drop(vault);
        assert_eq!(names(&dir), ["alice.lock", "alice.vault"]);
        assert_eq!(version(&dir), schema::VERSION);
        let mut vault = migrated(&dir, key);
        check(&vault);
        let number = vault.transact(|vault| vault.take_number()).unwrap();
        assert!(
            vault.message(number).unwrap().is_none() && vault.control(number).unwrap().is_none()
        );
    }
}

#[test]
fn a_wrong_password_migrates_nothing() {
    let dir = TempDir::new().unwrap();
    put(&dir, VERSION_1);
    let closed = take(&dir).unwrap().read().unwrap();
    let opened = closed
        .open(&key_of(VERSION_1, "wrong horse battery"))
        .unwrap();
    assert!(opened.ok().is_none());
    assert_eq!(fs::read(file(&dir)).unwrap(), VERSION_1);
}

#[test]
fn what_a_killed_migration_leaves_is_no_obstacle() {
    let whole = {
        let dir = TempDir::new().unwrap();
        put(&dir, VERSION_2);
        drop(migrated(&dir, &KEY_2));
        fs::read(file(&dir)).unwrap()
    };
    let dir = TempDir::new().unwrap();
    let draft = file(&dir).with_extension("draft");
    // Killed while it wrote the new one, and when that was complete.
    for left in [&whole[..1000], &whole] {
        put(&dir, VERSION_2);
        fs::write(&draft, left).unwrap();
        fs::write(file(&dir).with_extension("draft-wal"), [7; 100]).unwrap();
        check_version_2(&migrated(&dir, &KEY_2));
        assert_eq!(names(&dir), ["alice.lock", "alice.vault"]);
    }
}

/// A failing read of an old row leaves the old vault, and a kill at any step is such a failure.
#[test]
fn a_migration_that_fails_leaves_the_old_vault_as_it_is() {
    for change in [
        "UPDATE contacts SET sealed = x'00'",
        "UPDATE conversations SET sealed = (SELECT sealed FROM contacts)",
        "DELETE FROM contacts WHERE id = 1",
        "UPDATE state SET sealed = (SELECT sealed FROM state WHERE id = 2)",
        "UPDATE sqlite_sequence SET seq = 'many'",
    ] {
        let dir = TempDir::new().unwrap();
        put(&dir, VERSION_2);
        let db = Connection::open(file(&dir)).unwrap();
        db.execute_batch(change).unwrap();
        drop(db);
        let before = fs::read(file(&dir)).unwrap();
        let closed = take(&dir).unwrap().read().unwrap();
        let opened = closed.open(&KEY_2);
        assert!(
            matches!(opened, Err(VaultError::Unreadable(..))),
            "{change}"
        );
        drop(opened);
        assert_eq!(fs::read(file(&dir)).unwrap(), before, "{change}");
    }
}

#[test]
fn rows_that_anybody_could_have_planted_are_left_behind() {
    let dir = TempDir::new().unwrap();
    put(&dir, VERSION_2);
    let db = Connection::open(file(&dir)).unwrap();
    db.execute_batch(
        "INSERT OR IGNORE INTO unsent (seq, contact) SELECT seq, 2 FROM messages;
         INSERT INTO unsent (seq, contact) VALUES (987654, 1), (-5, 1);
         INSERT OR IGNORE INTO outbox (seq, sealed) SELECT seq, sealed FROM messages;
         INSERT INTO outbox (seq, sealed) SELECT seq + 100, sealed FROM outbox;
         INSERT INTO wanted (contact, mid, asked) VALUES (77, zeroblob(16), 0);
         INSERT INTO unread (seq) VALUES (5555)",
    )
    .unwrap();
    drop(db);
    check_version_2(&migrated(&dir, &KEY_2));
}

#[test]
fn numbers_that_are_used_up_are_said_in_a_sentence() {
    let dir = TempDir::new().unwrap();
    put(&dir, VERSION_2);
    let db = Connection::open(file(&dir)).unwrap();
    db.execute_batch("UPDATE sqlite_sequence SET seq = 9223372036854775807")
        .unwrap();
    drop(db);
    let mut vault = migrated(&dir, &KEY_2);
    let added = vault.transact(|vault| vault.add_message(1, &MessageId([9; 16]), 1, &record("no")));
    let said = added.unwrap_err().to_string();
    assert!(said.contains("numbers for messages are used up"), "{said}");
}
