//! What is typed arrives as it was typed, whatever is asked for just then and
//! whatever arrives meanwhile.

use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::seat::*;
use crate::harness::process;

pub(crate) const CTRL_C: &str = "\u{3}";

/// Runs the client without a terminal.
fn script(server: &Server, name: &str, commands: &str) -> Output {
    let mut client = start_script(server, name, Stdio::piped());
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(commands.as_bytes()).unwrap();
    drop(stdin);
    client.wait_with_output().unwrap()
}

fn start_script(server: &Server, name: &str, stdout: Stdio) -> std::process::Child {
    let secret = server.folder.path().join("password");
    crate::harness::write_secret(&secret, PASSWORD);
    process::command(env!("CARGO_BIN_EXE_client"))
        .args(server.arguments(name))
        .arg("--password-file")
        .arg(&secret)
        .env_remove("SECURE_CHAT_USER")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .inspect(process::end_with_this_process)
        .unwrap()
}

fn register(server: &Server, name: &str) {
    let output = script(server, name, &format!("/register {name}\n"));
    assert!(output.status.success(), "{output:?}");
}

/// What somebody has received, as a script shows it.
fn received(server: &Server, name: &str) -> String {
    let output = script(server, name, &format!("/login {name}\n/fetch\n"));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Sends from a script.
fn send(server: &Server, from: &str, text: &str) {
    let output = script(server, from, &format!("/login {from}\n{text}\n"));
    assert!(output.status.success(), "{output:?}");
}

/// The words of a text that begin with `mark` and go on in digits, in order.
fn numbered(text: &str, mark: &str) -> Vec<usize> {
    let digits = |rest: &str| {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..length].parse().ok()
    };
    text.split(mark).skip(1).filter_map(digits).collect()
}

#[test]
fn what_is_typed_ahead_is_kept() {
    let server = Server::start();
    register(&server, "bob");
    let alice = server.person("alice");
    // In one piece: a login with its password, and what follows it.
    alice.keys(&format!(
        "/to bob\rword1\nword2\r\nword3\r/logout\r/login alice\r{PASSWORD}\r/to bob\rword4\r/quit\r"
    ));
    let raw = Arc::clone(&alice.shown);
    assert_eq!(alice.ends().code(), Some(0));
    let raw = String::from_utf8_lossy(&raw.0.lock().unwrap().raw).into_owned();
    assert!(!raw.contains(PASSWORD), "the password was shown");
    assert_eq!(numbered(&received(&server, "bob"), "word"), [1, 2, 3, 4]);
    // Before there is a prompt, and cut in the middle of a line and of a character.
    let alice = server.seat("alice");
    alice.keys("/login alice\r");
    alice.secret("Password for alice: ", PASSWORD);
    alice.keys("/to bob\rword5\rword");
    let (first, rest) = "6 ü\r".as_bytes().split_at(3);
    alice.bytes(first);
    alice.sees("word6");
    alice.bytes(rest);
    alice.keys("/quit\r");
    assert_eq!(alice.ends().code(), Some(0));
    let got = received(&server, "bob");
    assert_eq!(numbered(&got, "word"), [5, 6]);
    assert!(got.contains("word6 ü"), "{got}");
}

#[test]
fn messages_that_arrive_hang_nothing() {
    let server = Server::start();
    register(&server, "bob");
    let alice = server.person("alice");
    alice.enter("/who bob");
    alice.sees("offline");
    let begun = [
        ("\u{12}who", CTRL_C),
        ("\u{16}", "x\u{15}"),
        ("/\t\t", "\u{15}"),
        ("\u{18}", "\u{15}"),
        ("\u{1b}[200~half a", " paste\u{1b}[201~\u{15}"),
        ("\u{1b}[", "A\u{15}"),
    ];
    for (at, (keys, end)) in begun.into_iter().enumerate() {
        alice.keys(keys);
        send(
            &server,
            "bob",
            &format!("/msg alice IN{at}A\n/msg alice IN{at}B"),
        );
        alice.sees(&format!("IN{at}A"));
        alice.sees(&format!("IN{at}B"));
        alice.keys(end);
        alice.enter(&format!("/nonsense{at}"));
        alice.sees(&format!("there is no command /nonsense{at}"));
    }
}

