//! What is whole of a damaged vault can be read and taken along, whatever row was changed and
//! however; the file stays as it is.

use rusqlite::Connection;

use super::super::salvage::{Loss, Salvaged};
use super::*;
use crate::protocol::reply::Incoming;
use crate::protocol::{Blob, Body};

/// Alice's vault with two people, of whom bob is verified, 40 messages in two chunks, and a row in
/// each queue.
fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    vault
        .transact(|vault| {
            let bob = vault.contact_or_new(&"bob".parse().unwrap())?;
            vault.save_contact(&Contact {
                verified: true,
                ..bob.clone()
            })?;
            for number in 0..39 {
                let mid = MessageId([number + 10; 16]);
                vault.add_message(bob.id, &mid, 9, &record(&format!("number {number}")))?;
            }
            let held = Incoming {
                from: bob.name,
                mid: MessageId([10; 16]),
                at: 9,
                body: Body::Envelope(Blob(vec![1, 2, 3].into())),
            };
            vault.hold(2, bob.id, &held)?;
            vault.mark_unread(2)?;
            vault.postpone(3, bob.id)?;
            vault.want(bob.id, &MessageId([11; 16]))?;
            let request = ControlKind::ResendRequest(vec![MessageId([11; 16])]);
            vault.add_control_message(bob.id, &MessageId([90; 16]), 9, &request)?;
            vault.put(Table::Sessions, bob.id, b"sessions")?;
            vault.put(Table::Outbox, 4, b"an envelope")
        })
        .unwrap();
    drop(vault);
    dir
}

fn write(dir: &TempDir, sql: &str) {
    let db = Connection::open(file(dir)).unwrap();
    db.execute_batch(sql).unwrap();
}

fn salvaged(dir: &TempDir) -> Result<Salvaged> {
    let closed = take(dir)?.read_damaged()?;
    let slot = closed.passwords().next().ok_or(VaultError::WrongKey)?;
    let key = closed.derive(slot, "right")?.wrapping_key;
    closed.salvage(&key)?.ok().ok_or(VaultError::WrongKey)
}

fn readable(salvaged: &Salvaged) -> usize {
    let history = salvaged.vault.history(None, 100).unwrap();
    let whole = |message: &&HistoryEntry| message.record.form == EncryptionStatus::Encrypted;
    history.iter().filter(whole).count()
}

/// One row changed, deleted, doubled, truncated, planted, and from another account or version.
fn changes_of(table: Table) -> Vec<String> {
    let row = format!("id = (SELECT max(id) FROM {table})");
    let other_account = "randomblob(96)";
    vec![
        format!("UPDATE {table} SET value = zeroblob(200) WHERE {row}"),
        format!("DELETE FROM {table} WHERE {row}"),
        format!("UPDATE {table} SET value = CAST(value || value AS BLOB) WHERE {row}"),
        format!("INSERT INTO {table} SELECT id + 1000, value FROM {table} WHERE {row}"),
        format!("UPDATE {table} SET value = substr(value, 1, length(value) / 2) WHERE {row}"),
        format!("UPDATE {table} SET value = x'' WHERE {row}"),
        format!("UPDATE {table} SET value = {other_account} WHERE {row}"),
    ]
}

#[test]
fn what_is_whole_of_a_damaged_vault_can_be_read_and_taken_along() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    for table in Table::ALL {
        if table == Table::KeySlots {
            continue;
        }
        for change in changes_of(table) {
            fs::write(file(&dir), &whole).unwrap();
            write(&dir, &change);
            let changed = fs::read(file(&dir)).unwrap();
            let salvaged = salvaged(&dir).unwrap_or_else(|why| panic!("{change}: {why}"));
            let least = match table {
                Table::Messages => 39,
                _ => 40,
            };
            let there = readable(&salvaged);
            assert!(there >= least, "{change}: {there}");
            let contacts = salvaged.vault.contacts();
            assert!(contacts.iter().all(|contact| !contact.verified), "{change}");
            let export = salvaged.export(alice());
            let has_identity = salvaged.vault.identity().unwrap().is_some();
            assert_eq!(export.is_ok(), has_identity, "{change}");
            assert!(has_identity || table == Table::State, "{change}");
            if let Ok(export) = export {
                assert!(export.summary().starts_with("the identity"), "{change}");
            }
            let written = salvaged.vault.db.execute("DELETE FROM contacts", []);
            assert!(written.is_err(), "{change}: it can be written to");
            drop(salvaged);
            assert_eq!(fs::read(file(&dir)).unwrap(), changed, "{change}");
        }
    }
}

