//! The order of the sources, and what is refused in a config file, with a program of two commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::*;

/// A program.
#[derive(Debug, Parser)]
#[command(name = "program")]
struct Options {
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=9))]
    count: u32,
    #[arg(long, global = true)]
    plain: bool,
    // Every test runs with this variable.
    #[arg(long, global = true, env = "PATH")]
    path: Option<String>,
    #[arg(long, global = true, value_delimiter = ',')]
    from: Vec<std::net::Ipv4Addr>,
    #[arg(long, global = true)]
    first: Option<String>,
    #[arg(long, global = true)]
    second: Option<String>,
    #[arg(long)]
    once: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    Work,
}

impl Program for Options {
    const TYPED_ONLY: &'static [&'static str] = &["config", "once"];
    const GROUPS: &'static [&'static [&'static str]] = &[&["first", "second"]];

    const SHORT_HELP: &'static [&'static str] = &[];

    fn config_file() -> Option<PathBuf> {
        None
    }

    fn contradiction(&self, given: &dyn Fn(&str) -> bool) -> Option<&'static str> {
        (given("count") && self.plain).then_some("plain has no count")
    }
}

/// What the program makes of a config file and arguments.
fn run(file: &str, arguments: &[&str]) -> Result<Options, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conf");
    std::fs::write(&path, file).unwrap();
    let config = format!("--config={}", path.display());
    let typed = ["program", &config];
    let typed = typed.iter().chain(arguments).map(OsString::from);
    let loaded = load(typed).map_err(|error: clap::Error| error.to_string());
    loaded.map(|loaded| loaded.options)
}

#[test]
fn what_is_typed_comes_before_the_environment_the_file_and_the_default() {
    assert_eq!(run("", &[]).unwrap().count, 5);
    assert_eq!(run("count = 7", &[]).unwrap().count, 7);
    assert_eq!(run("count = 7", &["work"]).unwrap().count, 7);
    for typed in [["--count=8", "work"], ["work", "--count=8"]] {
        assert_eq!(run("count = 7", &typed).unwrap().count, 8);
    }
    let path = std::env::var("PATH").ok();
    assert_eq!(run("path = other", &[]).unwrap().path, path);
    let typed = run("path = other", &["--path=typed"]).unwrap();
    assert_eq!(typed.path.as_deref(), Some("typed"));
    assert!(run("plain = true", &[]).unwrap().plain);
    assert!(!run("plain = false", &[]).unwrap().plain);
}

#[test]
fn an_option_with_several_values_has_them_in_one_line() {
    let options = run("from = 10.0.0.1, 10.0.0.2", &[]).unwrap();
    assert_eq!(options.from.len(), 2);
    let typed = run("from = 10.0.0.1, 10.0.0.2", &["--from=10.0.0.3"]).unwrap();
    assert_eq!(typed.from.len(), 1);
}

#[test]
fn of_a_group_the_file_adds_nothing_to_what_was_typed() {
    let options = run("first = a", &["--second=b"]).unwrap();
    assert_eq!(
        (options.first, options.second.as_deref()),
        (None, Some("b"))
    );
    assert!(run("first = a", &[]).unwrap().first.is_some());
}

#[test]
fn only_what_is_typed_can_contradict() {
    assert!(run("count = 7\nplain = true", &[]).is_ok());
    let why = run("plain = true", &["--count=7"]).unwrap_err();
    assert!(why.contains("plain has no count"), "{why}");
}

#[test]
fn a_wrong_setting_is_named_with_its_line() {
    for (file, says) in [
        (
            "# x\ncuont = 7",
            "line 2: there is no setting cuont; did you mean count?",
        ),
        (
            "zebra = 7",
            "there are count, plain, path, from, first, second",
        ),
        ("--count = 7", "did you mean count?"),
        ("once = true", "use --once where you want it"),
        ("config = x", "can't be set in a file"),
        ("help = true", "there is no setting help"),
        ("plain = yes", "line 1: plain is true or false, not \"yes\""),
        ("\ncount = 10", "line 2: count = 10: 10 is not in 1..=9"),
        ("count = 1 # one", "a comment needs a line of its own"),
        ("count = \"1\"", "needs no quotes"),
        ("from = 10.0.0.1, nowhere", "from = 10.0.0.1, nowhere"),
        (
            "count = 1\ncount = 2",
            "line 2: count was set in line 1 already",
        ),
    ] {
        let why = run(file, &[]).unwrap_err();
        assert!(why.contains(says), "{file:?}: {why}");
        assert!(why.contains("conf, line"), "{file:?}: {why}");
    }
}
