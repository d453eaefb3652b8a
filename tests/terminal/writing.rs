//! Writing on a real terminal: what is being typed outlives whatever happens meanwhile, and
//! several windows of one account.

use std::num::NonZeroU16;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{process, write_secret};
use crate::seat::{PASSWORD, Seat, Server, Shown, at_cursor, screen};
use crate::typing::CTRL_C;

/// Gives the terminal another size.
fn resize(seat: &Seat, rows: u16, columns: u16) {
    let mut now = seat.shown.0.lock().unwrap();
    let size = |number| NonZeroU16::new(number).unwrap();
    now.drawn.screen_mut().set_size(size(rows), size(columns));
    drop(now);
    seat.pty
        .resize(pty_process::Size::new(rows, columns))
        .unwrap();
}

/// A client of `name` on the same machine as another one.
fn another(server: &Server, name: &str, flags: &[&str]) -> Seat {
    let mut arguments = server.arguments(name);
    arguments.extend(["--user", name].map(str::to_owned));
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    Seat::take(&arguments, &[])
}

#[test]
fn no_ghost_of_a_draft_stays_after_a_resize() {
    let server = Server::start();
    let alice = server.person("alice");
    alice.keys("\x0c");
    let draft = format!("/msg bob {}世界{}", "word ".repeat(12), "!".repeat(4));
    alice.keys(&draft);
    let copies = |shown: &Shown, count: usize, end: &str| {
        let text = screen(shown).replace('\n', "");
        let times = |part: &str| text.matches(part).count();
        (times("alice>"), times("word"), times(end)) == (count, 12 * count, count)
    };
    let mut end = "世界!!!!".to_owned();
    alice.wait("the draft", |shown| copies(shown, 1, &end));
    for (rows, columns) in [(24, 80), (12, 40), (24, 80), (12, 25), (24, 80)] {
        resize(&alice, rows, columns);
        // The first key may overtake the signal of the change; once the later ones are shown, the
        // draft was drawn for it, and nothing of that is under way.
        for _ in 0..4 {
            alice.keys("!");
            end.push('!');
            alice.wait("one draft", |shown| copies(shown, 1, &end));
        }
    }
    alice.keys(CTRL_C);
    alice.prompt("alice> ");
    // Ctrl-Y brings it back: the dropped one and this one are all there is.
    alice.keys("\x19");
    alice.wait("the draft", |shown| {
        screen(shown).replace('\n', "").contains("^C") && copies(shown, 2, &end)
    });
}

#[test]
fn several_lines_are_one_message() {
    let server = Server::start();
    let alice = server.person("alice");
    for end in ["\\\r", "\x1b\r"] {
        alice.keys(&format!("/msg carol one{end}two{end}three"));
        alice.line("three");
        alice.keys("\x03");
        alice.prompt("alice> ");
    }
    alice.keys("ends with two\\\\");
    alice.line("alice> ends with two\\\\");
}

#[test]
fn a_draft_outlives_a_lost_connection() {
    let mut server = Server::start();
    let alice = server.person("alice");
    alice.keys("half a senten");
    alice.line("alice> half a senten");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    alice.sees("connection lost");
    alice.keys("ce");
    alice.wait("the draft", |shown| {
        at_cursor(shown).ends_with("half a sentence")
    });
}

#[test]
fn a_draft_outlives_a_stop_from_outside() {
    let server = Server::start();
    let arguments = server.arguments("alice").join(" ");
    // A shell with job control, and a mark that its prompt shows.
    let shell = Seat::at(
        "bash",
        &[
            "--norc".to_owned(),
            "--noprofile".to_owned(),
            "-i".to_owned(),
        ],
        &[("PS1", "shell$ ")],
    );
    shell.prompt("shell$ ");
    shell.enter(&format!(
        "clear; {} {arguments} & echo pid $! ; fg",
        env!("CARGO_BIN_EXE_client")
    ));
    shell.prompt("> ");
    let text = shell.screen();
    let (_, behind) = text.split_once("pid ").unwrap();
    let pid: i32 = behind.split_whitespace().next().unwrap().parse().unwrap();
    shell.register("alice");
    shell.keys("half a senten");
    shell.line("alice> half a senten");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TSTP).unwrap();
    shell.prompt("shell$ ");
    // The shell's terminal works.
    shell.enter("echo typed $((6 * 7))");
    shell.sees("typed 42");
    shell.enter("fg");
    shell.wait("the draft", |shown| {
        at_cursor(shown) == "alice> half a senten"
    });
    shell.keys("ce");
    shell.line("alice> half a sentence");
}

