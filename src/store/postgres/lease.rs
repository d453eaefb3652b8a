//! The lease of this server: until when it may act for the users.
//!
//! A lease is a row with a counter. Its server raises the counter every second, and counts the lease's time
//! on its own clock, which goes on while the machine is suspended, from before it sent that. The other
//! servers watch the counter, and end the run once it has stood still for longer: see [`runs`](super::runs).
//!
//! What has been committed is guarded by the run's row besides: see [`open`](super::open).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::connector::Connector;
use super::failure::Failure;
use super::statements;
use crate::clock;
use crate::store::homes::RunId;
use crate::store::lease::Lease;
use crate::sync;

/// How long a lease lasts from before its renewal was sent.
pub(super) const LASTS: Duration = Duration::from_secs(6);

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// The pause after a connection that broke.
const RECONNECT: Duration = Duration::from_millis(100);

pub(super) fn millis(time: Duration) -> u64 {
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
    pub(super) fn start(connector: Connector, run: RunId, begun: u64) -> io::Result<Self> {
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
                        RECONNECT
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
    run: RunId,
) -> Result<bool, Failure> {
    if connection.is_none() {
        *connection = Some(connector.connect()?);
    }
    match connection {
        // A renewal that only a primary of before has is none.
        Some(connection) => connection.confirmed(|connection| {
            Ok(connection.execute(statements::RENEW_LEASE, &[&run.0])? > 0)
        }),
        None => Ok(false),
    }
}
