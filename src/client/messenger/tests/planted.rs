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

/// Alice logs in and is told; nothing comes of what was written, and all goes on.
fn nothing_leaves(server: &Double, alice: &mut Somebody, bob: &Somebody, mallory: &Somebody) {
    let before = server.world.lock().unwrap().sends.len();
    let _ = (bob.everything(), mallory.everything());
    alice.log_in();
    alice.sees_line("vault's file");
    alice.send("bob", "later");
    assert_eq!(bob.reads("later"), Mark::None);
    alice.send("mallory", "later");
    assert_eq!(mallory.reads("later"), Mark::None);
    assert_eq!(messages(&bob.everything()), 0);
    assert_eq!(messages(&mallory.everything()), 0);
    assert_eq!(server.world.lock().unwrap().sends.len(), before + 2);
}

const MALLORY: &str = "(SELECT max(contact) FROM messages)";

#[test]
fn a_history_that_is_planted_as_unsent_stays_here() {
    let plants = [
        format!("INSERT INTO unsent (seq, contact) SELECT seq, {MALLORY} FROM messages WHERE contact <> {MALLORY}"),
        // To bob himself, also what he wrote.
        "INSERT INTO unsent (seq, contact) SELECT seq, contact FROM messages".to_owned(),
        "INSERT INTO unsent (seq, contact) VALUES (987654, 1), (-5, 1), (1, 99)".to_owned(),
        format!("INSERT INTO unsent (seq, contact) SELECT seq, {MALLORY} FROM messages WHERE contact <> {MALLORY};
                 UPDATE messages SET contact = {MALLORY}"),
        "INSERT INTO outbox (seq, sealed) SELECT seq, sealed FROM messages".to_owned(),
        "INSERT INTO outbox (seq, sealed) VALUES (1, x''), (987654, x'00')".to_owned(),
    ];
    for plant in plants {
        let (server, mut alice, bob, mallory) = three();
        alice.log_out();
        write(&alice, &plant);
        nothing_leaves(&server, &mut alice, &bob, &mallory);
    }
}

/// Cut off, with a text waiting in the outbox for each of the two.
fn with_outbox() -> (Double, Somebody, Somebody, Somebody) {
    let (server, mut alice, bob, mallory) = three();
    server.world.lock().unwrap().drop_answers = true;
    alice.send("bob", "for bob alone");
    bob.reads("for bob alone");
    alice.session.take().unwrap().end();
    server.world.lock().unwrap().drop_answers = false;
    (server, alice, bob, mallory)
}

#[test]
fn an_outbox_row_in_another_place_is_not_sent() {
    let (server, mut alice, bob, mallory) = with_outbox();
    write(&alice, "UPDATE outbox SET seq = seq - 1");
    nothing_leaves(&server, &mut alice, &bob, &mallory);
}

#[test]
fn a_text_that_waits_goes_to_nobody_else() {
    for change in [
        format!("UPDATE unsent SET contact = {MALLORY}"),
        format!(
            "UPDATE messages SET contact = {MALLORY} WHERE seq IN (SELECT seq FROM unsent);
                 UPDATE unsent SET contact = {MALLORY}"
        ),
    ] {
        let (server, mut alice, bob, mallory) = three();
        let evil = super::evil::Evil::new(10);
        let genuine = evil.publish_as(&server, &bob.name);
        alice.send("bob", "the first is refused");
        alice.sees_line("messages to bob wait here");
        alice.send("bob", "for bob alone");
        let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
        alice.session.take().unwrap().end();
        super::evil::publish(&server, &bob.name, genuine);
        write(&alice, &change);
        nothing_leaves(&server, &mut alice, &bob, &mallory);
    }
}

#[test]
fn an_answer_that_was_given_is_not_given_again_or_elsewhere() {
    for contact in ["contact".to_owned(), MALLORY.to_owned()] {
        let (server, mut alice, mut bob, mallory) = three();
        bob.log_out();
        alice.send("bob", "into the void");
        alice
            .run(Command::AwaitAnswers(Duration::from_secs(5)))
            .unwrap();
        let mut vault = bob.vault();
        let number = vault.contact(&alice.name).unwrap().id;
        vault
            .transact(|vault| vault.forget_conversation(number))
            .unwrap();
        drop(vault);
        bob.log_in();
        bob.reads_again("into the void");
        alice.log_out();
        write(
            &alice,
            &format!("INSERT INTO unsent (seq, contact) SELECT seq, {contact} FROM errands"),
        );
        nothing_leaves(&server, &mut alice, &bob, &mallory);
    }
}

#[test]
fn a_contacts_number_is_not_inherited() {
    let (server, mut alice, bob, _) = three();
    let evil = super::evil::Evil::new(10);
    evil.publish_as(&server, &bob.name);
    alice.send("bob", "the first is refused");
    alice.sees_line("messages to bob wait here");
    alice.send("bob", "for bob alone");
    let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
    alice.session.take().unwrap().end();
    // Bob's number becomes that of the next who writes.
    write(
        &alice,
        "DELETE FROM contacts WHERE id = (SELECT max(contact) FROM unsent);
         UPDATE unsent SET contact = contact",
    );
    let carol = Somebody::registered(&server, "carol");
    carol.send("alice", "hi");
    carol
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    let before = server.world.lock().unwrap().sends.len();
    alice.log_in();
    alice.reads("hi");
    let _ = alice.run(Command::AwaitAnswers(Duration::from_secs(5)));
    assert_eq!(messages(&carol.everything()), 0);
    assert_eq!(server.world.lock().unwrap().sends.len(), before);
}

#[test]
fn nobody_is_asked_for_what_was_not_lost() {
    let (server, mut alice, bob, mallory) = three();
    alice.log_out();
    write(
        &alice,
        &format!(
            "INSERT INTO wanted (contact, mid, asked)
                 SELECT {MALLORY}, mid, 0 FROM messages;
             INSERT INTO wanted (contact, mid, asked) VALUES ({MALLORY}, zeroblob(16), 0);
             INSERT INTO errands (seq, contact, mid, at, sealed)
                 SELECT seq + 100, contact, mid, at, sealed FROM messages;
             INSERT INTO unsent (seq, contact) SELECT seq, contact FROM errands;
             UPDATE sqlite_sequence SET seq = 0"
        ),
    );
    nothing_leaves(&server, &mut alice, &bob, &mallory);
}
