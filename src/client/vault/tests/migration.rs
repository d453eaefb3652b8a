//! A vault that version 1 wrote: a real one, and one that is cut off on its way.

use std::sync::LazyLock;

use rusqlite::Connection;

use super::*;
use crate::crypto::cipher::WrappingKey;

/// Made by the client before version 2: alice, who has verified bob; "hello" and
/// "hello back" were exchanged.
const VERSION_1: &[u8] = include_bytes!("../../../../tests/vault/version-1.vault");

/// What its password derives, at the full cost that it was made with: once for all tests.
static RIGHT_KEY: LazyLock<WrappingKey> = LazyLock::new(|| key_of("correct horse battery"));

fn key_of(password: &str) -> WrappingKey {
    let dir = TempDir::new().unwrap();
    put(&dir);
    let closed = take(&dir).unwrap().read().unwrap();
    let slot = closed.passwords().next().unwrap();
    closed.derive(slot, password).unwrap().wrapping_key
}

fn put(dir: &TempDir) {
    drop(take(dir).unwrap());
    fs::write(file(dir), VERSION_1).unwrap();
}

fn migrated(dir: &TempDir) -> Vault {
    let closed = take(dir).unwrap().read().unwrap();
    closed.open(&RIGHT_KEY).unwrap().ok().unwrap()
}

fn check(vault: &Vault) {
    let bob = vault.contact(&"bob".parse().unwrap()).unwrap().clone();
    assert!(bob.verified && bob.identity.is_some() && !bob.paused);
    let texts: Vec<_> = vault
        .whole_history()
        .unwrap()
        .into_iter()
        .map(|message| message.record.text)
        .collect();
    assert_eq!(texts, ["hello", "hello back"]);
    assert!(vault.identity().unwrap().is_some());
    assert!(vault.newest_signed().unwrap().is_some());
    assert!(vault.conversation(bob.id).unwrap().unwrap().has_session());
    assert!(vault.device().unwrap().registered);
}

fn copies(dir: &TempDir) -> usize {
    let folder = fs::read_dir(dir.path().join("localhost_8080")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    folder
        .map(name)
        .filter(|name| name.to_string_lossy().contains("version-1"))
        .count()
}

#[test]
fn a_vault_of_version_1_opens_and_becomes_version_2() {
    let dir = TempDir::new().unwrap();
    put(&dir);
    let vault = migrated(&dir);
    check(&vault);
    drop(vault);
    assert_eq!(copies(&dir), 0);
    let version: i32 = Connection::open(file(&dir))
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);
    check(&migrated(&dir));
}

#[test]
fn a_wrong_password_migrates_nothing() {
    let dir = TempDir::new().unwrap();
    put(&dir);
    let closed = take(&dir).unwrap().read().unwrap();
    let opened = closed.open(&key_of("wrong horse battery")).unwrap();
    assert!(opened.ok().is_none());
    assert_eq!(fs::read(file(&dir)).unwrap(), VERSION_1);
}

#[test]
fn what_a_killed_migration_leaves_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    put(&dir);
    let copy = file(&dir).with_extension("vault-version-1");
    // Killed while it copied.
    fs::write(&copy, &VERSION_1[..1000]).unwrap();
    check(&migrated(&dir));
    assert_eq!(copies(&dir), 0);
    // Killed behind the commit.
    fs::write(&copy, VERSION_1).unwrap();
    check(&migrated(&dir));
    assert_eq!(copies(&dir), 0);
}

#[test]
fn a_migration_that_fails_leaves_version_1_and_the_copy() {
    let dir = TempDir::new().unwrap();
    put(&dir);
    let db = Connection::open(file(&dir)).unwrap();
    db.execute_batch("UPDATE contacts SET sealed = x'00'")
        .unwrap();
    drop(db);
    let before = fs::read(file(&dir)).unwrap();
    let closed = take(&dir).unwrap().read().unwrap();
    let opened = closed.open(&RIGHT_KEY);
    assert!(opened.is_err());
    drop(opened);
    assert_eq!(fs::read(file(&dir)).unwrap(), before);
    assert_eq!(
        fs::read(file(&dir).with_extension("vault-version-1")).unwrap(),
        before
    );
}
