//! Whoever writes to the vault's file: every table is changed by every operation, also from
//! earlier states of the vault, and so are the schema, the bytes of the file and of its log.
//! What comes of it must be a vault that says it is damaged, or one of the states that this
//! client wrote, whole.
//!
//! 300 mutations by default; `scripts/vault-mutations.sh` makes 10,000.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::crypto::ratchet::session_set::Prekeys;
use crate::protocol::reply::Incoming;
use crate::protocol::request::Send;
use crate::protocol::{Blob, Body};

/// Xorshift: which mutations come matters little, that they repeat helps.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What the vault was after a few transactions.
struct State {
    /// The file of the closed vault.
    file: Vec<u8>,
    /// The file and its log while the vault was open.
    open: (Vec<u8>, Vec<u8>),
}

/// What each reading gave.
type Reads = BTreeMap<String, String>;

/// Files of a vault, and what could be read after each transaction.
struct Life {
    states: Vec<State>,
    reads: Vec<Reads>,
}

impl Life {
    /// Notes what can be read after a transaction.
    fn note(&mut self, vault: &Vault) {
        let reads = reads(vault).into_iter();
        let reads = reads.map(|(what, read)| (what, read.unwrap())).collect();
        self.reads.push(reads);
    }
}

/// All that can be read of a vault: what it is, and the sentence if it is damaged.
fn reads(vault: &Vault) -> BTreeMap<String, std::result::Result<String, String>> {
    let mut all = BTreeMap::new();
    let mut add = |what: String, read: Result<String>| {
        all.insert(what, read.map_err(|error| error.to_string()));
    };
    fn said<T: std::fmt::Debug>(read: Result<T>) -> Result<String> {
        read.map(|read| format!("{read:?}"))
    }
    add("contacts".into(), Ok(format!("{:?}", vault.contacts())));
    add("device".into(), said(vault.device()));
    add(
        "identity".into(),
        said(
            vault
                .identity()
                .map(|keys| keys.map(|keys| keys.to_bytes().to_vec())),
        ),
    );
    add("unread".into(), said(vault.all_unread()));
    add("postponed".into(), said(vault.postponed()));
    add("unanswered".into(), said(vault.unanswered()));
    add("outbox".into(), {
        let mut sends = Vec::new();
        let mut behind = 0;
        loop {
            match vault.next_in_outbox(behind) {
                Ok(Some((seq, send))) => {
                    behind = seq;
                    sends.push(format!("{seq} {send:?}"));
                }
                Ok(None) => break Ok(sends.join(";")),
                Err(error) => break Err(error),
            }
        }
    });
    for contact in 1..=3 {
        let session = vault
            .get(Table::Sessions, contact)
            .map(|s| s.map(|s| s.to_vec()));
        add(format!("session {contact}"), said(session));
        add(format!("held {contact}"), said(vault.held(contact)));
        add(
            format!("wanted {contact}"),
            said(vault.wanted(contact, 9, 99)),
        );
        add(format!("requests {contact}"), said(vault.requests(contact)));
        for id in 0..40 {
            let mid = MessageId([id; 16]);
            add(
                format!("seen {contact} {id}"),
                said(vault.is_seen(contact, &mid)),
            );
            add(
                format!("by id {contact} {id}"),
                said(vault.message_by_mid(contact, &mid)),
            );
            add(
                format!("control {contact} {id}"),
                said(vault.control_message_by_mid(contact, &mid)),
            );
        }
    }
    for seq in 1..60 {
        add(format!("message {seq}"), said(vault.message(seq)));
    }
    for table in [Table::SignedPrekeys, Table::OneTimePrekeys] {
        let reader = PrekeyReader::new(vault);
        let ids: Vec<i64> = vault.numbers(table).collect();
        let found = |id: &i64| match table {
            Table::SignedPrekeys => reader.signed(*id as u32).is_some(),
            _ => reader.one_time(*id as u32).is_some(),
        };
        let missing = ids.iter().filter(|id| !found(id)).count();
        add(
            format!("{table}"),
            Ok(format!("{ids:?}, {missing} missing")),
        );
    }
    all
}

