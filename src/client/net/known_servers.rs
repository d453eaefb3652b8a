//! The file of the certificates that servers showed before, one line for each server, like
//! SSH's `known_hosts`. Whether to trust a certificate is decided by [`endpoint`](super::endpoint).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::transport::fingerprint::Fingerprint;

/// The file's name in the folder of the vaults.
const FILE: &str = "known_servers";

const HEADER: &str =
    "# Secure Chat: certificates of servers, one a line. Delete a line to be asked again.\n";

/// The file of known servers.
#[derive(Debug, Clone)]
pub(crate) struct KnownServers {
    path: PathBuf,
}

impl KnownServers {
    /// The file in this folder, which need not exist yet.
    pub(crate) fn in_folder(data: &Path) -> Self {
        KnownServers {
            path: data.join(FILE),
        }
    }

    /// The path of the file, for messages to the person.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The certificate that the server at `HOST:PORT` showed before.
    ///
    /// # Errors
    /// The file can't be read, or its line for this server holds no fingerprint; such a
    /// server must not count as unknown.
    pub(crate) fn find(&self, place: &str) -> io::Result<Option<Fingerprint>> {
        for line in self.read()?.lines() {
            if let Some((_, fingerprint)) = entry(line).filter(|(known, _)| *known == place) {
                return fingerprint.parse().map(Some).map_err(|_| {
                    let why = format!("its line for {place} holds no fingerprint");
                    io::Error::new(io::ErrorKind::InvalidData, why)
                });
            }
        }
        Ok(None)
    }

    /// Replaces the certificate of the server at `HOST:PORT`.
    ///
    /// # Errors
    /// The file can't be written; it is unchanged.
    pub(crate) fn note(&self, place: &str, fingerprint: Fingerprint) -> io::Result<()> {
        let before = match self.read()? {
            empty if empty.is_empty() => HEADER.to_owned(),
            text => text,
        };
        let mut text: String = before
            .lines()
            .filter(|line| entry(line).is_none_or(|(known, _)| known != place))
            .flat_map(|line| [line, "\n"])
            .collect();
        text.push_str(&format!("{place} {fingerprint}\n"));
        if let Some(folder) = self.path.parent() {
            crate::fs::make_folder(folder)?;
        }
        crate::fs::replace(&self.path, 0o600, &text)
    }

    fn read(&self) -> io::Result<String> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    match line.starts_with('#') {
        true => None,
        false => line.split_once(char::is_whitespace),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_server_has_one_line_with_its_last_certificate() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(&home.path().join("data"));
        let (one, two) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        assert_eq!(known.find("a:1").unwrap(), None);
        known.note("a:1", one).unwrap();
        known.note("b:1", one).unwrap();
        known.note("a:1", two).unwrap();
        assert_eq!(known.find("a:1").unwrap(), Some(two));
        assert_eq!(known.find("b:1").unwrap(), Some(one));
        assert_eq!(known.find("a:11").unwrap(), None);
        let text = fs::read_to_string(known.path()).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        let mode = fs::metadata(known.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_line_is_not_an_unknown_server() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(home.path());
        fs::write(known.path(), "a:1 0011\nb:1\n").unwrap();
        assert!(known.find("a:1").is_err());
    }
}
