//! Asks for a secret, or a question, on the process's own terminal while input or output is
//! something else, as in `client | tee log`. Lines are not read here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::InputEvent;

/// How often a signal is looked for while nothing is typed.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The longest secret, in bytes.
const MAX_SECRET: usize = 4096;

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

/// The terminal while its modes are ours; dropping it restores them.
struct Hidden {
    file: File,
    before: Termios,
}

impl Hidden {
    /// Opens the process's terminal and stops it from showing what is typed. Ctrl-C comes as a
    /// byte, so that it can't leave the terminal like this.
    fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&file)?;
        let mut modes = before.clone();
        modes.local_modes -=
            LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&file, OptionalActions::Now, &modes)?;
        Ok(Hidden { file, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // If this fails, the terminal is gone.
        let _restored = tcsetattr(&self.file, OptionalActions::Now, &self.before);
    }
}

/// Asks for a secret. `signal` is not 0 once a signal asks the program to end.
/// [`InputEvent::Eof`] says that there is no terminal.
pub(super) fn secret(prompt: &str, signal: &AtomicU8) -> InputEvent {
    let Ok(mut terminal) = Hidden::open() else {
        return InputEvent::Eof;
    };
    let asked = terminal.file.write_all(prompt.as_bytes());
    let heard = asked.and_then(|()| read(&mut terminal.file, signal));
    // The terminal has not shown the Enter.
    let _shown = terminal.file.write_all(b"\n");
    heard.unwrap_or_else(|error| InputEvent::Failed(format!("the terminal can't be read: {error}")))
}

/// Asks a question, whose answer the terminal shows. `signal` is not 0 once a signal asks the
/// program to end. [`InputEvent::Eof`] says that there is no terminal.
pub(super) fn question(prompt: &str, signal: &AtomicU8) -> InputEvent {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let Ok(mut terminal) = opened else {
        return InputEvent::Eof;
    };
    let asked = terminal.write_all(prompt.as_bytes());
    let heard = asked.and_then(|()| read(&mut terminal, signal));
    heard.unwrap_or_else(|error| InputEvent::Failed(format!("the terminal can't be read: {error}")))
}

fn read(terminal: &mut File, signal: &AtomicU8) -> io::Result<InputEvent> {
    // It never grows, so no copy of it stays in memory.
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_SECRET));
    loop {
        let mut wanted = [PollFd::new(terminal, PollFlags::IN)];
        let ready = match poll(&mut wanted, Some(&TICK)) {
            Err(rustix::io::Errno::INTR) => 0,
            polled => polled?,
        };
        if signal.load(Ordering::SeqCst) != 0 {
            return Ok(InputEvent::Stop);
        }
        if ready == 0 {
            continue;
        }
        let mut byte = [0];
        if terminal.read(&mut byte)? == 0 {
            return Ok(InputEvent::Eof);
        }
        match byte[0] {
            b'\n' | b'\r' => break,
            CTRL_C => return Ok(InputEvent::Cancelled),
            CTRL_D if typed.is_empty() => return Ok(InputEvent::Eof),
            CTRL_D => break,
            CTRL_U => typed.clear(),
            BACKSPACE | DELETE => delete_last(&mut typed),
            byte if typed.len() < MAX_SECRET => typed.push(byte),
            _ => {}
        }
    }
    match std::str::from_utf8(&typed) {
        Ok(line) => Ok(InputEvent::Line(Zeroizing::new(line.to_owned()))),
        Err(_) => Ok(InputEvent::Failed(
            "what was typed is not UTF-8; set the terminal to UTF-8".to_owned(),
        )),
    }
}

/// Deletes the last character.
fn delete_last(typed: &mut Vec<u8>) {
    while let Some(byte) = typed.pop() {
        // The other bytes of a character in UTF-8 begin with the bits 10.
        if byte & 0b1100_0000 != 0b1000_0000 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_character_is_deleted() {
        let mut typed = "aé世".as_bytes().to_vec();
        for left in ["aé", "a", "", ""] {
            delete_last(&mut typed);
            assert_eq!(typed, left.as_bytes());
        }
    }
}
