//! A new vault key: whole, cut off at every value, and against a copy of the old vault.

use super::*;

/// How many messages the vaults here have.
const MESSAGES: u8 = 40;

fn filled(dir: &TempDir) -> (Vault, RecoveryCode) {
    let (mut vault, code) = create(dir);
    fill(&mut vault);
    vault
        .transact(|vault| {
            for number in 0..MESSAGES {
                vault.add_message(1, &MessageId([100 + number; 16]), 9, &record("more"))?;
            }
            Ok(())
        })
        .unwrap();
    (vault, code)
}

/// Everything that can be read with this password.
fn contents(dir: &TempDir, password: &str) -> Option<(Vec<u8>, Vec<String>)> {
    let vault = open(dir, password)?;
    let identity = vault.identity().unwrap().unwrap().to_bytes().to_vec();
    assert!(vault.newest_signed().unwrap().is_some());
    let texts = vault.whole_history().unwrap().into_iter();
    Some((identity, texts.map(|message| message.record.text).collect()))
}

fn rotate(vault: &mut Vault, progress: &mut dyn FnMut(u64, u64)) -> RecoveryCode {
    let code = RecoveryCode::generate(&mut os_rng());
    let secrets = NewSecrets {
        password: &key("new", 102),
        account: account(2),
        recovery: &code.wrapping_key(),
        recovery_unseen: false,
    };
    vault.rotate_key(&secrets, progress).unwrap();
    code
}

/// Adds a message with the key that the vault has at present.
fn add_after(vault: &mut Vault) {
    let mid = MessageId([99; 16]);
    let add = |vault: &mut Vault| vault.add_message(1, &mid, 9, &record("after"));
    vault.transact(add).unwrap();
}

fn opens_with_code(dir: &TempDir, code: &RecoveryCode) -> bool {
    let closed = take(dir).unwrap().read().unwrap();
    closed.open(&code.wrapping_key()).unwrap().ok().is_some()
}

/// What a kill would leave now. SQLite makes its index of the log anew.
fn copy(dir: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    drop(take(&copy).unwrap());
    for name in ["alice.vault", "alice.vault-wal"] {
        let from = file(dir).with_file_name(name);
        if from.exists() {
            fs::copy(from, file(&copy).with_file_name(name)).unwrap();
        }
    }
    copy
}

#[test]
fn a_new_key_keeps_the_contents_and_ends_the_old_secrets() {
    let dir = TempDir::new().unwrap();
    let (mut vault, old_code) = filled(&dir);
    let mut last = (0, 0);
    let code = rotate(&mut vault, &mut |done, total| last = (done, total));
    assert!(last.0 > u64::from(MESSAGES) && last.0 == last.1, "{last:?}");
    assert_eq!(vault.account_kdfs().unwrap(), [account(2)]);
    // It goes on with the new key.
    add_after(&mut vault);
    drop(vault);
    let (_, texts) = contents(&dir, "new").unwrap();
    assert_eq!(texts.len(), usize::from(MESSAGES) + 2);
    assert_eq!(texts.last().unwrap(), "after");
    assert!(contents(&dir, "right").is_none());
    assert!(opens_with_code(&dir, &code) && !opens_with_code(&dir, &old_code));
}

#[test]
fn a_new_key_is_there_whole_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = filled(&dir);
    let before = copy(&dir);
    let before = contents(&before, "right").unwrap();
    // So that SQLite writes to the log before the transaction ends.
    vault.db.pragma_update(None, "cache_size", 1).unwrap();
    let mut copies = Vec::new();
    rotate(&mut vault, &mut |_, _| copies.push(copy(&dir)));
    assert!(copies.len() > usize::from(MESSAGES));
    for copy in &copies {
        assert_eq!(contents(copy, "right").as_ref(), Some(&before));
        assert!(contents(copy, "new").is_none());
    }
    drop(vault);
    assert_eq!(contents(&dir, "new"), Some(before));
}

#[test]
fn a_new_key_that_fails_leaves_the_old_one() {
    let dir = TempDir::new().unwrap();
    let (mut vault, code) = filled(&dir);
    vault.db.pragma_update(None, "query_only", true).unwrap();
    let secrets = NewSecrets {
        password: &key("new", 102),
        account: account(2),
        recovery: &RecoveryCode::generate(&mut os_rng()).wrapping_key(),
        recovery_unseen: false,
    };
    let failed = vault.rotate_key(&secrets, &mut |_, _| {});
    assert!(
        matches!(failed, Err(VaultError::Database(_))),
        "{:?}",
        failed.err()
    );
    vault.db.pragma_update(None, "query_only", false).unwrap();
    // The vault goes on under the old key.
    assert_eq!(vault.contacts().len(), 1);
    add_after(&mut vault);
    drop(vault);
    let (_, texts) = contents(&dir, "right").unwrap();
    assert_eq!(texts.last().unwrap(), "after");
    assert!(opens_with_code(&dir, &code) && open(&dir, "new").is_none());
}

#[test]
fn the_old_key_opens_no_value_that_is_written_later() {
    let dir = TempDir::new().unwrap();
    let (mut vault, _) = filled(&dir);
    let stolen = copy(&dir);
    rotate(&mut vault, &mut |_, _| {});
    add_after(&mut vault);
    drop(vault);
    // The thief has the old file and its password, and later the new file as well.
    let thief = open(&stolen, "right").unwrap();
    let mut later = open(&dir, "new").unwrap();
    assert!(later.message(1).is_ok() && later.newest_signed().is_ok());
    later.sealer = thief.sealer;
    let damaged = |failed: Option<VaultError>| matches!(failed, Some(VaultError::Damaged(..)));
    assert!(damaged(later.identity().err()));
    assert!(damaged(later.newest_signed().err()));
    assert!(damaged(later.load_contacts().err()));
    for number in 1..=i64::from(MESSAGES) {
        assert!(damaged(later.message(number).err()), "message {number}");
    }
}

/// A message whose row somebody changed or removed must not keep the password from being changed.
#[test]
fn a_changed_message_does_not_stop_a_new_key() {
    let dir = TempDir::new().unwrap();
    let (vault, _) = filled(&dir);
    drop(vault);
    let db = rusqlite::Connection::open(file(&dir)).unwrap();
    db.execute_batch(
        "UPDATE messages SET value = zeroblob(length(value)) WHERE id = 3;
         DELETE FROM messages WHERE id = 5",
    )
    .unwrap();
    drop(db);
    let mut vault = open(&dir, "right").unwrap();
    rotate(&mut vault, &mut |_, _| {});
    drop(vault);
    let vault = open(&dir, "new").unwrap();
    let history = vault.history(None, 100).unwrap();
    assert_eq!(history.len(), usize::from(MESSAGES) + 1);
    for message in &history {
        let is_changed = [3, 5].contains(&message.seq);
        let says_so = matches!(message.record.form, EncryptionStatus::Undecryptable(_));
        assert_eq!(is_changed, says_so, "{}", message.seq);
    }
}
