//! What both programs look like on a terminal: the banner, and whether there are colours. Each
//! program decides what it shows.

/// The product's name in large letters.
pub(crate) const BANNER: [&str; 5] = [
    r"  ____                              ____ _           _   ",
    r" / ___|  ___  ___ _   _ _ __ ___   / ___| |__   __ _| |_ ",
    r" \___ \ / _ \/ __| | | | '__/ _ \ | |   | '_ \ / _` | __|",
    r"  ___) |  __/ (__| |_| | | |  __/ | |___| | | | (_| | |_ ",
    r" |____/ \___|\___|\__,_|_|  \___|  \____|_| |_|\__,_|\__|",
];

/// Whether the environment lets a stream have colours: on a terminal, unless `NO_COLOR` is set
/// (<https://no-color.org>); elsewhere if `CLICOLOR_FORCE` is (<https://bixense.com/clicolors>).
pub(crate) fn colours(is_terminal: bool) -> bool {
    let set = |name, off: &str| {
        std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != off)
    };
    !set("NO_COLOR", "") && (is_terminal || set("CLICOLOR_FORCE", "0"))
}
