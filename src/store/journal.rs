//! The journal: what a restore must not undo, in a file that lies beside the backups.
//!
//! A backup is a moment, and a restore goes back to it. What was deleted, blocked, hidden, replaced,
//! used up or taken since must stay so: nobody gets a name that was given to somebody else, no
//! invitation works twice, and no key or setting comes back that its owner has withdrawn. The
//! server therefore appends each such change to the journal once it is committed, and before it is
//! answered; `server restore` repeats what the journal has. Repeating what the backup has already
//! changes nothing, so a journal may reach back further than the backup, if it has all changes from
//! then on.
//!
//! What a restore may undo is not in it: mail, which its senders' clients send again; invitations that
//! nobody has used; how often and when people were there. One-time prekeys are spent like
//! invitations, and there are too many to keep, so a restore drops them all.
//!
//! Of an account that was deleted, a journal keeps that it was, with its number and its name, so that the
//! name stays reserved. Its keys, settings and blocks go once it is deleted.
//!
//! The database counts the changes, with or without a journal, in the transactions that make them, and each line
//! has its change's number. So a restore sees which changes since the backup the journal does not have: a crash came
//! between, it could not be written, it was removed too early, or the server ran without it.
//!
//! It is a file of JSON lines, mode 0600, opened for each batch, so that it can be moved away or lie
//! on a disk that comes and goes. It has names, public keys and hashes, and no message. What an old
//! password of an imported account is checked against is not in it, since that has to be erased
//! once it was used: a restored account that has lost it takes it from another import.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::ids::ByteArray;
use crate::protocol::request::{Identity, KdfParams, SignedPrekey};

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
    /// Its password was changed; a key of zeros and no derivation, in a journal of before there was
    /// [`Entry::Reset`], if the operator has taken it away.
    Login {
        id: i64,
        name: String,
        kdf: Option<KdfParams>,
        login_key: ByteArray<32>,
    },
    /// The operator has taken its password away, and the code of the reset leads to this key.
    Reset {
        id: i64,
        name: String,
        key: ByteArray<32>,
        expires: u64,
    },
    /// Its owner has changed the settings.
    Settings {
        id: i64,
        name: String,
        listed: bool,
        presence: bool,
        refuse_unencrypted: bool,
    },
    /// It has its first identity, or another one.
    Identity {
        id: i64,
        name: String,
        identity: Identity,
        signed_prekey: SignedPrekey,
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
    /// Somebody was imported from the program before this one; with `only_sender`, the name was
    /// reserved for a sender without an account there.
    Imported {
        id: i64,
        name: String,
        original: String,
        only_sender: bool,
        created: u64,
        kdf: KdfParams,
    },
    /// Imported messages were read: their ObjectIds, 12 bytes each, one behind the other in base64.
    ImportedRead { ids: String },
    /// A network was banned, or the ban was lifted.
    Ban {
        network: String,
        created: u64,
        on: bool,
    },
    /// Something about an account that was deleted since.
    Forgotten {},
}

/// A line: a change, and its number, which a journal of an earlier server has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

impl Line {
    /// The lines of changes that are numbered from `first` on.
    pub(crate) fn numbered(first: u64, entries: Vec<Entry>) -> Vec<Line> {
        let numbers = first..;
        let lines = numbers.zip(entries).map(|(number, entry)| Line {
            number: Some(number),
            entry,
        });
        lines.collect()
    }

    /// What is kept of it when some accounts are deleted: a number stays.
    fn without(self, deleted: &BTreeSet<i64>) -> Option<Self> {
        let number = self.number;
        let gone = || number.map(|_| Entry::Forgotten {});
        let entry = self.entry.without(deleted).or_else(gone)?;
        Some(Line { number, entry })
    }
}

/// The number of the last change in a journal.
pub(crate) fn last_number(lines: &[Line]) -> Option<u64> {
    lines.iter().filter_map(|line| line.number).max()
}

