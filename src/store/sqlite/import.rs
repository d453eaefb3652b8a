//! Writing what comes from the database of the Python program before this one: one transaction,
//! however large, so that an import is whole or has not happened. SQLite keeps in memory only what
//! its cache holds of it.
//!
//! Which account or message is taken, and why not, is decided in `server::import`.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::failure::store_error;
use super::read::{PLAIN, summary};
use super::{Sqlite, admin, journal, read, statements};
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::request::KdfParams;
use crate::store::journal::Entry;
use crate::store::{StoreError, Tally, UserId};

/// Somebody of whom an earlier or this import has made a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    /// The account's number.
    pub id: UserId,
    /// The name here.
    pub name: UserName,
    /// The account is deleted, or never was more than a sender's name.
    pub deleted: bool,
    /// It had no account there, as far as imports have seen.
    pub only_sender: bool,
    /// A restore has made it anew, without what its password is checked against, and its owner has
    /// no other.
    pub lacks_verifier: bool,
    /// Its name here was given away, and its messages were purged.
    pub released: bool,
    /// Unencrypted messages are refused.
    pub refuses_plain: bool,
}

/// An account to be made.
#[derive(Debug)]
pub(crate) struct NewPerson<'a> {
    /// The name in the original's spelling.
    pub original: &'a str,
    /// The name here.
    pub name: UserName,
    /// The salt and the cost that lead to the verifier.
    pub kdf: KdfParams,
    /// What the password is checked against, once.
    pub verifier: ByteArray<32>,
    /// When it was made, ms since 1970.
    pub created: u64,
}

/// A message to be put into a mailbox.
#[derive(Debug)]
pub(crate) struct NewMail<'a> {
    /// Its id there.
    pub object_id: [u8; 12],
    /// Whose mailbox.
    pub recipient: UserId,
    /// Who sent it.
    pub sender: UserId,
    /// Its id here.
    pub mid: MessageId,
    /// When it was sent, ms since 1970.
    pub at: u64,
    /// The text.
    pub text: &'a str,
}

/// An import under way.
pub(crate) struct Importer<'a> {
    connection: &'a Connection,
    /// What the next message of any mailbox is numbered.
    next: u64,
    /// What waits for whom. It has an entry for each recipient.
    waiting: HashMap<UserId, Tally>,
    /// Whom it has made, for the journal.
    entries: Vec<Entry>,
}

impl Sqlite {
    /// Runs an import, and keeps what it has written if it succeeds and `keep` is set.
    ///
    /// # Errors
    /// What `run` says, or the store failed. Nothing was written.
    pub(crate) fn import<T, E: From<StoreError>>(
        &self,
        keep: bool,
        run: impl FnOnce(&mut Importer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |error| E::from(store_error(error, true));
        let mut writer = self.writer.lock();
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => self.reopen()?,
        };
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let mut importer = Importer {
            connection: &transaction,
            next: self.first_number,
            waiting: HashMap::new(),
            entries: Vec::new(),
        };
        // What fails here drops the connection, and with it the transaction.
        let done = run(&mut importer)?;
        let entries = importer.entries;
        match keep {
            true => {
                let lines = journal::numbered(&transaction, entries).map_err(failed)?;
                transaction.commit().map_err(failed)?;
                self.note(&lines);
            }
            false => transaction.rollback().map_err(failed)?,
        }
        *writer = Some(connection);
        Ok(done)
    }
}

