//! What somebody without the key writes to the file: into the schema, and into rows.

use rusqlite::Connection;

use super::*;
use crate::crypto::cipher::SealKey;

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
        "CREATE TRIGGER t AFTER INSERT ON unread BEGIN INSERT INTO unsent VALUES (1, x''); END",
        "CREATE TRIGGER messages AFTER UPDATE ON messages BEGIN DELETE FROM wanted; END",
        "CREATE VIEW v AS SELECT id FROM messages",
        "ALTER TABLE unsent RENAME TO u; CREATE VIEW unsent AS SELECT id, value FROM messages",
        "CREATE TABLE more (a)",
        "CREATE INDEX more ON messages (value)",
        "CREATE INDEX more ON messages (hex(value))",
        "DROP TABLE unread",
        "ALTER TABLE contacts ADD COLUMN more BLOB",
        "ALTER TABLE contacts ADD COLUMN more TEXT AS (hex(value))",
        "ALTER TABLE unsent RENAME COLUMN value TO c",
        "DROP TABLE unread; CREATE TABLE unread (id INTEGER PRIMARY KEY CHECK (id > 0), value BLOB NOT NULL) STRICT",
        "DROP TABLE unread; CREATE TABLE unread (id INTEGER PRIMARY KEY, value BLOB NOT NULL, \"--\" BLOB) STRICT",
        "DROP TABLE unread; CREATE TABLE unread (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, value BLOB NOT NULL) STRICT",
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'PRIMARY KEY', 'PRIMARY\u{a0}KEY') WHERE name = 'messages'",
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', 'NOT\u{2003}NULL') WHERE name = 'messages'",
        "ANALYZE",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -7",
        "PRAGMA user_version = 1",
        "PRAGMA user_version = 2",
        "PRAGMA user_version = 4",
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

/// Each slot costs a derivation before anything is known to be wrong.
#[test]
fn a_vault_with_more_slots_than_any_client_writes_is_refused() {
    let dir = filled();
    let more = "INSERT INTO key_slots (kind, salt, memory_kib, passes, lanes, wrapped)
        SELECT kind, randomblob(16), 1048576, 16, 4, wrapped FROM key_slots WHERE kind = 1";
    for _ in 0..14 {
        write(&dir, &format!("{more} LIMIT 1"));
    }
    assert!(take(&dir).unwrap().read().is_ok());
    write(&dir, more);
    let bytes = fs::read(file(&dir)).unwrap();
    let read = take(&dir).unwrap().read();
    assert!(matches!(read.err(), Some(VaultError::Damaged(..))));
    assert_eq!(fs::read(file(&dir)).unwrap(), bytes);
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
fn nobody_else_opens_the_file_while_it_is_open() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    for sql in ["SELECT count(*) FROM messages", "DELETE FROM contacts"] {
        let db = Connection::open(file(&dir)).unwrap();
        db.busy_timeout(std::time::Duration::ZERO).unwrap();
        let refused = db.execute_batch(sql).unwrap_err();
        assert_eq!(
            refused.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy),
            "{sql}"
        );
    }
    vault
        .transact(|vault| vault.mark_seen(1, &MessageId([9; 16])))
        .unwrap();
    drop(vault);
    // The other way round: a sentence, and the file as it was.
    let db = Connection::open(file(&dir)).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = take(&dir).unwrap().read().err().unwrap();
    assert!(matches!(refused, VaultError::InUse { .. }), "{refused}");
    drop(db);
    assert!(open(&dir, "right").is_some());
}

/// Opens the vault with its password: the sentence that it says if it is damaged.
fn opened(dir: &TempDir) -> std::result::Result<Vault, VaultError> {
    let closed = take(dir).unwrap().read()?;
    let slot = closed.passwords().next().ok_or(VaultError::WrongKey)?;
    let key = closed.derive(slot, "right")?.wrapping_key;
    closed.open(&key)?.ok().ok_or(VaultError::WrongKey)
}

