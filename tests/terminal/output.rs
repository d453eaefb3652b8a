//! Scripts whose output can't be written, is closed, or is not read: what was not
//! shown stays unread, and the exit code says so.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::seat::*;
use crate::harness::process;

/// The exit code of a script whose output could not be written.
const UNWRITTEN: Option<i32> = Some(7);

/// Two accounts that scripts use.
struct Scripts {
    server: Server,
}

impl Scripts {
    fn new() -> Self {
        let server = Server::start();
        crate::harness::write_secret(&server.folder.path().join("password"), PASSWORD);
        let scripts = Scripts { server };
        for name in ["alice", "bob"] {
            let mut command = scripts.command(name);
            let made = run(&mut command, &format!("/register {name}\n"));
            assert!(made.status.success(), "{made:?}");
        }
        scripts
    }

    fn command(&self, home: &str) -> Command {
        let mut command = process::command(env!("CARGO_BIN_EXE_client"));
        command
            .args(self.server.arguments(home))
            .arg("--password-file")
            .arg(self.server.folder.path().join("password"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A script of somebody who has an account.
    fn of(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["--user", name]);
        command
    }

    fn bob_sends(&self, text: &str) {
        let sent = run(&mut self.of("bob"), &format!("/msg alice {text}\n"));
        assert!(sent.status.success(), "{sent:?}");
    }

    /// What alice gets to see.
    fn alice_sees(&self) -> String {
        let seen = run(&mut self.of("alice"), "/fetch\n");
        assert!(seen.status.success(), "{seen:?}");
        String::from_utf8(seen.stdout).unwrap()
    }

    /// Nothing was shown of a message, so it is now, once, and marked.
    fn assert_unread(&self, text: &str, output: &Output) {
        assert_eq!(output.status.code(), UNWRITTEN, "{output:?}");
        let seen = self.alice_sees();
        assert!(seen.contains(&format!("bob (again): {text}\n")), "{seen}");
        let seen = self.alice_sees();
        assert!(!seen.contains(text), "{seen}");
    }
}

fn run(command: &mut Command, script: &str) -> Output {
    let mut child = process::spawn(command).unwrap();
    // One that has ended reads no more of it.
    let _ended = child.stdin.take().unwrap().write_all(script.as_bytes());
    child.wait_with_output().unwrap()
}

/// One sentence on standard error, and nothing else.
fn assert_one_sentence(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("the output"), "{said}");
    assert!(said.contains("stay unread"), "{said}");
}

#[test]
fn a_full_output_reads_nothing() {
    let scripts = Scripts::new();
    scripts.bob_sends("precious");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = run(scripts.of("alice").stdout(full), "/fetch\n/msg bob done\n");
    assert_one_sentence(&output);
    scripts.assert_unread("precious", &output);
    let bob = run(&mut scripts.of("bob"), "/fetch\n");
    let bob = String::from_utf8(bob.stdout).unwrap();
    assert!(!bob.contains("done"), "the script went on: {bob}");
}

#[test]
fn help_that_could_not_be_written_is_no_success() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = process::command(env!("CARGO_BIN_EXE_client"));
    let output = command.arg("--help").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), UNWRITTEN);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("client: the output can't be written"),
        "{said}"
    );
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("exit-codes")
    );
    let mut command = process::command(env!("CARGO_BIN_EXE_client"));
    let status = command.arg("--nonsense").stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[test]
fn a_pipe_that_nobody_reads_reads_nothing() {
    let scripts = Scripts::new();
    scripts.bob_sends("precious");
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = run(scripts.of("alice").stdout(writer), "/fetch\n");
    assert_one_sentence(&output);
    scripts.assert_unread("precious", &output);
}

/// Alice's client, started by a shell that first redirects its descriptors.
fn redirected(scripts: &Scripts, redirection: &str) -> Command {
    let command = scripts.of("alice");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

#[test]
fn a_closed_output_reads_nothing() {
    let scripts = Scripts::new();
    for closed in [">&-", ">&- 2>&-", "<&- >&-"] {
        scripts.bob_sends("precious");
        let output = run(&mut redirected(&scripts, closed), "/fetch\n");
        if !closed.contains('2') {
            assert_one_sentence(&output);
        }
        scripts.assert_unread("precious", &output);
    }
}

#[test]
fn a_closed_input_is_no_success() {
    let scripts = Scripts::new();
    for closed in ["<&-", "0>/dev/null"] {
        let mut shell = redirected(&scripts, closed);
        let output = run(shell.stdout(Stdio::piped()), "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the input can't be read"), "{said}");
    }
}

#[test]
fn an_output_that_is_thrown_away_on_purpose_is_read() {
    let scripts = Scripts::new();
    let both_ways = || {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        Stdio::from(null.unwrap())
    };
    for null in [both_ways(), Stdio::null()] {
        scripts.bob_sends("forgettable");
        let output = run(scripts.of("alice").stdout(null), "/fetch\n");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let seen = scripts.alice_sees();
        assert!(!seen.contains("forgettable"), "{seen}");
    }
}

