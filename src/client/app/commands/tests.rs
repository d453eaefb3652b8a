//! Tests of the table of commands, of parsing and of help.

use super::Operation::{Message, Session};
use super::*;
use crate::client::messenger::command::{FindBefore, FindFrom};
use crate::protocol::UserName;

fn given(line: &str) -> (&'static str, Vec<String>) {
    match parse(line, true, true) {
        Ok(TypedLine::Command { spec, given, .. }) => (spec.names[0], given),
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn a_mistyped_command_to_somebody_says_how_it_is_a_text() {
    let why = |talks| parse("/etc/hosts", true, talks).unwrap_err();
    assert!(why(true).contains("//etc/hosts"), "{}", why(true));
    assert!(!why(false).contains("//etc/hosts"), "{}", why(false));
    assert_eq!(talk("//etc/hosts"), "/etc/hosts");
}

fn talk(line: &str) -> String {
    match parse(line, true, true) {
        Ok(TypedLine::Text(text)) => text,
        other => panic!("{line:?}: {other:?}"),
    }
}

/// What the session is asked to run for a line.
fn command(line: &str) -> Result<Command, String> {
    match parse(line, true, false) {
        Ok(TypedLine::Command { spec, given, .. }) => match spec.operation {
            Session(command) | Message(command) => command(&given),
            Operation::Delete => delete(&given),
            other => panic!("{line:?}: {other:?}"),
        },
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn the_table_makes_the_sessions_commands() {
    let bob: UserName = "bob".parse().unwrap();
    assert!(matches!(
        command("/msg bob hi there"),
        Ok(Command::Send(name, text)) if name == bob && text == "hi there"
    ));
    assert!(matches!(
        command("/history"),
        Ok(Command::History(query)) if query.with.is_none() && query.count == Some(50)
    ));
    assert!(matches!(
        command("/history bob 7 before ABCD"),
        Ok(Command::History(query)) if query.with == Some(bob) && query.count == Some(7)
            && query.before == Some(FindBefore::Message("abcd".to_owned()))
    ));
    assert!(matches!(
        command("/history since 2026-11-27"),
        Ok(Command::History(query)) if matches!(query.from, Some(FindFrom::Time(_)))
    ));
    assert!(command("/verify yes").is_err_and(|why| why.contains("/verify NAME yes")));
    assert!(matches!(
        command("/find Lunch at noon before 0a1b"),
        Ok(Command::Find(query)) if query.containing.as_deref() == Some("Lunch at noon")
            && query.before == Some(FindBefore::Message("0a1b".to_owned()))
    ));
    for (typed, name, date) in [
        ("/find lunch in bob", true, false),
        ("/find lunch in bob before 2026-11-27", true, true),
        ("/find lunch before 2026-11-27", false, true),
        ("/find lunch in Rome!", false, false),
    ] {
        let Ok(Command::Find(query)) = command(typed) else {
            panic!("{typed}");
        };
        assert_eq!(query.with, name.then_some(bob), "{typed}");
        let is_date = matches!(query.before, Some(FindBefore::Time(_)));
        assert_eq!(is_date, date, "{typed}");
    }
    assert!(matches!(
        command("/find the day before yesterday"),
        Ok(Command::Find(query)) if query.before.is_none()
    ));
    for point in ["2026-11-22", "today", "yesterday", "7d", "90d", "2w", "1y"] {
        assert!(matches!(before(point), Ok(FindBefore::Time(_))), "{point}");
        assert!(matches!(since(point), Ok(FindFrom::Time(_))), "{point}");
    }
    for id in ["7", "0000007d", "1234567d", "ad"] {
        assert!(matches!(before(id), Ok(FindBefore::Message(_))), "{id}");
    }
    assert!(before("tomorrow").is_err() && since("2026-13-45").is_err());
    assert!(matches!(command("/info"), Ok(Command::Info(None))));
    assert!(matches!(
        command("/verify bob yes"),
        Ok(Command::Verify(name, true)) if name == bob
    ));
    for wrong in [
        "/verify bob no",
        "/block b!b",
        "/settings presence",
        "/status -",
        "/history bob 0",
        "/history bob since",
        "/history bob before xyz",
        "/history bob since tomorrow",
        "/history before abcd since abcd",
        "/delete bob",
        "/delete bob some",
        "/outbox cancel",
        "/outbox drop all",
        "/info xyz",
    ] {
        assert!(command(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_table_is_consistent() {
    let mut names: Vec<_> = TABLE.iter().flat_map(|spec| spec.names).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands twice");
    for logged_in in [false, true] {
        let mut numbers: Vec<_> = usable(logged_in).filter_map(|spec| spec.menu).collect();
        let count = numbers.len();
        numbers.sort();
        numbers.dedup_by_key(|(number, _)| *number);
        assert_eq!(numbers.len(), count, "a number stands twice");
    }
    for spec in TABLE {
        assert!(
            spec.names.iter().all(|name| name.starts_with('/')),
            "{spec:?}"
        );
        assert!(
            !spec.help.is_empty() && !spec.help.ends_with('.'),
            "{spec:?}"
        );
        let optional = |argument: &&'static str| argument.starts_with('[');
        assert!(
            spec.arguments
                .iter()
                .skip_while(|argument| !optional(argument))
                .all(|argument| argument.starts_with('[')),
            "{spec:?}: nothing required follows what is optional"
        );
        let text = spec
            .arguments
            .iter()
            .position(|argument| *argument == "TEXT");
        assert!(
            text.is_none_or(|at| at + 1 == spec.arguments.len()),
            "{spec:?}"
        );
    }
}

#[test]
fn arguments_are_cut_as_the_table_says() {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| word.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        given("/msg  bob  hi  there "),
        ("/msg", words(&["bob", "hi  there"]))
    );
    assert_eq!(
        given("/verify bob yes"),
        ("/verify", words(&["bob", "yes"]))
    );
    assert_eq!(given("/to"), ("/to", Vec::new()));
}

#[test]
fn a_text_of_several_lines_keeps_its_blanks() {
    let text = "\tone\n\n  two";
    let typed = format!("/msg bob {text}\n");
    assert_eq!(given(&typed).1, ["bob", text]);
    assert_eq!(talk(&format!("{text} \n")), format!("{text} "));
    assert_eq!(
        given("/msg\n bob hi"),
        ("/msg", vec!["bob".into(), "hi".into()])
    );
    assert!(parse("/msg bob \n", true, true).is_err());
}

#[test]
fn words_that_are_too_many_are_an_error_in_every_command() {
    for spec in TABLE {
        if spec.arguments.contains(&"TEXT") {
            continue;
        }
        let logged_in = spec.when != When::LoggedOut;
        let mut line = spec.names[0].to_owned();
        for _ in spec.arguments {
            line.push_str(" word");
        }
        assert!(parse(&line, logged_in, false).is_ok(), "{line}");
        let why = parse(&format!("{line} please no"), logged_in, false).unwrap_err();
        assert!(why.contains("takes no \"please no\""), "{why}");
    }
}

#[test]
fn a_mistyped_command_names_the_nearest() {
    for (typed, meant) in [
        ("/mgs bob x", "/msg"),
        ("/hlep", "/help"),
        ("/blok x", "/block"),
    ] {
        let why = parse(typed, true, true).unwrap_err();
        assert!(why.contains(&format!("did you mean {meant}?")), "{why}");
    }
    assert!(
        !parse("/dance", true, true)
            .unwrap_err()
            .contains("did you mean")
    );
    // What can't be used now is not offered.
    assert!(
        !parse("/regster", true, false)
            .unwrap_err()
            .contains("/register")
    );
}

#[test]
fn help_has_every_command_and_its_overview_fits_a_terminal() {
    use super::help::help;
    for logged_in in [false, true] {
        let text: String = help(None, logged_in)
            .unwrap()
            .into_iter()
            .map(|(key, what)| format!("{key} {what}\n"))
            .collect();
        for spec in usable(logged_in) {
            assert!(text.contains(spec.names[0]), "{text}");
        }
    }
    for topic in Topic::ALL {
        assert!(!help(Some(topic.name()), true).unwrap().is_empty());
    }
    for spec in TABLE {
        for name in spec.names {
            let bare = name.trim_start_matches('/');
            assert_eq!(help(Some(bare), true), help(Some(name), true));
            assert!(help(Some(name), true).unwrap()[0].1.contains(spec.help));
        }
    }
    let why = help(Some("mesages"), true).unwrap_err();
    assert!(why.contains("/help messages"), "{why}");
}

#[test]
fn a_time_to_keep_is_days_weeks_or_years() {
    let kept = |word: &str| keep(&[word.to_owned()]);
    assert_eq!(keep(&[]), Ok(None));
    assert_eq!(kept("forever"), Ok(Some(None)));
    assert_eq!(kept("90d"), Ok(Some(Some(90))));
    assert_eq!(kept("12w"), Ok(Some(Some(84))));
    assert_eq!(kept("2y"), Ok(Some(Some(730))));
    for wrong in [
        "90",
        "0d",
        "-1d",
        "d",
        "99999999999d",
        "4294967295w",
        "ninety",
    ] {
        assert!(kept(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_unknown_word_is_never_sent() {
    for talks in [false, true] {
        assert!(parse("/mgs bob secret", true, talks).is_err());
        assert!(parse("/msg bob", true, talks).is_err());
        assert!(parse("/login bob", true, talks).is_err());
    }
    assert_eq!(talk("//shrug"), "/shrug");
}

#[test]
fn numbers_pick_unless_one_talks() {
    let pick = |line, logged_in| match parse(line, logged_in, false) {
        Ok(TypedLine::Command {
            spec,
            by_number: true,
            ..
        }) => Some(spec.names[0]),
        _ => None,
    };
    assert_eq!(pick("1", false), Some("/register"));
    assert_eq!(pick("1", true), Some("/search"));
    assert_eq!(pick("0", true), Some("/quit"));
    assert_eq!(pick("9", true), None);
    assert_eq!(talk("1"), "1");
    assert!(parse("hello", true, false).is_err());
}

#[test]
fn completion_follows_the_table() {
    let people = ["bob".to_owned(), "bea".to_owned()];
    assert_eq!(complete("/con", true, &people).1, ["/contacts "]);
    assert_eq!(
        complete("/msg b", true, &people),
        (5, vec!["bob ".into(), "bea ".into()])
    );
    assert!(complete("/msg bob b", true, &people).1.is_empty());
    assert!(complete("/con", false, &people).1.is_empty());
    assert_eq!(complete("/to be", true, &people).1, ["bea "]);
}
