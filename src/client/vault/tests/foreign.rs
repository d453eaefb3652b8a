//! What somebody without the key writes to the file: into the schema, and into rows.

use rusqlite::Connection;

use super::*;

fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    drop(vault);
    dir
}

fn write(dir: &TempDir, sql: &str) {
    let db = Connection::open(file(dir)).unwrap();
    db.execute_batch(sql).unwrap();
}

#[test]
fn a_schema_that_is_not_ours_is_refused_and_left_alone() {
    for change in [
        "CREATE TRIGGER t AFTER INSERT ON taken BEGIN INSERT INTO unsent VALUES (1, 1); END",
        "CREATE TRIGGER messages AFTER UPDATE ON messages BEGIN DELETE FROM held; END",
        "CREATE VIEW v AS SELECT seq FROM messages",
        "ALTER TABLE unsent RENAME TO u; CREATE VIEW unsent AS SELECT seq, 1 AS contact FROM messages",
        "CREATE TABLE more (a)",
        "CREATE INDEX more ON messages (at)",
        "CREATE INDEX more ON messages (hex(sealed))",
        "DROP INDEX messages_by_mid",
        "DROP TABLE unread",
        "ALTER TABLE contacts ADD COLUMN more BLOB",
        "ALTER TABLE contacts ADD COLUMN more TEXT AS (hex(sealed))",
        "ALTER TABLE unsent RENAME COLUMN contact TO c",
        "DROP TABLE unread; CREATE TABLE unread (seq INTEGER PRIMARY KEY CHECK (seq > 0)) STRICT",
        "DROP TABLE unread; CREATE TABLE unread (seq INTEGER PRIMARY KEY, \"--\" BLOB) STRICT",
        "DROP TABLE unread; CREATE TABLE unread (seq INTEGER PRIMARY KEY ON CONFLICT REPLACE) STRICT",
        "DROP INDEX errands_by_mid; CREATE INDEX errands_by_mid ON errands (mid) WHERE at > 0",
        "ANALYZE",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -7",
        "PRAGMA user_version = 3",
    ] {
        let dir = filled();
        write(&dir, change);
        let bytes = fs::read(file(&dir)).unwrap();
        let read = take(&dir).unwrap().read();
        let error = read.err().unwrap_or_else(|| panic!("{change}"));
        assert!(
            matches!(error, VaultError::Damaged(..) | VaultError::Newer(_)),
            "{change}: {error:?}"
        );
        assert_eq!(fs::read(file(&dir)).unwrap(), bytes, "{change}");
    }
}

#[test]
fn a_schema_in_the_log_alone_is_refused_and_not_folded_in() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    let db = Connection::open(file(&dir)).unwrap();
    db.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE more (a)")
        .unwrap();
    let log = fs::read(file(&dir).with_extension("vault-wal")).unwrap();
    drop(db);
    fs::write(file(&dir), &whole).unwrap();
    fs::write(file(&dir).with_extension("vault-wal"), &log).unwrap();
    assert!(take(&dir).unwrap().read().is_err());
    assert_eq!(fs::read(file(&dir)).unwrap(), whole);
    let kept = fs::read(file(&dir).with_extension("vault-wal")).unwrap();
    assert_eq!(kept, log);
}

#[test]
fn an_open_vault_runs_no_trigger() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    // Somebody writes while the client runs: too late to be seen at the opening.
    write(
        &dir,
        "CREATE TRIGGER t AFTER INSERT ON taken BEGIN INSERT INTO unsent VALUES (1, 1); END",
    );
    vault
        .transact(|vault| vault.mark_seen(1, &MessageId([9; 16])))
        .unwrap();
    assert_eq!(vault.postponed().unwrap(), []);
}

#[test]
fn every_readable_column_is_bound_to_the_sealed_one() {
    for change in [
        "UPDATE messages SET contact = 2",
        "UPDATE messages SET mid = x'07070707070707070707070707070708'",
        "UPDATE messages SET at = at + 1",
        "UPDATE messages SET seq = seq + 1",
        "DELETE FROM contacts WHERE id = 1",
        "UPDATE messages SET sealed = (SELECT sealed FROM errands)",
        "UPDATE errands SET contact = 2",
        "UPDATE errands SET at = at - 1",
        "UPDATE errands SET mid = (SELECT mid FROM messages)",
        "UPDATE held SET contact = 2",
        "UPDATE outbox SET seq = seq + 1",
        "UPDATE signed_prekeys SET created = created + 1",
        "UPDATE signed_prekeys SET id = id / 2",
        "UPDATE one_time_prekeys SET id = id / 2",
    ] {
        let dir = TempDir::new().unwrap();
        let (mut vault, _) = create(&dir);
        let message = one_of_each(&mut vault);
        assert!(all_open(&vault, message), "as it was");
        drop(vault);
        write(&dir, change);
        let vault = open(&dir, "right").unwrap();
        assert!(!all_open(&vault, message), "{change}");
    }
}

/// Two contacts, and of the first a message, an errand, a held envelope and
/// something in the outbox; the message's place.
fn one_of_each(vault: &mut Vault) -> i64 {
    use crate::protocol::reply::Incoming;
    use crate::protocol::request::Send;
    use crate::protocol::{Blob, Body};

    fill(vault);
    vault
        .transact(|vault| {
            vault.contact_or_new(&"carol".parse().unwrap())?;
            let incoming = Incoming {
                from: "mallory-the-contact".parse().unwrap(),
                mid: MessageId([8; 16]),
                at: 5,
                body: Body::Envelope(Blob(vec![1, 2, 3].into())),
            };
            vault.hold(1, 1, &incoming)?;
            vault.add_control_message(
                1,
                &MessageId([6; 16]),
                9,
                &ControlKind::ResendRequest(vec![MessageId([5; 16])]),
            )?;
            let send = Send {
                to: "mallory-the-contact".parse().unwrap(),
                mid: MessageId([7; 16]),
                body: Body::Envelope(Blob(vec![1, 2, 3].into())),
                identity: None,
                again: false,
                after: None,
            };
            vault.add_to_outbox(1, &send)
        })
        .unwrap();
    1
}

/// Whether all that was put in still opens, where it was put.
fn all_open(vault: &Vault, message: i64) -> bool {
    use crate::crypto::ratchet::session_set::Prekeys;

    let reader = PrekeyReader::new(vault);
    let ids = |table: &str| -> Vec<u32> {
        let mut query = vault
            .db
            .prepare(&format!("SELECT id FROM {table}"))
            .unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    };
    let prekeys = ids("signed_prekeys")
        .into_iter()
        .all(|id| reader.signed(id).is_some())
        && ids("one_time_prekeys")
            .into_iter()
            .all(|id| reader.one_time(id).is_some());
    let opened = matches!(vault.message(message), Ok(Some(_)))
        && matches!(vault.control(message + 1), Ok(Some(_)))
        && vault.held(1).is_ok_and(|held| held.len() == 1)
        && matches!(vault.next_in_outbox(0), Ok(Some((1, Some(_)))));
    prekeys && reader.finish().is_ok() && opened
}

#[test]
fn a_changed_row_of_the_history_hides_no_other() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    vault
        .transact(|vault| vault.add_message(1, &MessageId([9; 16]), 9, &record("second")))
        .unwrap();
    write(&dir, "UPDATE messages SET at = 10 WHERE seq = 1");
    let history = vault.history(None, 10).unwrap();
    assert!(matches!(
        history[0].record.form,
        EncryptionStatus::Undecryptable(_)
    ));
    assert_eq!(history[1].record.text, "second");
    assert!(vault.whole_history().is_err(), "an export is whole or not");
}
