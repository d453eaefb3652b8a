//! A vault from its making to its damage, and what an export takes from it.

mod aging;
mod cost;
mod foreign;
mod migration;
mod mutations;
mod rotation;
mod salvage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::export::ExportError;
use super::*;
use crate::crypto::account::password::Argon2Params;
use crate::crypto::account::recovery::RecoveryCode;
use crate::crypto::os_rng;
use crate::protocol::request::KdfParams;
use crate::protocol::{ByteArray, MessageId, UserName};

/// As cheap as Argon2 goes: these tests are not about guessing.
const CHEAP: Argon2Params = Argon2Params {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};

pub(super) fn alice() -> UserName {
    "alice".parse().unwrap()
}

/// How an account's login key is derived.
fn account(salt: u8) -> KdfParams {
    KdfParams {
        salt: ByteArray([salt; 16]),
        memory_kib: CHEAP.memory_kib,
        passes: CHEAP.passes,
        lanes: CHEAP.lanes,
    }
}

fn key(password: &str, salt: u8) -> PasswordKey {
    PasswordKey::like([salt; 16], CHEAP, password)
}

fn take(dir: &TempDir) -> Result<VaultFile> {
    VaultFile::take(dir.path(), "localhost:8080", &alice())
}

pub(super) fn create(dir: &TempDir) -> (Vault, RecoveryCode) {
    let code = RecoveryCode::generate(&mut os_rng());
    let vault = take(dir)
        .unwrap()
        .create(&key("right", 101), account(1), &code.wrapping_key(), |_| {
            Ok(())
        })
        .unwrap();
    (vault, code)
}

pub(super) fn open(dir: &TempDir, password: &str) -> Option<Vault> {
    let mut closed = take(dir).unwrap().read().unwrap();
    let slots: Vec<SlotKdf> = closed.passwords().collect();
    for slot in slots {
        let derived = closed.derive(slot, password).unwrap();
        closed = match closed.open(&derived.wrapping_key).unwrap() {
            Opened::Open(vault) => return Some(vault),
            Opened::WrongKey(closed) => *closed,
        };
    }
    None
}

pub(super) fn file(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("localhost_8080/alice.vault")
}

pub(super) fn record(text: &str) -> MessageRecord {
    MessageRecord {
        outgoing: true,
        text: text.to_owned(),
        sent_at: Some(1),
        ..MessageRecord::new(EncryptionStatus::Encrypted, DeliveryState::Waiting)
    }
}

/// Puts one of everything with a telling text in it into a vault.
fn fill(vault: &mut Vault) {
    let keys = vault.make_identity().unwrap();
    vault.make_signed(&keys, 5).unwrap();
    vault.make_one_time(3).unwrap();
    vault
        .transact(|vault| {
            let contact = vault.contact_or_new(&"mallory-the-contact".parse().unwrap())?;
            vault.add_message(
                contact.id,
                &MessageId([7; 16]),
                9,
                &record("a telling text"),
            )?;
            vault.mark_seen(contact.id, &MessageId([8; 16]))
        })
        .unwrap();
}

fn everything_in(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        bytes.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    bytes
}

#[test]
fn what_was_put_in_comes_out_and_nothing_is_readable() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    let folder = dir.path().join("localhost_8080");
    let readable = |text: &[u8]| {
        everything_in(&folder)
            .windows(text.len())
            .any(|window| window == text)
    };
    assert!(!readable(b"mallory") && !readable(b"telling"));
    drop(vault);
    assert!(!readable(b"mallory") && !readable(b"telling"));

    let vault = open(&dir, "right").unwrap();
    let contact = vault
        .contact(&"mallory-the-contact".parse().unwrap())
        .unwrap();
    let messages = vault.history(Some(contact.id), 10).unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].record.text, "a telling text");
    assert!(vault.is_seen(contact.id, &MessageId([8; 16])).unwrap());
    assert!(!vault.is_seen(contact.id, &MessageId([7; 16])).unwrap());
    assert!(vault.identity().unwrap().is_some());
}

#[test]
fn only_the_password_and_the_code_open_it() {
    let dir = TempDir::new().unwrap();
    let (vault, code) = create(&dir);
    drop(vault);
    assert!(open(&dir, "wrong").is_none());
    assert!(open(&dir, "right").is_some());
    let closed = take(&dir).unwrap().read().unwrap();
    let opened = closed.open(&code.wrapping_key()).unwrap();
    assert!(opened.ok().is_some());
    let other = RecoveryCode::generate(&mut os_rng());
    let closed = take(&dir).unwrap().read().unwrap();
    let opened = closed.open(&other.wrapping_key()).unwrap();
    assert!(opened.ok().is_none());
}

