//! `docs/SCRIPTS.md` and its schema against what the client really prints.

use serde_json::Value;

use crate::harness::process;
use crate::{Place, ended};

pub(crate) const PAGE: &str = include_str!("../../docs/SCRIPTS.md");
const README: &str = include_str!("../../README.md");
const SCHEMA: &str = include_str!("../../docs/events.schema.json");

#[test]
fn every_object_is_as_the_schema_says_and_the_schema_has_no_other() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let place = Place::with(&["alice", "bob"]);
    let mut printed = place.json(
        "carol",
        &[
            "register",
            "carol",
            "--user",
            "carol",
            "--recovery-file",
            "c",
        ],
        "",
    );
    printed.extend(place.json("alice", &["send", "bob", "hello"], ""));
    let mut mallory = place.server.register("mallory");
    mallory.send("bob", 1, "not encrypted").unwrap();
    mallory.post(
        "send",
        &serde_json::json!({"to": "bob", "mid": "ab".repeat(16), "envelope": "AAAA"}),
    );
    for arguments in [
        &["unread"][..],
        &["fetch"],
        &["history"],
        &["contacts"],
        &["status", "alice"],
        &["search", "al"],
        &["verify", "alice"],
        &["what-the-server-knows"],
    ] {
        printed.extend(place.json("bob", arguments, ""));
    }
    let kinds = schema["oneOf"].as_array().unwrap();
    let mut seen = vec![0; kinds.len()];
    for object in &printed {
        let fits: Vec<_> = (0..kinds.len())
            .filter(|&kind| wrong(&kinds[kind], object).is_none())
            .collect();
        let reasons: Vec<_> = kinds.iter().map(|kind| wrong(kind, object)).collect();
        assert_eq!(fits.len(), 1, "{object}: {reasons:#?}");
        seen[fits[0]] += 1;
    }
    assert!(
        seen.iter().all(|&count| count > 0),
        "not all kinds were printed: {seen:?}"
    );
    let fetched = |text: &Value| printed.iter().any(|object| object["text"] == *text);
    assert!(fetched(&"not encrypted".into()));
    let damaged = printed
        .iter()
        .find(|object| object["problem"].is_string())
        .unwrap();
    assert!(
        damaged["text"].is_null() && damaged["proven"] == false,
        "{damaged}"
    );
}

/// What is wrong with a value, by the part of JSON Schema that the schema uses. Any other keyword
/// is an error, so that the schema promises nothing that is not checked.
fn wrong(schema: &Value, value: &Value) -> Option<String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "title" => true,
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule.as_array() {
                Some(types) => types.iter().any(|one| has_type(one, value)),
                None => has_type(rule, value),
            },
            "pattern" => value
                .as_str()
                .is_some_and(|text| matches(rule.as_str().unwrap(), text)),
            "format" => {
                assert_eq!(rule, "date-time");
                value.as_str().is_none_or(is_date_time)
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(why) = value.get(name).and_then(|field| wrong(rule, field)) {
                        return Some(format!("{name}: {why}"));
                    }
                }
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                assert_eq!(rule, false);
                value
                    .as_object()
                    .unwrap()
                    .keys()
                    .all(|name| schema["properties"].get(name).is_some())
            }
            other => panic!("the test does not know the keyword {other}"),
        };
        if !holds {
            return Some(format!("{keyword} {rule} does not hold for {value}"));
        }
    }
    None
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    }
}

/// The two patterns of the schema.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9a-f]{32}$" => {
            text.len() == 32
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        }
        "^([0-9]{5} ){11}[0-9]{5}$" => {
            let groups: Vec<_> = text.split(' ').collect();
            let digits =
                |group: &&str| group.len() == 5 && group.bytes().all(|byte| byte.is_ascii_digit());
            groups.len() == 12 && groups.iter().all(digits)
        }
        other => panic!("the test does not know the pattern {other}"),
    }
}

/// Whether a text is a time in UTC with milliseconds.
fn is_date_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    shape == "9999-99-99T99:99:99.999Z"
}

#[test]
fn the_exit_codes_are_listed_alike_everywhere() {
    let mut client = process::command(env!("CARGO_BIN_EXE_client"));
    let listed = ended(client.arg("exit-codes").output().unwrap());
    assert_eq!(listed.code, 0);
    let mut count = 0;
    for line in listed.out.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(PAGE.contains(&row), "SCRIPTS.md lacks {row}");
        assert!(README.contains(&row), "the README lacks {row}");
        count += 1;
    }
    assert!(count >= 12, "{}", listed.out);
}
