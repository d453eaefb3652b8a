//! The body of the thread that reads lines from a pipe or a file, when there is no terminal.

use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, SyncSender};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::InputEvent;
use super::editor::Kind;

/// The longest line that is read, in bytes: the longest text and a command before it.
const MAX_LINE: u64 = 32 * 1024;

/// Reads a line for each request, until there are no more requests. It reads no secrets.
pub(super) fn read(asks: &Receiver<Kind>, tell: &SyncSender<InputEvent>) {
    let mut lines = io::stdin().lock();
    while let Ok(ask) = asks.recv() {
        let heard = match ask {
            Kind::Line | Kind::Question if !readable() => InputEvent::Failed(
                "the input can't be read, since it is closed; give commands, or </dev/null"
                    .to_owned(),
            ),
            Kind::Line | Kind::Question => next_line(&mut lines),
            Kind::Secret => InputEvent::Eof,
        };
        if tell.send(heard).is_err() {
            return;
        }
    }
}

/// Whether the input is open for reading. The standard library treats one that is not as empty,
/// and a script would then end as if it had done what it was told.
fn readable() -> bool {
    let flags = rustix::fs::fcntl_getfl(io::stdin());
    flags.is_ok_and(|flags| flags & OFlags::ACCMODE != OFlags::WRONLY)
}

fn next_line(lines: &mut dyn BufRead) -> InputEvent {
    let mut bytes = Vec::new();
    match io::Read::take(lines, MAX_LINE).read_until(b'\n', &mut bytes) {
        Err(error) => InputEvent::Failed(format!("the input can't be read: {error}")),
        Ok(0) => InputEvent::Eof,
        Ok(count) if count as u64 == MAX_LINE && !bytes.ends_with(b"\n") => InputEvent::Failed(
            "a line of the input is longer than 32 KiB; cut it in pieces".to_owned(),
        ),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(line) => InputEvent::Line(Zeroizing::new(
                line.trim_end_matches(['\r', '\n']).to_owned(),
            )),
            Err(_) => {
                InputEvent::Failed("a line of the input is not UTF-8; convert it first".to_owned())
            }
        },
    }
}
