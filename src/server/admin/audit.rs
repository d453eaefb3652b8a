//! The audit log, `audit.log` in the data folder: who asked for what, when, and what came of it.
//!
//! Each act is written before it is carried out, and synced; its outcome follows in a line of its own.
//! An act that can't be written is refused. The file is opened for each line, so it can be moved away
//! while a server runs. It has names and texts that the operator typed, and no secrets.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::AdminError;
use super::request::Request;

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

/// The file of a data folder's audit log.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("audit.log")
}

/// The audit log of a data folder.
pub(super) struct Audit {
    path: PathBuf,
}

impl Audit {
    /// The log of a folder. The file is made with the first line.
    pub(super) fn of(data: &Path) -> Self {
        Audit { path: file(data) }
    }

    /// Carries out what `request` asks for, with a line before and a line behind.
    ///
    /// # Errors
    /// The first line can't be written, and nothing was done; or what `act` says.
    pub(super) fn record(
        &self,
        uid: Option<u32>,
        request: &Request,
        act: impl FnOnce() -> Result<String, AdminError>,
    ) -> Result<String, AdminError> {
        let (what, subject) = request.describe();
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
            .map_err(|error| AdminError::Audit(self.path.clone(), error))?;
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
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let before = file.metadata()?.len();
        let written = file
            .write_all(line.as_bytes())
            .and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line would spoil the next one. If that fails, too, the first error is told.
            let _shortened = file.set_len(before);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_written_before_it_is_done_and_refused_if_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::of(folder.path());
        let request = Request::Announce {
            text: "two\nlines".to_owned(),
        };
        let read = || std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
        audit
            .record(Some(7), &request, || {
                assert!(read().contains("begun"), "{}", read());
                Ok(String::new())
            })
            .unwrap();
        let refused = || Err(AdminError::Refused("no".to_owned()));
        assert!(audit.record(Some(7), &request, refused).is_err());
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
        let never = nowhere.record(None, &request, || panic!("it was done"));
        assert!(matches!(never, Err(AdminError::Audit(..))));
    }
}
