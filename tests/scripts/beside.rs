//! Commands beside a client that runs: they work through its control socket, with no login of
//! their own, and nothing that one of them does stops it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{eventually, process};
use crate::{Ended, Place, end, ended};

const PATIENCE: Duration = Duration::from_secs(60);

/// A client that stays: a chat that reads lines from a pipe, or `listen`.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command).unwrap();
        let (tell, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _gone = tell.send(line);
                }
            });
        }
        let stdin = child.stdin.take();
        Running {
            child,
            stdin,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line with this in it.
    pub(crate) fn sees(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{part:?} never came, but {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    /// Ends its input, and waits for its end.
    pub(crate) fn quits(&mut self) -> i32 {
        self.stdin = None;
        self.code()
    }

    fn code(&mut self) -> i32 {
        let code = self.child.wait().unwrap().code();
        self.seen.extend(self.lines.iter());
        code.unwrap_or(-1)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

/// A chat of `name`, which is logged in.
pub(crate) fn chat(place: &Place, name: &str, flags: &[&str]) -> Running {
    let mut client = place.client(name);
    let mut chat = Running::start(client.arg("--keep-going").args(flags));
    chat.sees("logged in as");
    if flags.is_empty() {
        eventually("it listens", || holder(place, name).1.is_some());
    }
    chat
}

/// A command that knows no password.
fn without_password(place: &Place, name: &str, arguments: &[&str]) -> Ended {
    let mut client = place.client(name);
    client
        .env_remove("SECURE_CHAT_PASSWORD_FILE")
        .args(arguments);
    end(&mut client, "")
}

pub(crate) fn texts(found: &[Value]) -> Vec<&str> {
    found
        .iter()
        .filter_map(|event| event["text"].as_str())
        .collect()
}

/// What the lock's file of a name's vault says: the process and the socket.
pub(crate) fn holder(place: &Place, name: &str) -> (PathBuf, Option<PathBuf>) {
    let servers = fs::read_dir(place.path().join(name)).unwrap();
    let lock = format!("{name}.lock");
    let path = servers
        .map(|entry| entry.unwrap().path().join(&lock))
        .find(|path| path.exists())
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    (path, text.lines().nth(1).map(PathBuf::from))
}

fn socket(place: &Place, name: &str) -> PathBuf {
    holder(place, name).1.expect("it listens")
}

fn logins(place: &Place, name: &str) -> usize {
    place
        .server
        .log()
        .matches(&format!("logged in as {name}"))
        .count()
}

#[test]
fn every_command_works_through_the_running_chat() {
    let place = Place::with(&["alice", "bob"]);
    let mut chat = chat(&place, "alice", &[]);
    // The registration, and the chat. The log is written by a thread of its own.
    eventually("the log has both logins", || logins(&place, "alice") == 2);
    let run = |arguments: &[&str]| {
        let ended = without_password(
            &place,
            "alice",
            &[arguments, &["--json", "--quiet"]].concat(),
        );
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (0, ""),
            "{arguments:?} {ended:?}"
        );
        ended.json()
    };
    let sent = run(&["send", "bob", "by a script"]);
    assert_eq!(
        (&sent[0]["text"], &sent[0]["state"]),
        (&json!("by a script"), &json!("stored"))
    );
    chat.sees("by a script");
    place.json("bob", &["send", "alice", "an answer"], "");
    chat.sees("an answer");
    assert_eq!(texts(&run(&["history"])), ["by a script", "an answer"]);
    assert_eq!(texts(&run(&["history", "bob", "1"])), ["an answer"]);
    assert_eq!(run(&["contacts"])[0]["name"], "bob");
    assert_eq!(run(&["status", "bob"])[0]["online"], false);
    assert_eq!(run(&["search", "bo"])[0]["name"], "bob");
    assert_eq!(run(&["verify", "bob"])[0]["type"], "safety_number");
    // The chat has shown it, so it is read; what it fetches by itself is not fetched twice.
    assert_eq!(run(&["unread"]), [json!({"type": "waiting", "count": 0})]);
    assert!(run(&["fetch"]).is_empty());
    let id = sent[0]["id"].as_str().unwrap();
    assert_eq!(texts(&run(&["fetch", "--since", id])), ["an answer"]);
    let refused = without_password(&place, "alice", &["send", "nobody", "x"]);
    assert_eq!((refused.code, refused.out.as_str()), (8, ""), "{refused:?}");
    assert!(refused.err.contains("no user called nobody"), "{refused:?}");
    let refused = without_password(&place, "alice", &["history", "nobody"]);
    assert_eq!(refused.code, 8, "{refused:?}");
    assert_eq!(logins(&place, "alice"), 2, "there was one login");
    assert_eq!(chat.quits(), 0, "{:?}", chat.seen);
    assert!(!socket_is_there(&place), "it is removed at the end");
}

#[test]
fn what_became_of_a_message_is_said_beside_a_chat_as_without_one() {
    let place = Place::with(&["alice", "bob"]);
    let send = |text: &str| {
        let ended = place.run("alice", &["send", "bob", text, "--json"], "");
        let found = ended.json();
        let words = ended.err.trim().to_owned();
        let sent = &found[0];
        (
            ended.code,
            sent["state"].clone(),
            sent["problem"].clone(),
            words,
        )
    };
    let alone = send("alone");
    assert_eq!(
        alone,
        (0, json!("stored"), Value::Null, "stored for bob".to_owned())
    );
    let mut chat_of_alice = chat(&place, "alice", &[]);
    assert_eq!(send("beside"), alone);
    let mut chat_of_bob = chat(&place, "bob", &[]);
    chat_of_bob.types("/delete-account bob");
    chat_of_bob.sees("is deleted");
    let beside = send("beside, in vain");
    chat_of_alice.quits();
    let alone = send("alone, in vain");
    assert_eq!(beside, alone);
    let (code, state, problem, words) = beside;
    assert_eq!((code, state), (8, json!("failed")));
    let why = problem.as_str().expect("a reason");
    assert!(why.contains("deleted their account"), "{why}");
    assert_eq!(words, format!("the message to bob was not sent: {why}"));
}

fn socket_is_there(place: &Place) -> bool {
    let (lock, _) = holder(place, "alice");
    lock.with_extension("sock").exists()
}

#[test]
fn the_socket_is_for_its_owner_only_and_a_stale_one_is_replaced() {
    let place = Place::with(&["alice", "bob"]);
    let mut first = chat(&place, "alice", &[]);
    let stale = socket(&place, "alice");
    let mode = fs::metadata(&stale).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    first.signal(Signal::KILL);
    first.code();
    assert!(stale.exists());
    // Without a client, the command logs in by itself.
    place.json("alice", &["send", "bob", "alone"], "");
    let mut second = chat(&place, "alice", &[]);
    assert_eq!(socket(&place, "alice"), stale);
    let sent = without_password(&place, "alice", &["send", "bob", "beside"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    second.sees("beside");
    second.signal(Signal::KILL);
    second.code();
    // What is not a socket of ours is left alone; the chat works, and says what does not.
    fs::remove_file(&stale).unwrap();
    std::os::unix::fs::symlink(place.password(), &stale).unwrap();
    let mut client = place.client("alice");
    let mut third = Running::start(client.arg("--keep-going").env("TMPDIR", "/nonexistent"));
    third.sees("no socket of yours");
    third.types("/msg bob still");
    third.sees("stored for bob");
    assert!(stale.is_symlink());
}

#[test]
fn a_runtime_folder_is_used_and_a_command_without_it_finds_the_socket() {
    let place = Place::with(&["alice", "bob"]);
    let runtime = place.path().join("run");
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, PermissionsExt::from_mode(0o700)).unwrap();
    let mut client = place.client("alice");
    let mut chat = Running::start(client.env("XDG_RUNTIME_DIR", &runtime));
    chat.sees("logged in as");
    eventually("it listens", || holder(&place, "alice").1.is_some());
    assert!(socket(&place, "alice").starts_with(&runtime));
    // As cron runs it.
    let mut send = place.client("alice");
    send.args(["send", "bob", "x"])
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("SECURE_CHAT_PASSWORD_FILE");
    assert_eq!(end(&mut send, "").code, 0);
    assert_eq!(chat.quits(), 0);
    assert_eq!(
        fs::read_dir(runtime.join("secure-chat")).unwrap().count(),
        0
    );
}

#[test]
fn listen_sees_what_the_chat_shows_and_goes_on_after_it() {
    let place = Place::with(&["alice", "bob"]);
    let mut chat = chat(&place, "alice", &[]);
    let mut client = place.client("alice");
    let mut listen = Running::start(client.args(["listen", "--json"]));
    // It asks for what is there first.
    eventually("it is a window", || {
        place.run("alice", &["status", "bob"], "").code == 0
            && without_password(&place, "alice", &["unread"]).code == 0
    });
    for text in ["one", "two"] {
        place.json("bob", &["send", "alice", text], "");
        chat.sees(text);
    }
    // What came before it began is no news.
    let first = listen.sees("text");
    listen.seen.clear();
    if first.contains("\"one\"") {
        listen.sees("\"two\"");
    }
    assert_eq!(chat.quits(), 0);
    listen.sees("has ended");
    place.json("bob", &["send", "alice", "three"], "");
    let line = listen.sees("\"text\"");
    assert!(line.contains("three"), "each came once: {:?}", listen.seen);
    // It has the vault: others work through it.
    let sent = without_password(&place, "alice", &["send", "bob", "by way of listen"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    listen.signal(Signal::TERM);
    assert_eq!(listen.code(), 128 + 15);
    let unread = place.json("alice", &["unread"], "");
    assert_eq!(unread, [json!({"type": "waiting", "count": 0})]);
}

#[test]
fn a_delivery_is_waited_for_through_the_chat() {
    let place = Place::with(&["alice", "bob"]);
    let _alice = chat(&place, "alice", &[]);
    let late = without_password(
        &place,
        "alice",
        &["send", "bob", "x", "--wait-delivered", "--timeout", "1"],
    );
    assert_eq!(late.code, 10, "{late:?}");
    let mut listen = place.client("bob");
    listen.args(["listen", "--count", "2", "--timeout", "60", "--json"]);
    let listener = process::spawn(listen.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    let sent = without_password(&place, "alice", &["send", "bob", "y", "--wait-delivered"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(ended(listener.wait_with_output().unwrap()).json().len(), 2);
}

#[test]
fn many_commands_at_once_are_all_done() {
    let place = Place::with(&["alice", "bob"]);
    let mut chat = chat(&place, "alice", &[]);
    thread::scope(|scope| {
        for number in 0..12 {
            let place = &place;
            scope.spawn(move || {
                let text = format!("number {number:02}");
                let sent = without_password(place, "alice", &["send", "bob", &text]);
                assert_eq!(sent.code, 0, "{sent:?}");
            });
        }
        for number in 0..12 {
            chat.types(&format!("/msg bob mine {number:02}"));
        }
    });
    chat.types("/status bob");
    chat.sees("bob  ");
    let mut got = place.json("bob", &["fetch"], "");
    got.sort_by_key(|message| message["text"].to_string());
    let mut expected: Vec<String> = (0..12).map(|number| format!("mine {number:02}")).collect();
    expected.extend((0..12).map(|number| format!("number {number:02}")));
    assert_eq!(texts(&got), expected);
}

#[test]
fn a_vault_that_is_held_is_waited_for_and_then_named() {
    let place = Place::with(&["alice", "bob"]);
    let (path, _) = holder(&place, "alice");
    // Somebody who has no socket, such as a command for scripts.
    let lock = File::options().write(true).open(&path).unwrap();
    fs::write(&path, "4242\n").unwrap();
    lock.lock().unwrap();
    let refused = place.run("alice", &["send", "bob", "x", "--wait", "0"], "");
    assert_eq!((refused.code, refused.out.as_str()), (5, ""), "{refused:?}");
    assert!(refused.err.contains("process 4242"), "{refused:?}");
    let mut send = place.client("alice");
    let mut waits = Running::start(send.args(["send", "bob", "x", "--wait", "60"]));
    waits.sees("waiting for it");
    lock.unlock().unwrap();
    assert_eq!(waits.quits(), 0, "{:?}", waits.seen);
}

#[test]
fn a_stopped_client_is_named_and_nobody_hangs() {
    let place = Place::with(&["alice", "bob"]);
    let mut chat = chat(&place, "alice", &[]);
    chat.signal(Signal::STOP);
    let refused = without_password(&place, "alice", &["send", "bob", "x", "--wait", "0"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("is it stopped?"), "{refused:?}");
    chat.signal(Signal::CONT);
    assert_eq!(
        without_password(&place, "alice", &["send", "bob", "y"]).code,
        0
    );
    chat.sees("y");
}

#[test]
fn a_take_over_works_on_one_machine() {
    let place = Place::with(&["alice", "bob"]);
    let mut first = chat(&place, "alice", &[]);
    let mut second = chat(&place, "alice", &["--take-over"]);
    first.sees("took this account over");
    assert_eq!(first.code(), 3, "{:?}", first.seen);
    second.types("/msg bob mine now");
    second.sees("stored for bob");
    let sent = without_password(&place, "alice", &["send", "bob", "through the second"]);
    assert_eq!(sent.code, 0, "{sent:?}");
}

#[test]
fn secrets_are_not_changed_through_a_window() {
    let place = Place::with(&["alice"]);
    let chat = chat(&place, "alice", &[]);
    let mut client = place.client("alice");
    let mut window = Running::start(client.arg("--keep-going"));
    window.sees(&format!("process {}", chat.child.id()));
    for command in ["/passwd", "/recovery"] {
        window.types(command);
        window.sees("change that there");
    }
    // The end of a window ends nothing else.
    window.types("/logout");
    window.sees("logged out");
    window.quits();
    assert_eq!(without_password(&place, "alice", &["contacts"]).code, 0);
}

/// A connection to the socket that greets like a window of the chat.
fn raw_window(place: &Place) -> UnixStream {
    let mut stream = UnixStream::connect(socket(place, "alice")).unwrap();
    let version = format!("{}/1", env!("CARGO_PKG_VERSION"));
    let hello = json!({"hello": {"version": version, "account": "alice", "kind": "chat"}});
    writeln!(stream, "{hello}").unwrap();
    stream
}

#[test]
fn a_window_that_does_not_read_is_dropped_and_the_chat_goes_on() {
    let place = Place::with(&["alice", "bob"]);
    let mut chat = chat(&place, "alice", &[]);
    let window = raw_window(&place);
    let mut lines = BufReader::new(window);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("welcome"), "{line}");
    let mut bob = place.client("bob");
    let mut bob = Running::start(&mut bob);
    bob.sees("logged in as");
    let text = "x".repeat(4000);
    for number in 0..600 {
        bob.types(&format!("/msg alice {text} {number}"));
    }
    assert_eq!(bob.quits(), 0);
    chat.sees(" 599");
    let mut rest = String::new();
    // It ends, after what was in the socket.
    let _cut = lines.read_to_string(&mut rest);
    assert!(!rest.contains(" 599"), "it was not dropped");
    assert_eq!(without_password(&place, "alice", &["contacts"]).code, 0);
}

#[test]
fn hostile_windows_stop_nothing() {
    let place = Place::with(&["alice", "bob"]);
    let mut chat = chat(&place, "alice", &[]);
    let run = |command: Value| json!({"run": command}).to_string();
    for line in [
        "garbage".to_owned(),
        "{\"hello\":{}}".to_owned(),
        "x".repeat(1024 * 1024),
        format!("{}1", "[".repeat(100_000)),
        run(json!({"passwd": {"old": "a", "new": "b", "code": "c"}})),
        run(json!("logout")),
        run(json!("yield")),
        run(json!({"mark_read": [-1, 9_000_000_000_i64]})),
        run(json!({"send": ["bob", "x".repeat(200_000)]})),
    ] {
        for greets in [false, true] {
            let mut stream = match greets {
                true => raw_window(&place),
                false => UnixStream::connect(socket(&place, "alice")).unwrap(),
            };
            // It may be dropped while it writes.
            let _written = writeln!(stream, "{line}");
            let _ended = stream.shutdown(std::net::Shutdown::Write);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = String::new();
            let _cut = stream.read_to_string(&mut answer);
            assert!(
                !answer.contains("\"done\"") || line.contains("mark_read"),
                "{answer}"
            );
        }
    }
    // All places are taken by connections that say nothing, until their time is over.
    let silent: Vec<_> = (0..40)
        .filter_map(|_| UnixStream::connect(socket(&place, "alice")).ok())
        .collect();
    let sent = without_password(
        &place,
        "alice",
        &["send", "bob", "after all", "--wait", "60"],
    );
    assert_eq!(sent.code, 0, "{sent:?}");
    drop(silent);
    chat.sees("after all");
    chat.types("/msg bob and by hand");
    chat.sees("stored for bob");
    assert_eq!(chat.quits(), 0, "{:?}", chat.seen);
    assert_eq!(
        texts(&place.json("bob", &["fetch"], "")),
        ["after all", "and by hand"]
    );
}