/// A transaction like those of a chat: the ones of a messenger, without its keys.
fn step(vault: &mut Vault, round: u8, dice: &mut Dice) -> Result<()> {
    let mid = MessageId([round; 16]);
    let contact = 1 + dice.below(3) as i64;
    let body = Body::Envelope(Blob(vec![round; 40].into()));
    vault.transact(|vault| {
        let name = ["bob", "carol", "dave"][contact as usize - 1];
        let mut known = vault.contact_or_new(&name.parse().unwrap())?;
        let contact = known.id;
        vault.put(Table::Sessions, contact, &[round; 300])?;
        match round % 6 {
            0 => {
                known.verified = !known.verified;
                vault.save_contact(&known)?;
                let incoming = Incoming {
                    from: known.name,
                    mid,
                    at: 9,
                    body,
                };
                let held = MessageRecord {
                    outgoing: false,
                    form: EncryptionStatus::Held,
                    ..record("")
                };
                let seq = vault.add_message(contact, &mid, 9, &held)?;
                vault.hold(seq, contact, &incoming)
            }
            1 | 2 => {
                let seq = vault.add_message(contact, &mid, 9, &record(&format!("text {round}")))?;
                let (to, identity) = (known.name, Some(ByteArray([round; 32])));
                let send = Send {
                    to,
                    mid,
                    body,
                    identity,
                    again: false,
                    after: None,
                };
                vault.add_to_outbox(seq, &send, None)
            }
            3 => {
                let received = MessageRecord {
                    outgoing: false,
                    state: DeliveryState::Received,
                    ..record("heard")
                };
                let seq = vault.add_message(contact, &mid, 9, &received)?;
                vault.mark_seen(contact, &mid)?;
                vault.mark_unread(seq)?;
                vault.want(contact, &mid)
            }
            4 => {
                let seq =
                    vault.add_message(contact, &mid, 9, &record(&format!("later {round}")))?;
                vault.postpone(seq, contact)?;
                vault.add_control_message(
                    contact,
                    &MessageId([round + 100; 16]),
                    9,
                    &ControlKind::ResendRequest(vec![mid]),
                )?;
                vault.add_control_message(
                    contact,
                    &mid,
                    9,
                    &ControlKind::Requested(vec![mid], ByteArray([1; 32])),
                )
            }
            _ => {
                let oldest = vault.numbers(Table::Outbox).next();
                if let Some(seq) = oldest {
                    vault.remove_from_outbox(seq)?;
                    let sent = MessageRecord {
                        state: DeliveryState::Stored,
                        ..record("sent")
                    };
                    vault.save_message(seq, &sent)?;
                }
                let unread: Vec<i64> = vault.numbers(Table::Unread).collect();
                vault.mark_read(&unread)?;
                vault.save_device(&Default::default())
            }
        }
    })
}

fn log_of(dir: &TempDir) -> PathBuf {
    file(dir).with_extension("vault-wal")
}

/// A vault's life, the latest last.
fn life(dir: &TempDir, dice: &mut Dice) -> Life {
    let (mut vault, _) = create(dir);
    let (states, reads) = (Vec::new(), Vec::new());
    let mut life = Life { states, reads };
    life.note(&vault);
    let keys = vault.make_identity().unwrap();
    life.note(&vault);
    vault.make_signed(&keys, 5).unwrap();
    life.note(&vault);
    vault.make_one_time(3).unwrap();
    for name in ["bob", "carol", "dave"] {
        life.note(&vault);
        vault
            .transact(|vault| vault.contact_or_new(&name.parse().unwrap()).map(drop))
            .unwrap();
    }
    life.note(&vault);
    for round in 0..24 {
        step(&mut vault, round, dice).unwrap();
        life.note(&vault);
        if round == 12 {
            vault.add_password(&key("right", 9), account(9)).unwrap();
            vault.keep_only_password(account(9)).unwrap();
        }
        if round % 3 != 2 {
            continue;
        }
        let open_files = (fs::read(file(dir)).unwrap(), fs::read(log_of(dir)).unwrap());
        drop(vault);
        life.states.push(State {
            file: fs::read(file(dir)).unwrap(),
            open: open_files,
        });
        vault = open(dir, "right").unwrap();
    }
    life
}

const TABLES: [&str; 16] = [
    "root",
    "key_slots",
    "state",
    "contacts",
    "sessions",
    "signed_prekeys",
    "one_time_prekeys",
    "messages",
    "message_chunks",
    "seen_ids",
    "unread",
    "control_messages",
    "wanted",
    "outbox",
    "unsent",
    "waiting_envelopes",
];

