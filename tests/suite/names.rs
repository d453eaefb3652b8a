//! The name of a removed account is given away on a running server, while people chat.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::admin::{Ended, command, done, refused, rows};
use super::erasure::anywhere;
use crate::harness::{Server, eventually, mid, plain};

const REUSE: [&str; 6] = ["user", "add", "eve", "--password-file", "-", "--reuse-name"];

fn give_eve_away(data: &Path) -> Ended {
    command(data, &REUSE, "correct horse\n")
}

#[test]
fn a_name_is_given_away_beside_a_chat_with_nothing_of_its_last_owner() {
    let server = Server::start();
    let data = server.data();
    let secret = "a text of the one who left";
    let mut eve = server.register("eve");
    let mut bob = server.register("bob");
    let mut dave = server.register("dave");
    let mut frank = server.register("frank");
    server.register("carol").ok("logout", json!({}));
    dave.ok("block", json!({"name": "eve"}));
    // Pushed to bob, who does not acknowledge it, and waiting for carol; some are for eve.
    eve.send("bob", 1, &format!("{secret} to bob")).unwrap();
    assert!(bob.message().body.starts_with(secret));
    for number in 2..250 {
        eve.ok(
            "send",
            plain("carol", number, &format!("{secret} {number}")),
        );
    }
    frank.send("eve", 1, &format!("{secret} for eve")).unwrap();
    assert!(anywhere(&data, secret), "it is stored first");
    done(&data, &["user", "remove", "eve"]);
    refused(&data, &REUSE[..5], "stays reserved");

    let stop = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        // Alice and grace talk all the while.
        let chat = scope.spawn(|| {
            let (mut alice, mut grace) = (server.register("alice"), server.register("grace"));
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) || number < 20 {
                number += 1;
                let text = format!("message {number}");
                let sent = alice.post("send", &plain("grace", number, &text));
                let arrived = grace.message();
                assert_eq!(arrived.body, text);
                grace.ack("alice", &[arrived.mid]);
                alice.answer(sent).unwrap();
            }
        });
        let said = give_eve_away(&data);
        stop.store(true, Ordering::Relaxed);
        chat.join().unwrap();
        said
    });
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("messages were purged"), "{said:?}");

    // Nothing comes from the one before, nobody's block is left, and nobody writes to them.
    let mut eve = server.console();
    assert_eq!(eve.login("eve"), "+OK you are eve");
    assert_eq!(bob.ack("eve", &[mid(1)]), (0, 1));
    frank.send("eve", 2, "are you new here?").unwrap();
    let line = eve.line();
    assert!(line.ends_with("are you new here?"), "{line}");
    let (news, answer) = eve.exchange("send dave hello");
    assert!(
        news.is_empty() && answer.starts_with("+OK"),
        "{news:?} {answer}"
    );
    assert_eq!(dave.message().body, "hello");
    assert!(eve.type_line("send carol hello").starts_with("+OK"));
    let mut carol = server.client();
    assert_eq!(carol.login("carol").unwrap()["plain"], 1);
    assert_eq!(carol.message().body, "hello");
    let mut bob = server.client();
    let welcome = bob.login_with("bob", json!({"take_over": true})).unwrap();
    assert_eq!(welcome["plain"], 0, "{welcome}");
    eventually("no byte of it is left", || !anywhere(&data, secret));
}

#[test]
fn a_purge_that_a_crash_cuts_off_leaves_the_name_reserved() {
    let folder = crate::harness::temporary_folder();
    let data = folder.path().join("data");
    let mut server = Server::on_file(&data, &[]);
    for name in ["eve", "bob"] {
        server.register(name).ok("logout", json!({}));
    }
    done(&data, &["user", "remove", "eve"]);
    server.tamper(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
         INSERT INTO mail SELECT 2, n, 1, randomblob(16), 1, 1, 'hello' FROM c;",
    );
    let left = |server: &Server| {
        server
            .look("SELECT count(*) FROM mail WHERE sender = 1")
            .unwrap()
    };
    let ended = thread::scope(|scope| {
        let giving = scope.spawn(|| give_eve_away(&data));
        eventually("it has begun", || left(&server) < 20000);
        server.signal(rustix::process::Signal::KILL);
        giving.join().unwrap()
    });
    server.wait(Duration::from_secs(30));
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    server.start_again();
    assert!(left(&server) > 0, "it was cut off too late");
    refused(&data, &REUSE[..5], "stays reserved");
    assert_eq!(rows(&data, &["user", "show", "eve"])[0]["state"], "removed");
    let ended = give_eve_away(&data);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(left(&server), 0);
    assert_eq!(server.console().login("eve"), "+OK you are eve");
    assert_eq!(server.client().login("bob").unwrap()["plain"], 0);
}
