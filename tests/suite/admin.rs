//! The operator's commands: on a running server, on a stopped one, and where they are refused.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Server, eventually, postgres, process, temporary_folder};

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs `server ARGUMENTS` on a folder.
pub(super) fn command(data: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    command
        .args(arguments)
        .arg("--data")
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(store) = postgres::store_of(data) {
        command.args(["--store", &store]);
    }
    let mut child = process::spawn(&mut command).unwrap();
    // A command that asks for nothing may have ended.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that has to succeed; what it prints.
pub(super) fn done(data: &Path, arguments: &[&str]) -> String {
    let ended = command(data, arguments, "");
    assert_eq!(ended.code, 0, "{arguments:?} {ended:?}");
    ended.out
}

/// The rows that a command prints with `--json`.
pub(super) fn rows(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let out = done(data, &[arguments, &["--json"]].concat());
    let lines = out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs a command that has to be refused in one sentence.
pub(super) fn refused(data: &Path, arguments: &[&str], says: &str) {
    let ended = command(data, arguments, "correct horse\n");
    assert_eq!(ended.code, 1, "{arguments:?} {ended:?}");
    assert_eq!(ended.out, "", "{arguments:?} {ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{arguments:?} {ended:?}");
    assert!(ended.err.contains(says), "{arguments:?} {ended:?}");
}

fn add(data: &Path, name: &str, more: &[&str]) {
    let arguments = [&["user", "add", name, "--password-file", "-"], more].concat();
    let ended = command(data, &arguments, "correct horse\n");
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// The states of all accounts, as `name state`.
fn states(data: &Path) -> Vec<String> {
    let rows = rows(data, &["user", "list"]);
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let states = rows
        .iter()
        .map(|row| format!("{} {}", text(row, "name"), text(row, "state")));
    states.collect()
}

/// What a refusal that came unasked says.
fn last_word(event: &Value) -> (String, String) {
    let text = |field: &str| {
        event["error"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (text("code"), text("message"))
}

#[test]
fn accounts_are_managed_alike_with_and_without_a_running_server() {
    let mut server = Server::start();
    let data = server.data();
    for running in [true, false] {
        if !running {
            server.signal(Signal::TERM);
            server.wait(Duration::from_secs(30));
        }
        let name = if running { "carol" } else { "dave" };
        add(&data, name, &[]);
        refused(
            &data,
            &["user", "add", name, "--password-file", "-"],
            "is taken",
        );
        let shown = rows(&data, &["user", "show", name]);
        assert_eq!(shown[0]["state"], "active", "{shown:?}");
        for (act, state) in [
            ("disable", "disabled"),
            ("enable", "active"),
            ("remove", "removed"),
        ] {
            done(&data, &["user", act, name]);
            assert!(states(&data).contains(&format!("{name} {state}")), "{act}");
        }
        refused(
            &data,
            &["user", "add", name, "--password-file", "-"],
            "stays reserved",
        );
        refused(&data, &["user", "disable", name], "there is no account");
        add(&data, name, &["--reuse-name"]);
    }
    done(&data, &["user", "remove", "carol"]);
    assert_eq!(states(&data), ["carol removed", "dave active"]);
    server.start_again();
    assert!(server.console().login("dave").starts_with("+OK"));
    assert!(
        server
            .console()
            .login("carol")
            .starts_with("-ERR wrong_login")
    );
}

#[test]
fn what_the_operator_does_to_an_account_ends_its_session_with_a_reason() {
    let server = Server::start();
    let data = server.data();
    for (act, code, word) in [
        (
            &["user", "disable", "bob"][..],
            "account_disabled",
            "disabled",
        ),
        (
            &["sessions", "close", "bob"],
            "session_ended",
            "ended this session",
        ),
        (&["user", "reset", "bob"], "session_ended", "one-time code"),
        (
            &["user", "remove", "bob"],
            "session_ended",
            "removed this account",
        ),
    ] {
        let mut bob = match act[1] {
            "disable" => server.register("bob"),
            "remove" => {
                // The code of the reset before gives the password back.
                let reset = rows(&data, &["user", "reset", "bob"]);
                let code = reset[0]["code"].as_str().unwrap();
                let mut console = server.console();
                let answer = console.type_line(&format!("reset bob {code} correct horse"));
                assert_eq!(answer, "+OK you are bob");
                let before = Instant::now();
                done(&data, act);
                assert!(before.elapsed() < Duration::from_secs(30));
                assert!(console.line().starts_with("-ERR session_ended"));
                continue;
            }
            _ => {
                done(&data, &["user", "enable", "bob"]);
                server.login("bob")
            }
        };
        let listed = rows(&data, &["sessions", "list"]);
        assert_eq!(listed[0]["name"], "bob");
        assert!(
            listed[0]["address"]
                .as_str()
                .unwrap()
                .starts_with("127.0.0.1:")
        );
        done(&data, act);
        let (said, message) = last_word(&bob.event());
        assert_eq!(said, code);
        assert!(message.contains(word), "{message}");
        assert_eq!(bob.next_event(), None, "{act:?} ends the connection");
        assert!(rows(&data, &["sessions", "list"]).is_empty());
        let again = server.client().login("bob");
        match act[1] {
            "disable" => assert_eq!(again.unwrap_err(), "account_disabled"),
            "close" => assert!(again.is_ok()),
            _ => assert_eq!(again.unwrap_err(), "wrong_login"),
        }
    }
    assert!(server.log().contains("admin: user "), "{}", server.log());
}

#[test]
fn a_login_that_waits_for_its_turn_is_judged_by_the_account_as_it_is() {
    let server = Server::start();
    let data = server.data();
    server.console().register("bob");
    let mut bob = server.console();
    bob.wire().write(b"login bob correct horse\r\n");
    done(&data, &["user", "disable", "bob"]);
    // Whichever came first, nobody is in.
    let first = bob.line();
    let last = match first.as_str() {
        "+OK you are bob" => bob.line(),
        _ => first,
    };
    assert!(last.starts_with("-ERR account_disabled"), "{last}");
    assert!(rows(&data, &["sessions", "list"]).is_empty());
}

#[test]
fn a_disabled_account_keeps_its_mail_and_a_removed_one_does_not() {
    let server = Server::start();
    let data = server.data();
    let mut alice = server.register("alice");
    server.register("bob").ok("logout", json!({}));
    done(&data, &["user", "disable", "bob"]);
    alice.send("bob", 1, "while you were out").unwrap();
    done(&data, &["user", "enable", "bob"]);
    let mut bob = server.login("bob");
    assert_eq!(bob.message().body, "while you were out");
    done(&data, &["user", "remove", "bob"]);
    assert_eq!(
        alice.send("bob", 2, "too late").unwrap_err(),
        "unknown_user"
    );
    eventually("the mail is deleted", || server.mail_on_disk() == 0);
}

#[test]
fn an_announcement_reaches_who_is_online_and_who_comes_later() {
    let mut server = Server::start();
    let data = server.data();
    let mut alice = server.register("alice");
    server.register("bob").ok("logout", json!({}));
    done(&data, &["announce", "the server moves on Friday"]);
    let event = alice.event();
    assert_eq!(event["notice"], "announcement", "{event}");
    assert_eq!(event["text"], "the server moves on Friday");
    server.signal(Signal::TERM);
    server.wait(Duration::from_secs(30));
    done(&data, &["announce", "it has moved"]);
    server.start_again();
    let mut bob = server.login("bob");
    for text in ["the server moves on Friday", "it has moved"] {
        assert_eq!(bob.event()["text"], text);
    }
    refused(&data, &["announce", "  "], "empty");
    refused(&data, &["announce", &"x".repeat(5000)], "shorten it");
}

#[test]
fn a_banned_network_is_shut_out_at_once_and_after_a_restart() {
    let mut server = Server::start();
    let data = server.data();
    let mut alice = server.register("alice");
    done(&data, &["ban", "127.0.0.0/8"]);
    assert_eq!(last_word(&alice.event()).0, "banned");
    assert!(server.wire().rest().starts_with("-ERR banned"));
    server.crash_and_restart();
    assert!(server.wire().rest().starts_with("-ERR banned"));
    assert_eq!(rows(&data, &["ban", "list"])[0]["network"], "127.0.0.0/8");
    refused(&data, &["ban", "lift", "127.0.0.1"], "is not banned");
    done(&data, &["ban", "lift", "127.0.0.0/8"]);
    server.login("alice");
    // Another address of this machine is another network.
    done(&data, &["ban", "127.0.0.2"]);
    server
        .client()
        .login_with("alice", json!({"take_over": true}))
        .unwrap();
    let wrong = command(&data, &["ban", "10.0.0.1/8"], "");
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[test]
fn the_socket_is_the_operators_alone_and_survives_a_kill() {
    let mut server = Server::start();
    let data = server.data();
    let socket = data.join("admin.sock");
    eventually("the server takes commands", || socket.exists());
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.kill();
    assert!(socket.exists(), "it was left behind");
    add(&data, "bob", &[]);
    server.start_again();
    assert_eq!(states(&data), ["bob active"]);
    // Someone who says nothing holds nobody up for long, and nonsense is refused.
    let silent = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut nonsense = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    nonsense.write_all(b"{\"act\":\"dance\"}\n").unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut nonsense, &mut said).unwrap();
    assert!(said.starts_with("error "), "{said}");
    drop(silent);
    assert_eq!(states(&data), ["bob active"]);
    server.signal(Signal::TERM);
    server.wait(Duration::from_secs(30));
    assert!(!socket.exists());
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_none_for_a_command() {
    let folder = temporary_folder();
    let data = folder.path().join("x".repeat(120)).join("y".repeat(120));
    let server = Server::on(&data, &[]);
    add(&data, "bob", &[]);
    assert!(server.console().login("bob").starts_with("+OK"));
    assert_eq!(states(&data), ["bob active"]);
    assert!(data.join("admin.sock").exists());
}

#[test]
fn what_stands_in_a_commands_way_is_said_in_a_sentence() {
    let folder = temporary_folder();
    let missing = folder.path().join("missing");
    refused(&missing, &["user", "list"], "no database in the folder");
    assert!(!missing.exists(), "a command makes nothing");

    let mut server = Server::start();
    let data = server.data();
    // The server has the lock, and nobody listens on the socket.
    eventually("there is a socket", || data.join("admin.sock").exists());
    fs::remove_file(data.join("admin.sock")).unwrap();
    refused(&data, &["user", "list"], "does not answer commands");
    drop(UnixListener::bind(data.join("admin.sock")).unwrap());
    refused(&data, &["user", "list"], "does not answer commands");
    server.kill();

    let database = data.join("chat.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = fs::read(&database).unwrap();
    refused(&data, &["user", "list"], "newer version");
    assert_eq!(fs::read(&database).unwrap(), before);

    fs::write(&database, "no database at all, but long enough to be read").unwrap();
    refused(&data, &["user", "list"], "chat.db");
    for (arguments, says) in [
        (
            &["user", "add", "bob", "--password-file", "/missing/file"][..],
            "/missing/file",
        ),
        (&["user", "add", "bob"], "--password-file"),
    ] {
        // Without a terminal there is nobody to ask.
        let mut command = process::command("setsid");
        command
            .arg("-w")
            .arg(env!("CARGO_BIN_EXE_server"))
            .args(arguments)
            .arg("--data")
            .arg(&data);
        let ended = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_does_nothing_by_halves() {
    use crate::harness::Fault;
    let server = Server::on_disk(1, &[]);
    server.register("bob").ok("logout", json!({}));
    let data = server.data();
    server.disk().begin(Fault::Full);
    let ended = command(&data, &["user", "disable", "bob"], "");
    // The command itself writes to a sound disk; the server's own says no.
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    assert!(
        ended.err.contains("disk is full") || ended.err.contains("audit log"),
        "{ended:?}"
    );
    server.disk().end(Fault::Full);
    server.login("bob");
}

#[test]
fn each_act_is_in_the_audit_log_without_a_secret() {
    let server = Server::start();
    let data = server.data();
    add(&data, "bob", &[]);
    let code = rows(&data, &["user", "reset", "bob"])[0]["code"].clone();
    let link = done(&data, &["invite", "create"]);
    refused(&data, &["user", "enable", "nobody"], "no account nobody");
    let log = fs::read_to_string(data.join("audit.log")).unwrap();
    let entries: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let acts: Vec<String> = entries
        .iter()
        .map(|entry| {
            format!(
                "{} {}",
                entry["act"].as_str().unwrap(),
                entry["state"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        acts,
        [
            "user add begun",
            "user add done",
            "user reset begun",
            "user reset done",
            "invite create begun",
            "invite create done",
            "user enable begun",
            "user enable failed"
        ]
    );
    let uid = rustix::process::getuid().as_raw();
    assert!(entries.iter().all(|entry| entry["uid"] == uid));
    for secret in [code.as_str().unwrap(), link.trim(), "correct horse"] {
        assert!(
            !log.contains(secret) && !server.log().contains(secret),
            "{secret}"
        );
    }
    let mode = fs::metadata(data.join("audit.log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