#[test]
fn what_is_lost_is_counted() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    let loss = |change: &str| {
        fs::write(file(&dir), &whole).unwrap();
        write(&dir, change);
        salvaged(&dir).unwrap().loss()
    };
    let none = Loss::default();
    assert_eq!(loss("DELETE FROM root"), none);
    assert_eq!(
        none.to_string(),
        "all contacts and messages that are there can be read"
    );
    let rows = Loss { rows: 2, ..none };
    assert_eq!(loss("UPDATE message_chunks SET value = zeroblob(40)"), rows);
    let lost =
        loss("DELETE FROM contacts WHERE id = 2; UPDATE messages SET value = x'00' WHERE id = 1");
    let expected = Loss {
        messages: 1,
        nameless: 39,
        ..none
    };
    assert_eq!(lost, expected);
    assert_eq!(
        lost.to_string(),
        "not readable: 1 message, the name in 39 messages, for which name-lost-NUMBER stands"
    );
    let salvaged = salvaged(&dir).unwrap();
    let names: Vec<_> = salvaged
        .vault
        .contacts()
        .iter()
        .map(|contact| contact.name)
        .collect();
    assert_eq!(
        names,
        ["mallory-the-contact", "name-lost-2"].map(|name| name.parse().unwrap())
    );
    let export = salvaged.export(alice()).unwrap();
    assert_eq!(export.summary(), "the identity, 2 contacts, 39 messages");
}

/// A schema of somebody else's keeps nobody from the rows, and does nothing.
#[test]
fn a_vault_with_a_schema_that_is_not_ours_can_be_read() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    for change in [
        "CREATE TRIGGER t AFTER INSERT ON unread BEGIN DELETE FROM messages; END",
        "CREATE TABLE more (a)",
        "CREATE INDEX more ON messages (value)",
        "DROP TABLE outbox",
        "ALTER TABLE unsent ADD COLUMN more BLOB",
        "ALTER TABLE unread RENAME TO u; CREATE VIEW unread AS SELECT id, value FROM messages",
    ] {
        fs::write(file(&dir), &whole).unwrap();
        write(&dir, change);
        let changed = fs::read(file(&dir)).unwrap();
        assert_eq!(readable(&salvaged(&dir).unwrap()), 40, "{change}");
        assert_eq!(fs::read(file(&dir)).unwrap(), changed, "{change}");
    }
}

/// A page of the file that SQLite can't read costs what is on it and behind it, not all.
#[test]
fn damaged_pages_leave_what_is_on_the_others() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    let page = 4096;
    let mut read = 0;
    for number in 1..whole.len() / page {
        let mut changed = whole.clone();
        changed[number * page..][..64].fill(0xff);
        fs::write(file(&dir), &changed).unwrap();
        match salvaged(&dir) {
            Ok(salvaged) => read += usize::from(readable(&salvaged) > 0),
            Err(why) => assert!(why.to_string().contains("left as it is"), "{why}"),
        }
        assert_eq!(fs::read(file(&dir)).unwrap(), changed, "page {number}");
    }
    assert!(read > whole.len() / page / 2, "{read}");
}

/// Nothing of another account's, another server's or another version's vault is taken for this
/// one's, and each gets a sentence of its own.
#[test]
fn a_vault_from_elsewhere_is_not_salvaged_as_this_one() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    let said = |name: &str, server: &str| {
        let name: UserName = name.parse().unwrap();
        let there = VaultFile::take(dir.path(), server, &name).unwrap();
        fs::write(there.path(), &whole).unwrap();
        write_to(there.path(), "DELETE FROM unread");
        let closed = there.read_damaged().unwrap();
        let slot = closed.passwords().next().unwrap();
        let key = closed.derive(slot, "right").unwrap().wrapping_key;
        closed.salvage(&key).map(drop).unwrap_err().to_string()
    };
    assert!(said("bob", "localhost:8080").contains("the vault of another account, alice"));
    assert!(said("alice", "elsewhere:8080").contains("another server, localhost:8080"));
    write(&dir, "PRAGMA user_version = 4");
    let newer = salvaged(&dir).map(drop).unwrap_err().to_string();
    assert!(newer.contains("a newer version"), "{newer}");
}

fn write_to(path: &Path, sql: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(sql).unwrap();
}
