//! The name of a file that a command of the chat takes: completing it, and `~/` for the home folder,
//! which a shell would expand.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// How many entries of a folder are looked at.
const MOST: usize = 10_000;

/// The files and folders whose path begins like this. A folder ends with a slash, a file with a
/// blank. Hidden ones are left out unless the name begins with a dot, and so are names that are no
/// single word, which a command could not take.
pub(super) fn complete(word: &str) -> Vec<String> {
    complete_below(word, home().as_deref())
}

/// The path that was typed.
pub(super) fn path(word: &str) -> PathBuf {
    expanded(word, home().as_deref())
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}

fn expanded(word: &str, home: Option<&Path>) -> PathBuf {
    match (word.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(word),
    }
}

fn complete_below(word: &str, home: Option<&Path>) -> Vec<String> {
    let (folder, begins) = match word.rfind('/') {
        Some(at) => word.split_at(at + 1),
        None => ("", word),
    };
    let place = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = fs::read_dir(expanded(place, home)) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .take(MOST)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let fits = name.starts_with(begins)
                && (begins.starts_with('.') || !name.starts_with('.'))
                && !name.contains(|c: char| c.is_whitespace() || c.is_control());
            let end = if entry.path().is_dir() { "/" } else { " " };
            fits.then(|| format!("{folder}{name}{end}"))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_told_apart() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("{}/{name}", place.path().display());
        for name in ["notes.txt", "notes.md", ".hidden", "two words"] {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at("nested")).unwrap();
        let found = |word: &str| {
            let found = complete(&at(word));
            let short = |path: &String| path.replace(&at(""), "");
            found.iter().map(short).collect::<Vec<_>>()
        };
        assert_eq!(found("n"), ["nested/", "notes.md ", "notes.txt "]);
        assert_eq!(found("notes.t"), ["notes.txt "]);
        assert_eq!(found(".h"), [".hidden "]);
        assert!(found("t").is_empty() && found("missing/x").is_empty());
        assert_eq!(found("").len(), 3);
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("history.txt"), "").unwrap();
        let at_home = |word: &str| complete_below(word, Some(home.path()));
        assert_eq!(at_home("~/hi"), ["~/history.txt "]);
        let path = |word: &str| expanded(word, Some(home.path()));
        assert_eq!(path("~/new/x"), home.path().join("new/x"));
        for same in ["~", "~bob/x", "x/~/y", "/x"] {
            assert_eq!(path(same), Path::new(same));
        }
        assert_eq!(expanded("~/x", None), Path::new("~/x"));
    }
}
