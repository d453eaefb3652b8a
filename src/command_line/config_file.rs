//! Reads a config file: lines of the form `name = value`. Which names there are, and what a value
//! means, is decided in [`settings`](super::settings).
//!
//! ```text
//! # A comment has a line of its own.
//! server = chat.example.org:8080
//! on-message = notify-send "$SECURE_CHAT_FROM"
//! ```
//!
//! A value is what stands between the first `=` and the end of the line, without the blanks around
//! it. There are no quotes, no continued lines and no sections.

use std::error::Error;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The largest file that is read, in bytes: a hundred times what anybody writes.
const MAX_SIZE: u64 = 64 * 1024;

/// The file that is always empty, so that `--config /dev/null` means no config file.
const NOTHING: &str = "/dev/null";

/// A line of the file that sets something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The number of the line, from 1.
    pub line: usize,
    /// The text before the first `=`.
    pub name: String,
    /// The text behind it; not empty.
    pub value: String,
}

/// Why a config file can't be used.
#[derive(Debug)]
pub(super) struct ConfigError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
pub(super) enum Fault {
    /// It can't be opened or read.
    Io(io::Error),
    /// It is a folder, a pipe or a device.
    NoFile,
    /// It is longer than [`MAX_SIZE`].
    TooLong,
    /// Somebody else owns it.
    Owner(u32),
    /// Its mode lets others write to it.
    Mode(u32),
    /// Something is wrong with a line; the sentence says what.
    Line(usize, String),
}

impl ConfigError {
    pub(super) fn new(path: &Path, fault: Fault) -> Self {
        let path = path.to_owned();
        ConfigError { path, fault }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Io(error) => write!(
                f,
                "the config file {path} can't be read: {error}; name another with --config"
            ),
            Fault::NoFile => write!(
                f,
                "the config file {path} is not a regular file; name another with --config"
            ),
            Fault::TooLong => write!(
                f,
                "the config file {path} is longer than {} KiB; is it the right one?",
                MAX_SIZE / 1024
            ),
            Fault::Owner(uid) => write!(
                f,
                "the config file {path} belongs to the user {uid}, who could have anything run \
                 with your rights; copy it, or name another file with --config"
            ),
            Fault::Mode(mode) => write!(
                f,
                "others can write to the config file {path} (mode {mode:o}), and could have anything \
                 run with your rights; chmod go-w {path}"
            ),
            Fault::Line(line, why) => write!(f, "{path}, line {line}: {why}"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads the settings of a file.
///
/// # Errors
/// The file can't be read, others than this user and root can change it, or a line is not of the
/// form `name = value`.
pub(super) fn read(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let failed = |fault| ConfigError::new(path, fault);
    if path == Path::new(NOTHING) {
        return Ok(Vec::new());
    }
    let bytes = bytes(path).map_err(failed)?;
    parse(&bytes).map_err(failed)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    // Opening a pipe would wait for somebody who writes into it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let file = options.open(path).map_err(Fault::Io)?;
    let found = file.metadata().map_err(Fault::Io)?;
    if !found.is_file() {
        return Err(Fault::NoFile);
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me && found.uid() != 0 {
        return Err(Fault::Owner(found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        return Err(Fault::Mode(found.mode() & 0o7777));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(Fault::Io)?;
    match bytes.len() as u64 > MAX_SIZE {
        true => Err(Fault::TooLong),
        false => Ok(bytes),
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<Setting>, Fault> {
    // Editors on Windows begin a file with this mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut settings: Vec<Setting> = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = at + 1;
        let wrong = |why: String| Fault::Line(number, why);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map_err(|_| wrong("this is not UTF-8 text; save the file as UTF-8".to_owned()))?
            .trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(wrong("there is a control character".to_owned()));
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(wrong(
                "a setting has the form name = value, and a comment begins with #".to_owned(),
            ));
        };
        let (name, value) = (name.trim(), value.trim());
        if value.is_empty() {
            return Err(wrong(format!(
                "{name} has no value; remove the line to have the default"
            )));
        }
        if let Some(first) = settings.iter().find(|setting| setting.name == name) {
            return Err(wrong(format!(
                "{name} was set in line {} already; remove one of the two",
                first.line
            )));
        }
        settings.push(Setting {
            line: number,
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set(line: usize, name: &str, value: &str) -> Setting {
        Setting {
            line,
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn fault(text: &[u8]) -> (usize, String) {
        match parse(text) {
            Err(Fault::Line(line, why)) => (line, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_of_every_editor_are_read() {
        let wanted = [
            set(2, "user", "alice"),
            set(4, "on-message", "a = \"b # c\""),
        ];
        for text in [
            "# mine\nuser = alice\n\n  on-message=a = \"b # c\"  \n",
            "\u{feff}# mine\r\nuser=alice\r\n\r\non-message\t=\ta = \"b # c\"\r\n",
            "#\nuser =alice \n   # more\non-message = a = \"b # c\"",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), wanted, "{text:?}");
        }
        for nothing in ["", "\n\r\n", "\u{feff}", "# only this"] {
            assert_eq!(parse(nothing.as_bytes()).unwrap(), [], "{nothing:?}");
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for (text, line, says) in [
            (&b"user = a\nbell\n"[..], 2, "name = value"),
            (b"\n\n[section]", 3, "name = value"),
            (b"user =  \r\n", 1, "user has no value"),
            (b"user = a\n\nuser = a", 3, "in line 1 already"),
            (b"user = \xe9", 1, "UTF-8"),
            (b"user = a\rserver = b", 1, "control"),
            (b"user = \0", 1, "control"),
        ] {
            let (at, why) = fault(text);
            assert_eq!(at, line, "{why}");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_file_that_others_can_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conf");
        std::fs::write(&path, "user = alice\n").unwrap();
        for (mode, works) in [(0o600, true), (0o644, true), (0o664, false), (0o602, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), works, "{mode:o}");
        }
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            let why = read(&path).unwrap_err().to_string();
            assert!(why.contains("12345"), "{why}");
        }
    }

    #[test]
    fn what_is_no_small_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, vec![b'#'; MAX_SIZE as usize + 1]).unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for (path, says) in [
            (long.as_path(), "longer than 64 KiB"),
            (&pipe, "regular file"),
            (folder.path(), "regular file"),
            (&folder.path().join("none"), "can't be read"),
        ] {
            let why = read(path).unwrap_err().to_string();
            assert!(why.contains(says), "{why}");
        }
        assert_eq!(read(Path::new(NOTHING)).unwrap(), []);
    }
}
