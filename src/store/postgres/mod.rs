//! The store in a PostgreSQL database, with the feature `postgres`.
//!
//! One connection writes, and only the writer thread uses it; a few others read. A commit returns
//! when PostgreSQL has synced it. A connection that breaks is made anew: what was not done is done
//! once more, and a commit whose outcome is unknown is looked up by its number, never repeated
//! blindly. Meanwhile clients wait.
//!
//! Several servers use a database at a time. Each start of one begins a run with a lease; a run whose lease
//! is renewed no more is ended by the others, and a batch of a run that has ended changes nothing.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the connections |
//! | [`address`] | where the database is, and the password |
//! | `guesses` | wrong logins, counted for all servers |
//! | `homes` | which server holds a mailbox |
//! | `lease` | until when this server may act |
//! | `runs`, `watch` | the other servers, and the end of one that has died |
//! | `open`, `open_error` | opening and making the tables, and why that fails |
//! | `connection`, `connector` | one connection and its prepared statements; how it is made |
//! | `failure` | what an error means |
//! | `promises` | what the database is set to promise less |
//! | `values` | from columns to values |
//! | `read` | the reads |
//! | `write` | the one transaction that writes |
//! | `admin` | resets, invitations and bans |
//! | `expiry` | mail that waits for too long |
//! | `mail` | messages in and out of their table |
//! | `face` | the certificate that all servers show, and how it is replaced |
//! | `fill` | filling an empty database from a SQLite file |
//! | `personal_data` | what the tables hold about a person |
//! | `purge` | what a deleted account has left with others |
//! | `statements` | all SQL statements |

mod address;
mod admin;
mod connection;
mod connector;
mod expiry;
mod face;
mod failure;
mod fill;
mod guesses;
mod homes;
mod lease;
mod mail;
mod open;
mod open_error;
mod personal_data;
mod promises;
mod purge;
mod read;
mod runs;
mod statements;
mod values;
mod watch;
mod write;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use self::address::StoreAddress;
use self::connection::Connection;
use self::connector::Connector;
use self::failure::Failure;
use self::lease::Renewal;
pub(crate) use self::open::Candidate;
pub(crate) use self::open_error::OpenError;
use self::values::get;
use self::watch::Watch;
use self::write::{Numbered, Undone};
use super::homes::RunId;
use super::lease::Lease;
use super::personal_data::{After, Person, PersonalPage, Section};
use super::pool::{Borrowed, Lane, Pool};
use super::successions::Successions;
use super::{
    Account, Ban, Batch, Change, Changed, ListedAccount, ListedInvitation, Message, Page,
    PageBounds, Place, Reset, SearchHit, Store, StoreError, Summary, UserId,
};
use crate::clock;
use crate::protocol::name::UserName;
use crate::sync::{self, Mutex};

/// How long a database that is away is waited for, before those who ask are told.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same for who counts a wrong login: what follows if that can't be done is no worse than to wait.
const COUNTING: Duration = Duration::from_secs(2);

/// The pause between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

/// A store in a database.
pub(crate) struct Postgres {
    connector: Connector,
    run: RunId,
    first_number: u64,
    secret: [u8; 32],
    epoch: Option<[u8; 16]>,
    /// Another server was found to have begun.
    superseded: AtomicBool,
    renewal: Renewal,
    watch: Watch,
    local_address: IpAddr,
    /// Deleted accounts whose mail has still to be deleted. Only the writer thread takes it, and
    /// never together with another lock.
    deleted: Mutex<Vec<UserId>>,
    /// The writing connection. Held during a commit, but only the writer thread takes it.
    writer: Mutex<Writer>,
    readers: Pool<Connection>,
}

struct Writer {
    /// `None` after it broke, until there is another.
    connection: Option<Connection>,
    /// The number of the last batch of this run that may have been committed.
    batch: i64,
    /// Since when there is none.
    away: Option<Instant>,
}

impl Postgres {
    /// Opens the database, makes its tables if there are none, and begins a run with a lease.
    ///
    /// # Errors
    /// It can't be reached or used, or another server stands in the way.
    pub(crate) fn open(
        address: &StoreAddress,
        candidate: Candidate<'_>,
    ) -> Result<Self, OpenError> {
        let connector = Connector::new(address)?;
        let opened = open::open(&connector, candidate)?;
        let renewal = Renewal::start(connector.clone(), opened.run, opened.begun);
        let renewal = renewal.map_err(OpenError::NoThread)?;
        let watch = Watch::start(
            connector.clone(),
            opened.run,
            renewal.lease.clone(),
            (candidate.standbys, opened.weaknesses),
        );
        let watch = watch.map_err(OpenError::NoThread)?;
        Ok(Postgres {
            connector,
            run: opened.run,
            first_number: opened.first_number,
            secret: opened.secret,
            epoch: opened.epoch,
            superseded: AtomicBool::new(false),
            renewal,
            watch,
            local_address: opened.local_address,
            deleted: Mutex::new(opened.deleted),
            writer: Mutex::new(Writer {
                connection: Some(opened.connection),
                batch: 0,
                away: None,
            }),
            readers: Pool::new(),
        })
    }

