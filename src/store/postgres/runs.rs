//! The runs of the servers of a database, as one of them sees the others: which there are, which lease
//! stands still, and how a run is ended. Who looks when is decided in `open` and `watch`.
//!
//! A lease that its server renews no more is dead once it has stood still for longer than a lease lasts, on
//! the clock of whoever watches it, begun anew with each connection: the servers' clocks need not agree.
//! A run is ended only if its lease has the counter that was watched, so that of a late renewal and the end
//! of the lease one comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Connection;
use super::failure::Failure;
use super::lease::{LASTS, millis};
use super::statements;
use super::values::get;
use crate::store::homes::RunId;

/// What a server waits longer than a lease lasts before it ends another's.
const MARGIN: Duration = Duration::from_secs(1);

/// At most so much of the time between two looks counts: if the database stood still itself, or whoever
/// watches did, the others may not have had the time to renew.
const BETWEEN: Duration = Duration::from_secs(2);

/// Another server's run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) ended: bool,
    pub(super) node: String,
    /// It wants the database for itself.
    pub(super) alone: bool,
    pub(super) address: Option<String>,
    /// The counter of its lease, if it has one.
    renewed: Option<i64>,
    /// Which lock its server holds, see [`lock_identity`](crate::fs::lock_identity).
    place: Option<String>,
}

impl Run {
    /// Whether its process has ended, since this lock of it is held by another.
    pub(super) fn is_at(&self, place: &str) -> bool {
        !place.is_empty() && self.place.as_deref() == Some(place)
    }
}

/// The runs that have not ended, and all behind `newest`.
pub(super) fn list(connection: &mut Connection, newest: RunId) -> Result<Vec<Run>, Failure> {
    let rows = connection.rows(statements::RUNS, &[&newest.0])?;
    rows.iter().map(run).collect()
}

/// The runs with a lease in the tables of version 1.
pub(super) fn list_old(connection: &mut Connection) -> Result<Vec<Run>, Failure> {
    let rows = connection.rows(statements::OLD_RUNS, &[])?;
    rows.iter().map(run).collect()
}

fn run(row: &postgres::Row) -> Result<Run, Failure> {
    Ok(Run {
        id: RunId(get(row, 0)?),
        ended: get(row, 1)?,
        node: get(row, 2)?,
        alone: get(row, 3)?,
        address: get(row, 4)?,
        renewed: get(row, 5)?,
        place: get(row, 6)?,
    })
}

/// Ends a run, unless its lease was renewed since. Waits for a commit of it that is under way.
pub(super) fn end(connection: &mut Connection, run: &Run) -> Result<bool, Failure> {
    let ended = match &run.renewed {
        Some(renewed) => connection.execute(statements::END_RUN, &[&run.id.0, renewed])?,
        None => connection.execute(statements::END_RUN_WITHOUT_LEASE, &[&run.id.0])?,
    };
    Ok(ended > 0)
}

/// How long leases have stood still.
#[derive(Debug, Default)]
pub(super) struct Watched {
    leases: BTreeMap<RunId, Still>,
    /// The moment of the last look, by [`clock::since_boot_ms`](crate::clock::since_boot_ms).
    last: Option<u64>,
}

#[derive(Debug)]
struct Still {
    renewed: Option<i64>,
    /// For so long, in ms.
    time: u64,
}

impl Watched {
    /// Takes note of what a look has found that began at `now`, by
    /// [`clock::since_boot_ms`](crate::clock::since_boot_ms). Returns a run whose lease was renewed
    /// since the look before.
    pub(super) fn look<'a>(&mut self, runs: &'a [Run], now: u64) -> Option<&'a Run> {
        let passed = self.last.map_or(0, |last| now.saturating_sub(last));
        let passed = passed.min(millis(BETWEEN));
        self.last = Some(now);
        let mut before = std::mem::take(&mut self.leases);
        let mut renewed = None;
        for run in runs.iter().filter(|run| !run.ended) {
            let mut still = Still {
                renewed: run.renewed,
                time: 0,
            };
            match before.remove(&run.id) {
                Some(before) if before.renewed == run.renewed => still.time = before.time + passed,
                Some(_) => renewed = Some(run),
                None => {}
            }
            self.leases.insert(run.id, still);
        }
        renewed
    }

    /// Whether a run's lease has ended: it stood still for too long, or is not there.
    pub(super) fn is_dead(&self, run: &Run) -> bool {
        let dead = millis(LASTS + MARGIN);
        run.renewed.is_none()
            || self
                .leases
                .get(&run.id)
                .is_some_and(|still| still.renewed == run.renewed && still.time >= dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: i64, renewed: i64) -> Run {
        Run {
            id: RunId(id),
            ended: false,
            node: "test".to_owned(),
            alone: false,
            address: None,
            renewed: Some(renewed),
            place: None,
        }
    }

    #[test]
    fn a_lease_is_dead_once_it_has_stood_still_for_longer_than_it_lasts() {
        let mut watched = Watched::default();
        for second in 0..=6 {
            assert!(watched.look(&[run(1, 5)], second * 1000).is_none());
            assert!(!watched.is_dead(&run(1, 5)), "after {second} s");
        }
        watched.look(&[run(1, 5)], 7000);
        assert!(watched.is_dead(&run(1, 5)));
        assert!(!watched.is_dead(&run(1, 6)), "it was renewed since");
        assert!(!watched.is_dead(&run(2, 5)), "it was never looked at");
        assert!(watched.look(&[run(1, 6)], 8000).is_some());
        assert!(!watched.is_dead(&run(1, 6)));
    }

    #[test]
    fn the_time_in_which_nobody_looked_does_not_count() {
        let mut watched = Watched::default();
        watched.look(&[run(1, 5)], 0);
        watched.look(&[run(1, 5)], 60_000);
        assert!(!watched.is_dead(&run(1, 5)));
        for second in 61..=65 {
            watched.look(&[run(1, 5)], second * 1000);
        }
        assert!(watched.is_dead(&run(1, 5)));
    }
}
