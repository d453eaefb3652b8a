//! The file of the servers that were reached with TLS before, one line for each, like SSH's
//! `known_hosts`. Whether to trust a certificate is decided by [`endpoint`](super::endpoint).

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::transport::address::{Address, Place};
use crate::transport::fingerprint::{Fingerprint, NotAFingerprint};

/// The file's name in the folder of the vaults.
const FILE: &str = "known_servers";

/// The lock that a client holds while it changes the file.
const LOCK: &str = "known_servers.lock";

/// What the line of a server says that the system's roots vouched for.
const SYSTEM_ROOTS: &str = "system-roots";

const HEADER: &str =
    "# Secure Chat: certificates of servers, one a line. Delete a line to be asked again.\n";

/// How a server was known when it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownBy {
    /// By this certificate.
    Pin(Fingerprint),
    /// The system's roots vouched for whatever certificate it showed.
    SystemRoots,
}

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

    /// How this server was known before. The last line counts of several that name it in
    /// different spellings, which earlier clients kept apart.
    ///
    /// # Errors
    /// The file can't be read, or a line for this server can't be understood; such a
    /// server must not count as unknown.
    pub(crate) fn find(&self, place: &Place) -> io::Result<Option<KnownBy>> {
        let mut found = None;
        for known_by in self
            .read()?
            .lines()
            .filter_map(|line| of_place(line, place))
        {
            found = Some(known_by.parse().map_err(|NotAFingerprint| {
                let why = format!("its line for {} holds no fingerprint", place.as_str());
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?);
        }
        Ok(found)
    }

    /// Replaces what is known of this server.
    ///
    /// # Errors
    /// The file can't be written; it is unchanged.
    pub(crate) fn note(&self, place: &Place, known_by: KnownBy) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            crate::fs::make_folder(folder)?;
        }
        let _lock = self.lock()?;
        let before = match self.read()? {
            empty if empty.is_empty() => HEADER.to_owned(),
            text => text,
        };
        let mut text: String = before
            .lines()
            .filter(|line| of_place(line, place).is_none())
            .flat_map(|line| [line, "\n"])
            .collect();
        text.push_str(&format!("{} {known_by}\n", place.as_str()));
        crate::fs::replace(&self.path, 0o600, &text)
    }

    /// Keeps other clients from changing the file: a change that is lost would be a pin.
    fn lock(&self) -> io::Result<fs::File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.with_file_name(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    fn read(&self) -> io::Result<String> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }
}

impl fmt::Display for KnownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnownBy::Pin(fingerprint) => fingerprint.fmt(f),
            KnownBy::SystemRoots => f.write_str(SYSTEM_ROOTS),
        }
    }
}

impl FromStr for KnownBy {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        match text.trim() {
            SYSTEM_ROOTS => Ok(KnownBy::SystemRoots),
            fingerprint => fingerprint.parse().map(KnownBy::Pin),
        }
    }
}

/// What a line says of a server, if it is about that one in any spelling.
fn of_place<'a>(line: &'a str, place: &Place) -> Option<&'a str> {
    let line = line.trim();
    let (known, known_by) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let known: Address = known.parse().ok()?;
    (known.place() == *place).then_some(known_by)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place(text: &str) -> Place {
        text.parse::<Address>().unwrap().place()
    }

    #[test]
    fn a_server_has_one_line_with_its_last_certificate() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(&home.path().join("data"));
        let [one, two] = [1, 2].map(|byte| KnownBy::Pin(Fingerprint([byte; 32])));
        assert_eq!(known.find(&place("a:1")).unwrap(), None);
        known.note(&place("a:1"), one).unwrap();
        known.note(&place("b:1"), KnownBy::SystemRoots).unwrap();
        known.note(&place("a:1"), two).unwrap();
        assert_eq!(known.find(&place("a:1")).unwrap(), Some(two));
        assert_eq!(
            known.find(&place("b:1")).unwrap(),
            Some(KnownBy::SystemRoots)
        );
        assert_eq!(known.find(&place("a:11")).unwrap(), None);
        let text = fs::read_to_string(known.path()).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        let mode = fs::metadata(known.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_pin_counts_for_every_spelling_of_its_server() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(home.path());
        let [old, new] = [1, 2].map(|byte| Fingerprint([byte; 32]));
        // As clients wrote it that took each spelling for a server of its own.
        let written = format!(
            "# a comment\nChat.Example:08080 {old}\n[ho]st:80 {old}\nchat.example.:+8080 {new}\n"
        );
        fs::write(known.path(), written).unwrap();
        for text in [
            "chat.example:8080",
            "CHAT.example",
            "chat://Chat.Example.:08080",
        ] {
            let found = known.find(&place(text)).unwrap();
            assert_eq!(found, Some(KnownBy::Pin(new)), "{text}");
        }
        known
            .note(&place("chat.example"), KnownBy::Pin(old))
            .unwrap();
        let text = fs::read_to_string(known.path()).unwrap();
        let expected = format!("# a comment\n[ho]st:80 {old}\nchat.example:8080 {old}\n");
        assert_eq!(
            text, expected,
            "one line is left of two, and no other is touched"
        );
    }

    #[test]
    fn pins_that_are_noted_at_once_are_all_kept() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(home.path());
        let note = |port: u16| {
            let pin = KnownBy::Pin(Fingerprint([1; 32]));
            known.note(&place(&format!("a:{port}")), pin).unwrap();
        };
        std::thread::scope(|scope| {
            for port in 1..=20 {
                scope.spawn(move || note(port));
            }
        });
        for port in 1..=20 {
            let found = known.find(&place(&format!("a:{port}"))).unwrap();
            assert!(found.is_some(), "{port}");
        }
    }

    #[test]
    fn a_damaged_line_is_not_an_unknown_server() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(home.path());
        for line in ["a:1 0011\n", "a:1\n", "A:01 x\n"] {
            fs::write(known.path(), line).unwrap();
            assert!(known.find(&place("a:1")).is_err(), "{line}");
        }
    }
}