#[test]
fn ctrl_c_drops_what_is_typed_and_ends_nothing() {
    let server = Server::start();
    register(&server, "bob");
    let alice = server.person("alice");
    alice.enter("/to bob");
    alice.prompt("alice > bob> ");
    alice.keys("a draft");
    alice.line("alice > bob> a draft");
    alice.keys(CTRL_C);
    alice.prompt("alice > bob> ");
    alice.keys(CTRL_C);
    alice.sees("to quit, press Ctrl-D or type /quit");
    alice.enter("word1");
    alice.keys(&format!("\u{12}wor{CTRL_C}word2\r/logout\r"));
    alice.sees("logged out");
    // Questions are cancelled.
    alice.enter("2");
    alice.prompt("Name: ");
    alice.keys(CTRL_C);
    alice.sees("never mind");
    alice.prompt("> ");
    alice.enter("/login alice");
    alice.hidden("Password for alice: ");
    alice.keys(&format!("half{CTRL_C}"));
    alice.prompt("> ");
    assert!(!alice.raw().contains("half"));
    alice.enter("/quit");
    assert_eq!(alice.ends().code(), Some(0));
    assert_eq!(numbered(&received(&server, "bob"), "word"), [1, 2]);
}

#[test]
fn a_terminal_that_only_shows_plain_text_gets_that() {
    let server = Server::start();
    register(&server, "alice");
    register(&server, "bob");
    for term in ["dumb", "emacs", "cons25", ""] {
        let alice = Seat::take(&server.arguments("alice"), &[("TERM", term)]);
        alice.prompt("> ");
        alice.enter("/login alice");
        alice.secret("Password for alice: ", PASSWORD);
        alice.prompt("alice> ");
        alice.keys("a draft");
        alice.keys(CTRL_C);
        alice.sees("to quit");
        send(&server, "bob", &format!("/msg alice to {term}!"));
        alice.sees(&format!("bob: to {term}!"));
        alice.prompt("[1 unread] alice> ");
        alice.enter(&format!("/msg bob from {term}!"));
        alice.sees("stored for bob");
        // Without an editor the terminal itself echoes what is typed, so the prompt must be there first.
        alice.prompt("alice> ");
        alice.enter("/passwd");
        alice.hidden("Old password: ");
        alice.keys(CTRL_C);
        alice.sees("nothing was changed");
        alice.enter("/quit");
        let shown = Arc::clone(&alice.shown);
        assert_eq!(alice.ends().code(), Some(0));
        assert!(!shown.0.lock().unwrap().raw.contains(&0x1b), "{term}");
        let got = received(&server, "bob");
        assert!(got.contains(&format!("alice: from {term}!")), "{got}");
    }
}

#[test]
fn a_paste_of_several_lines_is_one_message() {
    let server = Server::start();
    register(&server, "bob");
    let alice = server.person("alice");
    alice.enter("/to bob");
    alice.prompt("alice > bob> ");
    alice.keys("\u{1b}[200~word1\r\n\tword2\u{3}");
    alice.keys("\u{1b}[31m\r  word3\u{1b}[20");
    alice.keys("1~\r");
    // Without brackets, they are messages of their own.
    alice.keys("word4\n\tword5\n");
    alice.enter("/quit");
    assert_eq!(alice.ends().code(), Some(0));
    let got = received(&server, "bob");
    assert_eq!(numbered(&got, "word"), [1, 2, 3, 4, 5]);
    assert_eq!(got.matches("alice: ").count(), 3, "{got}");
}

