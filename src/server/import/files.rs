//! The files of an export: those that are named and, of a folder, those of the original's
//! collections.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ImportError;

/// The collections that are read from a folder.
const COLLECTIONS: [&str; 3] = ["accounts", "messages", "online_peers"];

/// How the files of a folder may end.
const ENDINGS: [&str; 4] = [".json", ".json.gz", ".bson", ".bson.gz"];

/// The files that are meant, in order.
///
/// # Errors
/// One is not there, or a folder has none of the collections.
pub(super) fn expand(exports: &[PathBuf]) -> Result<Vec<PathBuf>, ImportError> {
    let mut files = Vec::new();
    for export in exports {
        let unreadable = |error| ImportError::Unreadable(export.clone(), error);
        match fs::metadata(export).map_err(unreadable)?.is_dir() {
            false => files.push(export.clone()),
            true => files.extend(in_folder(export)?),
        }
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let collections = COLLECTIONS.iter();
    let names = collections.flat_map(|name| ENDINGS.map(|ending| format!("{name}{ending}")));
    let found: Vec<PathBuf> = names
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect();
    match found.is_empty() {
        true => Err(ImportError::NoCollections(folder.to_owned())),
        false => Ok(found),
    }
}