    /// Makes this certificate the one that the servers show, if they show none yet or `replace` is
    /// set. Returns whether a server may show it: it is that one, or is being put in its place.
    ///
    /// # Errors
    /// It could not be noted.
    pub(crate) fn show_face(&self, face: [u8; 32], replace: bool) -> Result<bool, StoreError> {
        let mut writer = self.writer.lock();
        let mut connection = self.connect(&mut writer)?;
        let may = face::show(&mut connection, face, replace)?;
        writer.connection = Some(connection);
        Ok(may)
    }

    /// Whether another server has ended this one's run, so that it can't write any more.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire) || self.renewal.is_lost()
    }

    /// Runs a read on one of the reading connections. If the connection broke, it is made anew and
    /// the read is run once more, for as long as there is patience.
    fn read<T>(
        &self,
        lane: Lane,
        run: impl Fn(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.read_within(PATIENCE, lane, run)
    }

    fn read_within<T>(
        &self,
        patience: Duration,
        lane: Lane,
        run: impl Fn(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let deadline = clock::now() + patience;
        let Some(mut place) = self.readers.borrow(lane) else {
            return Err(Failure::Closed.into());
        };
        loop {
            let connection = match place {
                Borrowed::Idle(connection) => Ok(connection),
                Borrowed::New => self.connector.connect(),
            };
            let failure = match connection {
                Ok(mut connection) => match run(&mut connection) {
                    Ok(value) => {
                        self.readers.put_back(lane, Some(connection));
                        return Ok(value);
                    }
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if !failure.is_disconnection() || clock::now() >= deadline {
                self.readers.put_back(lane, None);
                return Err(failure.into());
            }
            self.readers.drop_idle();
            sync::sleep(RETRY);
            place = Borrowed::New;
        }
    }

    /// A connection to write with.
    ///
    /// # Errors
    /// There was none for so long that whoever asks should be told, or another server has begun.
    fn connect(&self, writer: &mut Writer) -> Result<Connection, Failure> {
        if let Some(connection) = writer.connection.take() {
            return Ok(connection);
        }
        loop {
            let failure = match self.connector.connect() {
                Ok(connection) => {
                    writer.away = None;
                    return Ok(connection);
                }
                Err(failure) => failure,
            };
            let since = *writer.away.get_or_insert_with(clock::now);
            if !failure.is_disconnection() || clock::now() - since >= PATIENCE {
                return Err(failure);
            }
            sync::sleep(RETRY);
        }
    }

    /// Whether a batch whose commit was cut off was done, and is where it is promised to be: also at the
    /// synchronous standby, if there is one.
    fn was_done(&self, writer: &mut Writer, batch: i64) -> Result<bool, Failure> {
        loop {
            let looked = self.connect(writer).and_then(|mut connection| {
                let done = connection.confirmed(|connection| {
                    let row = connection.row(statements::LAST_BATCH, &[&self.run.0])?;
                    let row = row.ok_or(Failure::Superseded)?;
                    Ok(get::<i64>(&row, 0)? == batch)
                })?;
                writer.connection = Some(connection);
                Ok(done)
            });
            match looked {
                // Nobody may be told that it was not done, so there is no end of patience.
                Err(failure) if failure.is_disconnection() || failure.is_lock_timeout() => {
                    sync::sleep(RETRY);
                }
                looked => return looked,
            }
        }
    }

    fn commit_numbered(
        &self,
        writer: &mut Writer,
        batch: &Batch,
    ) -> Result<Vec<Changed>, StoreError> {
        loop {
            let mut connection = self.connect(writer)?;
            writer.batch += 1;
            let numbered = Numbered {
                run: self.run,
                batch: writer.batch,
            };
            let failure = match write::commit(&mut connection, numbered, batch) {
                Ok(changed) => {
                    writer.connection = Some(connection);
                    return Ok(changed);
                }
                Err(Undone::Unknown(changed)) => {
                    drop(connection);
                    if self.was_done(writer, numbered.batch)? {
                        return Ok(changed);
                    }
                    continue;
                }
                Err(Undone::Nothing(failure)) => failure,
            };
            if !failure.is_disconnection() && connection.roll_back() {
                writer.connection = Some(connection);
            }
            if matches!(failure, Failure::Superseded) {
                self.superseded.store(true, Ordering::Release);
            }
            if !failure.is_disconnection() && !failure.is_conflict() {
                return Err(failure.into());
            }
        }
    }
}

impl Store for Postgres {
    fn account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.read(Lane::Short, |connection| read::account(connection, name))
    }

    fn accounts(
        &self,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        self.read(Lane::Short, |connection| {
            admin::accounts(connection, after, limit)
        })
    }

    fn listed_account(&self, name: &UserName) -> Result<Option<ListedAccount>, StoreError> {
        self.read(Lane::Short, |connection| {
            admin::listed_account(connection, name)
        })
    }

    fn reset(&self, user: UserId) -> Result<Option<Reset>, StoreError> {
        self.read(Lane::Short, |connection| admin::reset(connection, user))
    }

    fn invitations(&self, after: i64, limit: usize) -> Result<Vec<ListedInvitation>, StoreError> {
        self.read(Lane::Short, |connection| {
            admin::invitations(connection, after, limit)
        })
    }

    /// It is a write of its own on a reading connection, so it waits for no mail. Is the connection lost at
    /// its end, it may be counted twice.
    fn count_guess(
        &self,
        name: &UserName,
        forgiven_after: Duration,
        most: u32,
    ) -> Result<Option<u32>, StoreError> {
        let count = self.read_within(COUNTING, Lane::Counting, |connection| {
            guesses::count(connection, name, forgiven_after, most)
        });
        count.map(Some)
    }

    fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        self.read(Lane::Short, admin::bans)
    }

    fn successions(&self) -> Result<Successions, StoreError> {
        self.read(Lane::Short, face::successions)
    }

    fn face(&self) -> Result<Option<[u8; 32]>, StoreError> {
        self.read(Lane::Short, face::face)
    }

    fn blocks(&self, user: UserId, whom: UserId) -> Result<bool, StoreError> {
        self.read(Lane::Short, |connection| {
            read::blocks(connection, user, whom)
        })
    }

    fn search(
        &self,
        asker: UserId,
        prefix: &str,
        after: Option<&UserName>,
        limit: usize,
    ) -> Result<Vec<SearchHit>, StoreError> {
        self.read(Lane::Short, |connection| {
            read::search(connection, asker, prefix, after, limit)
        })
    }

    fn blocked(&self, user: UserId) -> Result<Vec<UserName>, StoreError> {
        self.read(Lane::Short, |connection| read::blocked(connection, user))
    }

    fn summary(&self, recipient: UserId) -> Result<Summary, StoreError> {
        self.read(Lane::Opening, |connection| {
            read::summary(connection, recipient)
        })
    }

    fn page(&self, recipient: UserId, bounds: PageBounds) -> Result<Page, StoreError> {
        self.read(Lane::Short, |connection| {
            read::page(connection, recipient, bounds)
        })
    }

    fn message(&self, recipient: UserId, number: u64) -> Result<Option<Message>, StoreError> {
        self.read(Lane::Short, |connection| {
            read::stored(connection, recipient, number)
        })
    }

    fn places(&self, recipient: UserId, numbers: &[u64]) -> Result<Vec<Place>, StoreError> {
        self.read(Lane::Search, |connection| {
            read::places(connection, recipient, numbers)
        })
    }

    fn places_after(
        &self,
        recipient: UserId,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        self.read(Lane::Search, |connection| {
            read::places_after(connection, recipient, number, limit)
        })
    }

    fn personal_data(
        &self,
        person: Person<'_>,
        section: Section,
        after: After,
        limit: usize,
    ) -> Result<PersonalPage, StoreError> {
        let lane = match section.withheld() {
            None => Lane::Short,
            Some(_) => Lane::Search,
        };
        self.read(lane, |connection| {
            personal_data::page(connection, person, section, after, limit)
        })
    }

    fn first_number(&self) -> u64 {
        self.first_number
    }

    fn epoch(&self) -> Option<[u8; 16]> {
        self.epoch
    }

    fn lease(&self) -> Lease {
        self.renewal.lease.clone()
    }

    fn weaknesses(&self) -> Vec<String> {
        self.watch.weaknesses()
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<Changed>, StoreError> {
        let changed = self.commit_numbered(&mut self.writer.lock(), batch)?;
        let changes = batch.changes.iter().zip(&changed);
        let deleted = changes.filter_map(|change| match change {
            (Change::Delete { user, .. }, Changed::Done) => Some(*user),
            _ => None,
        });
        self.deleted.lock().extend(deleted);
        Ok(changed)
    }

    fn reclaim(&self) -> Result<bool, StoreError> {
        let Some(account) = self.deleted.lock().last().copied() else {
            return Ok(false);
        };
        let mut writer = self.writer.lock();
        let mut connection = self.connect(&mut writer)?;
        let dropped = write::drop_mail(&mut connection, account)?;
        writer.connection = Some(connection);
        drop(writer);
        if !dropped {
            self.deleted.lock().pop();
        }
        Ok(true)
    }

    /// PostgreSQL keeps its log short by itself.
    fn wants_folding(&self) -> bool {
        false
    }

    fn fold(&self, _beside_mail: bool) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.readers.close();
        self.renewal.stop();
        self.watch.stop();
        if let Some(mut connection) = self.writer.lock().connection.take() {
            // Nobody need wait for the end of the lease.
            let _given = connection.execute(statements::END_OWN_RUN, &[&self.run.0]);
            // All that was committed is in the database, whether or not it hears the farewell.
            let _said = connection.close();
        }
        Ok(())
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
