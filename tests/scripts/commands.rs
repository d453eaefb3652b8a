//! What each command does when all is well.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{eventually, process};
use crate::{Place, end, ended};

#[test]
fn a_message_is_exact_from_a_pipe_to_json() {
    let place = Place::with(&["alice", "bob"]);
    let text = "first\n  second\ttab\n\n\"quotes\" \\ 世界 👩‍👩‍👧 \u{1b}[2J \u{9b}31m \u{202e}end";
    let sent = place.json("alice", &["send", "bob"], &format!("{text}\n"));
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (&sent[0]["text"], &sent[0]["state"]),
        (&json!(text), &json!("stored"))
    );
    let before = place.run("bob", &["status", "alice", "--json"], "").json();
    assert_eq!(
        before[0]["last_seen"],
        Value::Null,
        "a one-shot send was seen: {before:?}"
    );

    let got = place.run("bob", &["--json", "fetch"], "");
    assert_eq!(got.code, 0, "{got:?}");
    for obeyed in ['\u{1b}', '\u{9b}', '\u{202e}'] {
        assert!(!got.out.contains(obeyed), "{got:?}");
    }
    let got = got.json();
    assert_eq!(got.len(), 1);
    let message = &got[0];
    assert_eq!(message["text"], text);
    assert_eq!(message["id"], sent[0]["id"]);
    assert_eq!(
        (&message["from"], &message["to"]),
        (&json!("alice"), &json!("bob"))
    );
    for (field, value) in [("encrypted", true), ("proven", true), ("verified", false)] {
        assert_eq!(message[field], value, "{field}");
    }
    assert!(place.json("bob", &["fetch"], "").is_empty(), "it came once");
}

#[test]
fn sending_and_looking_leave_mail_unread() {
    let place = Place::with(&["alice", "bob"]);
    place.json("alice", &["send", "bob", "on the server"], "");
    // bob has one in the vault and one on the server: listening took the first only.
    place.json("alice", &["send", "bob", "in the vault"], "");
    let first = place.json("bob", &["listen", "--count", "1", "--timeout", "60"], "");
    assert_eq!(first[0]["text"], "on the server");
    place.json("alice", &["send", "bob", "later"], "");
    place.json("bob", &["send", "alice", "an answer"], "");
    for _ in 0..2 {
        let unread = place.json("bob", &["unread"], "");
        let waiting = unread.last().unwrap()["count"].as_u64().unwrap();
        let here = unread.len() as u64 - 1;
        assert_eq!(here + waiting, 2, "{unread:?}");
    }
    let texts = |found: &[Value]| -> Vec<String> {
        let text = |event: &Value| event["text"].as_str().unwrap().to_owned();
        found.iter().map(text).collect()
    };
    let rest = place.json("bob", &["fetch"], "");
    assert_eq!(texts(&rest), ["in the vault", "later"]);
    let id = first[0]["id"].as_str().unwrap();
    let again = place.json("bob", &["fetch", "--since", id], "");
    assert_eq!(
        texts(&again),
        ["in the vault", "later"],
        "also what was read"
    );
}

