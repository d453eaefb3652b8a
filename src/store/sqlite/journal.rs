//! Keeps the journal of a database: the changes of a batch as entries. [`repeat`](super::repeat) repeats
//! them on a database that was restored.

use std::io;
use std::path::Path;

use data_encoding::BASE64;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, read, statements};
use crate::protocol::ids::ByteArray;
use crate::store::journal::{Entry, Journal};
use crate::store::{Batch, Change, Changed, NewAccount, NewLogin, UserId};

const NAME: &str = "SELECT name FROM users WHERE id = ?1";
const CODE: &str = "SELECT code FROM invitations WHERE id = ?1";
const USES: &str = "SELECT uses FROM invitations WHERE code = ?1";
const ANY_IMPORT: &str = "SELECT 1 FROM imported_messages LIMIT 1";
/// A message that was imported has its ObjectId behind four bytes.
const IMPORTED_AMONG: &str = "
    SELECT substr(id, 5) FROM mail WHERE recipient = ?1 AND number BETWEEN ?2 AND ?3
       AND substr(id, 5) IN (SELECT id FROM imported_messages)";

/// So many ObjectIds of imported messages are in one entry: it fits into a line.
const READ_IDS: usize = 200;

/// So many entries of an import are appended at once.
const PART: usize = 1000;

/// Is told that a journal can't be written, and why.
type Report = Box<dyn Fn(&Path, &io::Error) + Send>;

/// A journal that is kept.
pub(super) struct Kept {
    journal: Journal,
    report: Report,
    /// Messages were imported, so what is acknowledged may be one of them.
    has_imports: bool,
}

impl Kept {
    fn append(&mut self, entries: rusqlite::Result<Vec<Entry>>) {
        let appended = entries.map_err(io::Error::other);
        let appended = appended.and_then(|entries| self.journal.append(&entries));
        self.report_failure(appended);
    }

    fn forget_deleted(&mut self) {
        let forgotten = self.journal.forget_deleted();
        self.report_failure(forgotten);
    }

    fn report_failure(&self, done: io::Result<()>) {
        if let Err(error) = done {
            (self.report)(self.journal.path(), &error);
        }
    }
}

/// What is known only before a batch is committed.
#[derive(Default)]
pub(super) struct Before {
    /// For each change, what is written down if it was made.
    of_changes: Vec<Option<Entry>>,
    /// Imported messages that the batch deletes.
    read: Vec<[u8; 12]>,
}

impl Sqlite {
    /// Has changes that a restore must not undo appended to the journal at `path`, from here on.
    /// `report` is told if that fails; the changes are made, and written later.
    pub(crate) fn keep_journal(
        &self,
        path: &Path,
        report: impl Fn(&Path, &io::Error) + Send + 'static,
    ) {
        let writer = self.writer.lock();
        let imports = writer.as_ref().map(|writer| writer.prepare(ANY_IMPORT));
        let has_imports =
            imports.is_none_or(|found| found.and_then(|mut it| it.exists([])) != Ok(false));
        let mut kept = Kept {
            journal: Journal::at(path),
            report: Box::new(report),
            has_imports,
        };
        let mended = kept.journal.mend_end();
        kept.report_failure(mended);
        kept.forget_deleted();
        *self.journal.lock() = Some(kept);
    }

    /// Takes out of the journal what it has of accounts that are deleted.
    pub(super) fn forget_in_journal(&self) {
        if let Some(kept) = &mut *self.journal.lock() {
            kept.forget_deleted();
        }
    }

    /// What has to be read before a batch is committed. What can't be read is met by the commit.
    pub(super) fn before(&self, connection: &Connection, batch: &Batch) -> Before {
        let journal = self.journal.lock();
        let Some(kept) = &*journal else {
            return Before::default();
        };
        let of_changes = batch.changes.iter();
        let read = match kept.has_imports {
            true => imported_among(connection, batch),
            false => Ok(Vec::new()),
        };
        Before {
            of_changes: of_changes
                .map(|change| replaced(connection, change).unwrap_or_default())
                .collect(),
            read: read.unwrap_or_default(),
        }
    }

    /// Writes down a batch that was committed.
    pub(super) fn note(
        &self,
        connection: &Connection,
        batch: &Batch,
        changed: &[Changed],
        before: Before,
    ) {
        if changed.is_empty() && before.read.is_empty() {
            return;
        }
        if let Some(kept) = &mut *self.journal.lock() {
            kept.append(entries_of(connection, batch, changed, before));
        }
    }

    /// Writes down an import that was committed.
    pub(super) fn note_import(&self, entries: &[Entry]) {
        if let Some(kept) = &mut *self.journal.lock() {
            for part in entries.chunks(PART) {
                kept.append(Ok(part.to_owned()));
            }
        }
    }
}

/// What a change takes the place of: the code of an invitation that is taken back, another identity.
fn replaced(connection: &Connection, change: &Change) -> rusqlite::Result<Option<Entry>> {
    Ok(match change {
        Change::Revoke(id) => {
            let code = connection
                .query_row(CODE, [id], |row| row.get(0))
                .optional()?;
            code.map(|code| Entry::Invitation {
                code: ByteArray(code),
                uses: 0,
            })
        }
        Change::Publish(user, keys) => {
            let published = connection
                .prepare_cached(statements::IDENTITY)?
                .query_row([user.0], |row| read::identity(row, 0))?;
            let name = connection.query_row(NAME, [user.0], |row| row.get(0))?;
            (published != Some(keys.identity)).then_some(Entry::Identity {
                id: user.0,
                name,
                identity: keys.identity,
                signed_prekey: keys.signed_prekey,
            })
        }
        _ => None,
    })
}

