//! A message that its recipient did not fetch for longer than the server keeps mail, as both people see it.

use std::fs;

use rustix::process::Signal;

use crate::Place;
use crate::harness::{Server, eventually, temporary_folder};

#[test]
fn a_message_that_expired_is_shown_as_such_to_both_and_sent_again_on_request() {
    let settings = temporary_folder();
    let file = settings.path().join("server.conf");
    fs::write(&file, "").unwrap();
    let server = Server::with(&["--config", file.to_str().unwrap()]);
    let place = Place::on(server, &["alice", "bob"]);
    let send = |from: &str, to: &str, text: &str| {
        assert_eq!(place.run(from, &["send", to, text], "").code, 0, "{text}");
    };
    let texts = |name: &str| -> Vec<String> {
        let got = place.json(name, &["fetch"], "");
        let messages = got.iter().filter(|event| event["type"] == "message");
        messages
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    };
    send("alice", "bob", "hello");
    assert_eq!(texts("bob"), ["hello"]);
    send("bob", "alice", "hello back");
    assert_eq!(texts("alice"), ["hello back"]);
    // What is left are receipts.
    assert!(texts("bob").is_empty() && texts("alice").is_empty());
    eventually("nothing waits", || place.server.mail_on_disk() == 0);

    for text in ["one", "two", "three"] {
        send("alice", "bob", text);
    }
    let database = rusqlite::Connection::open(place.server.data().join("chat.db")).unwrap();
    let older = "UPDATE mail SET at = at - 3 * 86400000
                 WHERE number IN (SELECT number FROM mail ORDER BY number LIMIT 2)";
    assert_eq!(database.execute(older, []).unwrap(), 2);
    drop(database);
    fs::write(&file, "keep-mail = 2\n").unwrap();
    place.server.signal(Signal::HUP);
    // The young one, and what bob is told in place of the others.
    eventually("two are gone", || place.server.mail_on_disk() == 2);

    let states = || -> Vec<(String, String)> {
        let history = place.json("alice", &["history", "bob"], "");
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let own = history.iter().filter(|message| message["from"] == "alice");
        own.map(|message| (word(&message["text"]), word(&message["state"])))
            .skip(1)
            .collect()
    };
    let told = place.run("alice", &["fetch"], "");
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains("2 messages to bob expired"), "{told:?}");
    assert!(told.err.contains("/outbox again"), "{told:?}");
    let state = |text: &str, state: &str| (text.to_owned(), state.to_owned());
    let expired = [state("one", "expired"), state("two", "expired")];
    assert_eq!(states()[..2], expired);
    assert_eq!(states()[2], state("three", "stored"));
    // It is said once, and nothing is sent again by itself.
    let again = place.run("alice", &["fetch"], "");
    assert!(!again.err.contains("expired"), "{again:?}");
    assert_eq!(place.server.mail_on_disk(), 2);

    let read = place.run("bob", &["fetch"], "");
    assert!(read.out.contains("three"), "{read:?}");
    for said in [
        "the server says that it removed 2 messages or receipts from alice",
        "2 messages from alice have not arrived; the server says that it removed 2 of alice's",
    ] {
        assert!(read.err.contains(said), "{read:?}");
    }
    // The sender's word comes with its next message.
    send("alice", "bob", "four");
    let read = place.run("bob", &["fetch"], "");
    let said = "2 of the missing messages from alice were never sent or expired on the server, says alice's";
    assert!(
        read.err.contains(said) && read.out.contains("four"),
        "{read:?}"
    );

    let sent = place.run("alice", &[], "/outbox\n/outbox again all\n");
    assert_eq!(sent.code, 0, "{sent:?}");
    for said in ["expired", "one", "two"] {
        assert!(sent.out.contains(said), "{said}: {sent:?}");
    }
    let listed = place.run("alice", &[], "/outbox\n");
    assert!(listed.out.contains("no message waits here"), "{listed:?}");
    assert_eq!(texts("bob"), ["one", "two"]);
    let history = place.json("alice", &["history", "bob"], "");
    let gone = history.iter().find(|message| message["text"] == "one");
    let gone = gone.unwrap();
    assert_eq!(gone["state"], "failed", "{gone}");
    let refused = place.run(
        "alice",
        &[],
        &format!("/outbox again {}\n", gone["id"].as_str().unwrap()),
    );
    assert_ne!(refused.code, 0);
    assert!(
        refused.err.contains("no message that expired"),
        "{refused:?}"
    );
}
