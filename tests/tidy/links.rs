//! Links between Markdown files: the file and the heading that each names exist.

use std::path::Path;

use super::{files, has_extension, name, read, report, root};

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files().iter().filter(|file| has_extension(file, "md")) {
        for (line, link) in links(&read(file)) {
            count += 1;
            if let Some(why) = broken(file, &link) {
                wrong.push(format!("{}:{line}: {link}: {why}", name(file)));
            }
        }
    }
    report(&wrong);
    assert!(count > 0, "not one link was found: does the scanner work?");
}

#[test]
fn the_scanner_finds_links_and_headings() {
    let page = "a [b](c.md#d) `[no](x)`\n```text\n[no](y)\n```\n![e](f.png) [g](<h i.md>)";
    let found: Vec<String> = links(page).into_iter().map(|(_, link)| link).collect();
    assert_eq!(found, ["c.md#d", "f.png", "<h i.md>"]);
    assert_eq!(slug("block, unblock †"), "block-unblock-");
    let here = root().join("README.md");
    assert!(broken(&here, "no-such-file.md").is_some());
    assert!(broken(&here, "docs/PROTOCOL.md#no-such-heading").is_some());
    assert_eq!(broken(&here, "docs/PROTOCOL.md#8-error-codes"), None);
}

/// The targets of a page's links, and their lines; what stands as code is none.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect();
        for (at, _) in prose.match_indices("](") {
            if let Some((target, _)) = prose[at + 2..].split_once(')') {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

/// Why a link leads nowhere. Links to other machines are not followed.
fn broken(page: &Path, link: &str) -> Option<String> {
    let link = link.trim_start_matches('<').trim_end_matches('>');
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.to_owned(),
        file => page.parent()?.join(file),
    };
    if !target.exists() {
        return Some("no such file".to_owned());
    }
    if heading.is_empty() || !has_extension(&target, "md") {
        return None;
    }
    let text = read(&target);
    let known = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| slug(line.trim_start_matches('#').trim()) == heading);
    (!known).then(|| "no such heading".to_owned())
}

/// A heading as the end of a link, the way code hosts make it.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
