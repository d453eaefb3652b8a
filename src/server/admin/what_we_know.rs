//! `server what-we-know`: every row that the server holds about a person, mail of theirs that waits
//! for others and the lines of the logs that name them among it.
//!
//! All blocks and all mail are looked through for it, a bounded part at a time, so that the server's
//! own work goes on in between.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::accounts::{read, refuse, unknown};
use super::audit;
use super::error::AdminError;
use super::perform::{Performer, Rows, emit};
use crate::protocol::name::UserName;
use crate::protocol::reply::DataRow;
use crate::server::cluster::sessions_here;
use crate::server::peers::message::{Call, Called, PeerSession};
use crate::server::personal_data::{data_row, session_row};
use crate::store::personal_data::{Person, START, Section};

/// Rows that are looked at in one read.
const PART: usize = 1000;

/// The part of a line of a log that is looked at and shown, in bytes.
const MAX_LINE: u64 = 16 * 1024;

impl Performer {
    pub(super) fn what_we_know(
        &self,
        name: &UserName,
        rows: Rows<'_>,
    ) -> Result<String, AdminError> {
        let Some(listed) = self.store().listed_account(name).map_err(read)? else {
            return refuse(unknown(name));
        };
        let mut count = 0_u64;
        let mut show = |row: &DataRow| {
            count += 1;
            emit(rows, row)
        };
        let mut unread = String::new();
        let mut sessions = sessions_here(&self.shared, &self.connections);
        for (node, called) in self.shared.delivery.call_all(&Call::Sessions) {
            unread.push_str(&format!("the logs of {}, ", node.name));
            match called {
                Ok(Called::Sessions(there)) => sessions.extend(there),
                _ => unread.push_str(&format!("the sessions of {}, ", node.name)),
            }
        }
        for session in sessions.into_iter().filter(|it| it.name == *name) {
            let PeerSession {
                name,
                address,
                since,
                shown,
            } = session;
            show(&session_row(&name, address, since, shown))?;
        }
        let person = Person {
            id: listed.id,
            name: name.as_str(),
        };
        for section in Section::ALL {
            let mut after = Some(START);
            while let Some(from) = after {
                let page = self.store().personal_data(person, section, from, PART);
                let page = page.map_err(read)?;
                for row in page.rows {
                    show(&data_row(section, row, true))?;
                }
                after = page.next;
            }
        }
        let log = self.shared.config().log.file.clone();
        let journal = self.shared.config().journal.clone();
        for file in [Some(audit::file(&self.shared.config().data)), log, journal] {
            for line in file
                .into_iter()
                .flat_map(|file| named_lines(file, name.as_str()))
            {
                show(&line?)?;
            }
        }
        unread.push_str(match self.shared.config().log.file {
            Some(_) => "earlier files of the log",
            None => "the log, which went to standard error",
        });
        Ok(format!(
            "{count} rows about {name}. Not looked through: backups, {unread}, and free room of the \
             database, where deleted rows stay until they are overwritten"
        ))
    }
}

/// The lines of a log that name a person; none if there is no such file.
fn named_lines(
    path: PathBuf,
    name: &str,
) -> Box<dyn Iterator<Item = Result<DataRow, AdminError>> + '_> {
    let unreadable = |path: &Path, error: io::Error| {
        AdminError::Refused(format!("{} can't be read: {error}", path.display()))
    };
    let mut file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Box::new(std::iter::empty());
        }
        Err(error) => return Box::new(std::iter::once(Err(unreadable(&path, error)))),
    };
    let (mut number, mut line) = (0_u64, Vec::new());
    Box::new(std::iter::from_fn(move || {
        loop {
            match next_line(&mut file, &mut line) {
                Ok(true) => number += 1,
                Ok(false) => return None,
                Err(error) => return Some(Err(unreadable(&path, error))),
            }
            let text = String::from_utf8_lossy(&line);
            if names(&text, name) {
                let values: [(&str, Value); 3] = [
                    ("file", path.to_string_lossy().into()),
                    ("line", number.into()),
                    ("text", text.trim_end().into()),
                ];
                let values = values.map(|(column, value)| (column.to_owned(), value));
                return Some(Ok(DataRow {
                    table: "log".to_owned(),
                    relation: "a line that names it".to_owned(),
                    values: values.into_iter().collect::<Map<_, _>>(),
                }));
            }
        }
    }))
}

/// Reads a line, of which no more than [`MAX_LINE`] bytes are kept; `false` at the end.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let taken = file.take(MAX_LINE).read_until(b'\n', line)?;
    if taken > 0 && line.last() != Some(&b'\n') {
        file.skip_until(b'\n')?;
    }
    Ok(taken > 0)
}

/// Whether a line has a name as a word of its own. A dot at the end of a word ends a sentence.
fn names(line: &str, name: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    line.split(|c| !in_name(c))
        .any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_names_a_person_by_a_word_of_its_own() {
        for line in [
            "info conn=3 user=bob: logged in",
            r#"{"act":"user show","subject":"bob"}"#,
            "the account bob.",
            "Bob",
        ] {
            assert!(names(line, "bob"), "{line}");
        }
        for line in ["bobby", "user=not-bob", "a.bob", "bob_1", "b ob", ""] {
            assert!(!names(line, "bob"), "{line}");
        }
        assert!(names("by j.doe.", "j.doe"));
    }

    #[test]
    fn a_long_line_takes_no_memory_and_hides_nothing_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "bob ".repeat(1_000_000);
        std::fs::write(&path, format!("carol\n{long}\nuser=bob\nlast bob")).unwrap();
        let lines: Vec<_> = named_lines(path.clone(), "bob")
            .map(Result::unwrap)
            .collect();
        let number = |row: &DataRow| row.values["line"].as_u64().unwrap();
        assert_eq!(lines.iter().map(number).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(lines[0].values["text"].as_str().unwrap().len() as u64 <= MAX_LINE);
        assert_eq!(named_lines(folder.path().join("missing"), "bob").count(), 0);
    }
}
