//! Where backups lie: their names, drafts that become backups as a whole, and folders.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::BackupError;

/// The beginning and the ends of the names that this program gives.
const PREFIX: &str = "secure-chat-";
const PLAIN: &str = ".backup";
const SEALED: &str = ".backup.sealed";

/// Where a backup is to lie.
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// The folder that was named, if it was one.
    pub(super) folder: Option<PathBuf>,
}

impl Target {
    /// A file of this name, or one with a name of its own in this folder.
    ///
    /// # Errors
    /// There is such a file.
    pub(super) fn new(to: &Path, sealed: bool) -> Result<Self, BackupError> {
        if !to.is_dir() {
            return match to.symlink_metadata() {
                Ok(_) => Err(BackupError::Exists(to.to_owned())),
                Err(_) => Ok(Target {
                    path: to.to_owned(),
                    folder: None,
                }),
            };
        }
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ");
        let end = if sealed { SEALED } else { PLAIN };
        Ok(Target {
            path: to.join(format!("{PREFIX}{time}{end}")),
            folder: Some(to.to_owned()),
        })
    }
}

/// A file that is being written, for its owner alone. It is removed unless it is published.
pub(super) struct Draft {
    pub(super) path: PathBuf,
}

impl Draft {
    /// An empty draft in the folder of `file`.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn beside(file: &Path) -> Result<Self, BackupError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = file.with_file_name(format!(".{name}.{}.draft", std::process::id()));
        let mut options = File::options();
        let made = options.write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Ok(Draft { path }),
            Err(error) => Err(BackupError::Unwritable(file.to_owned(), error)),
        }
    }

    /// Gives it its name, unless there is something under it.
    ///
    /// # Errors
    /// There is, or the name could not be given.
    pub(super) fn publish(self, path: &Path) -> Result<(), BackupError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
            _ => BackupError::Unwritable(path.to_owned(), error),
        };
        // A link, unlike a new name, never replaces anything. Some disks have none.
        match fs::hard_link(&self.path, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                if path.symlink_metadata().is_ok() {
                    return Err(BackupError::Exists(path.to_owned()));
                }
                fs::rename(&self.path, path).map_err(failed)?;
            }
            linked => linked.map_err(failed)?,
        }
        crate::fs::sync_name(path).map_err(failed)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _removed = fs::remove_file(&self.path);
        // SQLite's own files beside it, if it was interrupted.
        let mut journal = self.path.clone().into_os_string();
        journal.push("-journal");
        let _removed = fs::remove_file(journal);
    }
}

/// Removes the oldest backups of a folder, so that `keep` stay. Files with other names stay, too.
///
/// # Errors
/// The folder can't be read, or a file can't be removed.
pub(super) fn remove_old(folder: &Path, keep: usize) -> Result<(), BackupError> {
    let unreadable = |error| BackupError::Unreadable(folder.to_owned(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with(PREFIX) && (text.ends_with(PLAIN) || text.ends_with(SEALED)) {
            names.push(name);
        }
    }
    // Their names begin with the time.
    names.sort();
    let old = names.len().saturating_sub(keep);
    for name in names.into_iter().take(old) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|error| BackupError::Unwritable(path, error))?;
    }
    Ok(())
}

/// A new folder, for its owner alone, for what is needed while a backup is checked.
///
/// # Errors
/// It can't be made.
pub(super) fn private_folder() -> Result<PathBuf, BackupError> {
    let mut random = [0; 8];
    let path = std::env::temp_dir();
    let failed = |error| BackupError::Unwritable(path.clone(), error);
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut random)
        .map_err(|error| failed(io::Error::other(error)))?;
    let name = format!("{PREFIX}check-{:016x}", u64::from_be_bytes(random));
    let path = path.join(name);
    let made = fs::DirBuilder::new().mode(0o700).create(&path);
    match made {
        Ok(()) => Ok(path),
        Err(error) => Err(BackupError::Unwritable(path, error)),
    }
}

/// Refuses a folder with something in it. One that is missing is fine; says whether there is one.
///
/// # Errors
/// There is something in it, or it can't be read.
pub(super) fn require_empty(folder: &Path) -> Result<bool, BackupError> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(BackupError::Unreadable(folder.to_owned(), error)),
    };
    match entries.next() {
        None => Ok(true),
        Some(_) => Err(BackupError::NotEmpty(folder.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let names = [
            "20260101T000000.000Z.backup",
            "20260102T000000.000Z.backup.sealed",
        ];
        for name in names {
            fs::write(place(&format!("{PREFIX}{name}")), "old").unwrap();
        }
        fs::write(place("secure-chat-notes.txt"), "mine").unwrap();
        let target = Target::new(folder.path(), false).unwrap();
        Draft::beside(&target.path)
            .unwrap()
            .publish(&target.path)
            .unwrap();
        remove_old(folder.path(), 2).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        let second = place(&format!("{PREFIX}{}", names[1]));
        assert_eq!(
            left,
            [second, target.path.clone(), place("secure-chat-notes.txt")]
        );
        let again = Draft::beside(&target.path).unwrap().publish(&target.path);
        assert!(matches!(again, Err(BackupError::Exists(_))));
        assert!(Target::new(&target.path, false).is_err());
    }

    #[test]
    fn only_an_empty_folder_is_restored_into() {
        let folder = tempfile::tempdir().unwrap();
        assert!(require_empty(folder.path()).unwrap());
        assert!(!require_empty(&folder.path().join("missing")).unwrap());
        fs::write(folder.path().join(".hidden"), "").unwrap();
        assert!(require_empty(folder.path()).is_err());
    }
}
