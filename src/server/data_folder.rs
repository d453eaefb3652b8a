//! The data folder: whose it is, and whether a server may begin on what lies in it.
//!
//! The first start makes the database, then the certificate's key, then the
//! certificate, and then notes in the database that it has served. So a start that
//! was cut off at any instant can be told from a folder that has lost something: the
//! one goes on by itself, the other is refused, since an empty server under a known
//! name would look like one whose accounts are gone. Opening is the store's job.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::config::Config;
use crate::store::sqlite;
use crate::store::sqlite::Found;
use crate::transport::tls::Acceptor;

/// Why a folder can't be used: a sentence that says what to do about it.
#[derive(Debug)]
pub(super) struct FolderError(String);

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The database in its folder.
pub(super) fn database(data: &Path) -> PathBuf {
    data.join("chat.db")
}

/// Makes the data folder and locks it: two servers on one database would both
/// number the same mailboxes.
pub(super) fn lock(data: &Path) -> Result<File, FolderError> {
    let failed = |error: io::Error| unwritable(data, &error);
    // Mail of others lies in it, if only encrypted: nobody else gets in.
    crate::fs::make_folder(data).map_err(failed)?;
    let lock = File::create(data.join("server.lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(FolderError(format!(
            "another server is running on the folder {}; stop it, or choose another folder with \
             --data",
            data.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn unwritable(data: &Path, error: &io::Error) -> FolderError {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the server's user the right to write it, or choose another with --data"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its disk, then start the server again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount its disk for writing, or choose another with --data"
        }
        _ => "choose another with --data",
    };
    FolderError(format!(
        "the folder {} can't be written: {error}; {way_out}",
        data.display()
    ))
}

/// Refuses a folder that has lost something, unless `--new` is given. Says whether
/// the server will begin with another certificate than its clients know.
pub(super) fn check(config: &Config) -> Result<bool, FolderError> {
    let database = database(&config.data);
    let found = sqlite::inspect(&database).map_err(|error| FolderError(error.to_string()))?;
    let own = Acceptor::own_files(&config.data);
    let there = own
        .as_ref()
        .map(|files| files.each_ref().map(|f| f.exists()));
    let contents = Contents {
        database: found,
        certificate: there.is_some_and(|[certificate, _]| certificate),
        key: there.is_some_and(|[_, key]| key),
        needs_them: own.is_some() && config.certificate.is_none(),
    };
    match contents.loss() {
        Some(Loss::OnlyLog) if config.new => put_log_aside(&database)?,
        Some(loss) if !config.new => return Err(FolderError(loss.explain(&config.data))),
        _ => {}
    }
    Ok(contents.makes_another_certificate())
}

/// A log of another database must not be applied to a new one.
fn put_log_aside(database: &Path) -> Result<(), FolderError> {
    let log = sqlite::wal_path(database);
    let aside = log.with_extension(format!("db-wal.old-{}", std::process::id()));
    fs::rename(&log, &aside).map_err(|error| {
        FolderError(format!(
            "{} can't be moved aside: {error}; move it yourself",
            log.display()
        ))
    })
}

/// What a start finds.
#[derive(Debug, Clone, Copy)]
struct Contents {
    database: Found,
    certificate: bool,
    key: bool,
    /// No other certificate is given.
    needs_them: bool,
}

/// What is missing though it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    OnlyLog,
    Database,
    Tables,
    Certificate,
    Key,
}

impl Contents {
    fn loss(self) -> Option<Loss> {
        let pair = (self.certificate, self.key);
        match self.database {
            Found::Nothing { log: true } => Some(Loss::OnlyLog),
            Found::Nothing { log: false } if pair != (false, false) => Some(Loss::Database),
            Found::Empty if pair != (false, false) => Some(Loss::Tables),
            Found::Nothing { log: false } | Found::Empty => None,
            Found::Made { .. } if !self.needs_them => None,
            Found::Made { begun } => match pair {
                (true, true) => None,
                // The key is made first, so this is not what a first start leaves.
                (true, false) => Some(Loss::Key),
                (false, true) if begun => Some(Loss::Certificate),
                // Whoever moves a server by its database alone has nothing to look for.
                (false, _) => None,
            },
        }
    }

