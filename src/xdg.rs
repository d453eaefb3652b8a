//! Where a person's files belong, by the XDG base directory specification. What is in them, and
//! which of them there are, is decided where they are used.

use std::path::PathBuf;

/// The name of our folder in each of them.
const OURS: &str = "secure-chat";

/// The folder of what must not be lost: `$XDG_DATA_HOME/secure-chat`, or
/// `~/.local/share/secure-chat`. `None` if the environment names neither.
pub(crate) fn data() -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share")
}

/// The folder of config files: `$XDG_CONFIG_HOME/secure-chat`, or `~/.config/secure-chat`.
/// `None` if the environment names neither.
pub(crate) fn config() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config")
}

/// The folder of sockets of running programs: `$XDG_RUNTIME_DIR/secure-chat`. `None` if the
/// environment names none, as in a job of cron.
pub(crate) fn runtime() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR").map(|base| base.join(OURS))
}

fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    absolute(variable)
        .or_else(|| absolute("HOME").map(|home| home.join(below_home)))
        .map(|base| base.join(OURS))
}

/// The path in a variable. The specification says to ignore a relative one.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.filter(|path| path.is_absolute())
}
