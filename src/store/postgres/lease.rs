//! Which server may use the database: the one that has the lease, for as long as it renews it.
//!
//! A lease is a row with a counter. Its server raises the counter every second, and counts the lease's time
//! on its own clock, which goes on while the machine is suspended, from before it sent that. Another
//! server that wants the database watches the counter, and ends the lease once that has stood still for
//! longer than a lease lasts, on its own clock, begun anew with each connection: the servers' clocks
//! need not agree. It deletes the row only if the counter is the one it watched, so that of a late
//! renewal and the end of the lease one comes first.
//!
//! What has been committed is guarded by the run's row besides: see [`open`](super::open).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::open_error::OpenError;
use super::statements;
use super::values::get;
use crate::clock;
use crate::store::lease::Lease;
use crate::sync;

/// How long a lease lasts from before its renewal was sent.
const LASTS: Duration = Duration::from_secs(6);

/// What a server waits longer than that before it ends another's.
const MARGIN: Duration = Duration::from_secs(1);

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// How often another server's is looked at, and the pause after a connection that broke.
const LOOK: Duration = Duration::from_millis(100);

/// A lease as another server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    run: i64,
    renewed: i64,
    node: String,
    /// Which lock its server holds, see [`lock_identity`](crate::fs::lock_identity).
    place: String,
}

/// The lease in force, if there is one.
pub(super) fn look(connection: &mut Connection) -> Result<Option<Seen>, Failure> {
    let Some(row) = connection.row(statements::FIND_LEASE, &[])? else {
        return Ok(None);
    };
    Ok(Some(Seen {
        run: get(&row, 0)?,
        renewed: get(&row, 1)?,
        node: get(&row, 2)?,
        place: get(&row, 3)?,
    }))
}

/// Waits until no other server has the lease. `place` is the lock that this server holds: a lease of the
/// same place is that of a process that has ended. Without `standby`, a lease that is renewed is an error.
/// Returns the lease to be ended, if there is one.
///
/// # Errors
/// Another server uses the database, or it could not be asked.
pub(super) fn wait(
    connection: &mut Connection,
    place: &str,
    standby: bool,
) -> Result<Option<Seen>, OpenError> {
    let mut watched = look(connection)?;
    let mut since = clock::since_boot_ms();
    loop {
        let Some(seen) = &watched else {
            return Ok(None);
        };
        let waited = clock::since_boot_ms().saturating_sub(since);
        if (seen.place == place && !place.is_empty()) || waited >= millis(LASTS + MARGIN) {
            return Ok(watched);
        }
        sync::sleep(LOOK);
        let next = look(connection)?;
        if next != watched {
            if !standby && let Some(next) = next {
                return Err(OpenError::InUse(next.node));
            }
            watched = next;
            since = clock::since_boot_ms();
        }
    }
}

/// Ends a lease in the transaction under way, unless it was renewed since it was seen.
pub(super) fn end(connection: &mut Connection, seen: &Seen) -> Result<bool, Failure> {
    let ended = connection.execute(statements::END_LEASE, &[&seen.run, &seen.renewed])?;
    Ok(ended > 0)
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// The renewing of this server's lease.
pub(super) struct Renewal {
    /// The lease, as the rest of the server asks for it.
    pub(super) lease: Lease,
    stopping: Arc<AtomicBool>,
    /// Another server has ended it.
    lost: Arc<AtomicBool>,
}

impl Renewal {
    /// Renews the lease of a run from here on, on a thread and a connection of its own. `begun` is the
    /// moment before the lease was taken.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(connector: Connector, run: i64, begun: u64) -> io::Result<Self> {
        let renewal = Renewal {
            lease: Lease::ended(),
            stopping: Arc::default(),
            lost: Arc::default(),
        };
        renewal.lease.extend(begun + millis(LASTS));
        let (lease, stopping) = (renewal.lease.clone(), Arc::clone(&renewal.stopping));
        let lost = Arc::clone(&renewal.lost);
        sync::spawn("lease", None, move || {
            let mut connection = None;
            while !stopping.load(Ordering::Acquire) {
                let sent = clock::since_boot_ms();
                let pause = match renew(&connector, &mut connection, run) {
                    Ok(true) => {
                        lease.extend(sent + millis(LASTS));
                        RENEWAL
                    }
                    // It may be this server that has given it up.
                    Ok(false) if stopping.load(Ordering::Acquire) => return,
                    Ok(false) => return lost.store(true, Ordering::Release),
                    Err(_) => {
                        // Whoever needs the database hears why it is away.
                        connection = None;
                        LOOK
                    }
                };
                sync::sleep(pause);
            }
        })?;
        Ok(renewal)
    }

    /// Whether another server has ended the lease.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Renews it no more. It lasts until its end, unless the row is deleted.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.stop();
    }
}

fn renew(
    connector: &Connector,
    connection: &mut Option<Connection>,
    run: i64,
) -> Result<bool, Failure> {
    if connection.is_none() {
        *connection = Some(connector.connect()?);
    }
    match connection {
        Some(connection) => Ok(connection.execute(statements::RENEW_LEASE, &[&run])? > 0),
        None => Ok(false),
    }
}
