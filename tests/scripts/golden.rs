//! Golden files: every shape of JSON and every refusal, word for word. What differs from run to run
//! (ids, times, numbers, folders) is replaced by its kind. With `SECURE_CHAT_WRITE_GOLDEN=1` the
//! test writes the files instead of comparing them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Ended, Place};

/// Compares a text with a golden file, or writes that file.
fn compare(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scripts/golden")
        .join(name);
    if std::env::var_os("SECURE_CHAT_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(&file).unwrap();
    assert_eq!(text, golden, "{name} is another; see this file's header");
}

/// A value with its kind in place of what differs from run to run.
fn with_kinds(object: &Value) -> Value {
    let Value::Object(fields) = object else {
        return object.clone();
    };
    let fields = fields.iter().map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("id", Value::String(_)) => json!("ID"),
            ("time" | "last_seen", Value::String(_)) => json!("TIME"),
            ("number", Value::String(_)) => json!("NUMBER"),
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(fields.collect())
}

#[test]
fn every_shape_of_json_is_as_it_was() {
    let place = Place::with(&["alice", "bob"]);
    let mut text = String::new();
    let mut note = |arguments: &[&str], ended: &Ended| {
        writeln!(text, "$ client {} --json", arguments.join(" ")).unwrap();
        for object in ended.json() {
            writeln!(text, "{}", with_kinds(&object)).unwrap();
        }
    };
    let mut run = |name: &str, arguments: &[&str]| {
        let ended = place.run(name, &[arguments, &["--json"]].concat(), "");
        assert_eq!(ended.code, 0, "{arguments:?} {ended:?}");
        note(arguments, &ended);
    };
    run(
        "carol",
        &["register", "carol", "--recovery-file", "carol.code"],
    );
    run("alice", &["send", "bob", "hello\n\"you\""]);
    let mut mallory = place.server.register("mallory");
    mallory.send("bob", 1, "not encrypted").unwrap();
    mallory.post(
        "send",
        &json!({"to": "bob", "mid": "ab".repeat(16), "envelope": "AAAA"}),
    );
    run("bob", &["unread"]);
    run("bob", &["fetch"]);
    run("bob", &["history"]);
    run("bob", &["contacts"]);
    run("bob", &["status", "alice"]);
    run("bob", &["search", "al"]);
    run("bob", &["verify", "alice"]);
    run("alice", &["send", "bob", "again"]);
    run("bob", &["listen", "--count", "1", "--timeout", "60"]);
    compare("shapes.jsonl", &text);
}

#[test]
fn every_refusal_says_what_it_said() {
    let place = Place::with(&["alice", "bob"]);
    let long = "x".repeat(20_000);
    fs::write(place.path().join("latin1"), b"\xe9t\xe9").unwrap();
    let mut text = String::new();
    for (arguments, input) in [
        (&["send", "bob"][..], long.as_str()),
        (&["send", "bob"], ""),
        (&["send", "bob", "--file", "latin1"], ""),
        (&["send", "bob", "--file", "missing"], ""),
        (&["send", "nobody", "x"], ""),
        (&["send", "alice", "x"], ""),
        (&["status", "nobody"], ""),
        (&["search", "b"], ""),
        (&["verify", "nobody"], ""),
        (&["verify", "bob", "yes"], ""),
        (&["history", "nobody"], ""),
        (&["history", "--before", "abcd"], ""),
        (&["history", "--since", "yesterday"], ""),
        (&["fetch", "--since", "abcd"], ""),
        (&["listen", "--count", "1", "--timeout", "1"], ""),
        (&["send", "bob", "x", "--server", "127.0.0.1:1"], ""),
        (&["contacts", "--user", "carol"], ""),
        (&["register", "carol", "--user", "carol"], ""),
        (&[], "/mgs bob x\n"),
        (&[], "/block bob please no\n"),
        (&[], "/to alice\n"),
        (&[], "/msg bob\n"),
        (&[], "/info ffff\n"),
        (&[], "/info xyz\n"),
        (&[], "/history bob since yesterday\n"),
        (&[], "/history carol\n"),
        (&[], "/delete bob\n"),
        (&[], "/keep 90\n"),
        (&[], "/outbox drop all\n"),
        (&[], "/reply hello\n"),
        (&[], "/settings presence maybe\n"),
        (&[], "/export-history latin1\n"),
        (&[], "/delete-account bob\n"),
        (&[], "/help dance\n"),
        (&[], "hello\n"),
    ] {
        let ended = place.run("alice", arguments, input);
        assert_ne!(ended.code, 0, "{arguments:?} {input:?} {ended:?}");
        let typed = match input.len() {
            0..=100 => input.trim_end().to_owned(),
            length => format!("({length} characters)"),
        };
        writeln!(text, "$ client {} <<< \"{typed}\"", arguments.join(" ")).unwrap();
        let folder = place.path().display().to_string();
        let server = place.server.address().to_string();
        let said = ended
            .err
            .replace(&folder, "FOLDER")
            .replace(&server, "SERVER");
        writeln!(text, "{}", said.trim_end()).unwrap();
        writeln!(text, "exit code {}\n", ended.code).unwrap();
    }
    compare("refusals.txt", &text);
}
