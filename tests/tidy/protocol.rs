//! docs/PROTOCOL.md against the code: error codes, operations and sizes.

use std::collections::BTreeSet;

use secure_chat::protocol::refusal::Code;
use secure_chat::protocol::{json, limits};

use super::{read, root};

#[test]
fn the_protocols_page_lists_every_error_code() {
    let listed: Vec<(String, bool)> = protocol_chapter("## 8. Error codes")
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            let retry = match cells.next()? {
                "yes" => true,
                "no" => false,
                other => panic!("{code}: retry is yes or no, not {other:?}"),
            };
            Some((code.to_owned(), retry))
        })
        .collect();
    let known: Vec<(String, bool)> = Code::ALL
        .iter()
        .map(|code| (code.as_str().to_owned(), code.retry()))
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn the_protocols_page_lists_every_operation() {
    let chapter = protocol_chapter("## 6. Operations");
    let headings: BTreeSet<&str> = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .flat_map(|heading| heading.trim_end_matches(" †").split(", "))
        .collect();
    for op in &headings {
        let line = format!(r#"{{"op":"{op}"}}"#);
        if let (_, Err(refusal)) = json::parse_request(line.as_bytes()) {
            assert_ne!(
                refusal.code,
                Code::UnknownOp,
                "{op} is described, but not taken"
            );
        }
    }
    let parser = read(&root().join("src/protocol/json/mod.rs"));
    let taken: BTreeSet<&str> = parser
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => Request::"))
        .map(|(op, _)| op)
        .collect();
    assert_eq!(headings, taken);
}

#[test]
fn the_protocols_page_gives_the_sizes_of_the_code() {
    let chapter = protocol_chapter("## 19. Sizes");
    for (what, size) in [
        ("line to the server", limits::MAX_LINE),
        ("text", limits::MAX_TEXT),
        ("envelope", limits::MAX_ENVELOPE),
        ("ids in `ack`, `outcome`", limits::MAX_IDS),
        ("one-time prekeys kept", limits::MAX_ONE_TIME_PREKEYS),
        ("users in a page of `search`", limits::MAX_FOUND),
        ("names blocked", limits::MAX_BLOCKED),
        ("name |", secure_chat::protocol::name::MAX_NAME),
    ] {
        let row = chapter
            .lines()
            .find(|line| line.starts_with(&format!("| {what}")))
            .unwrap_or_else(|| panic!("no row begins with {what:?}"));
        let numbers = row.replace(',', "");
        let found = numbers
            .split(|character: char| !character.is_ascii_digit())
            .any(|number| number == size.to_string());
        assert!(found, "{what}: {size} in the code, but: {row}");
    }
}

/// A chapter of the protocol's page, from its heading to the next.
fn protocol_chapter(heading: &str) -> String {
    let page = read(&root().join("docs/PROTOCOL.md"));
    let (_, chapter) = page
        .split_once(&format!("\n{heading}"))
        .unwrap_or_else(|| panic!("docs/PROTOCOL.md has no chapter {heading:?}"));
    let end = chapter.find("\n## ").unwrap_or(chapter.len());
    chapter[..end].to_owned()
}
