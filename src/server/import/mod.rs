//! `server import mongo`: accounts and messages from the database of the Python program before this
//! one, as `mongoexport` or `mongodump` writes it, into a data folder on which no server runs.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the command, from the folder's lock to the last line |
//! | `files` | which files are meant |
//! | `format`, `json`, `bson` | from a file to documents |
//! | `document` | the fields of a document that count |
//! | `apply` | which account or message is taken, and why not |
//! | `report` | what is printed meanwhile and at the end |
//! | `error` | why nothing was imported |
//!
//! Everything is read twice, first for the accounts and then for the messages, and written in one
//! transaction: an import is whole, or it has not happened. Memory does not grow with the files.

mod apply;
mod bson;
mod document;
mod error;
mod files;
mod format;
mod json;
mod report;

use std::path::{Path, PathBuf};

use self::apply::Import;
use self::document::{Collection, Document, Position};
pub(super) use self::error::ImportError;
use self::format::Documents;
use self::report::Report;
use super::admin::Audit;
use super::args::import::MongoTask;
use super::config::Config;
use super::data_folder;
use super::data_folder::Lock;
use super::journal::OfCommand;
use crate::store::Store;
use crate::store::sqlite::Sqlite;

/// Carries the command out, and prints what comes of it; as JSON lines with `json`.
///
/// # Errors
/// A sentence for the operator. Nothing was imported, unless it says otherwise.
pub(super) fn mongo(config: &Config, task: &MongoTask, json: bool) -> Result<(), ImportError> {
    let data = &config.data;
    let files = files::expand(&task.exports)?;
    // Before anything is locked: most wrong files show at once.
    for file in &files {
        Documents::open(file).map_err(|error| ImportError::of_format(file, error))?;
    }
    data_folder::require_own_log(data)?;
    data_folder::require_owner(data)?;
    // Files are made for this user alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut lock = Lock::take(data)?;
    data_folder::check(config, &lock)?;
    let store = Sqlite::open(&data_folder::database(data)).map_err(ImportError::Database)?;
    lock.note_open(data);
    let journal = match task.dry_run {
        false => OfCommand::keep(config, &store)?,
        true => None,
    };
    let audit = Audit::of(data);
    let exports = task.exports.iter().map(|path| path.display().to_string());
    let subject = exports.collect::<Vec<_>>().join(" ");
    let uid = rustix::process::geteuid().as_raw();
    let mut report = Report::new(json, task.dry_run, total_size(&files));
    let done = audit.record(Some(uid), ("import mongo", subject), || {
        store.import(!task.dry_run, |importer| {
            let mut import = Import::new(importer, &task.rename, config.quota);
            read_accounts(&files, &mut import, &mut report)?;
            read_messages(&files, &mut import, &mut report)
        })
    });
    let closed = store.close();
    done?;
    closed.map_err(ImportError::NotClosed)?;
    lock.note_closed();
    report.finish()?;
    Ok(journal.map_or(Ok(()), OfCommand::finish)?)
}

/// How many documents a file of this content has before its end or its first fault, at most `most`.
/// It is for the fuzzer.
pub fn import_documents(content: &[u8], most: usize) -> usize {
    let Ok(mut documents) = Documents::of_bytes(content.to_vec()) else {
        return 0;
    };
    let mut count = 0;
    while count < most && matches!(documents.next(), Ok(Some(_))) {
        count += 1;
    }
    count
}

fn total_size(files: &[PathBuf]) -> u64 {
    let sizes = files.iter().map(std::fs::metadata);
    sizes.flatten().map(|found| found.len()).sum()
}

/// The first time through the files. It meets every document, so what can't be read shows before the
/// first message is taken.
fn read_accounts(
    files: &[PathBuf],
    import: &mut Import<'_, '_>,
    report: &mut Report,
) -> Result<(), ImportError> {
    for file in files {
        let (mut known, mut unknown) = (false, false);
        each(file, report, |position, document, report| {
            let skipped = match document.collection() {
                _ if document.is_ambiguous => Err(apply::Skip::Ambiguous),
                Collection::Accounts => import.account(&document)?.map(|()| report.accounts += 1),
                Collection::Messages => Ok(()),
                Collection::Peers => {
                    report.peers += 1;
                    Ok(())
                }
                Collection::Unknown => Err(apply::Skip::Unknown),
            };
            match document.collection() {
                Collection::Unknown => unknown = true,
                _ => known = true,
            }
            skipped.or_else(|why| report.skipped(file, position, &why))
        })?;
        if unknown && !known {
            return Err(ImportError::NotOurs(file.clone()));
        }
    }
    Ok(())
}

/// The second time through the files.
fn read_messages(
    files: &[PathBuf],
    import: &mut Import<'_, '_>,
    report: &mut Report,
) -> Result<(), ImportError> {
    for file in files {
        each(file, report, |position, document, report| {
            if document.is_ambiguous || document.collection() != Collection::Messages {
                return Ok(());
            }
            match import.message(&document)? {
                Ok(()) => report.messages += 1,
                Err(why) => report.skipped(file, position, &why)?,
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Hands over the documents of a file, one after the other.
fn each(
    file: &Path,
    report: &mut Report,
    mut take: impl FnMut(Position, Document, &mut Report) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let wrong = |error| ImportError::of_format(file, error);
    let mut documents = Documents::open(file).map_err(wrong)?;
    let mut before = 0;
    while let Some((position, document)) = documents.next().map_err(wrong)? {
        take(position, document, report)?;
        let read = documents.bytes_read();
        report.advance(read - before);
        before = read;
    }
    Ok(())
}