#[test]
fn a_change_to_any_row_is_damage() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    one_of_each(&mut vault);
    drop(vault);
    let whole = fs::read(file(&dir)).unwrap();
    let mut changes = vec![
        "UPDATE root SET generation = generation - 1".to_owned(),
        "UPDATE root SET last_number = last_number - 1".to_owned(),
        "UPDATE root SET mac = zeroblob(32)".to_owned(),
        "DELETE FROM root".to_owned(),
        "DELETE FROM key_slots WHERE kind = 2".to_owned(),
        "INSERT INTO key_slots SELECT id + 1, kind, salt, memory_kib, passes, lanes, wrapped FROM key_slots WHERE kind = 2".to_owned(),
        "UPDATE key_slots SET passes = 2 WHERE kind = 2".to_owned(),
    ];
    for table in Table::ALL {
        if matches!(table, Table::KeySlots | Table::Messages) {
            continue;
        }
        changes.extend([
            format!("DELETE FROM {table} WHERE id = (SELECT max(id) FROM {table})"),
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET id = id + 1000"),
            format!("UPDATE {table} SET value = zeroblob(200)"),
            format!("UPDATE {table} SET value = substr(value, 1, length(value) - 1)"),
            format!("UPDATE {table} SET value = x''"),
            format!("INSERT INTO {table} SELECT id + 1000, value FROM {table}"),
            format!("INSERT OR REPLACE INTO {table} SELECT id, value FROM messages"),
        ]);
    }
    for change in changes {
        fs::write(file(&dir), &whole).unwrap();
        write(&dir, &change);
        let bytes = fs::read(file(&dir)).unwrap();
        let refused = opened(&dir).map(drop).expect_err(&change);
        assert!(
            matches!(refused, VaultError::Damaged(..)),
            "{change}: {refused}"
        );
        let said = refused.to_string();
        for way_out in [
            "vault read",
            "vault export --damaged FILE",
            "vault import FILE",
        ] {
            assert!(said.contains(way_out), "{said}");
        }
        assert_eq!(fs::read(file(&dir)).unwrap(), bytes, "{change}");
    }
    fs::write(file(&dir), &whole).unwrap();
    assert!(opened(&dir).is_ok());
}

#[test]
fn a_change_to_a_message_is_noticed_when_it_is_read() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    let old: Vec<u8> = vault.read(Table::Messages, 1).unwrap().unwrap();
    let mut changed = record("a telling text");
    changed.verified = true;
    vault
        .transact(|vault| {
            vault.save_message(1, &changed)?;
            vault.add_message(1, &MessageId([9; 16]), 9, &record("second"))
        })
        .unwrap();
    drop(vault);
    let whole = fs::read(file(&dir)).unwrap();
    let old: String = old.iter().map(|byte| format!("{byte:02x}")).collect();
    for change in [
        format!("UPDATE messages SET value = x'{old}' WHERE id = 1"),
        "DELETE FROM messages WHERE id = 1".to_owned(),
        "UPDATE messages SET value = zeroblob(100) WHERE id = 1".to_owned(),
        "UPDATE messages SET value = (SELECT value FROM messages WHERE id = 2) WHERE id = 1"
            .to_owned(),
    ] {
        fs::write(file(&dir), &whole).unwrap();
        write(&dir, &change);
        let mut vault = opened(&dir).unwrap();
        assert!(
            matches!(vault.message(1), Err(VaultError::Damaged(..))),
            "{change}"
        );
        assert!(vault.whole_history().is_err(), "an export is whole or not");
        let saved = vault.transact(|vault| vault.save_message(1, &record("anew")));
        assert!(saved.is_err(), "{change}");
        // A changed row hides no other.
        let history = vault.history(None, 10).unwrap();
        assert!(matches!(
            history[0].record.form,
            EncryptionStatus::Undecryptable(_)
        ));
        assert_eq!(history[1].record.text, "second");
    }
    fs::write(file(&dir), &whole).unwrap();
    write(
        &dir,
        "INSERT INTO messages SELECT id + 1, value FROM messages WHERE id = 2",
    );
    // It is in the way of the next message, which is noticed before any comes.
    let said = opened(&dir).map(drop).unwrap_err().to_string();
    assert!(said.contains("row 3 of messages"), "{said}");
}

