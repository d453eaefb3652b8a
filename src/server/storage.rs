//! Where the server keeps accounts and mail: in a SQLite file in the data folder, or in a PostgreSQL
//! database that `--store` names. It opens the one or the other, and notices when the server has lost
//! it. What is stored, and how, is decided in `store`; the folder itself in `data_folder`.
//!
//! With a database the folder still has the certificate, the lock, the socket for commands and the
//! audit log. All servers of a database show one certificate, which the first of them makes known there.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::Config;
use super::data_folder;
use super::data_folder::{FolderError, Lock};
use super::log;
use crate::store::Store;
#[cfg(feature = "postgres")]
use crate::store::StoreError;
#[cfg(feature = "postgres")]
use crate::store::postgres::{self, Candidate, Postgres};
use crate::store::sqlite::{self, NameIndex, Sqlite};
use crate::transport::fingerprint::Fingerprint;
#[cfg(feature = "postgres")]
use crate::transport::tls::Acceptor;

/// Why there is no store.
#[derive(Debug)]
pub(crate) enum StorageError {
    /// The data folder can't be used.
    Folder(FolderError),
    /// The database in it can't be used.
    File(sqlite::OpenError),
    /// `--journal` is for a store in a file.
    #[cfg(feature = "postgres")]
    Journal,
    /// The folder has a database that `--store` would leave unused.
    #[cfg(feature = "postgres")]
    TwoDatabases(PathBuf),
    /// The certificate that the database's servers show is not in the folder.
    #[cfg(feature = "postgres")]
    NoFace(PathBuf),
    /// The servers of the database show another certificate: theirs, and this one's.
    #[cfg(feature = "postgres")]
    OtherFace(Fingerprint, Fingerprint),
    /// The PostgreSQL database can't be used.
    #[cfg(feature = "postgres")]
    Database(postgres::OpenError),
    /// It was opened, and failed then.
    #[cfg(feature = "postgres")]
    Failed(StoreError),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Folder(error) => error.fmt(f),
            StorageError::File(error) => error.fmt(f),
            #[cfg(feature = "postgres")]
            StorageError::Journal => f.write_str(
                "--journal is for a server without --store: PostgreSQL keeps a journal of its own, the \
                 write-ahead log, and restores to any moment from it",
            ),
            #[cfg(feature = "postgres")]
            StorageError::TwoDatabases(data) => write!(
                f,
                "the folder {} has a database of its own, chat.db, which --store would leave unused; \
                 bring it over with server migrate, or choose another folder with --data",
                data.display()
            ),
            #[cfg(feature = "postgres")]
            StorageError::NoFace(data) => write!(
                f,
                "the servers of this database show a certificate that is not in the folder {}; copy \
                 tls-cert.pem and tls-key.pem there from another server of it, or start once with --new \
                 to have another made, whose fingerprint every client has to be told",
                data.display()
            ),
            #[cfg(feature = "postgres")]
            StorageError::OtherFace(theirs, ours) => write!(
                f,
                "the servers of this database show the certificate {}, and this one has {}; copy \
                 tls-cert.pem and tls-key.pem from another server of it, or start once with --new to \
                 have all show this one, whose fingerprint every client has to be told",
                theirs.groups(),
                ours.groups()
            ),
            #[cfg(feature = "postgres")]
            StorageError::Database(error) => error.fmt(f),
            #[cfg(feature = "postgres")]
            StorageError::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // They are shown as they are, so what is below them is below this.
            StorageError::Folder(error) => error.source(),
            StorageError::File(error) => error.source(),
            #[cfg(feature = "postgres")]
            StorageError::Database(error) => error.source(),
            #[cfg(feature = "postgres")]
            StorageError::Failed(error) => error.source(),
            #[cfg(feature = "postgres")]
            StorageError::Journal
            | StorageError::TwoDatabases(_)
            | StorageError::NoFace(_)
            | StorageError::OtherFace(..) => None,
        }
    }
}

/// The store, by its kind.
#[derive(Clone)]
pub(crate) enum Storage {
    /// A file in the data folder.
    File(Arc<Sqlite>),
    /// A PostgreSQL database.
    #[cfg(feature = "postgres")]
    Database(Arc<Postgres>),
}

/// How a server has lost its store, for good.
#[derive(Debug)]
pub(crate) enum Loss {
    /// This file was moved, removed or replaced under it.
    File(PathBuf),
    /// Another server has ended this one's run.
    #[cfg(feature = "postgres")]
    Superseded,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::File(path) => write!(
                f,
                "{} was moved, removed or replaced under the server: nothing is accepted any more",
                path.display()
            ),
            #[cfg(feature = "postgres")]
            Loss::Superseded => f.write_str(
                "the other servers of the database took this one for dead, since it did not renew its lease \
                 in time: nothing is accepted any more; start it again",
            ),
        }
    }
}

impl Storage {
    /// Opens the store that the settings name. Returns with it whether another certificate will be
    /// made than the one that clients know.
    ///
    /// # Errors
    /// The folder or the database can't be used, or has lost something.
    pub(crate) fn open(config: &Config, lock: &mut Lock) -> Result<(Self, bool), StorageError> {
        match &config.store {
            None => Self::open_file(config, lock),
            #[cfg(feature = "postgres")]
            Some((address, node)) => Self::open_database(config, lock, address, node),
            #[cfg(not(feature = "postgres"))]
            Some((address, _)) => match *address {},
        }
    }