#[test]
fn what_was_not_done_is_no_success() {
    let server = Server::start();
    register(&server, "alice");
    // The input ends in the middle of a question.
    for commands in ["1\n", "2\n", "/login alice\n2\nbob\n"] {
        let output = script(&server, "alice", commands);
        assert_ne!(output.status.code(), Some(0), "{commands:?}: {output:?}");
    }
    // A number that was not shown is not compared.
    register(&server, "bob");
    let output = script(&server, "alice", "/login alice\n/verify bob yes\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // A signal ends the program before its work is done.
    let mut client = start_script(&server, "alice", Stdio::piped());
    // The input is held open, so that its end is not why the client ends.
    let input = client.stdin.take();
    let seat = server.seat("nobody");
    seat.prompt("> ");
    for child in [client.id(), seat.child.id()] {
        let pid = rustix::process::Pid::from_raw(child.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
    let status = client.wait_with_output().unwrap().status;
    drop(input);
    assert_eq!(status.code(), Some(128 + 15), "{status}");
    assert_eq!(seat.ends().code(), Some(128 + 15));
}

/// A small generator of numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// Types at random to somebody, and notes how many words were really sent.
struct Typist<'a> {
    seat: &'a Seat,
    dice: Dice,
    words: usize,
}

impl Typist<'_> {
    fn word(&mut self) -> String {
        self.words += 1;
        format!("wörd{} ", self.words)
    }

    /// In pieces that respect neither characters nor keys.
    fn in_pieces(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(1 + self.dice.below(rest.len().min(9)));
            self.seat.bytes(piece);
            rest = more;
            self.pause(3);
        }
    }

    fn pause(&mut self, most: usize) {
        thread::sleep(Duration::from_millis(self.dice.below(most) as u64));
    }

    fn act(&mut self) {
        match self.dice.below(9) {
            0 | 1 => {
                let line = format!("{}\r", self.word());
                self.in_pieces(&line);
            }
            2 => {
                let burst: String = (0..4).map(|_| format!("{}\r", self.word())).collect();
                self.seat.keys(&burst);
            }
            3 => {
                let paste = format!("{}\r\n\t{}\n {}", self.word(), self.word(), self.word());
                self.in_pieces(&format!("\u{1b}[200~{paste}\u{1b}[201~\r"));
            }
            4 => {
                self.in_pieces("\u{12}wö\u{12}");
                self.pause(30);
                self.in_pieces("\u{7}\u{15}");
            }
            5 => {
                let line = format!("\u{16}\u{1}{}", self.word());
                self.in_pieces(&line);
                self.pause(30);
                self.seat.keys("\r");
            }
            6 => self.in_pieces("dropped \u{1b}[D\u{1b}[1;5D\u{18}\u{14}世界\u{3}"),
            7 => self.in_pieces("/\t\t\u{15}\u{1b}[A\u{1b}[A\u{1b}[B\u{3}"),
            _ => {
                let columns = 30 + self.dice.below(90) as u16;
                let rows = 5 + self.dice.below(40) as u16;
                let size = pty_process::Size::new(rows, columns);
                self.seat.pty.resize(size).unwrap();
            }
        }
        self.pause(20);
    }
}

/// Types, searches, pastes and resizes at random while a thousand messages a second
/// arrive. `SECURE_CHAT_TYPING` is how many seconds, and `SECURE_CHAT_SEED` repeats a run.
#[test]
fn typing_while_a_thousand_messages_a_second_arrive() {
    let given = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    let seconds = given("SECURE_CHAT_TYPING").unwrap_or(5);
    let seed = given("SECURE_CHAT_SEED").unwrap_or_else(|| u64::from(std::process::id()) + 1);
    eprintln!("seed {seed}");
    let server = Server::start_with(&["--message-rate", "100000"]);
    register(&server, "bob");
    register(&server, "carol");
    let alice = server.person("alice");
    alice.enter("/to carol");
    alice.prompt("alice > carol> ");

    // Nobody reads what the sender says of its messages.
    let mut sender = start_script(&server, "bob", Stdio::null());
    let mut stdin = sender.stdin.take().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = thread::spawn(move || {
        stdin.write_all(b"/login bob\n").unwrap();
        let mut sent = 0;
        while !stopped.load(Ordering::SeqCst) {
            let ten: String = (sent..sent + 10)
                .map(|number| format!("/msg alice NEWS{number}\n"))
                .collect();
            stdin.write_all(ten.as_bytes()).unwrap();
            sent += 10;
            thread::sleep(Duration::from_millis(10));
        }
        sent
    });
    let mut typist = Typist {
        seat: &alice,
        dice: Dice(seed),
        words: 0,
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        typist.act();
    }
    let words = typist.words;
    stop.store(true, Ordering::SeqCst);
    let sent = flood.join().unwrap();
    let output = sender.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let last = format!("NEWS{}", sent - 1);
    alice.wait(&last, |shown| shown.raw_contains(last.as_bytes()));
    alice.enter("/nonsense");
    alice.wait("an answer", |shown| shown.raw_contains(b"/nonsense;"));
    alice.enter("/quit");
    let raw = Arc::clone(&alice.shown);
    assert_eq!(alice.ends().code(), Some(0));

    let raw = String::from_utf8_lossy(&raw.0.lock().unwrap().raw).into_owned();
    assert_eq!(numbered(&raw, "NEWS"), (0..sent).collect::<Vec<_>>());
    // What the server had not answered yet goes out at the next login.
    script(&server, "alice", "/login alice\n");
    let mut got = Vec::new();
    loop {
        // One `/fetch` is answered when a window of messages has come.
        let more = numbered(&received(&server, "carol"), "wörd");
        if more.is_empty() {
            break;
        }
        got.extend(more);
    }
    assert_eq!(got, (1..=words).collect::<Vec<_>>());
    eprintln!("{words} words typed, {sent} messages shown in {seconds} s");
}