/// How many of the changes behind this number, up to the last one in the journal, are not in it.
pub(crate) fn missing(lines: &[Line], behind: u64) -> u64 {
    let numbers = lines.iter().filter_map(|line| line.number);
    let numbers: BTreeSet<u64> = numbers.filter(|number| *number > behind).collect();
    let last = numbers.last().copied().unwrap_or(behind);
    last - behind - numbers.len() as u64
}

impl Entry {
    /// What is kept of it when some accounts are deleted: all, a part, or nothing.
    fn without(self, deleted: &BTreeSet<i64>) -> Option<Self> {
        let gone = |id: i64| deleted.contains(&id);
        match self {
            Entry::Registered { id, .. }
            | Entry::Login { id, .. }
            | Entry::Reset { id, .. }
            | Entry::Settings { id, .. }
            | Entry::Identity { id, .. }
            | Entry::Disabled { id, .. }
                if gone(id) =>
            {
                None
            }
            Entry::Block { id, other, .. } if gone(id) || gone(other) => None,
            // A second import must not revive it.
            Entry::Imported {
                id,
                name,
                original,
                only_sender,
                created,
                kdf,
            } if gone(id) => Some(Entry::Imported {
                id,
                name,
                original,
                only_sender,
                created,
                kdf: KdfParams {
                    salt: ByteArray([0; 16]),
                    ..kdf
                },
            }),
            kept => Some(kept),
        }
    }
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

