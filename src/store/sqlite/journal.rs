//! Keeps the journal of a database: the changes of a batch as entries. [`repeat`](super::repeat) repeats
//! them on a database that was restored.

use std::io;
use std::path::Path;

use data_encoding::BASE64;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Sqlite, read, statements};
use crate::protocol::ids::ByteArray;
use crate::store::journal::{Entry, Journal, Line, last_number};
use crate::store::{Batch, Change, Changed, NewAccount, NewLogin, UserId};

const NAME: &str = "SELECT name FROM users WHERE id = ?1";
const CODE: &str = "SELECT code FROM invitations WHERE id = ?1";
const USES: &str = "SELECT uses FROM invitations WHERE code = ?1";
const ANY_IMPORT: &str = "SELECT 1 FROM imported_messages LIMIT 1";
/// A message that was imported has its ObjectId behind four bytes.
const IMPORTED_AMONG: &str = "
    SELECT substr(id, 5) FROM mail WHERE recipient = ?1 AND number BETWEEN ?2 AND ?3
       AND substr(id, 5) IN (SELECT id FROM imported_messages)";

/// The key in table `server` of how many changes there were for a journal, whether or not one was kept.
const COUNT: &str = "journaled";

/// So many ObjectIds of imported messages are in one entry: it fits into a line.
const READ_IDS: usize = 200;

/// So many lines are appended at once.
const PART: usize = 1000;

/// Is told that a journal can't be written, and why.
type Report = Box<dyn Fn(&Path, &io::Error) + Send>;

/// A journal that is kept.
pub(super) struct Kept {
    journal: Journal,
    report: Report,
}

impl Kept {
    fn append(&mut self, lines: &[Line]) {
        let appended = self.journal.append(lines);
        self.report_failure(appended);
    }

    /// Returns the number of the last change, if it has one that can be read.
    fn forget_deleted(&self) -> Option<u64> {
        let lines = self.journal.lines();
        let last = lines.as_ref().map_or(None, |lines| last_number(lines));
        let forgotten = lines.and_then(|lines| self.journal.forget_deleted(&lines));
        self.report_failure(forgotten);
        last
    }

    fn report_failure(&self, done: io::Result<()>) {
        if let Err(error) = done {
            (self.report)(self.journal.path(), &error);
        }
    }
}

/// What is known only before the changes of a batch are made.
#[derive(Default)]
pub(super) struct Before {
    /// For each change, what is written down if it was made.
    of_changes: Vec<Option<Entry>>,
    /// Imported messages that the batch deletes.
    read: Vec<[u8; 12]>,
}

impl Before {
    /// Reads it; what can't be read is met by the changes. If there `are_imports`, what is acknowledged may be
    /// one of them.
    pub(super) fn read(connection: &Connection, batch: &Batch, are_imports: bool) -> Self {
        let of_changes = batch.changes.iter();
        let read = match are_imports {
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
}

/// The lines of a batch whose changes were made; they are counted in its transaction.
pub(super) fn lines_of(
    transaction: &Transaction<'_>,
    batch: &Batch,
    changed: &[Changed],
    before: Before,
) -> rusqlite::Result<Vec<Line>> {
    if changed.is_empty() && before.read.is_empty() {
        return Ok(Vec::new());
    }
    let entries = entries_of(transaction, batch, changed, before)?;
    numbered(transaction, entries)
}

/// Counts changes, and gives them their numbers.
pub(super) fn numbered(
    transaction: &Transaction<'_>,
    entries: Vec<Entry>,
) -> rusqlite::Result<Vec<Line>> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let before = count(transaction)?.unwrap_or(0);
    set_count(transaction, before + entries.len() as u64)?;
    Ok(Line::numbered(before + 1, entries))
}

/// How many changes there were for a journal; `None` if an earlier server has not counted them.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let count = read::value(connection, COUNT)?;
    let count = count.and_then(|count| count.try_into().ok());
    Ok(count.map(u64::from_be_bytes))
}

pub(super) fn set_count(connection: &Connection, count: u64) -> rusqlite::Result<()> {
    let value = count.to_be_bytes();
    connection
        .execute(statements::SET_VALUE, (COUNT, &value[..]))
        .map(drop)
}

/// Whether messages were ever imported.
pub(super) fn has_imports(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare(ANY_IMPORT)?.exists([])
}

impl Sqlite {
    /// Has changes that a restore must not undo appended to the journal at `path`, from here on.
    /// `report` is told if that fails; the changes are made, and written later. Returns how many of the last
    /// changes the journal lacks, if it is not a new one.
    pub(crate) fn keep_journal(
        &self,
        path: &Path,
        report: impl Fn(&Path, &io::Error) + Send + 'static,
    ) -> u64 {
        let kept = Kept {
            journal: Journal::at(path),
            report: Box::new(report),
        };
        let mended = kept.journal.mend_end();
        kept.report_failure(mended);
        let last = kept.forget_deleted();
        let writer = self.writer.lock();
        let lacking = match (&*writer, last) {
            (Some(connection), Some(last)) => lacking(connection, last).unwrap_or_default(),
            _ => 0,
        };
        *self.journal.lock() = Some(kept);
        lacking
    }

    /// Takes out of the journal what it has of accounts that are deleted.
    pub(super) fn forget_in_journal(&self) {
        if let Some(kept) = &*self.journal.lock() {
            kept.forget_deleted();
        }
    }

    /// Writes down changes that were committed.
    pub(super) fn note(&self, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        if let Some(kept) = &mut *self.journal.lock() {
            for part in lines.chunks(PART) {
                kept.append(part);
            }
        }
    }
}

/// How many changes there were behind the last one of a journal. If the journal knows more, because an earlier state
/// of the database was put back, what follows is numbered behind them.
fn lacking(connection: &Connection, last: u64) -> rusqlite::Result<u64> {
    let count = count(connection)?.unwrap_or(0);
    if count < last {
        set_count(connection, last)?;
    }
    Ok(count.saturating_sub(last))
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
