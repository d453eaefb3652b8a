//! The real client on a real pseudo terminal, judged by what a person would see
//! there: a terminal emulator draws what the client prints.
//!
//! Nothing here sleeps for luck. A [`seat::Seat`]'s reader draws everything as it comes,
//! and whoever waits for something looks again whenever there is more, until
//! [`PATIENCE`] is over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pty_process::blocking::Pty;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

#[path = "terminal/first_minute.rs"]
mod first_minute;
mod harness;
#[path = "terminal/history.rs"]
mod history;
#[path = "terminal/output.rs"]
mod output;
#[cfg(feature = "tls")]
#[path = "terminal/pinning.rs"]
mod pinning;
#[path = "terminal/seat.rs"]
mod seat;
#[path = "terminal/talking.rs"]
mod talking;
#[path = "terminal/typing.rs"]
mod typing;
#[path = "terminal/writing.rs"]
mod writing;

use harness::process;
use seat::*;

#[test]
fn the_menus_numbers_make_an_account_and_log_in() {
    let server = Server::start();
    let seat = server.person("alice");
    seat.enter("4");
    seat.sees("logged out");
    seat.prompt("> ");
    seat.enter("2");
    seat.prompt("Name: ");
    seat.enter("alice");
    seat.secret("Password for alice: ", PASSWORD);
    seat.sees("logged in as alice");
    seat.prompt("alice> ");
    assert!(!seat.raw().contains(PASSWORD), "the password was shown");
    seat.enter("0");
    assert_eq!(seat.ends().code(), Some(0));
}

#[test]
fn a_message_does_not_tear_the_line_that_is_typed() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    alice.keys("/msg bob half a li");
    alice.line("alice> /msg bob half a li");
    bob.enter("/msg alice are you there?");
    alice.sees("bob: are you there?");
    alice.line("[1 unread] alice> /msg bob half a li");
    alice.keys("ne, then the rest\r");
    bob.sees("alice: half a line, then the rest");
    alice.sees("you > bob: half a line, then the rest");
    // It came above, and once.
    let screen = alice.screen();
    assert_eq!(screen.matches("bob: are you there?").count(), 1, "{screen}");
    let (message, line) = (
        screen.find("bob: are you there?"),
        screen.rfind("you > bob: half a line, then the rest"),
    );
    assert!(message < line, "{screen}");
}

#[test]
fn an_unknown_word_is_an_error_and_is_not_sent() {
    let server = Server::start();
    let (alice, bob) = (server.person("alice"), server.person("bob"));
    alice.enter("/to bob");
    alice.prompt("alice > bob> ");
    alice.enter("/mgs bob a secret");
    alice.sees("there is no command /mgs");
    alice.enter("this goes out");
    bob.sees("alice: this goes out");
    assert!(!bob.screen().contains("secret"), "{}", bob.screen());
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let server = Server::start();
    let alice = server.person("alice");
    assert!(painted(&alice.raw()));

    let bob = Seat::take(&server.arguments("bob"), &[("NO_COLOR", "1")]);
    bob.prompt("> ");
    bob.register("bob");
    assert!(!painted(&bob.raw()), "{:?}", bob.raw());

    let secret = server.folder.path().join("password");
    harness::write_secret(&secret, PASSWORD);
    let mut piped = Command::new(env!("CARGO_BIN_EXE_client"))
        .args(server.arguments("carol"))
        .arg("--password-file")
        .arg(&secret)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process::end_with_this_process(&piped);
    let script = b"/register carol\n/msg alice from a script\n/search al\n/quit\n";
    piped.stdin.take().unwrap().write_all(script).unwrap();
    let output = piped.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for stream in [&output.stdout, &output.stderr] {
        assert!(!stream.contains(&0x1b), "{output:?}");
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("____"), "a banner in a pipe: {text}");
    assert!(!text.contains("> "), "a prompt in a pipe: {text}");
    alice.sees("carol: from a script");
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    let server = Server::start();
    let alice = server.person("alice");
    alice.keys("an unsent line");
    alice.line("alice> an unsent line");
    let before = alice.screen();
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nalice> \u{202e}drowssap\u{9b}31m, seen";
    let mut mallory = server.json_client("mallory");
    mallory.send("alice", 1, hostile).unwrap();
    alice.sees(", seen");
    alice.line("[1 unread] alice> an unsent line");
    let screen = alice.screen();
    let visible = "mallory [UNENCRYPTED]: \\u{1b}[2J\\u{1b}]0;owned\\u{7}\n      │ alice> \
                   \\u{202e}drowssap\\u{9b}31m, seen";
    assert!(screen.contains(visible), "{screen}");
    let raw = alice.raw();
    for byte in ["\u{1b}[2J", "\u{1b}]0;", "\u{7}", "\u{202e}", "\u{9b}"] {
        assert!(!raw.contains(byte), "{byte:?} reached the terminal");
    }
    let kept = before.lines().next().unwrap();
    assert_eq!(alice.screen().lines().next(), Some(kept), "it was cleared");
}

