//! What the Markdown files say of the tree: the paths and tests that they name exist.

use super::{files, has_extension, read, report, root};

#[test]
fn what_they_name_exists() {
    let code: String = files()
        .iter()
        .filter(|file| has_extension(file, "rs"))
        .map(|file| read(file))
        .collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files().iter().filter(|file| has_extension(file, "md")) {
        for (line, name) in names(&read(file)) {
            count += 1;
            let exists = match name.contains('/') {
                true => root().join(&name).exists(),
                false => code.contains(&format!("fn {name}(")),
            };
            if !exists {
                wrong.push(format!("{}:{line}: there is no {name}", super::name(file)));
            }
        }
    }
    report(&wrong);
    assert!(count > 50, "only {count} names were found");
}

#[test]
fn the_scanner_finds_paths_and_tests() {
    let page = "see (src/x.rs). `a_b_c_d` `a_b_c` `A_b_c_d`\n```\n`e_f_g_h` tests/y/\n```";
    let found: Vec<String> = names(page).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["src/x.rs", "a_b_c_d", "tests/y/"]);
}

/// Paths that a page names, and tests in back-ticks: names of four words or more.
fn names(page: &str) -> Vec<(usize, String)> {
    const FOLDERS: [&str; 7] = [
        "src/",
        "tests/",
        "scripts/",
        "fuzz/",
        "benches/",
        "docs/",
        "packaging/",
    ];
    let in_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let in_test = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in page.lines().enumerate() {
        fenced ^= line.starts_with("```");
        let paths = line
            .split(|c| !in_path(c))
            .map(|word| word.trim_end_matches('.'))
            .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
        let tests = line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| !fenced && code.chars().all(in_test))
            .filter(|code| code.matches('_').count() >= 3);
        found.extend(paths.chain(tests).map(|name| (index + 1, name.to_owned())));
    }
    found
}
