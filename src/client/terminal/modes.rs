//! Sets the terminal's modes for typing, restores those it had, and knows which terminals show
//! plain text only. It reads no keys.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::output::Stream;

/// Makes the terminal mark the beginning and the end of a paste ("bracketed paste").
const MARK_PASTES: &str = "\x1b[?2004h";
/// Makes the terminal stop marking pastes.
const UNMARK_PASTES: &str = "\x1b[?2004l";

/// The modes that the terminal had at the start.
#[derive(Clone)]
pub(super) struct Modes {
    before: Termios,
    /// The answer of [`obeys_controls`].
    obeys_controls: bool,
}

impl Modes {
    /// Notes the modes of the terminal at stdin; `None` if stdin is not a terminal.
    pub(super) fn of_stdin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        Some(Modes {
            before,
            obeys_controls: obeys_controls(),
        })
    }

    /// Whether the client edits lines itself, because the terminal can move its cursor.
    pub(super) fn edits_lines(&self) -> bool {
        self.obeys_controls
    }

    /// Sets the modes for typing: every key arrives at once and unchanged, also Ctrl-C. A
    /// terminal that only shows plain text keeps editing lines by itself.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn type_in(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        if self.obeys_controls {
            modes.input_modes -= InputModes::BRKINT
                | InputModes::ICRNL
                | InputModes::INLCR
                | InputModes::IGNCR
                | InputModes::INPCK
                | InputModes::ISTRIP
                | InputModes::IXON;
            modes.local_modes -=
                LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        }
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        match self.obeys_controls {
            true => Stream::Out.write(MARK_PASTES),
            false => Ok(()),
        }
    }

    /// Stops a terminal that edits lines by itself from showing what is typed.
    pub(super) fn hide(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes -= LocalModes::ECHO;
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    /// Restores the modes that the terminal had. It does not wait for a terminal that accepts no
    /// output.
    pub(super) fn restore(&self) {
        let stdout = io::stdout();
        let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // If this fails, nobody is left who could be told.
        if self.obeys_controls && matches!(poll(&mut ready, Some(&now)), Ok(1..)) {
            let _written = Stream::Out.write(UNMARK_PASTES);
        }
        let _restored = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether the terminal obeys control sequences, by its name in `TERM`. This is the one
/// rule for plain terminals: line editing, colours and wrapping all follow it.
pub(super) fn obeys_controls() -> bool {
    name_obeys_controls(std::env::var("TERM").ok().as_deref())
}

/// Whether a terminal of this name obeys control sequences.
fn name_obeys_controls(term: Option<&str>) -> bool {
    !matches!(
        term,
        None | Some("" | "dumb" | "emacs" | "cons25" | "unknown")
    )
}

/// Terminals that wrap the rows on the screen anew when they are made narrower, by what they set
/// in the environment. Others cut rows off, such as xterm and the Linux console. No sequence asks
/// for it.
const REWRAP: &[&str] = &[
    "TMUX",
    "VTE_VERSION",
    "KITTY_WINDOW_ID",
    "ALACRITTY_WINDOW_ID",
    "KONSOLE_VERSION",
    "WEZTERM_PANE",
    "GHOSTTY_RESOURCES_DIR",
    "ITERM_SESSION_ID",
    "WT_SESSION",
];

/// The same, by their names in `TERM`, which also come through SSH.
const REWRAP_NAMES: &[&str] = &[
    "tmux",
    "alacritty",
    "xterm-kitty",
    "foot",
    "wezterm",
    "xterm-ghostty",
];

/// Whether the terminal wraps rows anew when it is made narrower, as far as one can know.
pub(super) fn rewraps() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    REWRAP.iter().any(|name| std::env::var_os(name).is_some())
        || REWRAP_NAMES.iter().any(|name| term.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::name_obeys_controls;

    #[test]
    fn some_terminals_show_plain_text_only() {
        for term in [None, Some(""), Some("dumb"), Some("emacs"), Some("cons25")] {
            assert!(!name_obeys_controls(term), "{term:?}");
        }
        for term in ["xterm-256color", "tmux", "linux", "vt100"] {
            assert!(name_obeys_controls(Some(term)), "{term}");
        }
    }
}
