//! Tells whether a write-ahead log belongs to the database that it lies beside. SQLite applies any
//! log that is whole: one that was left behind by another copy of the database mixes the pages of
//! the two, and nothing says so.
//!
//! Each start of a server gives the database a random *generation*, and counts marks from there. A mark is the
//! first thing in a log (SQLite begins a log anew when all of it is in the database) and the last
//! before it is folded, and reaches the database with the log. So a log belongs to a database whose
//! mark is the one before the log's first, or one that stands in the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::files::{checkpoint, wal_path};
use super::write::set_value;
use super::{read, statements};

/// The key of the mark in table `server`.
const KEY: &str = "generation";

/// The bytes of a mark.
const MARK: usize = 40;

/// The header of a log, and of each frame in it (sqlite.org/fileformat2.html, section 4.1).
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Which state of which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// The generation before; zeros before the first.
    previous: [u8; 16],
    /// The generation.
    current: [u8; 16],
    /// The number of the mark; 0 in the log that brings the generation itself.
    log: u64,
}

impl Mark {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK] = bytes.try_into().ok()?;
        Some(Mark {
            previous: bytes[..16].try_into().ok()?,
            current: bytes[16..32].try_into().ok()?,
            log: u64::from_be_bytes(bytes[32..].try_into().ok()?),
        })
    }

    fn to_bytes(self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[..16].copy_from_slice(&self.previous);
        bytes[16..32].copy_from_slice(&self.current);
        bytes[32..].copy_from_slice(&self.log.to_be_bytes());
        bytes
    }
}

/// What is known of the log beside a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogOf {
    /// There is none, or SQLite would not apply it.
    Nothing,
    /// It belongs to this database.
    This,
    /// It has no mark, as after a crash right behind its beginning.
    Unmarked,
    /// It belongs to another copy.
    Another,
}

/// Reads the database's generation and judges the log beside it, changing nothing. The generation
/// is `None` in a database of an older server, and in what is no database: opening it says why.
pub(crate) fn judge_log(path: &Path) -> (Option<[u8; 16]>, LogOf) {
    let found = in_database(path).ok().flatten();
    let (mark, page) = match found {
        Some((mark, page)) => (mark, page),
        None => return (None, LogOf::Unmarked),
    };
    let log = match marks_in_log(&wal_path(path), page) {
        Ok(None) | Err(_) => LogOf::Nothing,
        Ok(Some(None)) => LogOf::Unmarked,
        Ok(Some(Some((first, last)))) => judge(mark, first, last),
    };
    (mark.map(|mark| mark.current), log)
}

fn judge(database: Option<Mark>, first: Mark, last: Mark) -> LogOf {
    let (current, log) = database.map_or(([0; 16], 0), |mark| (mark.current, mark.log));
    let brings_it = first.log == 0 && first.previous == current;
    let continues = first.current == current && first.log <= log + 1 && log <= last.log;
    match brings_it || continues {
        true => LogOf::This,
        false => LogOf::Another,
    }
}

/// The mark in the database file itself, and the page of table `server`. `None` without that
/// table.
fn in_database(path: &Path) -> rusqlite::Result<Option<(Option<Mark>, u32)>> {
    // Immutable, it is read as it is, without its log.
    let mut uri = "file:".to_owned();
    for byte in std::path::absolute(path)
        .unwrap_or_else(|_| path.into())
        .as_os_str()
        .as_encoded_bytes()
    {
        uri.push_str(&format!("%{byte:02x}"));
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    let page = connection.query_row(statements::SERVER_PAGE, [], |row| row.get(0));
    let Some(page) = page.optional()? else {
        return Ok(None);
    };
    let value = read::value(&connection, KEY)?;
    Ok(Some((
        value.and_then(|value| Mark::from_bytes(&value)),
        page,
    )))
}

/// The first and the last mark in what a log has committed. The outer `None` stands for a log
/// that has committed nothing.
fn marks_in_log(log: &Path, page: u32) -> io::Result<Option<Option<(Mark, Mark)>>> {
    let file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let number =
        |bytes: &[u8], at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
    let mut header = [0; LOG_HEADER];
    if file.read_exact_at(&mut header, 0).is_err() || number(&header, 0) >> 1 != 0x377f_0682 >> 1 {
        return Ok(None);
    }
    let size = number(&header, 8) as usize;
    if !(512..=65536).contains(&size) {
        return Ok(None);
    }
    let mut marks: Option<(Mark, Mark)> = None;
    let mut committed = None;
    let (mut frame, mut content) = ([0; FRAME_HEADER], vec![0; size]);
    let mut at = LOG_HEADER as u64;
    while file.read_exact_at(&mut frame, at).is_ok() && frame[8..16] == header[16..24] {
        if number(&frame, 0) == page {
            if file
                .read_exact_at(&mut content, at + FRAME_HEADER as u64)
                .is_err()
            {
                break;
            }
            if let Some(mark) = in_page(&content) {
                marks = Some((marks.map_or(mark, |(first, _)| first), mark));
            }
        }
        if number(&frame, 4) != 0 {
            committed = Some(marks);
        }
        at += (FRAME_HEADER + size) as u64;
    }
    Ok(committed)
}

/// The mark in a page of table `server`: a leaf of an index, whose cells are a length and a
/// record of key and value (sqlite.org/fileformat2.html, sections 1.6 and 2.1).
fn in_page(content: &[u8]) -> Option<Mark> {
    const LEAF: u8 = 10;
    const HEADER: usize = 8;
    // Its bytes; the record's header, of 3 bytes, with the types of a text and a blob this long.
    const BEGINNING: [u8; 4] = [
        (3 + KEY.len() + MARK) as u8,
        3,
        (13 + 2 * KEY.len()) as u8,
        (12 + 2 * MARK) as u8,
    ];
    let short = |at: usize| {
        let bytes = content.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
    };
    let cells = short(3).filter(|_| content.first() == Some(&LEAF))?;
    (0..cells).find_map(|cell| {
        let cell = content.get(short(HEADER + 2 * cell)?..)?;
        let value = cell
            .strip_prefix(&BEGINNING)?
            .strip_prefix(KEY.as_bytes())?;
        Mark::from_bytes(value.get(..MARK)?)
    })
}

fn present(connection: &Connection) -> rusqlite::Result<Option<Mark>> {
    let value = read::value(connection, KEY)?;
    Ok(value.and_then(|value| Mark::from_bytes(&value)))
}

/// Gives the database a new generation, for a server that starts: its log is empty.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    let mut current = [0; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut current)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let previous = present(connection)?.map_or([0; 16], |mark| mark.current);
    let mark = Mark {
        previous,
        current,
        log: 0,
    };
    set_value(connection, KEY, &mark.to_bytes())?;
    checkpoint(connection)?;
    mark_log(connection)
}