    /// What is in it; nothing if it is missing.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn lines(&self) -> io::Result<Vec<Line>> {
        match self.length()? {
            None => Ok(Vec::new()),
            Some(_) => read(&self.path),
        }
    }

    /// Takes away the beginning of a last line that a crash has cut off: what is appended behind it would
    /// be no line.
    ///
    /// # Errors
    /// The file can't be read or shortened.
    pub(crate) fn mend_end(&self) -> io::Result<()> {
        let Some(length) = self.length()? else {
            return Ok(());
        };
        let file = File::options().read(true).write(true).open(&self.path)?;
        // A longer line is none.
        let from = length.saturating_sub(MAX_LINE);
        let mut end = vec![0; (length - from) as usize];
        file.read_exact_at(&mut end, from)?;
        let cut_off = end.iter().rev().position(|byte| *byte == b'\n');
        match cut_off.unwrap_or(end.len()) as u64 {
            0 => Ok(()),
            cut_off => file
                .set_len(length - cut_off)
                .and_then(|()| file.sync_all()),
        }
    }

    /// How many bytes it has; `None` if it is missing, or no regular file.
    fn length(&self) -> io::Result<Option<u64>> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(|found| found.is_file().then_some(found.len())),
        }
    }

    /// Takes out of the file, which has these `lines`, what they say of accounts that were deleted, but for that.
    ///
    /// # Errors
    /// The file is as it was: it can't be replaced.
    pub(crate) fn forget_deleted(&self, lines: &[Line]) -> io::Result<()> {
        let deleted = lines.iter().filter_map(|line| match line.entry {
            Entry::Deleted { id, .. } => Some(id),
            _ => None,
        });
        let deleted: BTreeSet<i64> = deleted.collect();
        let kept = lines.iter().cloned();
        let kept: Vec<Line> = kept.filter_map(|line| line.without(&deleted)).collect();
        if kept == lines {
            return Ok(());
        }
        let mut text = String::new();
        for line in &kept {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        crate::fs::replace(&self.path, 0o600, &text)
    }

    /// Appends changes and syncs them. Those that can't be written now are written with later ones.
    ///
    /// # Errors
    /// Why they can't be.
    pub(crate) fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        for line in lines {
            let line = serde_json::to_string(line)?;
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
pub(crate) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        Read::by_ref(&mut file)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        match line.split_last() {
            Some((b'\n', line)) => match serde_json::from_slice(line) {
                Ok(line) => lines.push(line),
                Err(_) => return Err(bad_line(lines.len())),
            },
            Some(_) if line.len() as u64 == MAX_LINE => return Err(bad_line(lines.len())),
            Some(_) | None => return Ok(lines),
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

    fn line(number: u64, entry: Entry) -> Line {
        Line {
            number: Some(number),
            entry,
        }
    }

    fn deleted(name: &str) -> Line {
        let entry = Entry::Deleted {
            id: 7,
            name: name.to_owned(),
        };
        Line {
            number: None,
            entry,
        }
    }

    #[test]
    fn what_is_missing_between_a_backup_and_the_last_change_is_counted() {
        let of = |numbers: &[u64]| -> Vec<Line> {
            let numbers = numbers.iter();
            numbers.map(|n| line(*n, deleted("bob").entry)).collect()
        };
        assert_eq!((missing(&[], 7), last_number(&[])), (0, None));
        assert_eq!(missing(&[deleted("bob")], 7), 0);
        assert_eq!(missing(&of(&[1, 2, 3]), 7), 0);
        assert_eq!(missing(&of(&[1, 2, 3]), 1), 0);
        assert_eq!(missing(&of(&[2, 3]), 0), 1);
        assert_eq!(missing(&of(&[1, 2, 5, 6, 9]), 2), 4);
        assert_eq!(missing(&of(&[1, 2, 5, 6, 9]), 6), 2);
        assert_eq!(missing(&of(&[9, 2, 2, 9]), 1), 6);
        assert_eq!(last_number(&of(&[9, 2])), Some(9));
    }

    #[test]
    fn a_journal_of_before_there_were_numbers_is_read() {
        let old = r#"{"change":"deleted","id":7,"name":"bob"}"#;
        assert_eq!(serde_json::from_str::<Line>(old).unwrap(), deleted("bob"));
        let numbered = line(3, deleted("bob").entry);
        let text = serde_json::to_string(&numbered).unwrap();
        assert_eq!(text, r#"{"n":3,"change":"deleted","id":7,"name":"bob"}"#);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), numbered);
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
    fn of_who_was_deleted_only_that_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::at(&path);
        journal.forget_deleted(&journal.lines().unwrap()).unwrap();
        let kdf = KdfParams {
            salt: ByteArray([5; 16]),
            memory_kib: 1,
            passes: 1,
            lanes: 1,
        };
        let registered = |id: i64| Entry::Registered {
            id,
            name: format!("user{id}"),
            created: 1,
            kdf,
            login_key: ByteArray([6; 32]),
        };
        let block = |id: i64, other: i64| Entry::Block {
            id,
            name: format!("user{id}"),
            other,
            blocked: format!("user{other}"),
            on: true,
        };
        let imported = |salt: u8| Entry::Imported {
            id: 7,
            name: "bob".to_owned(),
            original: "Bob".to_owned(),
            only_sender: false,
            created: 1,
            kdf: KdfParams {
                salt: ByteArray([salt; 16]),
                ..kdf
            },
        };
        let before = [
            registered(6),
            registered(7),
            block(7, 6),
            block(6, 7),
            block(6, 8),
            imported(5),
        ];
        let before = Line::numbered(1, before.to_vec());
        journal.append(&before).unwrap();
        journal.forget_deleted(&journal.lines().unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), before);
        journal.append(&[deleted("bob")]).unwrap();
        journal.forget_deleted(&journal.lines().unwrap()).unwrap();
        let gone = || Entry::Forgotten {};
        let after = [
            registered(6),
            gone(),
            gone(),
            gone(),
            block(6, 8),
            imported(0),
        ];
        let after = [Line::numbered(1, after.to_vec()), vec![deleted("bob")]].concat();
        assert_eq!(read(&path).unwrap(), after);
        assert_eq!((missing(&after, 0), last_number(&after)), (0, Some(6)));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_a_crash_has_cut_off_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::at(&path);
        journal.mend_end().unwrap();
        assert!(!path.exists());
        journal.append(&[deleted("bob"), deleted("carol")]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [1, 20] {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            journal.mend_end().unwrap();
            journal.append(&[deleted("dave")]).unwrap();
            assert_eq!(read(&path).unwrap(), [deleted("bob"), deleted("dave")]);
        }
        std::fs::write(&path, &whole[..7]).unwrap();
        journal.mend_end().unwrap();
        assert_eq!(read(&path).unwrap(), []);
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
