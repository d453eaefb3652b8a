//! Each refusal: its exit code, a sentence on standard error, and nothing on standard output.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::harness::process;
use crate::{Place, ended};

/// Asserts a refusal, and what it says.
fn refused(place: &Place, arguments: &[&str], input: &str, code: i32, says: &str) {
    let ended = place.run("alice", arguments, input);
    assert_eq!(ended.code, code, "{arguments:?} {ended:?}");
    assert_eq!(ended.out, "", "{arguments:?} {ended:?}");
    assert!(ended.err.contains(says), "{arguments:?} {ended:?}");
}

#[test]
fn each_refusal_has_its_code_and_its_sentence() {
    let place = Place::with(&["alice", "bob"]);
    let long = "x".repeat(20_000);
    fs::write(place.path().join("latin1"), b"\xe9t\xe9").unwrap();
    for (arguments, input, code, says) in [
        (&["send", "bob"][..], long.as_str(), 8, "cut it in pieces"),
        (&["send", "bob"], "", 8, "the message is empty"),
        (&["send", "bob", "--file", "latin1"], "", 8, "UTF-8"),
        (&["send", "bob", "--file", "missing"], "", 8, "missing"),
        (&["send", "nobody", "x"], "", 8, "no user called nobody"),
        (&["send", "alice", "x"], "", 8, "that is you"),
        (&["status", "nobody"], "", 8, "no user called nobody"),
        (&["verify", "nobody"], "", 8, "no user called nobody"),
        (&["history", "nobody"], "", 8, "no messages with nobody"),
        (
            &["history", "--before", "abcd"],
            "",
            8,
            "no message with the id abcd",
        ),
        (
            &["fetch", "--since", "abcd"],
            "",
            8,
            "no message with the id abcd",
        ),
        (
            &["listen", "--count", "1", "--timeout", "1"],
            "",
            10,
            "the time is over",
        ),
        (&["send", "bob", "two", "words"], "", 2, "words"),
        (&["send", "bob", "x", "--file", "y"], "", 2, "--file"),
        (&["send", "b~b", "x"], "", 2, "b~b"),
        (&["history", "--since", "tomorrow"], "", 2, "2026-11-27"),
        (&["fetch", "--since", "xyz"], "", 2, "0-9 and a-f"),
        (&["listen", "--count", "0"], "", 2, "--count"),
        (
            &["send", "bob", "x", "--on-message", "true"],
            "",
            2,
            "--on-message is for",
        ),
        (&["send", "bob", "x", "--keep-going"], "", 2, "--keep-going"),
        (&["--json"], "", 2, "--json is for"),
        (&["register", "carol"], "", 2, "--user names another"),
        (
            &["send", "bob", "x", "--server", "127.0.0.1:1"],
            "",
            4,
            "no connection",
        ),
        (&["contacts", "--user", "carol"], "", 3, "no vault of carol"),
    ] {
        refused(&place, arguments, input, code, says);
    }
}

#[test]
fn an_account_must_be_named_and_a_code_must_have_a_place() {
    let place = Place::with(&[]);
    let mut client = place.client("alice");
    client.env_remove("SECURE_CHAT_USER").args(["fetch"]);
    let nobody = crate::end(&mut client, "");
    assert_eq!(nobody.code, 2, "{nobody:?}");
    assert!(nobody.err.contains("--user NAME"), "{nobody:?}");
    refused(
        &place,
        &["register", "alice"],
        "",
        2,
        "--recovery-file FILE",
    );
    fs::write(place.path().join("taken"), "").unwrap();
    let taken = ["register", "alice", "--recovery-file", "taken"];
    refused(&place, &taken, "", 3, "it exists already");
}

#[test]
fn a_password_that_others_can_read_is_refused_before_it_is_used() {
    let place = Place::with(&["alice"]);
    for mode in [0o644, 0o604, 0o640] {
        fs::set_permissions(place.password(), PermissionsExt::from_mode(mode)).unwrap();
        refused(&place, &["unread"], "", 3, "chmod 600");
    }
    fs::set_permissions(place.password(), PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(
        place.password(),
        "\u{feff}correct horse battery\r\nmore\r\n",
    )
    .unwrap();
    assert_eq!(place.run("alice", &["unread"], "").code, 0);
    fs::write(place.password(), "wrong horse battery\n").unwrap();
    refused(&place, &["unread"], "", 3, "does not open the vault");
}

#[test]
fn what_could_not_be_written_is_no_success_and_stays_unread() {
    let place = Place::with(&["alice", "bob"]);
    place.json("alice", &["send", "bob", "precious"], "");
    let mut fetch = place.client("bob");
    fetch.args(["fetch", "--json"]).stdin(Stdio::null());
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let lost = ended(fetch.stdout(full).stderr(Stdio::piped()).output().unwrap());
    assert_eq!(lost.code, 7, "{lost:?}");
    let mut shell = place.command("sh", "bob");
    shell.args([
        "-c",
        &format!("{} fetch --json >&-", env!("CARGO_BIN_EXE_client")),
    ]);
    assert_eq!(ended(shell.output().unwrap()).code, 7);
    let mut piped = place.client("bob");
    piped.args(["fetch", "--json"]).stdin(Stdio::null());
    let mut child = process::spawn(piped.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    drop(child.stdout.take());
    assert_eq!(ended(child.wait_with_output().unwrap()).code, 7);
    let got = place.json("bob", &["fetch"], "");
    assert_eq!(got[0]["text"], "precious");
}

#[test]
fn a_bad_line_in_a_pipe_names_its_number_and_stops() {
    let place = Place::with(&["alice", "bob"]);
    let script = "/msg bob one\n\n/mgs bob two\n/msg bob three\n";
    let stopped = place.run("alice", &[], script);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(
        stopped.err.contains("line 3: there is no command /mgs"),
        "{stopped:?}"
    );
    let went_on = place.run("alice", &["--keep-going"], script);
    assert_eq!(went_on.code, 1, "{went_on:?}");
    assert!(went_on.err.contains("line 3: "), "{went_on:?}");
    let got = place.json("bob", &["fetch"], "");
    let texts: Vec<_> = got
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["one", "one", "three"]);
}

#[test]
fn every_help_fits_a_screen() {
    for command in [
        "", "send", "fetch", "listen", "status", "search", "unread", "history", "contacts",
        "verify", "register",
    ] {
        let mut client = process::command(env!("CARGO_BIN_EXE_client"));
        let arguments = [command, "--help"]
            .into_iter()
            .filter(|word| !word.is_empty());
        let help = ended(client.args(arguments).output().unwrap());
        assert_eq!(help.code, 0);
        // A screen of 24 rows has the command and the next prompt, too.
        assert!(help.out.lines().count() <= 22, "{command}: {}", help.out);
        assert!(
            help.out.lines().all(|line| line.chars().count() <= 80),
            "{}",
            help.out
        );
        assert!(
            command.is_empty() || help.out.contains("--json"),
            "{}",
            help.out
        );
    }
}
