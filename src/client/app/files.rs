//! Completing the name of a file that a command takes.

use std::fs;
use std::path::Path;

/// How many entries of a folder are looked at.
const MOST: usize = 10_000;

/// The files and folders whose path begins like this. A folder ends with a slash, a file with a
/// blank. Hidden ones are left out unless the name begins with a dot, and so are names that are no
/// single word, which a command could not take.
pub(super) fn complete(word: &str) -> Vec<String> {
    let (folder, begins) = match word.rfind('/') {
        Some(at) => word.split_at(at + 1),
        None => ("", word),
    };
    let place = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = fs::read_dir(Path::new(place)) else {
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
}