/// A journal with which SQLite would empty the vault's second page.
fn hot_journal(vault: &[u8]) -> Vec<u8> {
    const PAGE: usize = 4096;
    let magic = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let pages = (vault.len() / PAGE) as u32;
    let mut journal = magic.to_vec();
    // Records, the nonce of their checksums, pages of the database, bytes of a sector and of a
    // page.
    for number in [1, 0, pages, 512, PAGE as u32] {
        journal.extend_from_slice(&number.to_be_bytes());
    }
    journal.resize(512, 0);
    journal.extend_from_slice(&2_u32.to_be_bytes());
    // Of zeros, the checksum is the nonce.
    journal.resize(512 + 4 + PAGE + 4, 0);
    journal
}

#[test]
fn each_file_that_is_no_whole_vault_of_this_account_gets_a_sentence() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    drop(vault);
    let whole = fs::read(file(&dir)).unwrap();
    let cut = |length| whole[..length].to_vec();
    let doubled = [whole.as_slice(), &whole].concat();
    let files = [
        (cut(0), "is not a vault, or was cut off"),
        (cut(50), "is not a vault, or was cut off"),
        (cut(whole.len() / 2), "is not a vault, or was cut off"),
        (cut(whole.len() - 1), "is not a vault, or was cut off"),
        (doubled, "is not a vault, or was cut off"),
    ];
    for (bytes, sentence) in files {
        fs::write(file(&dir), &bytes).unwrap();
        let said = opened(&dir).map(drop).unwrap_err().to_string();
        assert!(said.contains(sentence), "{said}");
        assert_eq!(fs::read(file(&dir)).unwrap(), bytes);
    }
    // SQLite would write a journal that lies beside it into the vault.
    fs::write(file(&dir), &whole).unwrap();
    let journal = file(&dir).with_extension("vault-journal");
    fs::write(&journal, hot_journal(&whole)).unwrap();
    let said = opened(&dir).map(drop).unwrap_err().to_string();
    assert!(said.contains("the rollback journal beside it"), "{said}");
    assert_eq!(fs::read(file(&dir)).unwrap(), whole);
    fs::remove_file(&journal).unwrap();
    assert!(opened(&dir).is_ok());
    // What is no file at all is not waited for.
    fs::remove_file(file(&dir)).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, file(&dir), fifo, mode, 0).unwrap();
    let said = opened(&dir).map(drop).unwrap_err().to_string();
    assert!(said.contains("is not a vault"), "{said}");
    fs::remove_file(file(&dir)).unwrap();
    fs::create_dir(file(&dir)).unwrap();
    let said = opened(&dir).map(drop).unwrap_err().to_string();
    assert!(said.contains("is not a vault"), "{said}");
    fs::remove_dir(file(&dir)).unwrap();
    // Of another account with the same password, renamed to this one's.
    fs::write(file(&dir), &whole).unwrap();
    let bob: UserName = "bob".parse().unwrap();
    let theirs = dir.path().join("localhost_8080/bob.vault");
    fs::rename(file(&dir), &theirs).unwrap();
    let closed = VaultFile::take(dir.path(), "localhost:8080", &bob).unwrap();
    let closed = closed.read().unwrap();
    let slot = closed.passwords().next().unwrap();
    let key = closed.derive(slot, "right").unwrap().wrapping_key;
    let opened = closed.open(&key);
    let said = opened.map(drop).unwrap_err().to_string();
    assert!(
        said.contains("the vault of another account, alice"),
        "{said}"
    );
    assert_eq!(fs::read(&theirs).unwrap(), whole);
}

