//! The thread that watches what others do to this server's database: it ends the runs of servers whose lease
//! is dead, tells when one has ended, whoever ended it, and looks whether another host has become the
//! primary, and what that promises.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::guesses;
use super::promises;
use super::runs::{self, Watched};
use crate::clock;
use crate::store::homes::{OnEnded, RunId};
use crate::store::lease::Lease;
use crate::sync::{self, Mutex};

/// How often the others are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// After so many looks it is asked again what the database promises, and old guesses are removed.
const LOOKS: u32 = 60;

/// The watching of the other servers.
pub(super) struct Watch {
    stopping: Arc<AtomicBool>,
    /// What is told when a run has ended. It is whole at every step, and held while nothing else is.
    on_ended: Arc<Mutex<Option<Arc<OnEnded>>>>,
    /// What the database promised less at the last look. It is whole at every step, and held for one.
    weaknesses: Arc<Mutex<Vec<String>>>,
    /// There were others at the last look.
    has_others: Arc<AtomicBool>,
}

/// What the thread knows of the others.
struct Others {
    connector: Connector,
    connection: Option<Connection>,
    /// Looks on this connection.
    looks: u32,
    /// For so many synchronous standbys a commit is to wait.
    standbys: u32,
    weaknesses: Arc<Mutex<Vec<String>>>,
    has_others: Arc<AtomicBool>,
    watched: Watched,
    own: RunId,
    /// Those that had not ended at the last look.
    live: BTreeSet<RunId>,
    /// The newest that was ever found.
    newest: RunId,
}

impl Watch {
    /// Watches from here on, on a thread and a connection of its own. The last argument is for how many
    /// synchronous standbys a commit is to wait, and what the database was found to promise less.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        connector: Connector,
        own: RunId,
        lease: Lease,
        (standbys, weaknesses): (u32, Vec<String>),
    ) -> io::Result<Self> {
        let watch = Watch {
            stopping: Arc::default(),
            on_ended: Arc::default(),
            weaknesses: Arc::new(Mutex::new(weaknesses)),
            has_others: Arc::default(),
        };
        let stopping = Arc::clone(&watch.stopping);
        let on_ended = Arc::clone(&watch.on_ended);
        let mut others = Others {
            connector,
            connection: None,
            looks: 0,
            standbys,
            weaknesses: Arc::clone(&watch.weaknesses),
            has_others: Arc::clone(&watch.has_others),
            watched: Watched::default(),
            own,
            live: BTreeSet::new(),
            newest: own,
        };
        sync::spawn("watch", None, move || {
            while !stopping.load(Ordering::Acquire) {
                // Whoever needs the database hears why it is away.
                for run in others.look().unwrap_or_default() {
                    let hook = on_ended.lock().clone();
                    if let Some(hook) = hook {
                        hook(run);
                    }
                }
                if !lease.holds() {
                    others.connector.look_for_another_primary();
                }
                sync::sleep(LOOK);
            }
        })?;
        Ok(watch)
    }

    /// Sets what is told when a run has ended.
    pub(super) fn set_on_ended(&self, hook: OnEnded) {
        *self.on_ended.lock() = Some(Arc::new(hook));
    }

    /// What the database was set to promise less at the last look.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        self.weaknesses.lock().clone()
    }

    /// Whether there were others at the last look.
    pub(super) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Acquire)
    }

    /// Watches no more.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Others {
    /// Ends the runs whose lease is dead. Returns those that have ended since the last look.
    fn look(&mut self) -> Result<Vec<RunId>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.watched = Watched::default();
                self.looks = 0;
                self.connector.connect()?
            }
        };
        if self.looks.is_multiple_of(LOOKS) {
            let found = promises::weaknesses(&mut connection, self.standbys)?;
            *self.weaknesses.lock() = found;
            // What is left is forgotten at a later look.
            let _forgotten = guesses::forget(&mut connection);
        }
        self.looks = self.looks.wrapping_add(1);
        let now = clock::since_boot_ms();
        let mut found = runs::list(&mut connection, self.newest)?;
        found.retain(|run| run.id != self.own);
        self.watched.look(&found, now);
        for run in found.iter_mut().filter(|run| !run.ended) {
            if self.watched.is_dead(run) {
                run.ended = match runs::end(&mut connection, run) {
                    Err(failure) if failure.is_disconnection() => return Err(failure),
                    // Its server holds the run's row; that has an end.
                    Err(_) => false,
                    Ok(ended) => ended,
                };
            }
        }
        self.connection = Some(connection);
        let live = found.iter().filter(|run| !run.ended).map(|run| run.id);
        let live: BTreeSet<RunId> = live.collect();
        let ended = found.iter().filter(|run| run.ended).map(|run| run.id);
        let mut ended: BTreeSet<RunId> = ended.collect();
        ended.extend(self.live.difference(&live));
        self.newest = found
            .last()
            .map_or(self.newest, |run| run.id)
            .max(self.newest);
        self.has_others.store(!live.is_empty(), Ordering::Release);
        self.live = live;
        Ok(ended.into_iter().collect())
    }
}
