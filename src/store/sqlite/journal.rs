//! The journal of a database: the changes of a batch as its entries, and entries that are repeated on
//! a database that was restored.

use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Sqlite, statements, write};
use crate::protocol::ids::ByteArray;
use crate::store::journal::{Entry, Journal};
use crate::store::{Batch, Change, Changed, NewAccount, NewLogin, UserId};

const NAME: &str = "SELECT name FROM users WHERE id = ?1";
const CODE: &str = "SELECT code FROM invitations WHERE id = ?1";
const USES: &str = "SELECT uses FROM invitations WHERE code = ?1";
const ADD_ACCOUNT: &str = "
    INSERT OR IGNORE INTO users (id, name, created, salt, memory_kib, passes, lanes, login_key)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const SET_LOGIN: &str = "
    UPDATE users SET salt = ifnull(?2, salt), memory_kib = ifnull(?3, memory_kib),
           passes = ifnull(?4, passes), lanes = ifnull(?5, lanes), login_key = ?6
    WHERE id = ?1 AND deleted = 0";
const IS_ACCOUNT: &str = "SELECT 1 FROM users WHERE id = ?1 AND name = ?2";
const LIMIT_USES: &str = "UPDATE invitations SET uses = min(uses, ?2) WHERE code = ?1";

/// A journal, and who is told that it can't be written, and why.
pub(super) type Kept = (Journal, Box<dyn Fn(&Path, &io::Error) + Send>);

impl Sqlite {
    /// Has changes that a restore must not undo appended to the journal at `path`, from now on.
    /// `report` is told if that fails; the changes are made, and written later.
    pub(crate) fn keep_journal(
        &self,
        path: &Path,
        report: impl Fn(&Path, &io::Error) + Send + 'static,
    ) {
        *self.journal.lock() = Some((Journal::at(path), Box::new(report)));
    }

    /// Writes down a batch that was committed; `entries` are those that were known before.
    pub(super) fn note(
        &self,
        connection: &Connection,
        batch: &Batch,
        changed: &[Changed],
        mut entries: Vec<Entry>,
    ) {
        let mut journal = self.journal.lock();
        let Some((journal, report)) = &mut *journal else {
            return;
        };
        let noted = entries_of(connection, batch, changed);
        let noted = noted.map_err(io::Error::other).and_then(|more| {
            entries.extend(more);
            journal.append(&entries)
        });
        if let Err(error) = noted {
            report(journal.path(), &error);
        }
    }
}

/// What is known only before a batch is committed: the codes of the invitations that it takes back.
pub(super) fn before(connection: &Connection, batch: &Batch) -> Vec<Entry> {
    let revoked = batch.changes.iter().filter_map(|change| match change {
        Change::Revoke(id) => connection.query_row(CODE, [id], |row| row.get(0)).ok(),
        _ => None,
    });
    revoked
        .map(|code| Entry::Invitation {
            code: ByteArray(code),
            uses: 0,
        })
        .collect()
}

/// The entries of a batch that was committed.
fn entries_of(
    connection: &Connection,
    batch: &Batch,
    changed: &[Changed],
) -> rusqlite::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (change, changed) in batch.changes.iter().zip(changed) {
        add(connection, change, changed, &mut entries)?;
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
        (Change::Reset(user, _), Changed::Done) => entries.push(Entry::Login {
            id: user.0,
            name: name(*user)?,
            kdf: None,
            login_key: ByteArray([0; 32]),
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
        _ => {}
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

/// Repeats an entry. One that is about nothing in the database changes nothing.
pub(super) fn repeat(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let is_account = |id: i64, name: &str| transaction.prepare(IS_ACCOUNT)?.exists((id, name));
    match entry {
        Entry::Registered {
            id,
            name,
            created,
            kdf,
            login_key,
        } => transaction.execute(
            ADD_ACCOUNT,
            params![
                id,
                name,
                *created as i64,
                kdf.salt.0,
                kdf.memory_kib,
                kdf.passes,
                kdf.lanes,
                login_key.0
            ],
        )?,
        Entry::Login {
            id,
            name,
            kdf,
            login_key,
        } if is_account(*id, name)? => {
            // The code of an earlier reset must not work again.
            transaction.execute(statements::DROP_RESET, [id])?;
            let values = params![
                id,
                kdf.map(|kdf| kdf.salt.0),
                kdf.map(|kdf| kdf.memory_kib),
                kdf.map(|kdf| kdf.passes),
                kdf.map(|kdf| kdf.lanes),
                login_key.0
            ];
            transaction.execute(SET_LOGIN, values)?
        }
        Entry::Deleted { id, name } if is_account(*id, name)? => {
            write::delete_account(transaction, UserId(*id), None)?;
            0
        }
        Entry::Released { id, name } if is_account(*id, name)? => {
            write::release_name(transaction, UserId(*id))?;
            0
        }
        Entry::Disabled { id, name, disabled } if is_account(*id, name)? => {
            transaction.execute(statements::DISABLE, (id, disabled))?
        }
        Entry::Block {
            id,
            name,
            other,
            blocked,
            on,
        } if is_account(*id, name)? && is_account(*other, blocked)? => {
            let statement = match on {
                true => statements::BLOCK,
                false => statements::UNBLOCK,
            };
            transaction.execute(statement, (id, other))?
        }
        Entry::Invitation { code, uses } => transaction.execute(LIMIT_USES, (code.0, uses))?,
        Entry::Ban {
            network,
            created,
            on: true,
        } => transaction.execute(statements::BAN, (network, *created as i64))?,
        Entry::Ban {
            network, on: false, ..
        } => transaction.execute(statements::LIFT_BAN, [network])?,
        Entry::Login { .. }
        | Entry::Deleted { .. }
        | Entry::Released { .. }
        | Entry::Disabled { .. }
        | Entry::Block { .. } => 0,
    };
    Ok(())
}
