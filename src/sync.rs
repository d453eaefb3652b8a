//! Threads, locks and waiting, for the whole crate.
//!
//! Every lock recovers from the panic of an earlier holder, because each place that
//! takes one leaves the guarded value whole at every step; the lock's own doc says so.
//! Nothing outside this module names `std::sync::Mutex`, `Condvar` or `std::thread`, so that
//! in a build for unit tests a scheduler which decides every interleaving can take their place.
//!
//! | file | what |
//! | --- | --- |
//! | `system` | the system's threads and locks: what the programs run |
//! | `scheduled` | the same for unit tests; within an exploration, the scheduler's |

#[cfg(test)]
pub(crate) mod scheduled;
#[cfg(not(test))]
mod system;

use std::io;
use std::sync::Arc;

#[cfg(test)]
pub(crate) use self::scheduled::*;
#[cfg(not(test))]
pub(crate) use self::system::*;

/// Starts a named thread that owns `value`.
///
/// # Errors
/// The system has no thread to give; `value` comes back.
pub(crate) fn spawn_with<V: Send + 'static>(
    name: impl Into<String>,
    stack: usize,
    value: V,
    body: impl FnOnce(V) + Send + 'static,
) -> Result<(), (io::Error, V)> {
    // A spawn that fails drops its closure with all that it owns, so the value is kept where both
    // threads can take it.
    let ours = Arc::new(Mutex::new(Some(value)));
    let theirs = Arc::clone(&ours);
    let spawned = spawn(name, Some(stack), move || {
        let value = theirs.lock().take();
        drop(theirs);
        if let Some(value) = value {
            body(value);
        }
    });
    let Err(error) = spawned else {
        return Ok(());
    };
    let value = ours.lock().take();
    value.map_or(Ok(()), |value| Err((error, value)))
}
