//! The one place that reads time.
//!
//! Code that decides by time takes it as a value, so that tests can choose it, and only the code
//! around it calls here. `Instant` serves for waiting and limits, since it never goes back.
//! Milliseconds since 1970 are what is stored, sent and shown.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The present moment, for measuring and waiting. It stands still while the machine is suspended
/// (Linux and macOS), so nobody is taken for silent because of that; it goes on while the process
/// is stopped, which waits have to allow for.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = virtual_time().map(|(start, elapsed)| start + elapsed) {
        return now;
    }
    Instant::now()
}

/// Milliseconds since 1970 (UTC) by the system's clock; 0 if that is set to an earlier time.
pub(crate) fn unix_ms() -> u64 {
    #[cfg(test)]
    if let Some((_, elapsed)) = virtual_time() {
        return 1_700_000_000_000 + elapsed.as_millis() as u64;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// The system's monotonic clock in microseconds, as a service manager reads it.
pub(crate) fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// Milliseconds since the machine began, those included in which it was suspended, for leases that others
/// count on clocks of their own.
pub(crate) fn since_boot_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // Elsewhere the monotonic clock is the nearest.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
thread_local! {
    /// When this thread's virtual time began, and how much of it is over.
    static VIRTUAL: std::cell::Cell<Option<(Instant, std::time::Duration)>> =
        const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn virtual_time() -> Option<(Instant, std::time::Duration)> {
    VIRTUAL.get()
}

/// Sets how much virtual time is over on this thread, for an exploration of schedules; `None`
/// goes back to the system's time.
#[cfg(test)]
pub(crate) fn set_virtual(elapsed: Option<std::time::Duration>) {
    let start = VIRTUAL.get().map_or_else(Instant::now, |(start, _)| start);
    VIRTUAL.set(elapsed.map(|elapsed| (start, elapsed)));
}