/// Statements that change rows of a table, perhaps with those of an earlier state, `old`.
fn change_of_rows(dice: &mut Dice) -> String {
    let (table, other) = (dice.of(&TABLES), dice.of(&TABLES[2..]));
    let value = match table {
        "root" => "mac",
        "key_slots" => "wrapped",
        _ => "value",
    };
    let row = format!("id = (SELECT id FROM {table} ORDER BY random() LIMIT 1)");
    let from_old = |table: &str| {
        format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old.{table};")
    };
    match dice.below(18) {
        0 => format!("DELETE FROM {table} WHERE {row}"),
        1 => format!("DELETE FROM {table}"),
        2 => format!("UPDATE {table} SET id = id + {} WHERE {row}", 1 + dice.below(9)),
        3 => format!(
            "CREATE TEMP TABLE two AS SELECT id, {value} AS v FROM {table} ORDER BY random() LIMIT 2;
             UPDATE {table} SET {value} = (SELECT v FROM two WHERE two.id <> {table}.id)
             WHERE (SELECT count(*) FROM two) = 2 AND id IN (SELECT id FROM two)"
        ),
        4 => format!("INSERT OR REPLACE INTO {other} (id, value) SELECT id + {}, value FROM {other} ORDER BY random() LIMIT 1", 1 + dice.below(40)),
        5 => format!("UPDATE {table} SET {value} = (SELECT value FROM {other} ORDER BY random() LIMIT 1) WHERE {row} AND EXISTS (SELECT 1 FROM {other})"),
        6 => format!("INSERT OR REPLACE INTO {other} (id, value) VALUES ({}, randomblob({}))", dice.below(60), dice.below(300)),
        7 => format!("UPDATE {table} SET {value} = randomblob(length({value})) WHERE {row}"),
        8 => format!("UPDATE {table} SET {value} = substr({value}, 1, length({value}) - {}) WHERE {row}", dice.below(60)),
        9 => format!("UPDATE {table} SET {value} = CAST({value} || {value} AS BLOB) WHERE {row}"),
        10 | 11 => format!("INSERT OR REPLACE INTO {table} SELECT * FROM old.{table} ORDER BY random() LIMIT 1"),
        12 => from_old(table),
        13 => TABLES.iter().filter(|_| dice.below(2) == 0).map(|table| from_old(table)).collect(),
        14 => TABLES.iter().filter(|one| **one != table).map(|table| from_old(table)).collect(),
        15 => TABLES.iter().map(|table| from_old(table)).collect(),
        16 => format!("UPDATE root SET generation = generation + {}, last_number = last_number - 1", dice.below(3)),
        _ => "UPDATE key_slots SET salt = zeroblob(16), memory_kib = 8, passes = 1; INSERT INTO key_slots SELECT id + 5, kind, salt, memory_kib, passes, lanes, wrapped FROM key_slots".to_owned(),
    }
}

fn change_of_schema(dice: &mut Dice) -> String {
    let (table, other) = (dice.of(&TABLES), dice.of(&TABLES));
    match dice.below(12) {
        0 => format!("CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM contacts; END"),
        1 => format!("CREATE TRIGGER t AFTER UPDATE ON {table} BEGIN DELETE FROM unread; END"),
        2 => format!("CREATE VIEW v AS SELECT * FROM {table}"),
        3 => format!("ALTER TABLE {table} RENAME TO elsewhere; CREATE VIEW {table} AS SELECT * FROM elsewhere"),
        4 => format!("CREATE INDEX more ON {table} (id)"),
        5 => format!("DROP TABLE {table}"),
        6 => format!("ALTER TABLE {table} ADD COLUMN more BLOB"),
        7 => format!("PRAGMA user_version = {}", [0, 1, 2, 4, -3][dice.below(5)]),
        8 => "CREATE TABLE counter (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counter VALUES (9223372036854775807)".to_owned(),
        9 => format!("PRAGMA application_id = {}", dice.below(99)),
        10 => format!(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema AS s WHERE s.name = '{other}')
             WHERE name = '{table}' AND name <> '{other}'"
        ),
        _ => format!(
            "PRAGMA writable_schema = ON;
             CREATE TEMP TABLE pages AS SELECT name, rootpage FROM sqlite_schema WHERE name IN ('{table}', '{other}');
             UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM pages WHERE pages.name <> sqlite_schema.name)
             WHERE name IN ('{table}', '{other}') AND (SELECT count(*) FROM pages) = 2"
        ),
    }
}

/// Writes a changed vault, and says how it was changed.
fn mutate(dir: &TempDir, states: &[State], dice: &mut Dice) -> String {
    let (old, new) = (dice.below(states.len()), dice.below(states.len()));
    let state = &states[new];
    let _ = fs::remove_file(log_of(dir));
    fs::write(file(dir), &state.file).unwrap();
    let kind = dice.below(10);
    if kind >= 4 {
        let sql = match kind {
            4 => change_of_schema(dice),
            _ => change_of_rows(dice),
        };
        let earlier = dir.path().join("old.vault");
        fs::write(&earlier, &states[old].file).unwrap();
        let db = Connection::open(file(dir)).unwrap();
        db.pragma_update(None, "synchronous", "OFF").unwrap();
        db.execute("ATTACH ? AS old", [earlier.to_str().unwrap()])
            .unwrap();
        // Not every statement fits every table and row.
        let done = db.execute_batch(&sql);
        return format!("state {new}, with {old}: {sql} ({done:?})");
    }
    let bytes = |dice: &mut Dice, bytes: &[u8]| -> Vec<u8> {
        let mut changed = bytes.to_vec();
        match dice.below(4) {
            0 => changed.truncate(dice.below(bytes.len())),
            1 => changed.extend_from_slice(bytes),
            _ => {
                for _ in 0..1 + dice.below(8) {
                    let at = dice.below(changed.len());
                    if let Some(byte) = changed.get_mut(at) {
                        *byte ^= 1 << dice.below(8);
                    }
                }
            }
        }
        changed
    };
    match kind {
        0 => {
            fs::write(file(dir), bytes(dice, &state.file)).unwrap();
            format!("state {new}: bytes of the file")
        }
        1 => {
            fs::write(file(dir), &state.open.0).unwrap();
            fs::write(log_of(dir), bytes(dice, &state.open.1)).unwrap();
            format!("state {new}: bytes of the log")
        }
        2 => {
            fs::write(file(dir), &state.open.0).unwrap();
            fs::write(log_of(dir), &states[old].open.1).unwrap();
            format!("state {new}: with the log of {old}")
        }
        _ => {
            let page = 4096;
            let (mut changed, old_file) = (state.file.clone(), &states[old].file);
            let pages = changed.len().min(old_file.len()) / page;
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(pages) * page;
                changed[at..at + page].copy_from_slice(&old_file[at..at + page]);
            }
            fs::write(file(dir), changed).unwrap();
            format!("state {new}: pages of {old}")
        }
    }
}

