//! Folders and small files that are private to their owner and survive a power cut.
//!
//! A new name is on the disk only once its folder was synced. Without that, a power cut loses a new
//! database or vault, even if its contents were synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
#[cfg(feature = "postgres")]
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Appends whole lines to a file of lines, which is made if it is missing, and syncs them.
///
/// # Errors
/// They are not in the file, as far as that could be undone.
pub(crate) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // Half a line would spoil the next one. If that fails, too, the first error is told.
        let _shortened = file.set_len(before);
    }
    written
}

/// Makes a folder that only its owner may enter, and the folders above it that are missing. One
/// that exists is left as it is.
///
/// # Errors
/// A folder could not be made or synced.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Another process has made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync_names(parent)
}

/// Writes a text to a file, in place of what was there. The file changes as a whole or not at all,
/// is on the disk when this returns, and is never seen with another mode than `mode`.
///
/// # Errors
/// It could not be written; what was there stays.
pub(crate) fn replace(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    // Another process may do the same at the same time.
    let draft = path.with_extension(std::process::id().to_string());
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_name(path)
}

/// Writes a new file that only its owner can read, and that is on the disk when this
/// returns.
///
/// # Errors
/// There is something under this name already, or the file could not be written.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_name(path)
}

/// Syncs the folder that `path` is in, so that its name is on the disk when this returns.
///
/// # Errors
/// The folder could not be opened or synced.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    sync_names(parent(path))
}

fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether there is a file with at least one byte. An empty file counts as missing, because a full
/// or broken disk leaves one. Anything else than a regular file, such as a pipe, counts as present.
pub(crate) fn has_content(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| !found.is_file() || found.len() > 0)
}

/// The mode of a file that others than its owner can read or change. A pipe, such as bash's
/// `<(pass show chat)`, has no owner to speak of.
///
/// # Errors
/// The file does not say its mode.
pub(crate) fn open_mode(file: &File) -> io::Result<Option<u32>> {
    let found = file.metadata()?;
    let mode = found.permissions().mode() & 0o777;
    Ok((found.is_file() && mode & 0o077 != 0).then_some(mode))
}

/// What tells a file, as something that can be locked, from all others: no process that is alive holds the
/// lock of the same one at the same time. Empty where the system does not tell.
#[cfg(feature = "postgres")]
pub(crate) fn lock_identity(file: &File) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match (boot.trim(), file.metadata()) {
        ("", _) | (_, Err(_)) => String::new(),
        (boot, Ok(found)) => format!("{boot} {} {}", found.dev(), found.ino()),
    }
}
