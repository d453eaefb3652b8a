//! What the server holds about a person: all of it for the operator, the person's own rows for the person.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::admin::{command, done, refused, rows};
use crate::harness::{Client, Server};

/// The rows of a table, without their order.
fn of<'a>(rows: &'a [Value], table: &str, relation: &str) -> Vec<&'a Value> {
    let of_table = rows.iter().filter(|row| {
        row["table"] == table && row["relation"].as_str().unwrap().contains(relation)
    });
    of_table.map(|row| &row["values"]).collect()
}

/// All that the server tells a user: rows, and what it withholds.
fn told(client: &mut Client) -> (Vec<Value>, Vec<Value>) {
    let (mut rows, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = client.ok("personal_data", json!({ "after": after }));
        let list = |field: &str| answer[field].as_array().cloned().unwrap_or_default();
        assert!(list("rows").len() <= 100);
        rows.extend(list("rows"));
        after = answer["next"].clone();
        if after.is_null() {
            return (rows, list("withheld"));
        }
        assert!(list("withheld").is_empty());
    }
}

#[test]
fn the_operator_sees_every_row_about_a_person_and_the_person_those_of_their_own() {
    let mut server = Server::start();
    let data = server.data();
    let mut bob = server.register("bob");
    let mut carol = server.register("carol");
    let _dave = server.register("dave");
    bob.ok("block", json!({ "name": "dave" }));
    carol
        .send("bob", 1, "to bob, and read by the server")
        .unwrap();
    carol.ok("logout", json!({}));
    for number in 1..=150 {
        bob.send("carol", number, "from bob").unwrap();
    }
    // Blocked later, since what a blocked sender writes is not kept.
    let mut carol = server.login("carol");
    carol.ok("block", json!({ "name": "bob" }));
    for running in [true, false] {
        if running {
            // The mail of the last moments may not have been written yet.
            crate::harness::eventually("all is on disk", || server.mail_on_disk() == 151);
            let (own, withheld) = told(&mut bob);
            assert_eq!(of(&own, "users", "")[0]["name"], "bob");
            assert_eq!(of(&own, "blocks", "whom it blocks")[0]["blocked"], "dave");
            let mail = of(&own, "mail", "waits for it");
            assert_eq!(mail.len(), 1, "{own:?}");
            assert_eq!(mail[0]["sender"], "carol");
            assert_eq!(mail[0]["body"], json!({ "bytes": 30 }));
            let address = of(&own, "sessions", "")[0]["address"].as_str().unwrap();
            assert!(address.starts_with("127.0.0.1:"), "{address}");
            let text = serde_json::to_string(&own).unwrap();
            assert!(
                !text.contains("who blocks it") && !text.contains("from bob"),
                "{text}"
            );
            let withheld = serde_json::to_string(&withheld).unwrap();
            for named in ["who blocks it", "waits for others", "lines of the logs"] {
                assert!(withheld.contains(named), "{withheld}");
            }
            // A place of another section leads nowhere.
            for place in ["9.0.0", "10.0.0", "x", "0.0", "7.1.2.3"] {
                let answer = bob.ask("personal_data", json!({ "after": place }));
                assert_eq!(answer.unwrap_err(), "bad_request", "{place}");
            }
            // Carol's mailbox is larger than an answer. She has read none of it.
            let (carols, _) = told(&mut carol);
            assert_eq!(of(&carols, "mail", "waits for it").len(), 150);
        } else {
            server.signal(Signal::TERM);
            server.wait(Duration::from_secs(30));
        }
        let known = rows(&data, &["what-we-know", "bob"]);
        assert_eq!(of(&known, "sessions", "").len(), usize::from(running));
        let account = of(&known, "users", "the account")[0];
        assert_eq!(
            (&account["name"], &account["deleted"]),
            (&json!("bob"), &json!(0))
        );
        assert_eq!(account["login_key"].as_str().unwrap().len(), 64);
        assert_eq!(of(&known, "blocks", "who blocks it")[0]["user"], "carol");
        let waiting = of(&known, "mail", "waits for it");
        assert_eq!(waiting[0]["body"], "to bob, and read by the server");
        let elsewhere = of(&known, "mail", "waits for others");
        assert_eq!(elsewhere.len(), 150);
        assert!(
            elsewhere
                .iter()
                .all(|row| row["recipient"] == "carol" && row["sender"] == "bob")
        );
        let lines = of(&known, "log", "names it");
        assert!(
            lines[0]["text"].as_str().unwrap().contains("what-we-know"),
            "{lines:?}"
        );
        // Dave is named in one row only, besides his own.
        let of_dave = rows(&data, &["what-we-know", "dave"]);
        assert_eq!(of(&of_dave, "blocks", "who blocks it").len(), 1);
        assert!(of(&of_dave, "mail", "").is_empty());
    }
    let shown = command(&data, &["what-we-know", "bob"], "");
    assert!(shown.out.contains("users: the account\n"), "{}", shown.out);
    assert!(
        shown.err.contains("Not looked through: backups"),
        "{}",
        shown.err
    );
    refused(
        &data,
        &["what-we-know", "nobody"],
        "there is no account nobody",
    );
    // Who has left is known by the name, which stays reserved.
    done(&data, &["user", "remove", "bob"]);
    let known = rows(&data, &["what-we-know", "bob"]);
    assert_eq!(of(&known, "users", "")[0]["deleted"], 1);
    assert_eq!(of(&known, "mail", "waits for others").len(), 150);
}
