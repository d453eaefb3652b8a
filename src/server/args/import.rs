//! What `server import` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::protocol::UserName;

/// Where to import from.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportTask {
    /// The database of the Python program before this one, while the server is stopped
    Mongo(MongoTask),
}

/// An export of that database.
#[derive(Debug, Args)]
pub(crate) struct MongoTask {
    /// What mongoexport has written of accounts and messages, or mongodump's files or folder,
    /// gzipped or not
    #[arg(required = true, value_name = "EXPORT")]
    pub exports: Vec<PathBuf>,
    /// Take somebody under another name; may be given more than once
    #[arg(long, value_name = "OLD=NEW", value_parser = rename)]
    pub rename: Vec<(String, UserName)>,
    /// Say what would be imported, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn rename(text: &str) -> Result<(String, UserName), String> {
    // A name of then may have an equals sign in it, one of here has none.
    let (old, new) = text
        .rsplit_once('=')
        .ok_or_else(|| "write it as OLD=NEW".to_owned())?;
    let new = new.parse::<UserName>().map_err(|error| error.to_string())?;
    Ok((old.to_owned(), new))
}