/// Marks the log: a new one, and one that is about to be folded. What was folded is then newer than every
/// earlier state of the log.
pub(super) fn mark_log(connection: &Connection) -> rusqlite::Result<()> {
    match present(connection)? {
        None => Ok(()),
        Some(mark) => {
            let log = mark.log + 1;
            let mark = Mark { log, ..mark };
            set_value(connection, KEY, &mark.to_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::sqlite::Sqlite;
    use crate::store::{Batch, Store};

    #[test]
    fn a_log_belongs_to_the_database_before_it_or_within_it() {
        let mark = |previous, current, log| Mark {
            previous: [previous; 16],
            current: [current; 16],
            log,
        };
        let log = (mark(1, 2, 3), mark(1, 2, 4));
        for (database, expected) in [
            (mark(1, 2, 1), LogOf::Another),
            (mark(1, 2, 2), LogOf::This),
            (mark(1, 2, 4), LogOf::This),
            (mark(1, 2, 5), LogOf::Another),
            (mark(0, 1, 9), LogOf::Another),
            (mark(2, 3, 1), LogOf::Another),
        ] {
            assert_eq!(
                judge(Some(database), log.0, log.1),
                expected,
                "{database:?}"
            );
        }
        // The log that brings a generation belongs to the one before.
        assert_eq!(judge(None, mark(0, 2, 0), mark(0, 2, 1)), LogOf::This);
        assert_eq!(judge(None, mark(1, 2, 0), mark(1, 2, 1)), LogOf::Another);
        assert_eq!(
            judge(Some(mark(0, 1, 7)), mark(1, 2, 0), mark(1, 2, 1)),
            LogOf::This
        );
    }

    #[test]
    fn the_logs_of_other_copies_are_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a 100% #1?.db");
        let log = wal_path(&path);
        assert_eq!(
            judge_log(&path),
            (None, LogOf::Unmarked),
            "nothing is there"
        );
        let store = Sqlite::open(&path).unwrap();
        let (first, of) = judge_log(&path);
        assert!(first.is_some() && of == LogOf::This, "{of:?}");
        let (old, old_log) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
        store.close().unwrap();
        assert_eq!(judge_log(&path), (first, LogOf::Nothing));

        let store = Sqlite::open(&path).unwrap();
        let (second, of) = judge_log(&path);
        assert!(second != first && of == LogOf::This, "{of:?}");
        store.commit(&Batch::default()).unwrap();
        let (new, new_log) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
        // What is folded, while it runs or at its end, is newer than the log of before.
        store.prepare_folding(false);
        store.fold(false).unwrap();
        let (folded, folded_log) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
        store.close().unwrap();
        let closed = fs::read(&path).unwrap();

        for (database, beside, expected) in [
            (&old, &old_log, LogOf::This),
            (&new, &new_log, LogOf::This),
            (&old, &new_log, LogOf::Another),
            (&new, &old_log, LogOf::Another),
            (&folded, &new_log, LogOf::Another),
            (&folded, &folded_log, LogOf::This),
            (&new, &folded_log, LogOf::This),
            (&closed, &folded_log, LogOf::Another),
            (&closed, &new_log, LogOf::Another),
        ] {
            fs::write(&path, database).unwrap();
            fs::write(&log, beside).unwrap();
            assert_eq!(judge_log(&path).1, expected);
            assert_eq!(&fs::read(&log).unwrap(), beside, "nothing was changed");
        }
    }
}
