//! Servers on this machine, known by their folders: a certificate that stands in one is the server's,
//! and nobody has to compare its digits. What follows from that is decided in
//! [`endpoint`](super::endpoint).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::transport::fingerprint::Fingerprint;
use crate::transport::tls::Acceptor;
use crate::xdg;

/// The server's folder in the one where it is started, if it is there.
const DATA_HERE: &str = "secure-chat-data";

/// Otherwise, its folder in that of a person's data.
const DATA: &str = "server";

/// The folder of a server on this machine that has this certificate.
///
/// Only a folder counts that belongs to this user or to root, and that nobody else can write to:
/// any user of the machine can listen on a port of it, and make a folder of that name in theirs.
pub(super) fn with_certificate(shown: Fingerprint) -> Option<PathBuf> {
    let named = std::env::var_os("SECURE_CHAT_DATA").map(PathBuf::from);
    let here = std::env::current_dir()
        .ok()
        .map(|here| here.join(DATA_HERE));
    let usual = xdg::data().map(|folder| folder.join(DATA));
    [named, here, usual]
        .into_iter()
        .flatten()
        .find(|folder| has_certificate(folder, shown))
}

fn has_certificate(folder: &Path, shown: Fingerprint) -> bool {
    let Some([certificate, _]) = Acceptor::own_files(folder) else {
        return false;
    };
    // A link may be anybody's.
    let ours = |path: &Path| path.symlink_metadata().is_ok_and(|found| is_ours(&found));
    ours(folder) && ours(&certificate) && Acceptor::own_fingerprint(folder) == Some(shown)
}

fn is_ours(found: &Metadata) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let owned = found.uid() == me || found.uid() == 0;
    owned && !found.is_symlink() && found.mode() & 0o022 == 0
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_folder_that_nobody_else_could_have_written_counts() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("server");
        fs::create_dir(&folder).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(&folder, 0o700);
        let acceptor = Acceptor::open(&folder, None).unwrap().unwrap();
        let shown = acceptor.fingerprint();
        assert!(has_certificate(&folder, shown));
        assert!(!has_certificate(&folder, Fingerprint([7; 32])));
        assert!(!has_certificate(&home.path().join("none"), shown));
        mode(&folder, 0o777);
        assert!(!has_certificate(&folder, shown));
        mode(&folder, 0o700);
        let [certificate, _] = Acceptor::own_files(&folder).unwrap();
        mode(&certificate, 0o666);
        assert!(!has_certificate(&folder, shown));
        mode(&certificate, 0o644);
        let link = home.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(!has_certificate(&link, shown));
        // Only root can give a folder away.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder, Some(12_345), None).unwrap();
            assert!(!has_certificate(&folder, shown));
        }
    }
}
