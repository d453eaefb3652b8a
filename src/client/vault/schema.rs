//! The schema of a vault. It is compared with the one that its version has before
//! anything else is read, because a foreign trigger, view, index or column would run or be
//! written with every statement of ours.
//!
//! Nothing here looks at rows: their values are sealed, or checked where they are read.

use std::collections::HashMap;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// The version of the vault, in SQLite's `user_version`.
pub(super) const VERSION: i32 = 3;

/// What a new vault is made of.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// What a vault of version 1 or 2 is made of: the two differ in how values are sealed.
const SCHEMA_VERSION_2: &str = include_str!("schema_version_2.sql");

/// How many characters of a name in a foreign schema go into a message.
const MAX_NAME: usize = 40;

/// Makes SQLite take nothing from the file but rows: no triggers, views or functions of
/// its schema. Until [`trust`], closing does not write the log into the file.
pub(super) fn distrust(db: &Connection) -> rusqlite::Result<()> {
    use DbConfig::{
        SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
        SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, SQLITE_DBCONFIG_TRUSTED_SCHEMA,
    };
    for (setting, on) in [
        (SQLITE_DBCONFIG_DEFENSIVE, true),
        (SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ] {
        db.set_db_config(setting, on)?;
    }
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "mmap_size", 0)
}

/// Lets SQLite write the log into the file at closing again: the schema is ours.
pub(super) fn trust(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// How the schema differs from that of a version of the vault, as part of a sentence;
/// `None` if it does not.
///
/// # Errors
/// That it could not be read.
pub(super) fn difference(db: &Connection, version: i32) -> rusqlite::Result<Option<String>> {
    let model = Connection::open_in_memory()?;
    model.execute_batch(match version {
        VERSION => SCHEMA,
        _ => SCHEMA_VERSION_2,
    })?;
    let mut expected = HashMap::new();
    each_object(&model, |kind, name, object| {
        expected.insert((kind, name), object);
        true
    })?;
    let mut found = None;
    each_object(db, |kind, name, object| {
        let ours = expected.remove(&(kind.clone(), name.clone()));
        if ours.as_ref() != Some(&object) {
            let name: String = name.chars().take(MAX_NAME).collect();
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

/// Calls `visit` with each object of a schema until it returns `false`: the kind, the
/// name, and its table with the statement that made it, as [`normalized`].
fn each_object(
    db: &Connection,
    mut visit: impl FnMut(String, String, (String, String)) -> bool,
) -> rusqlite::Result<()> {
    let mut query =
        db.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let sql: String = row.get(3)?;
        if !visit(row.get(0)?, row.get(1)?, (row.get(2)?, normalized(&sql))) {
            break;
        }
    }
    Ok(())
}

/// A statement without its comments, its words separated by one blank. Our statements
/// have no quotes, so in them two dashes always begin a comment. Lines and blanks are SQLite's: any
/// other character that looks like one belongs to a word.
fn normalized(sql: &str) -> String {
    let code = sql
        .split('\n')
        .map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    let words: Vec<&str> = code.flat_map(str::split_ascii_whitespace).collect();
    words.join(" ")
}
