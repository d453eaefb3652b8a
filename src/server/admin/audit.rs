//! The audit log, `audit.log` in the data folder: who asked for what, when, and what came of it.
//!
//! Each act is written before it is carried out, and synced; its outcome follows in a line of its own.
//! An act that can't be written is refused. The file is opened for each line, so it can be moved away
//! while a server runs. It has names and texts that the operator typed, and no secrets.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One line.
#[derive(Serialize)]
struct Entry<'a> {
    at: String,
    /// The number of the user of the system who asked; `null` where the system does not tell.
    uid: Option<u32>,
    act: &'a str,
    subject: &'a str,
    /// `begun`, `done` or `failed`.
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// The log at this path can't be written, so the act was not carried out.
#[derive(Debug)]
pub(crate) struct AuditError(PathBuf, io::Error);

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditError(path, error) = self;
        write!(
            f,
            "the audit log {} can't be written ({error}), so nothing was done; make room on its disk, or \
             give the server's user the right to write it",
            path.display()
        )
    }
}

impl Error for AuditError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.1)
    }
}

/// The file of a data folder's audit log.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("audit.log")
}

/// The audit log of a data folder.
pub(crate) struct Audit {
    path: PathBuf,
}

impl Audit {
    /// The log of a folder. The file is made with the first line.
    pub(crate) fn of(data: &Path) -> Self {
        Audit { path: file(data) }
    }

    /// Carries out an act, with a line before and a line behind. The act is told by its command and by
    /// what that is about.
    ///
    /// # Errors
    /// The first line can't be written, and nothing was done; or what `act` says.
    pub(crate) fn record<T, E: From<AuditError> + fmt::Display>(
        &self,
        uid: Option<u32>,
        (what, subject): (&str, String),
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let entry = |state, why| Entry {
            at: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            uid,
            act: what,
            subject: &subject,
            state,
            why,
        };
        self.append(&entry("begun", None))
            .map_err(|error| AuditError(self.path.clone(), error))?;
        let done = act();
        let why = done.as_ref().err().map(ToString::to_string);
        let state = if why.is_some() { "failed" } else { "done" };
        // The act is on record; a line that is lost here only leaves its outcome open.
        let _written = self.append(&entry(state, why.as_deref()));
        done
    }

    fn append(&self, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_string(entry)?;
        line.push('\n');
        crate::fs::append(&self.path, line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::AdminError;

    #[test]
    fn an_act_is_written_before_it_is_done_and_refused_if_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::of(folder.path());
        let request = || ("announce", "two\nlines".to_owned());
        let read = || std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
        audit
            .record(Some(7), request(), || {
                assert!(read().contains("begun"), "{}", read());
                Ok::<_, AdminError>(())
            })
            .unwrap();
        let refused = || Err::<(), _>(AdminError::Refused("no".to_owned()));
        assert!(audit.record(Some(7), request(), refused).is_err());
        let states: Vec<String> = read()
            .lines()
            .map(|line| {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(
                    (&entry["uid"], &entry["act"]),
                    (&7.into(), &"announce".into())
                );
                entry["state"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(states, ["begun", "done", "begun", "failed"]);

        let nowhere = Audit::of(&folder.path().join("missing"));
        let never = nowhere.record::<(), AdminError>(None, request(), || panic!("it was done"));
        assert!(matches!(never, Err(AdminError::Audit(_))));
    }
}
