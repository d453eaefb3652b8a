//! Completions, manual, help and documentation of both programs against each other: what one of
//! them knows, all know, because the program's definition is the only source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process;
use crate::{Ended, end};

const PROGRAMS: [&str; 2] = [
    env!("CARGO_BIN_EXE_secure-chat"),
    env!("CARGO_BIN_EXE_secure-chat-server"),
];

fn run(program: &str, arguments: &[&str]) -> Ended {
    end(process::command(program).args(arguments), "")
}

fn said(program: &str, arguments: &[&str]) -> String {
    let ended = run(program, arguments);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (0, ""),
        "{arguments:?} {ended:?}"
    );
    ended.out
}

/// The words that begin with two dashes.
fn flags(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| word.starts_with("--") && word.len() > 3)
        .map(|word| word.trim_end_matches('-').to_owned())
        .collect()
}

/// The commands that the manual describes, as `vault export`.
fn commands(manual: &str) -> Vec<String> {
    let (_, chapter) = manual.split_once(".SH COMMANDS\n").unwrap();
    let (chapter, _) = chapter.split_once("\n.SH ").unwrap();
    let headings = chapter.lines().filter_map(|line| line.strip_prefix(".SS "));
    headings.map(plain).collect()
}

/// A text of the manual as people read it.
fn plain(text: &str) -> String {
    text.replace("\\-", "-").replace("\\(aq", "'")
}

#[test]
fn completions_and_manual_know_every_option_and_command() {
    for (program, least) in PROGRAMS.into_iter().zip([20, 25]) {
        let manual = said(program, &["man"]);
        let of_options: BTreeSet<String> = said(program, &["options"])
            .lines()
            .filter_map(|line| line.trim_start().split([' ', '=']).next())
            .filter(|word| word.starts_with("--"))
            .map(str::to_owned)
            .collect();
        assert!(of_options.len() >= least, "{of_options:?}");
        let manual_flags = flags(&plain(&manual));
        assert!(
            of_options.is_subset(&manual_flags),
            "{of_options:?} {manual_flags:?}"
        );
        let commands = commands(&manual);
        assert!(commands.contains(&"completions".to_owned()), "{commands:?}");
        for shell in ["bash", "zsh", "fish"] {
            let script = said(program, &["completions", shell]);
            let names = |word: &str| script.contains(word);
            for flag in manual_flags.iter().map(|flag| flag.trim_start_matches('-')) {
                let spelled = match shell {
                    "fish" => format!("-l {flag} "),
                    _ => format!("--{flag}"),
                };
                assert!(names(&spelled), "{shell} lacks {spelled}");
            }
            for word in commands.iter().flat_map(|command| command.split(' ')) {
                assert!(names(word), "{shell} lacks {word}");
            }
        }
        // What the manual calls a command is one, with all of its options.
        for command in &commands {
            let words: Vec<&str> = command.split(' ').collect();
            let help = said(program, &[words.as_slice(), &["--help"]].concat());
            for flag in flags(&help) {
                assert!(manual_flags.contains(&flag), "{command}: {flag}");
            }
        }
    }
}

#[test]
fn the_documentation_names_no_option_that_does_not_exist() {
    // Options of other programs in the examples.
    const FOREIGN: [&str; 9] = [
        "--bench",
        "--bin",
        "--locked",
        "--no-pager",
        "--now",
        "--path",
        "--release",
        "--test",
        "--user",
    ];
    let known: BTreeSet<String> = PROGRAMS
        .into_iter()
        .flat_map(|program| flags(&plain(&said(program, &["man"]))))
        .chain(FOREIGN.map(str::to_owned))
        .collect();
    for page in [
        include_str!("../../README.md"),
        include_str!("../../docs/SCRIPTS.md"),
    ] {
        let named = flags(page);
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(named.len() > 10, "{named:?}");
    }
}

