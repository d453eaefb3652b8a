//! A disk that is full, and one that fails: the sender is told to try again, nothing
//! is accepted meanwhile, and all goes on when the disk does.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Client, Fault, Server, eventually, plain, random};

/// Sends a text as one that may have been sent before.
fn resend(client: &mut Client, to: &str, number: u64, text: &str) -> Result<(), String> {
    let mut fields = plain(to, number, text);
    fields["again"] = json!(true);
    client.ask("send", fields).map(drop)
}

/// Logs in and asserts that all of these wait, in this order and once.
fn expect_all(server: &Server, name: &str, texts: &[String]) {
    let mut client = server.client();
    let waiting = client.login(name).unwrap()["plain"].as_u64();
    assert_eq!(waiting, Some(texts.len() as u64));
    for text in texts {
        assert_eq!(&client.message().body, text);
    }
    client.no_event();
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let server = Server::on_disk(random(), &[]);
    server.register("bob").ok("logout", json!({}));
    let (mut alice, mut carol) = (server.register("alice"), server.register("carol"));
    alice.send("bob", 0, "before").unwrap();
    alice.send("carol", 98, "not acknowledged yet").unwrap();

    server.disk().begin(Fault::Full);
    // Many at once, more than once, and other changes, too.
    for _ in 0..3 {
        let posted: Vec<u64> = (1..=50)
            .map(|number| alice.post("send", &plain("bob", number, &format!("text {number}"))))
            .collect();
        for id in posted {
            assert_eq!(alice.answer(id).unwrap_err(), "storage");
        }
    }
    let mut dave = server.client();
    let registration = dave.registration("dave");
    assert_eq!(dave.ask("register", registration).unwrap_err(), "storage");
    // What was shown is acknowledged, if deleting it has to wait.
    let shown = carol.message();
    assert_eq!(carol.ack("alice", &[shown.mid]), (1, 0));
    // Who is online can still be reached: an ack needs no disk.
    let id = alice.post("send", &plain("carol", 99, "live"));
    let message = carol.message();
    carol.ack("alice", &[message.mid]);
    let live = alice.answer(id);
    assert!(
        live.as_ref().is_ok_and(|ok| ok["state"] == "delivered")
            || live == Err("storage".to_owned()),
        "{live:?}"
    );
    // Who comes back can read what waits; only the login goes uncounted.
    let mut bob = server.client();
    bob.login("bob").unwrap();
    assert_eq!(bob.message().body, "before");
    bob.ok("logout", json!({}));
    assert_eq!(server.mail_on_disk(), 2);
    server.disk().end(Fault::Full);

    for number in 1..=50 {
        resend(&mut alice, "bob", number, &format!("text {number}")).unwrap();
    }
    dave.register("dave");
    let numbered = (1..=50).map(|number| format!("text {number}"));
    let texts: Vec<String> = ["before".to_owned()].into_iter().chain(numbered).collect();
    expect_all(&server, "bob", &texts);
    eventually("what was acknowledged is deleted", || {
        server.mail_on_disk() == 51
    });
    let log = server.log();
    let lines = |what| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("nothing of a batch was stored"), 1, "{log}");
    assert_eq!(lines("the database works again"), 1, "{log}");
}

#[test]
fn a_failed_sync_is_told_and_not_believed_later() {
    let mut server = Server::on_disk(random(), &[]);
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    let texts: Vec<String> = (0..60).map(|number| format!("text {number}")).collect();
    let mut failed = 0;
    for (number, text) in (0..).zip(&texts) {
        if number % 7 == 3 {
            server.disk().begin(Fault::FailSync);
        }
        if let Err(code) = alice.send("bob", number, text) {
            assert_eq!(code, "storage");
            assert!(!server.disk().has(Fault::FailSync));
            failed += 1;
            resend(&mut alice, "bob", number, text).unwrap();
        }
    }
    assert_eq!(failed, 9, "a failed sync is no success");
    server.kill();
    server.disk_mut().cut_to_the_synced();
    server.start_again();
    expect_all(&server, "bob", &texts);
}

#[test]
fn what_a_server_finds_at_its_start_is_on_the_disk() {
    // A kill between writing and syncing leaves a transaction that the next server
    // reads, but a power cut would take. It is synced before anybody is told of it.
    let mut server = Server::on_disk(random(), &[]);
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    server.disk().begin(Fault::NoSync);
    alice.send("bob", 0, "written, not synced").unwrap();
    server.kill();
    server.disk().end(Fault::NoSync);
    server.start_again();
    assert_eq!(server.mail_on_disk(), 1);
    server.kill();
    server.disk_mut().cut_to_the_synced();
    server.start_again();
    expect_all(&server, "bob", &["written, not synced".to_owned()]);
}

#[test]
fn a_server_on_a_full_disk_ends_in_time_and_says_what_it_could_not_do() {
    let mut server = Server::on_disk(random(), &[]);
    server.register("bob").ok("logout", json!({}));
    let (mut alice, mut carol) = (server.register("alice"), server.register("carol"));
    alice.send("bob", 0, "for bob").unwrap();
    alice.send("carol", 1, "for carol").unwrap();
    server.disk().begin(Fault::Full);
    let shown = carol.message();
    assert_eq!(carol.ack("alice", &[shown.mid]), (1, 0));
    let refused = alice.post("send", &plain("bob", 2, &"x".repeat(9000)));
    assert_eq!(alice.answer(refused).unwrap_err(), "storage");
    server.signal(Signal::TERM);
    // As promised, whatever the disk does.
    let status = server.wait(Duration::from_secs(5));
    assert_eq!(status.code(), Some(1));
    let log = server.log();
    assert!(
        log.contains("acknowledgements could not be recorded"),
        "{log}"
    );
    server.disk().end(Fault::Full);
    server.start_again();
    expect_all(&server, "bob", &["for bob".to_owned()]);
    expect_all(&server, "carol", &["for carol".to_owned()]);
}

#[test]
fn what_was_sent_behind_a_refused_message_does_not_overtake_it() {
    let server = Server::on_disk(random(), &[]);
    server.register("bob").ok("logout", json!({}));
    let (mut alice, mut carol) = (server.register("alice"), server.register("carol"));
    alice.send("bob", 0, "text 0").unwrap();
    let text = |number: u64| format!("text {number}");
    server.disk().begin(Fault::Full);
    let first = alice.post("send", &plain("bob", 1, &text(1)));
    assert_eq!(alice.answer(first).unwrap_err(), "storage");
    server.disk().end(Fault::Full);
    // The disk works again, for others at once. These were under way when alice heard of it.
    eventually("carol can send", || carol.send("bob", 50, "hers").is_ok());
    for number in 2..5 {
        let late = alice.send("bob", number, &text(number));
        assert_eq!(late.unwrap_err(), "storage");
    }
    // Elsewhere nothing was refused.
    alice.send("carol", 60, "elsewhere").unwrap();
    for number in 1..5 {
        resend(&mut alice, "bob", number, &text(number)).unwrap();
    }
    alice.send("bob", 5, &text(5)).unwrap();
    let expected = [
        "text 0", "hers", "text 1", "text 2", "text 3", "text 4", "text 5",
    ];
    expect_all(&server, "bob", &expected.map(str::to_owned));
}
