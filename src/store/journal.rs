//! The journal: what a restore must not undo, in a file that lies beside the backups.
//!
//! A backup is a moment, and a restore goes back to it. What was deleted, blocked, used up or taken since
//! must stay so: nobody gets a name that was given to somebody else, and no invitation works twice. The
//! server therefore appends each such change to the journal once it is committed, and before it is
//! answered; `server restore` repeats what the journal has. Repeating what the backup has already
//! changes nothing, so a journal may reach back further than the backup.
//!
//! It is a file of JSON lines, mode 0600, opened for each batch, so that it can be moved away or lie
//! on a disk that comes and goes. It has names, public keys and hashes, and no message.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::ids::ByteArray;
use crate::protocol::request::KdfParams;

/// The longest line, in bytes.
const MAX_LINE: u64 = 4096;

/// So many bytes wait at most for a file that can't be written.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// A change that a restore repeats. An account is meant only if both its number and its name fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// An account was made.
    Registered {
        id: i64,
        name: String,
        created: u64,
        kdf: KdfParams,
        login_key: ByteArray<32>,
    },
    /// Its password was changed; a key of zeros if the operator has reset it.
    Login {
        id: i64,
        name: String,
        kdf: Option<KdfParams>,
        login_key: ByteArray<32>,
    },
    /// It was deleted.
    Deleted { id: i64, name: String },
    /// The name of a deleted account was given away.
    Released { id: i64, name: String },
    /// It was disabled or enabled.
    Disabled {
        id: i64,
        name: String,
        disabled: bool,
    },
    /// It blocks another account, or blocks it no more.
    Block {
        id: i64,
        name: String,
        other: i64,
        blocked: String,
        on: bool,
    },
    /// An invitation makes only so many accounts more; none if it was taken back.
    Invitation { code: ByteArray<32>, uses: u32 },
    /// A network was banned, or the ban was lifted.
    Ban {
        network: String,
        created: u64,
        on: bool,
    },
}

/// A journal that is appended to.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// Lines that could not be written yet.
    waiting: Vec<u8>,
}

impl Journal {
    /// The journal at a path; the file is made with the first line.
    pub(crate) fn at(path: &Path) -> Self {
        Journal {
            path: path.to_owned(),
            waiting: Vec::new(),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends changes and syncs them. Those that can't be written now are written with later ones.
    ///
    /// # Errors
    /// Why they can't be.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            let line = serde_json::to_string(entry)?;
            if self.waiting.len() + line.len() > MAX_WAITING {
                return Err(io::Error::other("too many changes wait for it"));
            }
            self.waiting.extend_from_slice(line.as_bytes());
            self.waiting.push(b'\n');
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        crate::fs::append(&self.path, &self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

/// The changes in a journal. A last line without its end was being written in a crash, and is left
/// out: nobody was answered.
///
/// # Errors
/// It can't be read, or a line is not one of a journal; the number of that line is told.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut entries = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        Read::by_ref(&mut file)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        match line.split_last() {
            Some((b'\n', line)) => match serde_json::from_slice(line) {
                Ok(entry) => entries.push(entry),
                Err(_) => return Err(bad_line(entries.len())),
            },
            Some(_) if line.len() as u64 == MAX_LINE => return Err(bad_line(entries.len())),
            Some(_) | None => return Ok(entries),
        }
    }
}

fn bad_line(before: usize) -> io::Error {
    let line = before + 1;
    io::Error::other(format!("line {line} is not one of a journal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(name: &str) -> Entry {
        Entry::Deleted {
            id: 7,
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_was_appended_is_read_and_half_a_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::at(&path);
        journal.append(&[]).unwrap();
        assert!(!path.exists());
        journal.append(&[deleted("bob")]).unwrap();
        journal.append(&[deleted("carol")]).unwrap();
        assert_eq!(read(&path).unwrap(), [deleted("bob"), deleted("carol")]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read(&path).unwrap(), [deleted("bob")]);
        std::fs::write(&path, [b"{}\n", &whole[..]].concat()).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert_eq!(error, "line 1 is not one of a journal");
        std::fs::write(&path, "x".repeat(10_000)).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("away");
        let path = away.join("journal");
        let mut journal = Journal::at(&path);
        assert!(journal.append(&[deleted("bob")]).is_err());
        std::fs::create_dir(&away).unwrap();
        journal.append(&[deleted("carol")]).unwrap();
        assert_eq!(read(&path).unwrap(), [deleted("bob"), deleted("carol")]);
    }
}
