//! The examples of `docs/SCRIPTS.md`, run as they stand there: only the program's folder, the
//! server and the account are given from outside.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{eventually, process};
use crate::page::PAGE;
use crate::{Place, end};

/// The first code block below a heading.
fn block(heading: &str) -> String {
    let (_, below) = PAGE.split_once(&format!("### {heading}\n")).unwrap();
    let (_, fenced) = below.split_once("\n```").unwrap();
    let (_, code) = fenced.split_once('\n').unwrap();
    code.split_once("\n```").unwrap().0.to_owned()
}

/// A shell for the robot, which finds `client` where a person has installed it.
fn shell(place: &Place, script: &str) -> Command {
    let mut shell = place.command("sh", "robot");
    shell.args(["-c", script]);
    find_client(&mut shell);
    shell
}

fn find_client(command: &mut Command) {
    let folder = Path::new(env!("CARGO_BIN_EXE_client")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.display()));
}

/// What alice has got since she looked the last time.
fn alice_gets(place: &Place) -> String {
    let got = place.json("alice", &["listen", "--count", "1", "--timeout", "60"], "");
    assert_eq!(
        (&got[0]["from"], &got[0]["proven"]),
        (&"robot".into(), &true.into())
    );
    got[0]["text"].as_str().unwrap().to_owned()
}

fn start(command: &mut Command) -> Child {
    process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null())).unwrap()
}

#[test]
fn an_alert_from_cron() {
    let place = Place::with(&["alice", "robot"]);
    let line = block("An alert from cron");
    let command = line.splitn(6, ' ').last().unwrap();
    let done = end(&mut shell(&place, command), "");
    assert_eq!(
        (done.code, done.out + &done.err),
        (0, String::new()),
        "cron would mail it"
    );
    assert!(alice_gets(&place).contains('%'));
}

#[test]
fn an_alert_from_systemd() {
    let place = Place::with(&["alice", "robot"]);
    let unit = block("An alert from systemd").replace("%i", "backup.service");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let done = end(&mut shell(&place, command), "");
    assert_eq!(done.code, 0, "{done:?}");
    assert!(alice_gets(&place).starts_with("backup.service has failed"));
}

#[test]
fn a_bot_in_shell() {
    let place = Place::with(&["alice", "robot"]);
    // Somebody whose words prove nothing.
    let mut mallory = place.server.register("mallory");
    mallory.send("robot", 1, "uptime").unwrap();
    let mut bot = start(&mut shell(&place, &block("A bot in shell")));
    place.json("alice", &["send", "robot", "uptime"], "");
    assert!(alice_gets(&place).contains("load average"));
    place.json("alice", &["send", "robot", "stop"], "");
    assert!(bot.wait().unwrap().success());
    let history = place.json("robot", &["history"], "");
    assert!(
        history.iter().all(|message| message["to"] != "mallory"),
        "{history:?}"
    );
}

#[test]
fn a_bot_in_python() {
    let place = Place::with(&["alice", "robot"]);
    let mut python = place.command("python3", "robot");
    find_client(python.args(["-c", &block("A bot in Python")]));
    let mut bot = start(&mut python);
    place.json("alice", &["send", "robot"], "two\nlines 世界");
    assert_eq!(alice_gets(&place), "you said: two\nlines 世界");
    place.json("alice", &["send", "robot", "stop"], "");
    assert_eq!(alice_gets(&place), "you said: stop");
    assert!(bot.wait().unwrap().success());
}

#[test]
fn a_file_watcher() {
    let place = Place::with(&["alice", "robot"]);
    let outbox = place.path().join("outbox");
    fs::create_dir(&outbox).unwrap();
    fs::write(outbox.join("a file"), "its content\n").unwrap();
    let mut watcher = start(&mut shell(&place, &block("A file watcher")));
    assert_eq!(alice_gets(&place), "its content");
    eventually("the file is gone", || {
        fs::read_dir(&outbox).unwrap().count() == 0
    });
    fs::remove_dir(&outbox).unwrap();
    assert!(watcher.wait().unwrap().success());
}
