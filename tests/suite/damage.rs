//! A database that is damaged: the mailbox that meets the damage is set aside, all
//! others go on, and the server still ends in time.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Client, PATIENCE, Server, plain};

/// Bytes of a page of the database.
const PAGE: u64 = 4096;

/// The time in which an end is promised.
const END: Duration = Duration::from_secs(5);

/// Pages by the table they belong to and their place in its tree.
fn pages(database: &Path) -> BTreeMap<u64, (String, String)> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno, name, pagetype FROM dbstat")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let number: i64 = row.get(0)?;
        Ok((number as u64, (row.get(1)?, row.get(2)?)))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The leaf pages of `table` that hold these bytes.
fn leaves_with(database: &Path, table: &str, bytes: &[u8]) -> Vec<u64> {
    let content = std::fs::read(database).unwrap();
    let leaves = pages(database)
        .into_iter()
        .filter(|(number, (name, kind))| {
            let from = ((number - 1) * PAGE) as usize;
            let page = &content[from..from + PAGE as usize];
            name == table && kind == "leaf" && page.windows(bytes.len()).any(|part| part == bytes)
        });
    leaves.map(|(number, _)| number).collect()
}

/// Writes nonsense over the head of pages.
fn damage(database: &Path, pages: &[u64]) {
    assert!(!pages.is_empty(), "nothing to damage was found");
    let file = File::options().write(true).open(database).unwrap();
    for page in pages {
        file.write_all_at(&[0xff; 64], (page - 1) * PAGE + 3)
            .unwrap();
    }
}

fn stop(server: &mut Server) -> Option<i32> {
    server.signal(Signal::TERM);
    server.wait(END).code()
}

/// A server with mail for the victim and for bob, stopped, and the bytes of an id
/// in the middle of the victim's.
fn with_mail() -> (Server, [u8; 16]) {
    let mut server = Server::start();
    for name in ["first", "victim", "bob", "carol"] {
        server.register(name).ok("logout", json!({}));
    }
    let mut alice = server.register("alice");
    for to in ["first", "victim", "bob"] {
        for number in 0..60 {
            let number = number + u64::from(to.as_bytes()[0]) * 1000;
            let text = format!("{number} {}", "x".repeat(5000));
            alice.send(to, number, &text).unwrap();
        }
    }
    drop(alice);
    assert_eq!(stop(&mut server), Some(0), "{}", server.log());
    let middle = u128::from(u64::from(b'v') * 1000 + 30);
    (server, middle.to_be_bytes())
}

fn lines(server: &Server, what: &str) -> usize {
    let log = server.log();
    log.lines().filter(|line| line.contains(what)).count()
}

/// Takes bob's 60 and asserts their order.
fn expect_bobs_mail(mut bob: Client) {
    for number in 0..60 {
        let number = u64::from(b'b') * 1000 + number;
        let message = bob.message();
        assert!(message.body.starts_with(&format!("{number} ")));
        assert_eq!(bob.ack("alice", &[message.mid]), (1, 0));
    }
}

#[test]
fn damage_that_appears_while_running_stops_one_mailbox() {
    let (mut server, middle) = with_mail();
    server.start_again();
    let mut victim = server.login("victim");
    let shown: Vec<String> = (0..60).map(|_| victim.message().mid).collect();
    let mut carol = server.login("carol");
    let database = server.data().join("chat.db");
    damage(&database, &leaves_with(&database, "mail", &middle));
    // The writer meets it when it deletes what is acknowledged.
    assert_eq!(victim.ack("alice", &shown), (60, 0));
    let told = victim.next_event().unwrap();
    assert_eq!(told["error"]["code"], "damaged", "{told}");

    let mut alice = server.login("alice");
    for number in 0..20 {
        alice.send("bob", number, "goes on").unwrap();
        assert_eq!(
            alice.send("victim", 100 + number, "x").unwrap_err(),
            "damaged"
        );
        let live = alice.post("send", &plain("carol", 200 + number, "live"));
        let message = carol.message();
        carol.ack("alice", &[message.mid]);
        alice.answer(live).unwrap();
    }
    server.register("newcomer");
    assert_eq!(server.client().login("victim").unwrap_err(), "damaged");
    let said = "the mailbox of victim is damaged";
    assert_eq!(lines(&server, said), 1, "{}", server.log());
    assert_eq!(lines(&server, "the mailbox of"), 1, "{}", server.log());

    // What the victim acknowledged is not recorded, and that is said.
    assert_eq!(stop(&mut server), Some(1));
    assert!(
        server
            .log()
            .contains("acknowledgements could not be recorded")
    );
    server.start_again();
    assert_eq!(server.client().login("victim").unwrap_err(), "damaged");
    expect_bobs_mail(server.login("bob"));
    assert_eq!(server.login("first").message().from, "alice");
    assert_eq!(stop(&mut server), Some(0), "{}", server.log());
}