#[test]
fn the_manual_has_every_command_of_the_chat_and_every_exit_code() {
    let manual = plain(&said(PROGRAMS[0], &["man"])).replace('\n', " ");
    for command in [
        "/msg NAME TEXT",
        "/history",
        "/quit",
        "/help",
        "/verify NAME",
    ] {
        assert!(manual.contains(&format!(".B {command}")), "{command}");
    }
    for line in said(PROGRAMS[0], &["exit-codes"]).lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        let entry = format!(".TP .B {code} {}", meaning.trim());
        assert!(manual.contains(&entry), "{entry}");
    }
}

#[test]
fn every_help_fits_a_screen_and_names_the_program_as_it_was_called() {
    for program in PROGRAMS {
        let name = Path::new(program).file_name().unwrap().to_str().unwrap();
        let help = said(program, &["--help"]);
        // A screen of 24 rows has the next prompt, too.
        assert!(help.lines().count() <= 23, "{help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 80),
            "{help}"
        );
        assert!(help.contains(&format!("Usage: {name} ")), "{help}");
        assert!(said(program, &["--version"]).starts_with(&format!("{name} ")));
        let refused = run(program, &["--no-such-option"]);
        assert_eq!(refused.code, 2);
        assert!(
            refused.err.contains(&format!("Usage: {name} ")),
            "{refused:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("my-chat");
    std::os::unix::fs::symlink(PROGRAMS[0], &renamed).unwrap();
    let refused = run(renamed.to_str().unwrap(), &["vault", "export", "x"]);
    assert!(refused.err.contains("my-chat --user NAME"), "{refused:?}");
}

/// A folder with the files `notes.txt` and `my file` and the folder `place`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["notes.txt", "my file"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("place")).unwrap();
    folder
}

/// What bash offers for words of which the last is being typed.
fn bash_offers(folder: &Path, program: &str, words: &[&str]) -> Vec<String> {
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let script = said(program, &["completions", "bash"]);
    let function = format!("_{}", name.replace('-', "_"));
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let shell = format!(
        "{script}\nCOMP_WORDS=({name} {})\nCOMP_CWORD={}\n{function}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len()
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &shell]).current_dir(folder);
    let ended = end(&mut bash, "");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    let lines = ended.out.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_values_and_paths() {
    let folder = folder();
    let offers = |words: &[&str]| bash_offers(folder.path(), PROGRAMS[0], words);
    for (words, offered) in [
        (&["se"][..], &["send", "search"][..]),
        (&["--user", "send", "vau"], &["vault"]),
        (&["--user", "=", "send", "vau"], &["vault"]),
        (&["--server", "h", ":", "80", "vau"], &["vault"]),
        (&["vault", "ex"], &["export"]),
        (&["--col"], &["--color"]),
        (&["send", "bob", "--wait-d"], &["--wait-delivered"]),
        (&["--wait-d"], &[]),
        (&["--color", "a"], &["auto", "always"]),
        (&["--color", "=", "n"], &["never"]),
        (&["--color", "="], &["auto", "always", "never"]),
        (&["completions", "z"], &["zsh"]),
        (&["send", "bob", "--file", "n"], &["notes.txt"]),
        (&["vault", "export", "my"], &["my file"]),
        (&["vault", "export", "--user", ""], &[]),
        (&["--data", ""], &["place"]),
        (&["send", "$(touch evil)"], &[]),
    ] {
        assert_eq!(offers(words), offered, "{words:?}");
    }
    assert!(!folder.path().join("evil").exists());
    let offers = |words: &[&str]| bash_offers(folder.path(), PROGRAMS[1], words);
    assert_eq!(offers(&["finger"]), ["fingerprint"]);
    assert_eq!(offers(&["--max-clients-"]), ["--max-clients-per-address"]);
    assert_eq!(offers(&["--unencrypted", ""]), ["true", "false"]);
}

#[test]
fn other_shells_that_are_here_take_their_script() {
    let folder = folder();
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute"), ("bash", "-n")] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder: PathBuf| folder.join(shell).is_file())
        });
        if !found {
            continue;
        }
        for program in PROGRAMS {
            let path = folder.path().join(shell);
            std::fs::write(&path, said(program, &["completions", shell])).unwrap();
            let ended = end(Command::new(shell).arg(check).arg(&path), "");
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
        }
    }
}
