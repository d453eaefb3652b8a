//! Whoever writes to the vault's file, without its key, sends nothing with it.

use crate::client::view::Mark;
use rusqlite::Connection;

use super::setups::acquainted;
use super::*;

fn path(somebody: &Somebody) -> std::path::PathBuf {
    let folder = somebody.server.replace(':', "_");
    let file = format!("{}.vault", somebody.name);
    somebody.home.path().join(folder).join(file)
}

/// The thief: only SQL, no password. Contact numbers and places are readable.
fn write(somebody: &Somebody, sql: &str) {
    let db = Connection::open(path(somebody)).unwrap();
    db.execute_batch(sql).unwrap();
}

/// Alice has a history with bob, and knows mallory, the contact with the highest
/// number, who waits for what comes.
fn three() -> (Double, Somebody, Somebody, Somebody) {
    let (server, alice, bob) = acquainted();
    let mallory = Somebody::registered(&server, "mallory");
    mallory.send("alice", "nice to meet you");
    alice.reads("nice to meet you");
    (server, alice, bob, mallory)
}

/// Alice is told why she can't log in; the file stays as it is, and nothing leaves.
fn refused(server: &Double, alice: &Somebody, planted: &str) {
    let before = server.world.lock().unwrap().sends.len();
    let bytes = std::fs::read(path(alice)).unwrap();
    let said = alice
        .login_flow()
        .log_in(alice.name, &mut answers(PASSWORD))
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(said.contains("is damaged"), "{planted}: {said}");
    assert_eq!(std::fs::read(path(alice)).unwrap(), bytes, "{planted}");
    assert_eq!(
        server.world.lock().unwrap().sends.len(),
        before,
        "{planted}"
    );
}

/// Alice logs out, `plants` are written one after the other, and each is noticed.
fn nothing_leaves(server: &Double, alice: &mut Somebody, plants: &[&str]) {
    alice.log_out();
    let whole = std::fs::read(path(alice)).unwrap();
    for plant in plants {
        std::fs::write(path(alice), &whole).unwrap();
        write(alice, plant);
        refused(server, alice, plant);
    }
    std::fs::write(path(alice), &whole).unwrap();
    alice.log_in();
}

#[test]
fn what_is_planted_to_be_sent_is_not() {
    let (server, mut alice, bob, _mallory) = three();
    let plants = [
        "INSERT INTO unsent (id, value) SELECT id, x'0000000000000001' FROM messages",
        "INSERT INTO unsent (id, value) VALUES (987654, x''), (-5, zeroblob(24))",
        "INSERT INTO outbox (id, value) SELECT id, value FROM messages",
        "INSERT INTO outbox (id, value) VALUES (1, x''), (987654, x'00')",
        "INSERT INTO wanted (id, value) SELECT id, value FROM contacts",
        "INSERT INTO control_messages (id, value) SELECT id + 100, value FROM messages",
        "UPDATE root SET last_number = 0",
    ];
    nothing_leaves(&server, &mut alice, &plants);
    alice.send("bob", "later");
    assert_eq!(bob.reads("later"), Mark::None);
}

#[test]
fn what_waits_goes_to_nobody_else() {
    let (server, mut alice, bob, mallory) = three();
    let evil = super::evil::Evil::new(10);
    let genuine = evil.publish_as(&server, &bob.name);
    alice.send("bob", "the first is refused");
    alice.sees_line("messages to bob wait here");
    alice.send("bob", "for bob alone");
    let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
    let plants = [
        "UPDATE unsent SET value = (SELECT value FROM unsent ORDER BY id DESC)",
        "UPDATE unsent SET id = id - 1",
        "DELETE FROM contacts WHERE id = 1",
        "DELETE FROM contacts",
        "UPDATE contacts SET id = 3 - id WHERE id < 3 AND id > 3; DELETE FROM contacts WHERE id = 2",
        "UPDATE sessions SET value = (SELECT value FROM sessions ORDER BY id DESC)",
    ];
    alice.session.take().unwrap().end();
    let whole = std::fs::read(path(&alice)).unwrap();
    for plant in plants {
        std::fs::write(path(&alice), &whole).unwrap();
        write(&alice, plant);
        refused(&server, &alice, plant);
    }
    std::fs::write(path(&alice), &whole).unwrap();
    super::evil::publish(&server, &bob.name, genuine);
    alice.log_in();
    assert_eq!(bob.reads("the first is refused"), Mark::None);
    assert_eq!(bob.reads("for bob alone"), Mark::None);
    let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
    assert_eq!(messages(&mallory.everything()), 0);
}