#[test]
fn a_row_in_the_way_stops_one_mailbox_and_the_batch_is_stored() {
    let server = Server::start();
    for name in ["victim", "bob", "carol"] {
        server.register(name).ok("logout", json!({}));
    }
    let mut alice = server.register("alice");
    for to in ["victim", "bob", "carol"] {
        alice.send(to, 0, "before").unwrap();
    }
    // The number that the victim's next message will get is taken.
    let other = Connection::open(server.data().join("chat.db")).unwrap();
    other
        .execute_batch(
            "INSERT INTO mail SELECT recipient, number + 1, sender, id, at, kind, body FROM mail
             WHERE recipient = (SELECT id FROM users WHERE name = 'victim')",
        )
        .unwrap();
    let names = ["bob", "victim", "carol"];
    let posted: Vec<(&str, u64)> = (0..300)
        .map(|number| {
            let to = names[number as usize % 3];
            let text = format!("text {number}");
            (to, alice.post("send", &plain(to, 1 + number, &text)))
        })
        .collect();
    for (to, id) in posted {
        match (to, alice.answer(id)) {
            ("victim", answer) => assert_eq!(answer.unwrap_err(), "damaged"),
            (_, answer) => assert_eq!(answer.unwrap()["state"], "stored"),
        }
    }
    for (first, name) in [(0, "bob"), (2, "carol")] {
        let mut client = server.login(name);
        assert_eq!(client.message().body, "before");
        for number in (first..300).step_by(3) {
            assert_eq!(client.message().body, format!("text {number}"));
        }
    }
    assert_eq!(
        lines(&server, "is damaged and set aside"),
        1,
        "{}",
        server.log()
    );
}

#[test]
fn damaged_prekeys_keep_nobody_from_the_mail() {
    let (mut server, _) = with_mail();
    let database = server.data().join("chat.db");
    // Nobody has published any, and the table is one page.
    let prekeys: Vec<u64> = pages(&database)
        .into_iter()
        .filter(|(_, (name, _))| name == "one_time_prekeys")
        .map(|(number, _)| number)
        .collect();
    damage(&database, &prekeys);
    server.start_again();
    expect_bobs_mail(server.login("bob"));
    server.login("alice").send("carol", 1, "hello").unwrap();
    assert_eq!(server.login("carol").message().body, "hello");
    assert_eq!(stop(&mut server), Some(0), "{}", server.log());
}

#[test]
fn damage_to_all_mail_is_no_single_mailboxs() {
    let (mut server, _) = with_mail();
    server.start_again();
    let mut alice = server.login("alice");
    alice.send("carol", 1, "before").unwrap();
    let database = server.data().join("chat.db");
    // Every page of the table, the first included.
    let mail: Vec<u64> = pages(&database)
        .into_iter()
        .filter(|(_, (name, _))| name == "mail")
        .map(|(number, _)| number)
        .collect();
    damage(&database, &mail);
    // SQLite keeps pages that it has read: a few sends may still find them.
    let mut number = 2;
    let deadline = std::time::Instant::now() + PATIENCE;
    let code = loop {
        assert!(std::time::Instant::now() < deadline, "nobody noticed");
        number += 1;
        let to = ["bob", "carol", "first"][number as usize % 3];
        if let Err(code) = alice.send(to, number, &"x".repeat(9000)) {
            break code;
        }
    };
    assert_eq!(code, "storage");
    assert_eq!(lines(&server, "set aside"), 0, "{}", server.log());
    server.signal(Signal::TERM);
    server.wait(END);
}