impl Importer<'_> {
    /// Somebody by the name in the original's spelling.
    pub(crate) fn person(&self, original: &str) -> Result<Option<Person>, StoreError> {
        let found = self
            .connection
            .prepare_cached(statements::FIND_IMPORTED)
            .and_then(|mut statement| {
                let person = |row: &rusqlite::Row<'_>| {
                    Ok((
                        UserId(row.get(0)?),
                        row.get::<_, String>(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                        row.get(5)?,
                    ))
                };
                statement.query_row([original], person).optional()
            })
            .map_err(failed)?;
        // A name that was given away begins with `~`: that account is deleted, and has no mailbox.
        Ok(found.and_then(
            |(id, name, deleted, only_sender, refuses_plain, lacks_verifier)| {
                Some(Person {
                    id,
                    name: name.trim_start_matches('~').parse().ok()?,
                    deleted,
                    only_sender,
                    lacks_verifier,
                    released: name.starts_with('~'),
                    refuses_plain,
                })
            },
        ))
    }

    /// Whether an account has, or had, this name here.
    pub(crate) fn is_taken(&self, name: &UserName) -> Result<bool, StoreError> {
        let found = admin::listed_account(self.connection, name).map_err(failed)?;
        Ok(found.is_some())
    }

    /// Makes an account, or makes one of the person whose name is reserved so far. Its name must be
    /// free, or that person's.
    pub(crate) fn add_person(
        &mut self,
        new: &NewPerson<'_>,
        reserved: Option<UserId>,
    ) -> Result<(), StoreError> {
        let mut add = || {
            let kdf = &new.kdf;
            if let Some(user) = reserved {
                self.connection.execute(
                    statements::ADMIT_SENDER,
                    params![
                        user.0,
                        new.created as i64,
                        kdf.salt.0,
                        kdf.memory_kib,
                        kdf.passes,
                        kdf.lanes
                    ],
                )?;
                let values = params![user.0, new.verifier.0];
                self.connection
                    .execute(statements::ADMIT_IMPORTED, values)?;
                self.entries.push(entry(user, new));
                return Ok(());
            }
            self.connection.execute(
                statements::REGISTER,
                params![
                    new.name.as_str(),
                    new.created as i64,
                    kdf.salt.0,
                    kdf.memory_kib,
                    kdf.passes,
                    kdf.lanes,
                    [0_u8; 32]
                ],
            )?;
            let user = self.note_person(new.original, false, Some(&new.verifier.0))?;
            self.entries.push(entry(user, new));
            Ok(())
        };
        add().map_err(failed)
    }

    /// Reserves the name of a sender who has no account, as that of a deleted one. `None` if it is
    /// taken.
    pub(crate) fn add_sender(
        &mut self,
        original: &str,
        name: &UserName,
        at: u64,
    ) -> Result<Option<UserId>, StoreError> {
        let mut add = || {
            let values = params![name.as_str(), at as i64];
            if self
                .connection
                .execute(statements::RESERVE_SENDER, values)?
                == 0
            {
                return Ok(None);
            }
            let user = self.note_person(original, true, None)?;
            self.entries.push(Entry::Imported {
                id: user.0,
                name: name.to_string(),
                original: original.to_owned(),
                only_sender: true,
                created: at,
                kdf: KdfParams {
                    salt: ByteArray([0; 16]),
                    memory_kib: 0,
                    passes: 0,
                    lanes: 0,
                },
            });
            Ok(Some(user))
        };
        add().map_err(failed)
    }

    /// Notes who the account that was made last is, and returns its number.
    fn note_person(
        &self,
        original: &str,
        only_sender: bool,
        verifier: Option<&[u8]>,
    ) -> rusqlite::Result<UserId> {
        let user = self.connection.last_insert_rowid();
        let values = params![user, original, only_sender, verifier];
        self.connection
            .execute(statements::IMPORT_ACCOUNT, values)?;
        Ok(UserId(user))
    }

    /// Whether one account blocks another.
    pub(crate) fn blocks(&self, user: UserId, whom: UserId) -> Result<bool, StoreError> {
        read::blocks(self.connection, user, whom).map_err(failed)
    }

    /// Whether this message was imported before.
    pub(crate) fn is_known(&self, object_id: &[u8; 12]) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached(statements::IS_IMPORTED)
            .and_then(|mut statement| statement.exists([&object_id[..]]))
            .map_err(failed)
    }

    /// What waits for a recipient.
    pub(crate) fn waiting(&mut self, recipient: UserId) -> Result<Tally, StoreError> {
        if let Some(tally) = self.waiting.get(&recipient) {
            return Ok(*tally);
        }
        let found = summary(self.connection, recipient).map_err(failed)?;
        let mut all = Tally::default();
        for (_, tally) in found.tallies {
            all.envelopes += tally.envelopes;
            all.plain += tally.plain;
            all.notices += tally.notices;
            all.bytes += tally.bytes;
        }
        self.waiting.insert(recipient, all);
        Ok(all)
    }

    /// Puts a message at the end of a mailbox, and remembers it for ever.
    pub(crate) fn add_mail(&mut self, new: &NewMail<'_>) -> Result<(), StoreError> {
        let number = self.next;
        let mut tally = self.waiting(new.recipient)?;
        let add = || {
            self.connection
                .prepare_cached(statements::IMPORT_MESSAGE)?
                .execute([&new.object_id[..]])?;
            self.connection
                .prepare_cached(statements::STORE)?
                .execute(params![
                    new.recipient.0,
                    number as i64,
                    new.sender.0,
                    &new.mid.0[..],
                    new.at as i64,
                    PLAIN,
                    new.text.as_bytes()
                ])
        };
        add().map_err(failed)?;
        self.next += 1;
        tally.plain += 1;
        tally.bytes += new.text.len() as u64;
        self.waiting.insert(new.recipient, tally);
        Ok(())
    }
}

/// What the journal has of an account that was made.
fn entry(user: UserId, new: &NewPerson<'_>) -> Entry {
    Entry::Imported {
        id: user.0,
        name: new.name.to_string(),
        original: new.original.to_owned(),
        only_sender: false,
        created: new.created,
        kdf: new.kdf,
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error(error, true)
}
