//! The schema of a vault, compared with what this version makes before anything
//! else is read: a trigger, a view, an index or a column of somebody else's would
//! run or be written with every statement of ours.
//!
//! It looks at the schema only; what the rows hold is sealed, or checked by whoever
//! reads it.

use std::collections::HashMap;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// The version of the vault, in SQLite's `user_version`. Version 1 had the same
/// tables; its sealed values were bound to fewer columns.
pub(super) const VERSION: i32 = 2;

/// What a new vault is made of.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// How much of a foreign name is told.
const TOLD: usize = 40;

/// Makes SQLite take nothing from the file but rows: no triggers, no views, no
/// functions from its schema; and leaves the file alone until [`trust`].
pub(super) fn distrust(db: &Connection) -> rusqlite::Result<()> {
    use DbConfig::{
        SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
        SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, SQLITE_DBCONFIG_TRUSTED_SCHEMA,
    };
    for (what, on) in [
        (SQLITE_DBCONFIG_DEFENSIVE, true),
        (SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ] {
        db.set_db_config(what, on)?;
    }
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "mmap_size", 0)
}

/// The schema is ours: the log is folded into the file again when it is closed.
pub(super) fn trust(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// What is in the schema and should not be, or the other way round; nothing if it
/// is as this version makes it.
///
/// # Errors
/// That it could not be read.
pub(super) fn foreign(db: &Connection) -> rusqlite::Result<Option<String>> {
    let model = Connection::open_in_memory()?;
    model.execute_batch(SCHEMA)?;
    let mut expected = HashMap::new();
    each_object(&model, |kind, name, object| {
        expected.insert((kind, name), object);
        true
    })?;
    let mut found = None;
    each_object(db, |kind, name, object| {
        let ours = expected.remove(&(kind.clone(), name.clone()));
        if ours.as_ref() != Some(&object) {
            let name: String = name.chars().take(TOLD).collect();
            found = Some(format!(
                "its {kind} {name:?} is not as this client makes it"
            ));
        }
        found.is_none()
    })?;
    let missing = || {
        let ((kind, name), _) = expected.iter().next()?;
        Some(format!("its {kind} {name:?} is missing"))
    };
    Ok(found.or_else(missing))
}

/// Gives every object of a schema to `take`, until it says `false`: kind, name, and
/// its table with the statement that made it, without comments and white space.
fn each_object(
    db: &Connection,
    mut take: impl FnMut(String, String, (String, String)) -> bool,
) -> rusqlite::Result<()> {
    let mut query =
        db.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let sql: String = row.get(3)?;
        if !take(row.get(0)?, row.get(1)?, (row.get(2)?, bare(&sql))) {
            break;
        }
    }
    Ok(())
}

/// A statement without its comments, words apart by one blank. Ours have no quotes,
/// so nothing that is ours has two dashes in it that are no comment.
fn bare(sql: &str) -> String {
    let code = sql
        .lines()
        .map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    words.join(" ")
}