#[test]
fn every_end_leaves_the_terminal_as_it_was() {
    const CTRL_D: &str = "\u{4}";
    let server = Server::start();
    let seat = server.seat("nobody");
    seat.prompt("> ");
    seat.keys(CTRL_D);
    let pty = Arc::clone(&seat.pty);
    assert_eq!(seat.ends().code(), Some(0));
    assert_usable(&pty, "at the menu");
    let alice = server.person("alice");
    alice.keys(CTRL_D);
    assert_eq!(alice.ends().code(), Some(0));
    // A signal in the middle of a password, too.
    let alice = server.seat("alice");
    alice.prompt("> ");
    alice.enter("/login alice");
    alice.hidden("Password for alice: ");
    let pty = Arc::clone(&alice.pty);
    let pid = Pid::from_raw(alice.child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(alice.ends().code(), Some(128 + 15));
    assert_usable(&pty, "at a password");
}

#[test]
fn a_password_is_asked_for_on_the_terminal_also_in_a_pipe() {
    let server = Server::start();
    let alice = server.person("alice");
    alice.enter("/quit");
    assert_eq!(alice.ends().code(), Some(0));
    let client = format!(
        "{} {}",
        env!("CARGO_BIN_EXE_client"),
        server.arguments("alice").join(" ")
    );
    for (script, shows) in [
        ("CLIENT --user alice </dev/null | cat", "logged in as alice"),
        (
            "echo /contacts | CLIENT --user alice | cat",
            "no contacts yet",
        ),
        ("CLIENT unread --user alice --json | cat", "\"count\":0"),
    ] {
        let script = script.replace("CLIENT", &client);
        let arguments = ["-c".to_owned(), script.clone()];
        let seat = Seat::at("sh", &arguments, &[]);
        // A slip is taken back before the Enter.
        seat.secret(
            "Password for alice: ",
            &format!("wrong\u{15}{PASSWORD}x\u{7f}"),
        );
        seat.sees(shows);
        let raw = seat.raw();
        let pty = Arc::clone(&seat.pty);
        assert_eq!(seat.ends().code(), Some(0), "{script}");
        assert!(!raw.contains(PASSWORD), "the password was shown: {script}");
        assert_usable(&pty, "of a password in a pipe");
    }
}

#[test]
fn ctrl_c_at_a_password_in_a_pipe_leaves_the_terminal_usable() {
    let server = Server::start();
    let alice = server.person("alice");
    alice.enter("/quit");
    assert_eq!(alice.ends().code(), Some(0));
    let arguments = server.arguments("alice").join(" ");
    let client = env!("CARGO_BIN_EXE_client");
    let script = format!("{client} {arguments} --user alice </dev/null");
    let seat = Seat::at("sh", &["-c".to_owned(), script], &[]);
    seat.hidden("Password for alice: ");
    seat.keys("\u{3}");
    let pty = Arc::clone(&seat.pty);
    assert_eq!(seat.ends().code(), Some(3));
    assert_usable(&pty, "at Ctrl-C");
}

/// Whether a shell would find the terminal as one expects it.
fn assert_usable(pty: &Pty, when: &str) {
    let modes = tcgetattr(pty).unwrap().local_modes;
    for mode in [LocalModes::ECHO, LocalModes::ICANON, LocalModes::ISIG] {
        assert!(modes.contains(mode), "{mode:?} is off after an end {when}");
    }
}

#[test]
fn a_second_login_offers_to_take_over() {
    let server = Server::start();
    let first = server.person("alice");
    first.enter("/quit");
    assert_eq!(first.ends().code(), Some(0));
    copy(
        &server.folder.path().join("alice"),
        &server.folder.path().join("elsewhere"),
    );
    let log_in = |home| {
        let seat = server.seat(home);
        seat.prompt("> ");
        seat.enter("/login alice");
        seat.secret("Password for alice: ", PASSWORD);
        seat
    };
    let first = log_in("alice");
    first.prompt("alice> ");
    let second = log_in("elsewhere");
    second.sees("alice is logged in elsewhere. End that session?");
    second.prompt("y/N> ");
    second.enter("n");
    second.sees("log out there, or use --take-over");
    first.enter("/fetch");
    first.sees("no missed messages");
    second.prompt("> ");
    second.enter("/login alice");
    second.secret("Password for alice: ", PASSWORD);
    second.prompt("y/N> ");
    second.enter("y");
    second.sees("logged in as alice");
    second.prompt("alice> ");
    // The first is told, and does not fight for it.
    first.sees("this account was logged in from elsewhere");
    first.prompt("> ");
    second.enter("/fetch");
    second.sees("no missed messages");
}
