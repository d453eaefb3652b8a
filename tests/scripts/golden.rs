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

/// What may differ from run to run in a sentence.
fn without_places(place: &Place, text: &str) -> String {
    let server = place.server.address().to_string();
    text.replace(&place.path().display().to_string(), "FOLDER")
        .replace(&server, "SERVER")
        .replace(&server.replace(':', "_"), "SERVER")
}

#[test]
fn every_refusal_of_a_command_says_what_it_said() {
    let place = Place::with(&["alice", "bob"]);
    let long = "x".repeat(20_000);
    fs::write(place.path().join("latin1"), b"\xe9t\xe9").unwrap();
    let mut text = String::new();
    for (arguments, input) in [
        (&["send", "bob"][..], long.as_str()),
        (&["send"], ""),
        (&["send", "bob"], ""),
        (&["send", "bob", "-"], "\n"),
        (&["send", "bob", "two", "words"], ""),
        (&["send", "bob", "x", "--file", "latin1"], ""),
        (&["send", "bob", "--file", "latin1"], ""),
        (&["send", "bob", "--file", "missing"], ""),
        (&["send", "bob", "--file", "."], ""),
        (&["send", "b~b", "x"], ""),
        (&["send", "nobody", "x"], ""),
        (&["send", "alice", "x"], ""),
        (&["send", "bob", "x", "--timeout", "0"], ""),
        (&["send", "bob", "x", "--on-message", "true"], ""),
        (&["send", "bob", "x", "--keep-going"], ""),
        (
            &[
                "send",
                "bob",
                "x",
                "--server",
                "127.0.0.1:1",
                "--timeout",
                "1",
            ],
            "",
        ),
        (&["send", "bob", "x", "--server", "chat.exämple.org:1"], ""),
        (&["sned", "bob", "x"], ""),
        (&["status"], ""),
        (&["status", "nobody"], ""),
        (&["search", "b"], ""),
        (&["search", "b", "c"], ""),
        (&["unread", "bob"], ""),
        (&["contacts", "bob"], ""),
        (&["contacts", "--user", "carol"], ""),
        (&["verify", "nobody"], ""),
        (&["verify", "alice"], ""),
        (&["verify", "bob", "no"], ""),
        (&["verify", "bob", "yes"], ""),
        (&["history", "nobody"], ""),
        (&["history", "0"], ""),
        (&["history", "bob", "0"], ""),
        (&["history", "--before", "abcd"], ""),
        (&["history", "--since", "tomorrow"], ""),
        (&["history", "--since", "2026-13-45"], ""),
        (
            &["history", "--since", "2026-11-27", "--before", "abcd"],
            "",
        ),
        (&["fetch", "--since", "abcd"], ""),
        (&["fetch", "--since", "xyz"], ""),
        (&["listen", "--count", "0"], ""),
        (&["listen", "--count", "1", "--timeout", "1"], ""),
        (&["register", "carol", "--user", "carol"], ""),
        (&["register", "carol", "--user", "dave"], ""),
        (&["register", "alice", "--recovery-file", "new"], ""),
        (
            &["register", "c", "--user", "c", "--recovery-file", "latin1"],
            "",
        ),
        (&["join", "chat://x", "carol", "--user", "carol"], ""),
        (&["unread", "--user", ""], ""),
        (&["unread", "--password-file", "missing"], ""),
        (&["unread", "--password-file", "/dev/null"], ""),
        (&["unread", "--password-file", "latin1"], ""),
        (&["unread", "--config", "missing"], ""),
        (&["unread", "--jsom"], ""),
        (&["vault"], ""),
        (&["vault", "read", "nobody"], ""),
        (&["vault", "import", "latin1"], ""),
        (&["vault", "export", "latin1"], ""),
        (&["completions", "csh"], ""),
        (&["--json"], ""),
        (&["--quiet"], ""),
        (&[], "/mgs bob x\n"),
        (&[], "hello\n"),
        (&["--user", "carol"], "/contacts\n"),
    ] {
        let ended = place.run("alice", arguments, input);
        assert_ne!(ended.code, 0, "{arguments:?} {input:?} {ended:?}");
        let typed = match input.len() {
            0..=100 => input.trim_end().to_owned(),
            length => format!("({length} characters)"),
        };
        writeln!(text, "$ client {} <<< \"{typed}\"", arguments.join(" ")).unwrap();
        let said = without_places(&place, &ended.err);
        writeln!(text, "{}", said.trim_end()).unwrap();
        writeln!(text, "exit code {}\n", ended.code).unwrap();
    }
    compare("refusals.txt", &text);
}

