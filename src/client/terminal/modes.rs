//! How the terminal treats what is typed, and how to leave it as it was found.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// Asks the terminal to mark where a paste begins and ends, and no longer to.
const MARK_PASTES: &[u8] = b"\x1b[?2004h";
const LEAVE_PASTES: &[u8] = b"\x1b[?2004l";

/// The modes that the terminal had.
#[derive(Clone)]
pub(super) struct Modes {
    before: Termios,
    /// Whether it understands more than plain text.
    clever: bool,
}

impl Modes {
    /// Notes the modes of the terminal at stdin; `None` if that is none.
    pub(super) fn of_stdin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        Some(Modes {
            before,
            clever: obeys_controls(),
        })
    }

    /// Whether lines can be edited here: the terminal can move its cursor.
    pub(super) fn clever(&self) -> bool {
        self.clever
    }

    /// For typing: every key arrives at once and as it is, also Ctrl-C. A terminal that
    /// only shows plain text goes on editing lines by itself.
    ///
    /// # Errors
    /// That the terminal is gone.
    pub(super) fn type_in(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        if self.clever {
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
        match self.clever {
            true => write(MARK_PASTES),
            false => Ok(()),
        }
    }

    /// For a secret on a terminal that edits lines by itself: it shows none of it.
    pub(super) fn hide(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes -= LocalModes::ECHO;
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    /// Leaves the terminal as it was found, without waiting for one that takes no more.
    pub(super) fn restore(&self) {
        let stdout = io::stdout();
        let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // There is nobody left to tell if it fails.
        if self.clever && matches!(poll(&mut ready, Some(&now)), Ok(1..)) {
            let _written = write(LEAVE_PASTES);
        }
        let _restored = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether the terminal does what control sequences say, rather than only show text.
pub(super) fn obeys_controls() -> bool {
    clever(std::env::var("TERM").ok().as_deref())
}

/// Whether a terminal of this name can do more than show plain text.
fn clever(term: Option<&str>) -> bool {
    !matches!(
        term,
        None | Some("" | "dumb" | "emacs" | "cons25" | "unknown")
    )
}

/// Writes all of it, also to a terminal that another program made non-blocking.
///
/// # Errors
/// That the terminal is gone.
pub(super) fn write(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ready = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::clever;

    #[test]
    fn some_terminals_show_plain_text_only() {
        for term in [None, Some(""), Some("dumb"), Some("emacs"), Some("cons25")] {
            assert!(!clever(term), "{term:?}");
        }
        for term in ["xterm-256color", "tmux", "linux", "vt100"] {
            assert!(clever(Some(term)), "{term}");
        }
    }
}