    fn open_file(config: &Config, lock: &mut Lock) -> Result<(Self, bool), StorageError> {
        let replaces = data_folder::check(config, lock).map_err(StorageError::Folder)?;
        let path = data_folder::database(&config.data);
        let store = Sqlite::open(&path).map_err(StorageError::File)?;
        lock.note_open(&config.data);
        Ok((Storage::File(Arc::new(store)), replaces))
    }

    #[cfg(feature = "postgres")]
    fn open_database(
        config: &Config,
        lock: &Lock,
        address: &postgres::StoreAddress,
        node: &str,
    ) -> Result<(Self, bool), StorageError> {
        if config.journal.is_some() {
            return Err(StorageError::Journal);
        }
        if crate::fs::has_content(&data_folder::database(&config.data)) {
            return Err(StorageError::TwoDatabases(config.data.clone()));
        }
        let place = lock.identity();
        let candidate = Candidate {
            node,
            place: &place,
            alone: config.alone,
            standbys: config.standbys,
        };
        let store = Postgres::open(address, candidate).map_err(StorageError::Database)?;
        let known = store.face().map_err(StorageError::Failed)?.is_some();
        let own = Acceptor::own_files(&config.data).filter(|_| config.certificate.is_none());
        let missing = own.is_some_and(|own| !own.iter().all(|file| crate::fs::has_content(file)));
        if known && missing && !config.new {
            return Err(StorageError::NoFace(config.data.clone()));
        }
        Ok((Storage::Database(Arc::new(store)), known && missing))
    }

    /// Notes in the store that a server serves with it, under the certificate that clients see.
    ///
    /// # Errors
    /// It could not be noted, or the servers of the database show another certificate.
    pub(crate) fn begin(
        &self,
        shown: Option<Fingerprint>,
        config: &Config,
    ) -> Result<(), StorageError> {
        match self {
            Storage::File(store) => {
                store.mark_used().map_err(StorageError::File)?;
                // Without a database that others use, nothing depends on the certificate.
                let _ = (shown, config);
                Ok(())
            }
            #[cfg(feature = "postgres")]
            Storage::Database(store) => {
                let Some(shown) = shown else { return Ok(()) };
                let may = store.show_face(shown.0, config.new);
                if may.map_err(StorageError::Failed)? {
                    return Ok(());
                }
                let face = store.face().map_err(StorageError::Failed)?;
                let face = face.map_or(shown, Fingerprint);
                Err(StorageError::OtherFace(face, shown))
            }
        }
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Sqlite> {
        match self {
            Storage::File(store) => Some(store),
            #[cfg(feature = "postgres")]
            Storage::Database(_) => None,
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Storage::File(store) => Arc::clone(store) as Arc<dyn Store>,
            #[cfg(feature = "postgres")]
            Storage::Database(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Begins to watch the files that have to stay where they are.
    ///
    /// # Errors
    /// One of them is not there.
    pub(crate) fn watch(&self, data: &Path) -> Result<(), FolderError> {
        match self {
            Storage::File(store) => {
                let lasting = data_folder::lasting(data);
                store
                    .watch(&lasting.each_ref().map(PathBuf::as_path))
                    .map_err(|error| FolderError::Unwritable(data.to_owned(), error))
            }
            #[cfg(feature = "postgres")]
            Storage::Database(_) => Ok(()),
        }
    }

    /// Says in the log what the opening found to be damaged.
    pub(crate) fn report_damage(&self) {
        match self {
            Storage::File(store) => report_name_index(store.name_index()),
            #[cfg(feature = "postgres")]
            Storage::Database(_) => {}
        }
    }

    /// Says in the log what the store promises less than at the last look; `known` is what was said.
    pub(crate) fn report_weaknesses(&self, known: &mut Vec<String>) {
        let found = self.store().weaknesses();
        for weakness in found.iter().filter(|it| !known.contains(it)) {
            log::warn(None, format_args!("{weakness}"));
        }
        *known = found;
    }

    /// Looks whether the server has lost its store.
    pub(crate) fn look_for_loss(&self) -> Option<Loss> {
        match self {
            Storage::File(store) => store.lost().map(|path| Loss::File(path.to_owned())),
            #[cfg(feature = "postgres")]
            Storage::Database(store) => store.is_superseded().then_some(Loss::Superseded),
        }
    }

    /// The loss that was found, without looking again.
    pub(crate) fn loss(&self) -> Option<Loss> {
        match self {
            Storage::File(store) => store.already_lost().map(|path| Loss::File(path.to_owned())),
            #[cfg(feature = "postgres")]
            Storage::Database(_) => self.look_for_loss(),
        }
    }
}

fn report_name_index(index: NameIndex) {
    match index {
        NameIndex::Sound => {}
        NameIndex::Rebuilt => log::warn(
            None,
            format_args!(
                "the database's index on names was damaged, and was made anew from the accounts; \
                 check the disk"
            ),
        ),
        NameIndex::Damaged => log::error(
            None,
            format_args!(
                "the database's table of accounts is damaged; accounts that cannot be read get no \
                 mail. Stop the server, and restore a backup"
            ),
        ),
    }
}