/// Single rows go back in time, or away: case F of the audit.
#[test]
fn a_row_that_goes_back_in_time_is_noticed() {
    let (server, mut alice, bob) = acquainted();
    alice.send("bob", "first of a chain");
    bob.reads("first of a chain");
    alice.log_out();
    let rows = |table: &str| -> Vec<(i64, Vec<u8>)> {
        let db = Connection::open(path(&alice)).unwrap();
        let sql = format!("SELECT id, value FROM {table}");
        let mut query = db.prepare(&sql).unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(|row| row.unwrap()).collect()
    };
    let old: Vec<_> = [
        "contacts",
        "sessions",
        "state",
        "seen_ids",
        "message_chunks",
    ]
    .map(|table| (table, rows(table)))
    .into();
    alice.log_in();
    super::setups::verify(&alice);
    alice.send("bob", "after");
    bob.reads("after");
    alice.log_out();
    let whole = std::fs::read(path(&alice)).unwrap();
    let all = (0..old.len()).map(|one| one..one + 1);
    for tables in all.chain([0..2, 0..old.len()]) {
        std::fs::write(path(&alice), &whole).unwrap();
        let db = Connection::open(path(&alice)).unwrap();
        for (table, rows) in &old[tables.clone()] {
            db.execute_batch(&format!("DELETE FROM {table}")).unwrap();
            for (id, value) in rows {
                let sql = format!("INSERT INTO {table} (id, value) VALUES (?, ?)");
                db.execute(&sql, (id, value)).unwrap();
            }
        }
        drop(db);
        refused(&server, &alice, &format!("tables {tables:?}"));
    }
    std::fs::write(path(&alice), &whole).unwrap();
    write(&alice, "DELETE FROM contacts");
    refused(&server, &alice, "no contacts");
}

/// The rows of messages are read when they are needed, not at opening.
#[test]
fn a_damaged_message_does_not_stop_the_mail_that_is_about_it() {
    let (_server, mut alice, mut bob) = acquainted();
    bob.run(Command::Settings(SettingsChange::Receipts(true)))
        .unwrap();
    bob.log_out();
    alice.send("bob", "soon damaged");
    alice.log_out();
    write(
        &alice,
        "UPDATE messages SET value = zeroblob(length(value)) WHERE id = (SELECT max(id) FROM messages)",
    );
    bob.log_in();
    bob.reads("soon damaged");
    bob.send("alice", "behind the receipt");
    bob.is_connected();
    alice.log_in();
    assert_eq!(alice.reads("behind the receipt"), Mark::None);
    super::setups::they_talk(&alice, &bob, "and on");
}

const CHANGES: [&str; 3] = [
    "UPDATE messages SET value = zeroblob(length(value)) WHERE id = (SELECT max(id) FROM messages)",
    "DELETE FROM messages WHERE id = (SELECT max(id) FROM messages)",
    "UPDATE messages SET value = CAST(value || value AS BLOB) WHERE id = (SELECT max(id) FROM messages)",
];

/// Of a message that waits nobody knows the words any more. It is given up and said, once, and the
/// others go out.
#[test]
fn a_waiting_message_whose_row_was_changed_is_given_up_and_no_other() {
    for change in CHANGES {
        let (server, mut alice, bob) = acquainted();
        for is_in_the_outbox in [true, false] {
            let evil = super::evil::Evil::new(10);
            let genuine = match is_in_the_outbox {
                true => {
                    server.world.lock().unwrap().drop_answers = true;
                    None
                }
                false => Some(evil.publish_as(&server, &bob.name)),
            };
            alice.send("bob", "whole");
            alice.send("bob", "soon damaged");
            alice.session.take().unwrap().end();
            write(&alice, change);
            server.world.lock().unwrap().drop_answers = false;
            if let Some(genuine) = genuine {
                super::evil::publish(&server, &bob.name, genuine);
            }
            alice.log_in();
            alice.sees_line(
                "the message to bob was not sent: its row in the vault's file was changed",
            );
            bob.reads("whole");
            super::setups::they_talk(&alice, &bob, "and on");
            let failed = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
            assert_eq!(failed.unwrap_err(), "1 of the messages could not be sent");
            alice.log_out();
            alice.log_in();
            let said = format!("{:?}", alice.everything());
            assert!(!said.contains("was not sent"), "{change}: {said}");
        }
    }
}

/// What a held message says is in its envelope, so its row is not needed to accept it or to drop it.
#[test]
fn a_held_message_whose_row_was_changed_can_be_accepted_and_rejected() {
    let name: UserName = "bob".parse().unwrap();
    for change in CHANGES {
        for accept in [true, false] {
            let (server, mut alice, _bob) = acquainted();
            let mut evil = super::evil::Evil::new(10);
            evil.publish_as(&server, &name);
            evil.says_text(&server, "from a new device");
            alice.sees_line("/verify bob");
            alice.session.take().unwrap().end();
            write(&alice, change);
            alice.log_in();
            if accept {
                alice.run(Command::Accept(name)).unwrap();
                assert_eq!(alice.reads("from a new device"), Mark::None);
            } else {
                alice.run(Command::Reject(name)).unwrap();
                alice.sees_line("dropped");
            }
            alice.log_out();
            alice.log_in();
        }
    }
}