/// What waits to be encrypted in a vault must not go to the people of another server.
#[test]
fn a_vault_that_was_copied_to_another_servers_folder_is_refused() {
    let dir = filled();
    let whole = fs::read(file(&dir)).unwrap();
    let other = dir.path().join("elsewhere_8080/alice.vault");
    fs::create_dir(other.parent().unwrap()).unwrap();
    fs::write(&other, &whole).unwrap();
    let at = |server| {
        let closed = VaultFile::take(dir.path(), server, &alice()).unwrap();
        let closed = closed.read().unwrap();
        let slot = closed.passwords().next().unwrap();
        let key = closed.derive(slot, "right").unwrap().wrapping_key;
        closed.open(&key)
    };
    let said = at("elsewhere:8080").map(drop).unwrap_err().to_string();
    assert!(said.contains("another server, localhost:8080"), "{said}");
    assert!(said.contains("vault export FILE --server localhost:8080"));
    assert_eq!(fs::read(&other).unwrap(), whole);
    // Its own place opens it, and one that an earlier client made takes on the present one.
    let mut vault = at("localhost:8080").unwrap().ok().unwrap();
    vault.delete(table::Table::State, keys::SERVER).unwrap();
    drop(vault);
    fs::copy(file(&dir), &other).unwrap();
    assert!(at("elsewhere:8080").unwrap().ok().is_some());
    fs::copy(&other, file(&dir)).unwrap();
    let said = at("localhost:8080").map(drop).unwrap_err().to_string();
    assert!(said.contains("another server, elsewhere:8080"), "{said}");
}

/// Something in every table.
fn one_of_each(vault: &mut Vault) {
    use crate::protocol::reply::Incoming;
    use crate::protocol::request::Send;
    use crate::protocol::{Blob, Body};

    fill(vault);
    let mid = MessageId([8; 16]);
    let body = Body::Envelope(Blob(vec![1, 2, 3].into()));
    vault
        .transact(|vault| {
            vault.contact_or_new(&"carol".parse().unwrap())?;
            let incoming = Incoming {
                from: "mallory-the-contact".parse().unwrap(),
                mid,
                at: 5,
                body: body.clone(),
            };
            vault.hold(1, 1, &incoming)?;
            vault.mark_unread(1)?;
            vault.want(1, &mid)?;
            let request = ControlKind::ResendRequest(vec![mid]);
            vault.add_control_message(1, &MessageId([6; 16]), 9, &request)?;
            vault.put(Table::Sessions, 1, b"sessions")?;
            let send = Send {
                to: "mallory-the-contact".parse().unwrap(),
                mid: MessageId([7; 16]),
                body: body.clone(),
                identity: None,
                again: false,
                after: None,
            };
            vault.add_to_outbox(1, &send, None)
        })
        .unwrap();
    for table in Table::ALL {
        assert!(table == Table::Messages || vault.numbers(table).next().is_some());
    }
}

#[test]
fn another_vault_key_protects_everything_anew() {
    let dir = TempDir::new().unwrap();
    let (mut vault, code) = create(&dir);
    one_of_each(&mut vault);
    let before = vault.whole_history().unwrap();
    let old: Vec<u8> = vault.read(Table::Messages, 1).unwrap().unwrap();
    let new = SealKey::generate(&mut os_rng());
    let failed = vault.replace_key(new.clone(), || {}, |vault| Err(vault.damaged("a test")));
    assert!(failed.is_err());
    assert_eq!(vault.whole_history().unwrap(), before);
    let mut rows = 0;
    vault
        .replace_key(
            new,
            || rows += 1,
            |vault| {
                vault.db.execute("DELETE FROM key_slots", [])?;
                let password = key("new", 2);
                let secret = super::super::key_slots::SlotSecret::Password(&password);
                Ok(super::super::key_slots::insert(
                    &vault.db,
                    vault.sealer.key(),
                    &secret,
                )?)
            },
        )
        .unwrap();
    assert!(rows > 10);
    assert!(vault.open_value(Table::Messages, 1, &old).is_err());
    drop(vault);
    assert!(open(&dir, "right").is_none());
    let closed = take(&dir).unwrap().read().unwrap();
    assert!(closed.open(&code.wrapping_key()).unwrap().ok().is_none());
    let vault = open(&dir, "new").unwrap();
    assert_eq!(vault.whole_history().unwrap(), before);
    assert!(vault.is_seen(1, &MessageId([8; 16])).unwrap());
    assert_eq!(vault.held(1).unwrap().len(), 1);
}
