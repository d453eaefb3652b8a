//! Keeps the memory of this process, which holds keys and messages, to itself: no core dump
//! writes it to a disk, and no other process of the same user reads it. What is left: the system's
//! administrator, swap space, and a debugger that started the program.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Keeps memory from being dumped and read, as far as the system offers it: on Linux both, on
/// macOS the dumps only.
///
/// # Errors
/// A sentence that says what stays possible.
pub(super) fn keep_memory_private() -> Result<(), String> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit is always allowed; a sandbox may forbid the call.
    setrlimit(Resource::Core, none)
        .map_err(|error| format!("a crash may write keys to a core dump ({error})"))?;
    deny_reading()
        .map_err(|error| format!("other programs of yours can read this one's keys ({error})"))
}

/// Denies `ptrace` and `/proc/PID/mem` to everybody without privileges (prctl(2),
/// `PR_SET_DUMPABLE`).
#[cfg(target_os = "linux")]
fn deny_reading() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

/// macOS has a call for it that Rust offers only as `unsafe` code.
#[cfg(not(target_os = "linux"))]
fn deny_reading() -> rustix::io::Result<()> {
    Ok(())
}