    fn makes_another_certificate(self) -> bool {
        let served = self.database == Found::Made { begun: true };
        served && self.needs_them && !(self.certificate && self.key)
    }
}

impl Loss {
    fn explain(self, data: &Path) -> String {
        let data = data.display();
        let other_certificate = "put it back from a backup, or start once with --new to have \
                                 another certificate made, whose fingerprint every client has to \
                                 be told";
        match self {
            Loss::OnlyLog => format!(
                "the folder {data} has mail in chat.db-wal, but the database chat.db that it \
                 belongs to is missing or empty; put chat.db back beside it, or start once with \
                 --new to have the log moved aside and begin without accounts and mail"
            ),
            Loss::Database => format!(
                "the folder {data} has a certificate, but its database chat.db is missing or \
                 empty; put chat.db back from a backup, or start once with --new to begin without \
                 accounts and mail"
            ),
            Loss::Tables => format!(
                "the folder {data} has a certificate, but nothing is in its database chat.db, as \
                 in a copy made without the file chat.db-wal beside it; copy both, or chat.db from \
                 a server that was stopped, or start once with --new to begin without accounts \
                 and mail"
            ),
            Loss::Certificate => format!(
                "the folder {data} has the key tls-key.pem, but its certificate tls-cert.pem is \
                 missing; {other_certificate}"
            ),
            Loss::Key => format!(
                "the folder {data} has the certificate tls-cert.pem, but its key tls-key.pem is \
                 missing; {other_certificate}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Found = Found::Nothing { log: false };
    const CUT_OFF: Found = Found::Made { begun: false };
    const SERVED: Found = Found::Made { begun: true };

    fn loss(database: Found, certificate: bool, key: bool) -> Option<Loss> {
        let needs_them = true;
        Contents {
            database,
            certificate,
            key,
            needs_them,
        }
        .loss()
    }

    #[test]
    fn each_step_of_the_first_start_can_be_gone_on_from() {
        for (database, certificate, key) in [
            (NOTHING, false, false),
            (Found::Empty, false, false),
            (CUT_OFF, false, false),
            (CUT_OFF, false, true),
            (CUT_OFF, true, true),
            (SERVED, true, true),
        ] {
            assert_eq!(loss(database, certificate, key), None, "{database:?}");
        }
    }

    #[test]
    fn what_has_lost_something_is_refused() {
        for (certificate, key) in [(true, true), (true, false), (false, true)] {
            assert_eq!(loss(NOTHING, certificate, key), Some(Loss::Database));
            assert_eq!(loss(Found::Empty, certificate, key), Some(Loss::Tables));
        }
        let log = Found::Nothing { log: true };
        assert_eq!(loss(log, false, false), Some(Loss::OnlyLog));
        assert_eq!(loss(log, true, true), Some(Loss::OnlyLog));
        assert_eq!(loss(SERVED, false, true), Some(Loss::Certificate));
        assert_eq!(loss(SERVED, true, false), Some(Loss::Key));
        assert_eq!(loss(CUT_OFF, true, false), Some(Loss::Key));
    }

    #[test]
    fn a_database_alone_gets_another_certificate_and_that_is_said() {
        let contents = |database, certificate| Contents {
            database,
            certificate,
            key: certificate,
            needs_them: true,
        };
        assert_eq!(contents(SERVED, false).loss(), None);
        assert!(contents(SERVED, false).makes_another_certificate());
        assert!(!contents(SERVED, true).makes_another_certificate());
        assert!(!contents(CUT_OFF, false).makes_another_certificate());
        assert!(!contents(NOTHING, false).makes_another_certificate());
    }

    #[test]
    fn a_certificate_of_the_operators_own_needs_no_other() {
        let contents = Contents {
            database: SERVED,
            certificate: false,
            key: false,
            needs_them: false,
        };
        assert_eq!(contents.loss(), None);
    }
}