#[test]
fn files_are_their_owners_alone() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    let folder = dir.path().join("localhost_8080");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn one_holder_at_a_time_and_the_second_is_told_who() {
    let dir = TempDir::new().unwrap();
    let (vault, _) = create(&dir);
    match take(&dir) {
        Err(VaultError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{:?}", other.err()),
    }
    drop(vault);
    assert!(take(&dir).is_ok());
}

#[test]
fn what_is_no_whole_vault_is_said_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    drop(vault);
    let whole = fs::read(file(&dir)).unwrap();
    let other_database = {
        let path = dir.path().join("other");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(db);
        fs::read(path).unwrap()
    };
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("cut in the header", whole[..50].to_vec()),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("a text", b"dear diary".repeat(50)),
        ("another database", other_database),
    ];
    for (what, bytes) in cases {
        fs::write(file(&dir), &bytes).unwrap();
        let read = take(&dir).unwrap().read();
        assert!(
            matches!(
                read,
                Err(VaultError::NotAVault(_) | VaultError::Damaged(..))
            ),
            "{what}: {:?}",
            read.err()
        );
        drop(read);
        let exists = take(&dir).unwrap().create(
            &key("right", 101),
            account(1),
            &RecoveryCode::generate(&mut os_rng()).wrapping_key(),
            |_| Ok(()),
        );
        assert!(matches!(exists, Err(VaultError::Exists(_))), "{what}");
        assert_eq!(fs::read(file(&dir)).unwrap(), bytes, "{what}");
    }
}

#[test]
fn a_changed_or_moved_value_is_damage_not_content() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    vault
        .transact(|vault| {
            vault.add_message(1, &MessageId([9; 16]), 9, &record("second"))?;
            vault
                .db
                .execute_batch("UPDATE messages SET value = (SELECT value FROM messages WHERE id = 1) WHERE id = 2")?;
            Ok(())
        })
        .unwrap();
    assert!(matches!(vault.message(2), Err(VaultError::Damaged(..))));
    assert!(vault.message(1).unwrap().is_some());
}

#[test]
fn a_failed_transaction_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let name: UserName = "bob".parse().unwrap();
    let failed: Result<()> = vault.transact(|vault| {
        let contact = vault.contact_or_new(&name)?;
        vault.mark_seen(contact.id, &MessageId([1; 16]))?;
        // The same message twice in one batch is a fault of ours, and is refused.
        vault.mark_seen(contact.id, &MessageId([1; 16]))
    });
    assert!(failed.is_err());
    assert!(vault.contact(&name).is_none());
    assert!(!vault.is_seen(1, &MessageId([1; 16])).unwrap());
}

#[test]
fn a_change_of_password_never_locks_out() {
    let dir = TempDir::new().unwrap();
    let (mut vault, code) = create(&dir);
    // Killed after the first step, both open it.
    vault.add_password(&key("new", 102), account(2)).unwrap();
    drop(vault);
    assert!(open(&dir, "right").is_some());
    let mut vault = open(&dir, "new").unwrap();
    // The server refused the new one.
    vault.keep_only_password(account(1)).unwrap();
    drop(vault);
    assert!(open(&dir, "new").is_none());
    let mut vault = open(&dir, "right").unwrap();
    // The server took another one.
    vault.add_password(&key("third", 103), account(3)).unwrap();
    vault.keep_only_password(account(3)).unwrap();
    drop(vault);
    assert!(open(&dir, "right").is_none());
    let vault = open(&dir, "third").unwrap();
    drop(vault);
    let closed = take(&dir).unwrap().read().unwrap();
    let opened = closed.open(&code.wrapping_key()).unwrap();
    assert!(opened.ok().is_some(), "the code still does");
}

#[test]
fn a_draft_of_a_killed_creation_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    drop(take(&dir).unwrap());
    fs::write(file(&dir).with_extension("draft"), b"half").unwrap();
    let (vault, _) = create(&dir);
    drop(vault);
    assert!(open(&dir, "right").is_some());
}