/// Wrong lines for every command before a login.
const LOGGED_OUT: &[&str] = &[
    "hello",
    "7",
    "/contacts",
    "/lgoin alice",
    "/register",
    "/register al ice",
    "/register Al!ce",
    "/login",
    "/login al ice",
    "/login b~b",
    "/clear now",
    "/help dance",
    "/help to me",
    "/quit now",
    "/exit now",
];

/// Wrong lines for every command behind a login.
const LOGGED_IN: &[&str] = &[
    "hello",
    "7",
    "/dance",
    "/mgs bob x",
    "/",
    "/register carol",
    "/login bob",
    "/msg",
    "/msg bob",
    "/msg b~b x",
    "/msg nobody x",
    "/msg alice x",
    "/send-unencrypted bob",
    "/send-unencrypted alice x",
    "/fetch 3",
    "/to alice",
    "/to bob carol",
    "/to b~b",
    "/to nobody",
    "/reply",
    "/reply hello",
    "/unread bob",
    "/outbox drop all",
    "/outbox cancel",
    "/outbox cancel xyz",
    "/outbox cancel ffff",
    "/outbox cancel all now",
    "/history nobody",
    "/history b~b",
    "/history bob 0",
    "/history bob 1001",
    "/history bob since",
    "/history bob since tomorrow",
    "/history bob before xyz",
    "/history bob before ffff",
    "/history bob since ffff before ffff",
    "/find",
    "/find x before ffff",
    "/info xyz",
    "/info ffff",
    "/info 1 2",
    "/delete",
    "/delete bob",
    "/delete ffff",
    "/delete bob some",
    "/delete nobody all",
    "/keep 90",
    "/keep 0d",
    "/keep 99999999999y",
    "/keep 90 days",
    "/export-history",
    "/export-history latin1",
    "/export-history missing/file",
    "/export-history two words",
    "/search",
    "/search b",
    "/search b c",
    "/who b c",
    "/status",
    "/status nobody",
    "/contacts bob",
    "/block",
    "/block alice",
    "/block nobody",
    "/block bob please no",
    "/unblock",
    "/unblock nobody",
    "/blocked bob",
    "/verify",
    "/verify alice",
    "/verify nobody",
    "/verify bob no",
    "/accept",
    "/accept alice",
    "/accept nobody",
    "/reject",
    "/reject nobody",
    "/renew",
    "/renew nobody",
    "/invite bob",
    "/settings bell",
    "/settings bell on",
    "/settings presence",
    "/settings presence maybe",
    "/settings presence on off",
    "/what-the-server-knows now",
    "/passwd now",
    "/recovery now",
    "/delete-account bob",
    "/delete-account alice now",
    "/reconnect now",
    "/clear now",
    "/help dance",
    "/help mesages",
    "/help to me",
    "/logout please",
    "/quit now",
];

/// What a script of lines that all fail is told, each line with what was said of it.
fn refusals(place: &Place, lines: &[&str], user: bool) -> String {
    let mut client = place.client("alice");
    if !user {
        client.env_remove("SECURE_CHAT_USER");
    }
    let ended = crate::end(client.arg("--keep-going"), &(lines.join("\n") + "\n"));
    assert_eq!(ended.code, 1, "{ended:?}");
    let mut text = String::new();
    for (number, line) in (1..).zip(lines) {
        let marked = format!("line {number}: ");
        let said: Vec<_> = ended
            .err
            .lines()
            .filter_map(|line| line.strip_prefix(&marked))
            .collect();
        assert_eq!(said.len(), 1, "{line:?} was not refused once: {ended:?}");
        writeln!(text, "{line}\n    {}", without_places(place, said[0])).unwrap();
    }
    text
}

/// Every command of the chat that can be used then, as `/help` lists them.
fn commands(place: &Place, user: bool) -> Vec<String> {
    let mut client = place.client("alice");
    if !user {
        client.env_remove("SECURE_CHAT_USER");
    }
    let ended = crate::end(&mut client, "/help\n");
    let mut words: Vec<_> = ended
        .out
        .split_whitespace()
        .filter(|word| word.starts_with('/') && word.len() > 1)
        .map(str::to_owned)
        .collect();
    words.sort();
    words.dedup();
    words
}

#[test]
fn every_refusal_of_a_typed_line_says_what_it_said() {
    let place = Place::with(&["alice", "bob"]);
    fs::write(place.path().join("latin1"), b"\xe9t\xe9").unwrap();
    let mut text = String::new();
    for (lines, user) in [(LOGGED_OUT, false), (LOGGED_IN, true)] {
        let commands = commands(&place, user);
        assert!(commands.len() > 4, "{commands:?}");
        for command in commands {
            let has = |line: &&str| line.split_whitespace().next() == Some(command.as_str());
            assert!(lines.iter().any(has), "no refusal of {command} is here");
        }
        text.push_str(&refusals(&place, lines, user));
    }
    compare("typed.txt", &text);
}