/// The imported messages that a batch deletes.
fn imported_among(connection: &Connection, batch: &Batch) -> rusqlite::Result<Vec<[u8; 12]>> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(IMPORTED_AMONG)?;
    for (recipient, numbers) in &batch.acknowledged {
        let range = params![recipient.0, *numbers.start() as i64, *numbers.end() as i64];
        for id in statement.query_map(range, |row| row.get(0))? {
            found.push(id?);
        }
    }
    Ok(found)
}

/// The entries of a batch that was committed.
fn entries_of(
    connection: &Connection,
    batch: &Batch,
    changed: &[Changed],
    before: Before,
) -> rusqlite::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut replaced = before.of_changes.into_iter();
    for (change, changed) in batch.changes.iter().zip(changed) {
        let replaced = replaced.next().flatten();
        match (change, changed) {
            (Change::Revoke(_), Changed::Done) | (Change::Publish(..), Changed::Published(_)) => {
                entries.extend(replaced);
            }
            _ => add(connection, change, changed, &mut entries)?,
        }
    }
    for ids in before.read.chunks(READ_IDS) {
        entries.push(Entry::ImportedRead {
            ids: BASE64.encode(&ids.concat()),
        });
    }
    Ok(entries)
}

fn add(
    connection: &Connection,
    change: &Change,
    changed: &Changed,
    entries: &mut Vec<Entry>,
) -> rusqlite::Result<()> {
    let name = |user: UserId| connection.query_row(NAME, [user.0], |row| row.get::<_, String>(0));
    match (change, changed) {
        (Change::Register(account), Changed::Registered(id)) => {
            entries.push(registered(*id, account));
            if let Some(code) = account.invitation {
                let uses = connection.query_row(USES, [code.0], |row| row.get(0));
                let uses = uses.optional()?.unwrap_or(0);
                entries.push(Entry::Invitation { code, uses });
            }
        }
        (Change::Reuse(earlier, account), Changed::Registered(id)) => {
            entries.push(Entry::Released {
                id: earlier.0,
                name: account.name.to_string(),
            });
            entries.push(registered(*id, account));
        }
        (
            Change::SetLogin(new) | Change::FinishReset(new, _) | Change::Claim(new),
            Changed::Done,
        ) => {
            let NewLogin {
                user,
                kdf,
                login_key,
                ..
            } = *new;
            entries.push(Entry::Login {
                id: user.0,
                name: name(user)?,
                kdf: Some(kdf),
                login_key,
            });
        }
        (Change::Reset(user, reset), Changed::Done) => entries.push(Entry::Reset {
            id: user.0,
            name: name(*user)?,
            key: reset.key,
            expires: reset.expires,
        }),
        (Change::SetFlags(user, flags), Changed::Done) => entries.push(Entry::Settings {
            id: user.0,
            name: name(*user)?,
            listed: flags.listed,
            presence: flags.presence,
            refuse_unencrypted: flags.refuse_unencrypted,
        }),
        (Change::Delete { user, .. }, Changed::Done) => entries.push(Entry::Deleted {
            id: user.0,
            name: name(*user)?,
        }),
        (Change::Disable(user, disabled), Changed::Done) => entries.push(Entry::Disabled {
            id: user.0,
            name: name(*user)?,
            disabled: *disabled,
        }),
        (Change::Block(user, other, on), Changed::Done) => entries.push(Entry::Block {
            id: user.0,
            name: name(*user)?,
            other: other.0,
            blocked: name(*other)?,
            on: *on,
        }),
        (Change::Ban(network, created), Changed::Done) => entries.push(Entry::Ban {
            network: network.clone(),
            created: *created,
            on: true,
        }),
        (Change::LiftBan(network), Changed::Done) => entries.push(Entry::Ban {
            network: network.clone(),
            created: 0,
            on: false,
        }),
        // A restore may undo it, or it is written down with what was read before.
        (
            Change::CountLogin(..)
            | Change::Seen(..)
            | Change::ForgetSeen(..)
            | Change::ClaimBundle { .. }
            | Change::Publish(..)
            | Change::Invite(..)
            | Change::Revoke(_)
            | Change::Announce(_)
            | Change::EndSuccession
            | Change::Purge(..)
            | Change::Expiry(_)
            | Change::ClaimHome(_)
            | Change::MoveHome(..)
            | Change::Online(..),
            _,
        ) => {}
        // It was not made.
        (
            Change::Register(_)
            | Change::Reuse(..)
            | Change::SetLogin(_)
            | Change::FinishReset(..)
            | Change::Claim(_)
            | Change::Reset(..)
            | Change::SetFlags(..)
            | Change::Delete { .. }
            | Change::Disable(..)
            | Change::Block(..)
            | Change::Ban(..)
            | Change::LiftBan(_),
            _,
        ) => {}
    }
    Ok(())
}

fn registered(id: UserId, account: &NewAccount) -> Entry {
    Entry::Registered {
        id: id.0,
        name: account.name.to_string(),
        created: account.created,
        kdf: account.kdf,
        login_key: account.login_key,
    }
}