#[test]
fn prekeys_are_used_once() {
    use crate::crypto::ratchet::session_set::Prekeys;

    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let keys = vault.make_identity().unwrap();
    let signed = vault.make_signed(&keys, 1).unwrap().public().id;
    let one_time = vault.make_one_time(1).unwrap()[0].public().id;
    let reader = PrekeyReader::new(&vault);
    assert!(reader.signed(signed).is_some() && reader.one_time(one_time).is_some());
    reader.finish().unwrap();
    vault.use_up(one_time).unwrap();
    let reader = PrekeyReader::new(&vault);
    assert!(reader.one_time(one_time).is_none());
    reader.finish().unwrap();
}

#[test]
fn the_signed_prekey_made_last_is_the_newest() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    let keys = vault.make_identity().unwrap();
    // In the same millisecond, and with a clock that is set back.
    for now in [9, 9, 9, 9, 9, 9, 9, 9, 5, 1] {
        let made = vault.make_signed(&keys, now).unwrap().public().id;
        let (newest, _) = vault.newest_signed().unwrap().unwrap();
        assert_eq!(newest.public().id, made, "at {now}");
    }
}

#[test]
fn the_names_of_sealed_fields_are_a_format() {
    let contact: Contact = serde_json::from_str(
        r#"{"name":"bob","identity":null,"verified":false,"offered":{"signing":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","dh":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"held":true}"#,
    )
    .unwrap();
    assert!(contact.paused && contact.pending_identity.is_some());
    let json = serde_json::to_string(&contact).unwrap();
    assert!(
        json.contains(r#""offered":{"#) && json.contains(r#""held":true"#),
        "{json}"
    );
    let mid = MessageId([7; 16]);
    let sent_again = MessageRecord {
        resends: vec![mid],
        ..record("hello")
    };
    let json = serde_json::to_value(&sent_again).unwrap();
    assert_eq!(json["again"].as_array().map(Vec::len), Some(1), "{json}");
    for (kind, name) in [
        (ControlKind::ResendRequest(vec![mid]), "prompt"),
        (ControlKind::Resend(1, ByteArray([1; 32])), "again"),
    ] {
        let json = serde_json::to_value(&kind).unwrap();
        assert!(json.get(name).is_some(), "{json}");
    }
}

#[test]
fn an_export_is_sealed_and_holds_no_sessions_or_prekeys() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = create(&dir);
    fill(&mut vault);
    let export = vault.export(alice()).unwrap();
    let sealed = export.seal("a long passphrase").unwrap();
    let readable = |text: &[u8]| sealed.windows(text.len()).any(|window| window == text);
    assert!(!readable(b"mallory") && !readable(b"telling"));

    let open = |file: &[u8], passphrase| Export::open(file, passphrase).map(drop);
    assert_eq!(open(&sealed, "a long passphrase"), Ok(()));
    assert_eq!(open(&sealed, "guess"), Err(ExportError::WrongPassphrase));
    let changed = |at: usize, to: u8| {
        let mut file = sealed.clone();
        file[at] = to;
        open(&file, "a long passphrase")
    };
    assert_eq!(changed(0, b'S'), Err(ExportError::NotAnExport));
    assert_eq!(changed(19, b'2'), Err(ExportError::Newer));
    // The salt, the cost beyond bounds, the wrapped key, the JSON.
    let wrong = Err(ExportError::WrongPassphrase);
    assert_eq!(changed(21, sealed[21] ^ 1), wrong);
    assert!(matches!(changed(37, 0xff), Err(ExportError::Damaged(_))));
    assert_eq!(changed(60, sealed[60] ^ 1), wrong);
    assert_eq!(
        changed(sealed.len() - 1, sealed[sealed.len() - 1] ^ 1),
        wrong
    );
    for length in [0, 20, 30, 100, sealed.len() - 1] {
        assert!(open(&sealed[..length], "a long passphrase").is_err());
    }

    let elsewhere = TempDir::new().unwrap();
    let (mut copy, _) = create(&elsewhere);
    copy.import(&export, 10).unwrap();
    let fingerprint = |vault: &Vault| vault.identity().unwrap().unwrap().public();
    assert_eq!(fingerprint(&copy), fingerprint(&vault));
    assert!(copy.newest_signed().unwrap().is_none());
    let history = copy.whole_history().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].record.text, "a telling text");
    assert!(
        matches!(history[0].record.state, DeliveryState::Failed(_)),
        "the other machine sends what waits there"
    );
    assert_eq!(copy.unanswered().unwrap(), 0);
}
