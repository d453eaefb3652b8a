//! Copies of the database that lie in the data folder, with the mail and the keys of everybody of then: of
//! before an upgrade, a log that `--new` has set aside, and what a sealed backup that was cut off has left.
//! They go after a month, so that people who have gone are in none of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::log;

/// How long they stay.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Removes those from before a time, in ms since 1970, and says so in the log.
pub(super) fn remove(data: &Path, before: u64) {
    // A folder that can't be read is met by others, too.
    for path in old_copies(data, before).unwrap_or_default() {
        match fs::remove_file(&path) {
            Ok(()) => log::info(
                None,
                format_args!("the old copy {} was removed", path.display()),
            ),
            Err(error) => log::error(
                None,
                format_args!("the old copy {} can't be removed: {error}", path.display()),
            ),
        }
    }
}

fn old_copies(data: &Path, before: u64) -> io::Result<Vec<PathBuf>> {
    let before = UNIX_EPOCH + Duration::from_millis(before);
    let mut old = Vec::new();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let written = entry.metadata().and_then(|found| found.modified());
        if is_copy(&name.to_string_lossy()) && written.is_ok_and(|written| written < before) {
            old.push(entry.path());
        }
    }
    Ok(old)
}

/// Whether a file of this name is such a copy.
fn is_copy(name: &str) -> bool {
    name.starts_with("chat.db.schema-")
        || name.starts_with("chat.db-wal.old-")
        || name.starts_with(".chat.db.") && name.ends_with(".draft")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copies_go_and_only_when_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "chat.db",
            "chat.db-wal",
            "chat.db.schema-2",
            "chat.db-wal.old-77",
            ".chat.db.77.draft",
            "chat.db.mine",
        ];
        for name in names {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let now = crate::clock::unix_ms();
        remove(folder.path(), now - 60_000);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), names.len());
        remove(folder.path(), now + 60_000);
        let left = fs::read_dir(folder.path()).unwrap().flatten();
        let mut left: Vec<_> = left
            .map(|it| it.file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["chat.db", "chat.db-wal", "chat.db.mine"]);
    }
}
