//! The file of the servers that were reached with TLS before, one line for each, like SSH's
//! `known_hosts`. Whether to trust a certificate is decided by [`endpoint`](super::endpoint).
//!
//! ```text
//! HOST:PORT CERTIFICATE [also CERTIFICATE] [was CERTIFICATE]…
//! HOST:PORT system-roots
//! ```
//!
//! `also` is one that the server's machines may still show while it is being replaced, and `was` those that
//! it has announced its way from.

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

/// What a line says before a certificate that the server may still show.
const ALSO: &str = "also";

/// What a line says before each earlier certificate.
const WAS: &str = "was";

/// So many earlier certificates are remembered.
const MAX_EARLIER: usize = 8;

/// How a server was known when it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KnownBy {
    /// By its certificate.
    Pin(Pin),
    /// The system's roots vouched for whatever certificate it showed.
    SystemRoots,
}

/// The certificate of a server, and those that have to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The certificate.
    pub certificate: Fingerprint,
    /// The one that it takes the place of, as long as some of the server's machines may show that.
    pub also: Option<Fingerprint>,
    /// Earlier ones, which have announced their successors up to this one; the latest last.
    pub was: Vec<Fingerprint>,
}

impl Pin {
    /// This certificate alone.
    pub(crate) fn new(certificate: Fingerprint) -> Self {
        Pin {
            certificate,
            also: None,
            was: Vec::new(),
        }
    }

    /// Whether the server may show a certificate.
    pub(crate) fn permits(&self, shown: Fingerprint) -> bool {
        self.certificate == shown || self.also == Some(shown)
    }

    /// Notes certificates that have announced their way to this one.
    pub(crate) fn remember(&mut self, earlier: impl IntoIterator<Item = Fingerprint>) {
        for one in earlier {
            if one != self.certificate && !self.was.contains(&one) {
                self.was.push(one);
            }
        }
        let surplus = self.was.len().saturating_sub(MAX_EARLIER);
        self.was.drain(..surplus);
    }
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
    pub(crate) fn note(&self, place: &Place, known_by: &KnownBy) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            crate::fs::make_folder(folder)?;
        }
        let _lock = self.lock()?;
        self.replace(place, known_by)
    }

    /// Notes which other certificate this server may still show, if it is still known by this one.
    ///
    /// # Errors
    /// The file can't be read or written; it is unchanged.
    pub(crate) fn note_also(
        &self,
        place: &Place,
        certificate: Fingerprint,
        also: Option<Fingerprint>,
    ) -> io::Result<()> {
        let _lock = self.lock()?;
        match self.find(place)? {
            Some(KnownBy::Pin(pin)) if pin.certificate == certificate && pin.also != also => {
                self.replace(place, &KnownBy::Pin(Pin { also, ..pin }))
            }
            _ => Ok(()),
        }
    }

    /// Replaces what is known of a server, under the lock.
    fn replace(&self, place: &Place, known_by: &KnownBy) -> io::Result<()> {
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
            KnownBy::Pin(pin) => {
                pin.certificate.fmt(f)?;
                if let Some(also) = pin.also {
                    write!(f, " {ALSO} {also}")?;
                }
                pin.was.iter().try_for_each(|was| write!(f, " {WAS} {was}"))
            }
            KnownBy::SystemRoots => f.write_str(SYSTEM_ROOTS),
        }
    }
}

impl FromStr for KnownBy {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        if text.trim() == SYSTEM_ROOTS {
            return Ok(KnownBy::SystemRoots);
        }
        // A person may have written the digits in groups.
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_keyword = |word: &&str| [ALSO, WAS].contains(word);
        let first = words.iter().position(is_keyword).unwrap_or(words.len());
        let mut pin = Pin::new(words[..first].concat().parse()?);
        for more in words[first..].chunk_by(|_, next| !is_keyword(next)) {
            let (keyword, digits) = more.split_first().ok_or(NotAFingerprint)?;
            let certificate = digits.concat().parse()?;
            match *keyword {
                ALSO => pin.also = Some(certificate),
                _ => pin.was.push(certificate),
            }
        }
        Ok(KnownBy::Pin(pin))
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

    fn pin(certificate: Fingerprint) -> KnownBy {
        KnownBy::Pin(Pin::new(certificate))
    }

    fn place(text: &str) -> Place {
        text.parse::<Address>().unwrap().place()
    }

    #[test]
    fn a_server_has_one_line_with_its_last_certificate() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(&home.path().join("data"));
        let [one, two] = [1, 2].map(|byte| pin(Fingerprint([byte; 32])));
        assert_eq!(known.find(&place("a:1")).unwrap(), None);
        known.note(&place("a:1"), &one).unwrap();
        known.note(&place("b:1"), &KnownBy::SystemRoots).unwrap();
        known.note(&place("a:1"), &two).unwrap();
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
    fn what_a_line_says_of_other_certificates_is_read_as_it_was_written() {
        let all: Vec<Fingerprint> = (0..20).map(|byte| Fingerprint([byte; 32])).collect();
        for also in [None, Some(all[1])] {
            let mut pin = Pin::new(all[0]);
            for earlier in [0, 1, 20] {
                pin.also = also;
                pin.remember(all[..earlier].iter().copied());
                let written = KnownBy::Pin(pin.clone());
                assert_eq!(
                    written.to_string().parse(),
                    Ok(written.clone()),
                    "{written}"
                );
            }
            assert_eq!(pin.was, all[12..], "the latest are remembered");
        }
        let groups = format!(
            "{} was {} also {}",
            all[1].groups(),
            all[2],
            all[3].groups()
        );
        let read = KnownBy::Pin(Pin {
            certificate: all[1],
            also: Some(all[3]),
            was: vec![all[2]],
        });
        assert_eq!(groups.parse(), Ok(read));
        for torn in ["also", "{} was", "{} also 00", "{} was was {}", "was {}"] {
            let torn = torn.replace("{}", &all[1].to_string());
            assert_eq!(torn.parse::<KnownBy>(), Err(NotAFingerprint), "{torn}");
        }
    }

    #[test]
    fn what_a_server_says_beside_another_pin_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let known = KnownServers::in_folder(home.path());
        let [one, two, three] = [1, 2, 3].map(|byte| Fingerprint([byte; 32]));
        known.note(&place("a:1"), &pin(two)).unwrap();
        let also = || match known.find(&place("a:1")).unwrap() {
            Some(KnownBy::Pin(pin)) => pin.also,
            other => panic!("{other:?}"),
        };
        known.note_also(&place("a:1"), one, Some(three)).unwrap();
        known.note_also(&place("b:1"), two, Some(three)).unwrap();
        assert_eq!(also(), None);
        for said in [Some(one), None] {
            known.note_also(&place("a:1"), two, said).unwrap();
            assert_eq!(also(), said);
        }
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
            assert_eq!(found, Some(pin(new)), "{text}");
        }
        known.note(&place("chat.example"), &pin(old)).unwrap();
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
            let pin = pin(Fingerprint([1; 32]));
            known.note(&place(&format!("a:{port}")), &pin).unwrap();
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