#[test]
fn a_message_does_not_land_in_the_row_of_a_password() {
    let server = Server::start();
    let mut bob = server.json_client("bob");
    let alice = server.person("alice");
    alice.enter("/passwd");
    alice.secret("Old password: ", PASSWORD);
    alice.hidden("New password: ");
    alice.keys("half a pass");
    bob.send("alice", 1, "a message meanwhile").unwrap();
    alice.sees("a message meanwhile");
    alice.line("New password:");
    alice.keys("word, done\r");
    alice.secret("The new password again: ", "half a password, done");
    alice.hidden("Recovery code, to keep it (Enter makes a new one): ");
    alice.enter("");
    alice.sees("password");
    assert!(!alice.raw().contains("half a pass"), "it was shown");
}

#[test]
fn a_second_window_shows_and_sends_and_takes_the_first_ones_place() {
    let server = Server::start();
    let bob = server.person("bob");
    let first = server.person("alice");
    let second = another(&server, "alice", &[]);
    second.sees("another window of alice");
    second.prompt("alice> ");
    bob.enter("/msg alice hello both");
    first.sees("hello both");
    second.sees("hello both");
    second.enter("/msg bob from the second");
    first.sees("from the second");
    bob.sees("from the second");
    first.enter("/msg bob from the first");
    second.sees("from the first");
    // The answers to one's commands are one's own.
    second.enter("/history bob");
    second.prompt("alice> ");
    first.keys("half a senten");
    first.line("alice> half a senten");
    // A third comes and goes, and ends nothing.
    let third = another(&server, "alice", &[]);
    third.prompt("alice> ");
    third.enter("/quit");
    assert!(third.ends().success());
    second.keys("also typed");
    second.line("alice> also typed");
    first.keys("\x15/quit\r");
    assert!(first.ends().success());
    second.sees("has ended");
    second.secret("Password for alice: ", PASSWORD);
    second.sees("logged in as alice");
    // What was being typed is still there.
    second.line("alice> also typed");
    second.keys("\x15/msg bob in its place\r");
    bob.sees("in its place");
}

#[test]
fn a_take_over_on_one_machine_leaves_the_draft() {
    let server = Server::start();
    let first = server.person("alice");
    first.keys("half a senten");
    first.line("alice> half a senten");
    let second = another(&server, "alice", &["--take-over"]);
    second.secret("Password for alice: ", PASSWORD);
    second.sees("logged in as alice");
    first.sees("took this account over");
    first.wait("its draft", |shown| at_cursor(shown) == "> half a senten");
    second.enter("/contacts");
    second.sees("no contacts yet");
}

#[test]
fn a_window_at_its_password_prompt_keeps_no_script_from_the_vault() {
    let server = Server::start();
    let bob = server.person("bob");
    let first = server.person("alice");
    first.enter("/quit");
    assert!(first.ends().success());
    let password = server.folder.path().join("password");
    write_secret(&password, PASSWORD);
    let send = |text: &str| {
        let mut command = process::command(env!("CARGO_BIN_EXE_client"));
        command
            .args(server.arguments("alice"))
            .args(["--user", "alice", "--wait", "0", "--password-file"])
            .arg(&password)
            .args(["send", "bob", text]);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        bob.sees(text);
    };
    let window = another(&server, "alice", &[]);
    window.hidden("Password for alice: ");
    send("at the first prompt");
    window.secret("Password for alice: ", "not the password");
    let again = "That does not open the vault. Password, the one before it, or recovery code: ";
    window.hidden(again);
    send("at the second prompt");
    window.secret(again, PASSWORD);
    window.sees("logged in as alice");
}

#[test]
fn marks_and_verified_people_are_in_every_window() {
    let server = Server::start();
    let bob = server.person("bob");
    let first = server.person("alice");
    first.enter("/msg bob hello");
    bob.sees("hello");
    first.enter("/verify bob");
    first.sees("/verify bob yes");
    first.enter("/verify bob yes");
    first.sees("bob is verified");
    let second = another(&server, "alice", &[]);
    second.sees("another window of alice");
    second.enter("/to bob");
    second.prompt("alice > bob (verified)> ");
    second.enter("from the second window");
    for window in [&first, &second] {
        window.wait("the mark", |shown| {
            let rows = screen(shown);
            let mut rows = rows
                .lines()
                .filter(|row| row.contains("from the second window"));
            rows.any(|row| row.contains("✓✓"))
        });
        let shown = screen(&window.shown.0.lock().unwrap());
        for words in ["(waiting)", "received by bob", "delivered to bob"] {
            assert!(!shown.contains(words), "{shown}");
        }
    }
}
