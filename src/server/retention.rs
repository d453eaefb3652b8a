//! Forgets when people were last seen, once that is longer ago than the operator allows. Mail has no
//! age limit here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::shared::Shared;
use crate::clock;
use crate::store::{Change, Changed, UserId};
use crate::sync;

/// The pause between two parts of a look through all accounts, and how often the stop is noticed.
const PAUSE: Duration = Duration::from_millis(200);

/// The pause between two looks.
const BETWEEN: Duration = Duration::from_secs(3600);

/// The stack of the thread, in bytes.
const STACK: usize = 64 * 1024;

/// Starts the thread `retention`, if the settings give an age.
///
/// # Errors
/// The system has no thread to give.
pub(super) fn start(shared: Arc<Shared>, stopping: Arc<AtomicBool>) -> io::Result<()> {
    let Some(keep) = shared.config().keep_last_seen else {
        return Ok(());
    };
    let look = move || {
        let mut after = UserId(0);
        let mut due = clock::now();
        while !stopping.load(Ordering::Acquire) {
            if clock::now() >= due {
                let before = clock::unix_ms().saturating_sub(keep.as_millis() as u64);
                let change = Change::ForgetSeen(after, before);
                match shared.writer.change(change) {
                    Ok(Changed::LookedUpTo(last)) => after = last,
                    // It was the last part, or the disk is full: the next look begins anew.
                    _ => {
                        after = UserId(0);
                        due = clock::now() + BETWEEN;
                    }
                }
            }
            sync::sleep(PAUSE);
        }
    };
    sync::spawn("retention", Some(STACK), look).map(|_| ())
}