#[test]
fn what_a_person_saw_is_not_shown_again() {
    let scripts = Scripts::new();
    let command = scripts.of("alice");
    let text = |argument: &std::ffi::OsStr| argument.to_str().unwrap().to_owned();
    let arguments: Vec<String> = command.get_args().map(text).collect();
    let alice = Seat::take(&arguments, &[]);
    alice.prompt("alice> ");
    alice.keys("a draft");
    scripts.bob_sends("now and never again");
    alice.sees("bob: now and never again");
    alice.line("[1 unread] alice> a draft");
    // With Ctrl-U, the draft goes.
    alice.enter("\u{15}/quit");
    assert_eq!(alice.ends().code(), Some(0));
    let seen = scripts.alice_sees();
    assert!(!seen.contains("never again"), "{seen}");
}

#[test]
fn an_error_that_nobody_could_read_is_an_error() {
    let scripts = Scripts::new();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = run(scripts.of("alice").stderr(full), "/msg nobody hello\n");
    assert_eq!(output.status.code(), UNWRITTEN, "{output:?}");
}

/// Alice's client with more messages than a pipe holds, committed and acknowledged
/// but not all printed, and that pipe.
fn stuck(scripts: &Scripts, count: usize) -> (Child, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let mut command = scripts.of("alice");
    command.stdout(writer);
    let mut child = process::spawn(&mut command).unwrap();
    drop(command);
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"/fetch\n")
        .unwrap();
    let mut bob = process::spawn(&mut scripts.of("bob")).unwrap();
    let mut script = bob.stdin.take().unwrap();
    for number in 0..count {
        let text = format!("/msg alice {number:03}{}\n", "x".repeat(12_000));
        script.write_all(text.as_bytes()).unwrap();
    }
    // The acknowledgements are told to bob while he is there.
    let mut said = bob.stdout.take().unwrap();
    let all = thread::spawn(move || {
        let (mut delivered, mut text) = (0, Vec::new());
        let deadline = Instant::now() + PATIENCE;
        while delivered < count && Instant::now() < deadline {
            let mut some = [0; 4096];
            let got = said.read(&mut some).unwrap();
            assert!(got > 0, "{}", String::from_utf8_lossy(&text));
            text.extend(&some[..got]);
            delivered = deliveries(&String::from_utf8_lossy(&text));
        }
        assert_eq!(delivered, count);
    });
    all.join().unwrap();
    drop(script);
    assert!(bob.wait().unwrap().success());
    (child, reader)
}

/// How many messages are said to be delivered, in however many lines.
fn deliveries(said: &str) -> usize {
    let count = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["delivered", "to", _] => 1,
            [count, _, "delivered", "to", _] => count.parse().unwrap(),
            _ => 0,
        }
    };
    said.lines().map(count).sum()
}

#[test]
fn a_kill_between_the_commit_and_the_screen_loses_nothing() {
    const COUNT: usize = 20;
    let scripts = Scripts::new();
    let (mut child, mut reader) = stuck(&scripts, COUNT);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut before = String::new();
    reader.read_to_string(&mut before).unwrap();
    let after = scripts.alice_sees();
    let shown = |text: &str, number: usize| {
        // Only with its line end was it shown whole.
        let ends = |line: &&str| line.ends_with('\n') && line.contains(&format!(": {number:03}x"));
        text.split_inclusive('\n').filter(ends).count()
    };
    let mut again = 0;
    for number in 0..COUNT {
        assert!(
            shown(&before, number) + shown(&after, number) > 0,
            "{number} is lost"
        );
        again += shown(&after, number);
    }
    assert!(again > 0, "nothing was between the commit and the screen");
    assert_eq!(after.matches("bob (again): ").count(), again);
    assert!(!scripts.alice_sees().contains("bob"), "it was shown");
}

#[test]
fn a_reader_that_does_not_read_holds_up_no_end() {
    let scripts = Scripts::new();
    let (mut child, reader) = stuck(&scripts, 12);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(10)),
        }
        assert!(Instant::now() < deadline, "it never ended");
    };
    assert_eq!(status.code(), UNWRITTEN);
    drop(reader);
    let seen = scripts.alice_sees();
    assert!(
        seen.contains("bob (again): 011x"),
        "the last one stays unread"
    );
}

#[test]
fn a_text_of_several_lines_is_told_from_several_messages() {
    let server = Server::start();
    let scripts = {
        crate::harness::write_secret(&server.folder.path().join("password"), PASSWORD);
        Scripts { server }
    };
    let made = run(&mut scripts.command("alice"), "/register alice\n");
    assert!(made.status.success(), "{made:?}");
    let text = "one\n\ttwo\n10:00 bob: three";
    let mut mallory = scripts.server.json_client("mallory");
    mallory.send("alice", 1, text).unwrap();
    let seen = scripts.alice_sees();
    let (_, behind) = seen.split_once("mallory [UNENCRYPTED]: ").unwrap();
    assert!(
        behind.starts_with("one\n      │ \ttwo\n      │ 10:00 bob: three\n"),
        "{seen}"
    );
    let path = scripts.server.folder.path().join("seen");
    let file = File::create(&path).unwrap();
    run(scripts.of("alice").stdout(file), "/history\n");
    let history = std::fs::read_to_string(path).unwrap();
    assert!(
        history.contains("\n      │ 10:00 bob: three\n"),
        "{history}"
    );
}