#[test]
fn send_waits_for_the_recipient_if_it_is_told() {
    let place = Place::with(&["alice", "bob"]);
    let late = place.run(
        "alice",
        &[
            "send",
            "bob",
            "x",
            "--wait-delivered",
            "--timeout",
            "1",
            "--json",
        ],
        "",
    );
    assert_eq!(late.code, 10, "{late:?}");
    assert_eq!(late.json()[0]["state"], "stored", "the server has it");
    let mut listen = place.client("bob");
    listen.args(["listen", "--count", "2", "--timeout", "60", "--json"]);
    let listener = process::spawn(listen.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    let sent = place.json("alice", &["send", "bob", "y", "--wait-delivered"], "");
    assert!(
        ["delivered", "confirmed"].contains(&sent[0]["state"].as_str().unwrap()),
        "{sent:?}"
    );
    let heard = ended(listener.wait_with_output().unwrap());
    assert_eq!((heard.code, heard.json().len()), (0, 2), "{heard:?}");
}

#[test]
fn a_file_is_one_message_and_a_dash_is_standard_input() {
    let place = Place::with(&["alice", "bob"]);
    fs::write(place.path().join("report"), "line 1\nline 2\n").unwrap();
    place.json("alice", &["send", "bob", "--file", "report"], "");
    place.json("alice", &["send", "bob", "-"], "from a pipe");
    let got = place.json("bob", &["fetch"], "");
    assert_eq!(got[0]["text"], "line 1\nline 2");
    assert_eq!(got[1]["text"], "from a pipe");
}

#[test]
fn history_and_contacts_need_no_server() {
    let mut place = Place::with(&["alice", "bob"]);
    for number in 1..=5 {
        place.json("alice", &["send", "bob", &format!("message {number}")], "");
    }
    place.json("bob", &["fetch"], "");
    place.server.kill();
    let texts = |arguments: &[&str]| -> Vec<String> {
        let found = place.json("bob", arguments, "");
        let text = |event: &Value| event["text"].as_str().unwrap().replace("message ", "");
        found.iter().map(text).collect()
    };
    assert_eq!(texts(&["history"]), ["1", "2", "3", "4", "5"]);
    assert_eq!(texts(&["history", "2"]), ["4", "5"]);
    assert_eq!(texts(&["history", "alice", "1"]), ["5"]);
    let all = place.json("bob", &["history", "alice"], "");
    let third = all[2]["id"].as_str().unwrap();
    assert_eq!(texts(&["history", "--since", third]), ["4", "5"]);
    assert_eq!(texts(&["history", "alice", "1", "--since", third]), ["4"]);
    assert_eq!(texts(&["history", "alice", "1", "--before", third]), ["2"]);
    assert_eq!(
        texts(&["history", "--since", all[0]["time"].as_str().unwrap()]).len(),
        5
    );
    assert!(texts(&["history", "--since", "2999-01-01"]).is_empty());
    let contacts = place.json("bob", &["contacts"], "");
    let alice = json!({"type": "contact", "name": "alice", "known": true, "verified": false, "changed": false, "blocked": false, "unread": 0});
    assert_eq!(contacts, [alice]);
}

#[test]
fn a_number_that_was_printed_before_can_be_confirmed() {
    let place = Place::with(&["alice", "bob"]);
    let unseen = place.run("alice", &["verify", "bob", "yes"], "");
    assert_eq!(unseen.code, 8, "{unseen:?}");
    assert!(unseen.err.contains("NOT verified"), "{unseen:?}");
    let number = place.json("alice", &["verify", "bob"], "");
    let same = place.json("bob", &["verify", "alice"], "");
    assert_eq!(number[0]["number"], same[0]["number"]);
    assert_eq!(
        number[0]["number"].as_str().unwrap().replace(' ', "").len(),
        60
    );
    assert_eq!(place.run("alice", &["verify", "bob", "yes"], "").code, 0);
    assert_eq!(place.json("alice", &["contacts"], "")[0]["verified"], true);
}

#[test]
fn the_recovery_code_goes_into_a_private_file_and_nowhere_else() {
    let place = Place::with(&["alice"]);
    let file = place.path().join("alice.code");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let code = fs::read_to_string(&file).unwrap();
    let made = place.run(
        "bob",
        &["register", "bob", "--recovery-file", "bob.code", "--json"],
        "",
    );
    assert_eq!(made.code, 0, "{made:?}");
    let bobs = fs::read_to_string(place.path().join("bob.code")).unwrap();
    assert!(bobs.trim().len() > 20 && bobs != code);
    for output in [&made.out, &made.err] {
        assert!(!output.contains(bobs.trim()), "{made:?}");
    }
}

#[test]
fn options_work_before_and_behind_a_command() {
    let place = Place::with(&["alice", "bob"]);
    let address = place.server.address().to_string();
    let password = place.password();
    for before in [true, false] {
        let mut client = process::command(env!("CARGO_BIN_EXE_client"));
        let data = place.path().join("alice");
        let options = [
            "--server",
            &address,
            "--tls",
            "off",
            "--user",
            "alice",
            "--data",
            data.to_str().unwrap(),
            "--password-file",
            password.to_str().unwrap(),
            "--json",
            "--quiet",
        ];
        let command = ["send", "bob", "hi"];
        match before {
            true => client.args(options).args(command),
            false => client.args(command).args(options),
        };
        let sent = end(&mut client, "");
        assert_eq!((sent.code, sent.err.as_str()), (0, ""), "{sent:?}");
        assert_eq!(sent.json()[0]["state"], "stored");
    }
}

#[test]
fn a_command_gets_each_message_on_its_input_and_no_password() {
    let place = Place::with(&["alice", "bob"]);
    let text = "$(touch owned) `touch owned`; touch owned";
    for text in [text, "second"] {
        place.json("alice", &["send", "bob", text], "");
    }
    let hook = "echo from $MESSAGE_FROM $MESSAGE_PROVEN $# >>heard; cat >>heard; echo >>heard; \
                env | grep -c '^SECURE_CHAT_PASS' >>heard; true";
    let got = place.run("bob", &["fetch", "--json", "--on-message", hook], "");
    assert_eq!((got.code, got.json().len()), (0, 2), "{got:?}");
    let heard = fs::read_to_string(place.path().join("heard")).unwrap();
    let expected = format!("from alice yes 0\n{text}\n0\nfrom alice yes 0\nsecond\n0\n");
    assert_eq!(heard, expected);
    assert!(!place.path().join("owned").exists());
}

#[test]
fn a_command_that_fails_or_hangs_costs_the_code_and_stops_nothing() {
    let place = Place::with(&["alice", "bob"]);
    for text in ["hang", "fail", "fine"] {
        place.json("alice", &["send", "bob", text], "");
    }
    let hook =
        "read word; echo $word >>words; case $word in hang) sleep 1000;; fail) exit 3;; esac";
    let arguments = [
        "fetch",
        "--json",
        "--on-message",
        hook,
        "--on-message-timeout",
        "1",
    ];
    let got = place.run("bob", &arguments, "");
    assert_eq!((got.code, got.json().len()), (1, 3), "{got:?}");
    assert!(got.err.contains("was ended after 1 s"), "{got:?}");
    assert!(got.err.contains("failed with code 3"), "{got:?}");
    let words = fs::read_to_string(place.path().join("words")).unwrap();
    assert_eq!(words, "hang\nfail\nfine\n");
}

#[test]
fn the_chat_runs_the_command_too() {
    let place = Place::with(&["alice", "bob"]);
    place.json("alice", &["send", "bob", "hello"], "");
    let chat = place.run("bob", &["--on-message", "cat >>heard"], "/fetch\n");
    assert_eq!(chat.code, 0, "{chat:?}");
    eventually("the command has run", || {
        fs::read_to_string(place.path().join("heard")).is_ok_and(|heard| heard == "hello")
    });
}