fn try_to_open(dir: &TempDir) -> std::result::Result<Vault, VaultError> {
    let mut closed = take(dir)?.read()?;
    let slots: Vec<SlotKdf> = closed.passwords().collect();
    for slot in slots {
        let derived = closed.derive(slot, "right")?;
        closed = match closed.open(&derived.wrapping_key)? {
            Opened::Open(vault) => return Ok(vault),
            Opened::WrongKey(closed) => *closed,
        };
    }
    Err(VaultError::WrongKey)
}

/// Whether all that can be read of a vault is as it was after one transaction, and whether
/// that is all.
///
/// # Errors
/// What differs from the transaction that fits best.
fn fits(vault: &Vault, life: &Life) -> std::result::Result<bool, Vec<String>> {
    let found = reads(vault);
    let damaged = |what: &str, read: &std::result::Result<String, String>| match read {
        // A message in whose place stands that its row was changed.
        Ok(read) => what == "unread" && read.contains("was changed"),
        Err(_) => true,
    };
    let whole: Vec<_> = found
        .iter()
        .filter(|(what, read)| !damaged(what, read))
        .collect();
    let differences = |reads: &Reads| -> Vec<String> {
        let differs = |(what, read): &&(&String, &std::result::Result<String, String>)| {
            reads.get(*what) != read.as_ref().ok()
        };
        let differing = whole.iter().filter(differs);
        differing
            .map(|(what, read)| format!("{what}: {read:?}, not {:?}", reads.get(*what)))
            .collect()
    };
    let best = life.reads.iter().map(differences).min_by_key(Vec::len);
    match best {
        Some(differences) if !differences.is_empty() => Err(differences),
        _ => Ok(whole.len() == found.len()),
    }
}

#[test]
fn whatever_is_done_to_the_file_it_is_damaged_or_a_state_that_was_written() {
    let count = std::env::var("SECURE_CHAT_VAULT_MUTATIONS");
    let count: usize = count.map_or(300, |count| count.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let life = life(&dir, &mut dice);
    let (mut refused, mut whole, mut part) = (0, 0, 0);
    for number in 0..count {
        let change = mutate(&dir, &life.states, &mut dice);
        let what = || format!("mutation {number}, {change}");
        let files = || {
            (
                fs::read(file(&dir)).unwrap(),
                fs::read(log_of(&dir)).unwrap_or_default(),
            )
        };
        let before = files();
        let mut vault = match try_to_open(&dir) {
            Ok(vault) => vault,
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{}", what());
                assert!(before == files(), "{}: {error}: it was written to", what());
                refused += 1;
                continue;
            }
        };
        let is_whole = fits(&vault, &life).unwrap_or_else(|differences| {
            panic!(
                "{}: it is no state that was written: {differences:#?}",
                what()
            )
        });
        // Going on from here is safe, or not possible.
        let written = step(&mut vault, 30 + (number % 6) as u8, &mut dice);
        drop(vault);
        match &written {
            // A row that was planted among the messages is in the way of the next.
            Ok(()) | Err(VaultError::Damaged(..)) => {}
            Err(error) => panic!("{}: {error}", what()),
        }
        if is_whole && written.is_ok() {
            assert!(
                try_to_open(&dir).is_ok(),
                "{}: it can't be opened again",
                what()
            );
            whole += 1;
        } else {
            part += 1;
        }
    }
    println!(
        "{count} mutations: {refused} vaults refused as they are, {whole} whole states, \
         {part} states in which a changed message is noticed"
    );
    assert!(refused > count / 2 && whole > 0, "{refused} {whole} {part}");
}
