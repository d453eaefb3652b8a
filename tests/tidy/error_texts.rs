//! The texts by which OPERATIONS.md explains what the server says are those of the code, and each
//! line of the log that an operator has to look at is explained.

use super::{files, has_extension, name, read, report, root};

/// Stands for what is filled in at run time.
const FILLED_IN: char = '\u{1}';

/// The string literals of a source file before its tests, with continued lines joined.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: Vec<&str> = source.lines().filter(is_code).collect();
    let code = code.join("\n").replace("'\"'", "");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some((_, behind)) = rest.split_once('"') {
        let mut text = String::new();
        let mut chars = behind.char_indices();
        let mut end = behind.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, '\n')) => {
                        let blanks = behind[at + 2..].chars().take_while(|c| c.is_whitespace());
                        for _ in 0..blanks.count() {
                            chars.next();
                        }
                    }
                    Some((_, escaped)) => text.push(escaped),
                    None => {}
                },
                c => text.push(c),
            }
        }
        found.push(without_placeholders(&text));
        rest = &behind[end..];
    }
    found
}

/// `{…}` as [`FILLED_IN`].
fn without_placeholders(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                out.push(FILLED_IN);
            }
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// What stands in the page between the words in capital letters.
fn fixed_parts(text: &str) -> Vec<String> {
    let is_filled_in = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let in_capitals = bare.chars().all(|c| c.is_ascii_uppercase()) && !bare.is_empty();
        in_capitals && !["PROXY", "PEM", "TLS", "SIGHUP"].contains(&bare)
    };
    let mut parts = vec![String::new()];
    for word in text.split(' ') {
        if is_filled_in(word) || word.contains('…') {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(word);
        }
    }
    parts.retain(|part| part.split(' ').count() > 1);
    parts
}

fn page() -> String {
    read(&root().join("docs/OPERATIONS.md"))
}

fn sources() -> Vec<(String, String)> {
    let files = files();
    let sources = files.iter().filter(|file| has_extension(file, "rs"));
    let sources = sources.map(|file| (name(file), read(file)));
    sources
        .filter(|(name, _)| name.starts_with("src/"))
        .collect()
}

/// The texts in back-ticks in a column of the tables of a chapter.
fn explained(page: &str, chapter: &str, column: usize) -> Vec<String> {
    let chapter = page.split(&format!("\n## {chapter}\n")).nth(1).unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let rows = chapter.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(column));
    let texts = cells.flat_map(|cell| {
        let texts: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        texts
    });
    texts.map(str::to_owned).collect()
}

#[test]
fn what_the_page_quotes_is_said_by_the_code() {
    let page = page();
    let sources = sources();
    let literals = sources.iter().flat_map(|(_, source)| literals(source));
    let code = literals.collect::<Vec<_>>().join("\n");
    let mut texts = explained(&page, "Troubleshooting", 1);
    texts.extend(explained(&page, "What the logs say", 2));
    assert!(texts.len() > 60, "only {} texts were found", texts.len());
    let mut wrong = Vec::new();
    for text in texts {
        for part in fixed_parts(&text) {
            let part = part.trim_matches(|c: char| ",;:()'".contains(c));
            // Sometimes half of it is filled in from another place.
            let is_half = |half: &str| half.contains(' ') && code.contains(half);
            let mut cuts = part.match_indices(' ').map(|(at, _)| part.split_at(at));
            let in_halves = cuts.any(|(first, rest)| is_half(first) && is_half(rest.trim()));
            if !code.contains(part) && !in_halves {
                wrong.push(format!(
                    "docs/OPERATIONS.md: no code says {part:?}, of {text:?}"
                ));
            }
        }
    }
    report(&wrong);
}

#[test]
fn what_an_operator_has_to_look_at_is_explained() {
    let page = page().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, source) in sources() {
        let calls = ["log::warn(", "log::error("].map(|call| source.split(call).skip(1));
        for call in calls.into_iter().flatten() {
            let Some(text) = call.split_once("format_args!(").map(|(_, text)| text) else {
                continue;
            };
            let text = literals(text).into_iter().next().unwrap_or_default();
            let mut clauses = text.split([FILLED_IN, ';', ':', '.', ',']).map(str::trim);
            let clause = clauses.find(|part| part.split(' ').count() > 2);
            let clause = clause.unwrap_or_default();
            count += usize::from(!clause.is_empty());
            if !page.contains(clause) {
                wrong.push(format!("{name}: docs/OPERATIONS.md explains no {clause:?}"));
            }
        }
    }
    report(&wrong);
    assert!(count >= 20, "only {count} lines were found");
}
