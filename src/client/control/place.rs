//! Where the control socket is, and whose it has to be. The first client chooses the place and
//! writes it into the vault's lock file; others read it there, so it does not matter that cron and
//! a terminal have different environments. Only the holder of the vault's lock makes or removes
//! the socket, so one that a killed client left is simply replaced.

use std::fs;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::xdg;

/// The longest path of a socket (`sun_path` of sockaddr_un without the NUL at its end), in bytes.
const MAX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A new socket for the vault at `vault`, and where it is: in the folder for running programs, or
/// else beside the vault, or else in a private folder for temporary files.
///
/// # Errors
/// A sentence: there is no place for it, or something else is in its place.
pub(super) fn bind(vault: &Path) -> Result<(UnixListener, PathBuf), String> {
    let temporary = std::env::temp_dir();
    let mut first = None;
    for path in candidates(vault, xdg::runtime().as_deref(), &temporary) {
        match bind_at(&path) {
            Ok(listener) => return Ok((listener, path)),
            Err(error) => {
                first.get_or_insert(format!("{}: {error}", path.display()));
            }
        }
    }
    Err(first.unwrap_or_else(|| "no path is short enough for a socket".to_owned()))
}

/// The places to try, in order; each fits into a socket's address.
fn candidates(vault: &Path, runtime: Option<&Path>, temporary: &Path) -> Vec<PathBuf> {
    let vault = std::path::absolute(vault).unwrap_or_else(|_| vault.to_owned());
    let name = vault.file_stem().unwrap_or_default().to_string_lossy();
    let digest = Sha256::digest(vault.as_os_str().as_bytes());
    let digest = data_encoding::HEXLOWER.encode(&digest[..8]);
    let temporary = temporary.join(format!("secure-chat-{}", geteuid().as_raw()));
    let shared = |folder: &Path| {
        let named = folder.join(format!("{name}-{digest}.sock"));
        match fits(&named) {
            true => named,
            false => folder.join(format!("{digest}.sock")),
        }
    };
    let places = [
        runtime.map(shared),
        Some(vault.with_extension("sock")),
        Some(shared(&temporary)),
    ];
    let fitting = places.into_iter().flatten().filter(|path| fits(path));
    fitting.collect()
}

fn fits(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    // Its place is told in a line of the lock file.
    path.len() <= MAX_PATH && !path.contains(&b'\n')
}

/// Makes the socket under another name, and renames it once nobody else can use it.
fn bind_at(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("."));
    check_folder(folder)?;
    check_is_ours(path)?;
    let draft = path.with_extension("new");
    check_is_ours(&draft)?;
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}

/// That only this user can put something into a folder, which is made if it is missing.
fn check_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    let private = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    match private {
        true => Ok(()),
        false => Err(io::Error::other(
            "its folder is not yours alone; move it away, or `chmod 700` it",
        )),
    }
}

/// That there is nothing at a place, or a socket of this user.
///
/// # Errors
/// There is something else, and it is left as it is.
fn check_is_ours(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && found.uid() == geteuid().as_raw() => Ok(()),
        Ok(_) => Err(io::Error::other("it is no socket of yours; move it away")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Connects to the socket of another process of this user.
///
/// # Errors
/// Nobody listens there, or somebody else does.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    check_is_ours(path)?;
    let stream = UnixStream::connect(path)?;
    check_peer(&stream)?;
    Ok(stream)
}

/// That the other end is a process of this user.
///
/// # Errors
/// It is not, or the system does not say.
#[cfg(target_os = "linux")]
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    match rustix::net::sockopt::socket_peercred(stream)?.uid == geteuid() {
        true => Ok(()),
        false => Err(io::Error::other("the other end is another user's process")),
    }
}

/// macOS tells the peer's user by a call that Rust offers only as `unsafe` code; the modes of the
/// socket and of its folder keep others out.
#[cfg(not(target_os = "linux"))]
pub(super) fn check_peer(_stream: &UnixStream) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_place_fits_into_an_address() {
        let short = Path::new("/home/ann/.local/share/secure-chat/chat.example.org_8080/ann.vault");
        let places = candidates(
            short,
            Some(Path::new("/run/user/1000/secure-chat")),
            Path::new("/tmp"),
        );
        assert!(places[0].starts_with("/run/user/1000/secure-chat"));
        assert!(places[0].to_string_lossy().contains("/ann-"));
        assert_eq!(places[1], short.with_extension("sock"));
        let deep = format!(
            "/{}/a-name-of-thirty-two-letters-xyz.vault",
            "deep/".repeat(40)
        );
        let runtime = format!("/run/{}", "r".repeat(58));
        for runtime in [Some(Path::new(&runtime)), None] {
            let places = candidates(Path::new(&deep), runtime, Path::new("/tmp"));
            assert!(
                !places.is_empty() && places.iter().all(|path| fits(path)),
                "{places:?}"
            );
            assert!(places.iter().all(|path| path.is_absolute()), "{places:?}");
        }
        let other = candidates(Path::new("/elsewhere/ann.vault"), None, Path::new("/tmp"));
        assert_ne!(places[2], other[1], "two vaults have two sockets");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let path = folder.path().join("ann.sock");
        drop(bind_at(&path).unwrap());
        assert!(connect(&path).is_err(), "nobody listens");
        let listener = bind_at(&path).unwrap();
        connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(listener);
        fs::remove_file(&path).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "kept").unwrap();
        symlink(&file, &path).unwrap();
        assert!(bind_at(&path).is_err());
        assert!(connect(&path).is_err());
        fs::remove_file(&path).unwrap();
        fs::rename(&file, &path).unwrap();
        assert!(bind_at(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_no_place() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(bind_at(&folder.path().join("ann.sock")).is_err());
    }
}
