//! Turns the bytes of a terminal into keys. Bytes are kept here until the next key is asked for,
//! so that what is typed ahead waits in its order. It reads nothing and knows no clock.
//!
//! A bracketed paste is one key, whatever it contains and however many reads it takes.

use std::time::Duration;

use zeroize::Zeroizing;

use super::type_ahead::TypeAhead;
use crate::crypto::secret::SecretBuffer;

/// The longest paste that is accepted, in bytes: several times the longest text.
pub(super) const MAX_PASTE: usize = 64 * 1024;

const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// The longest pause that a terminal makes between the bytes of one key.
const ESCAPE_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause within a paste, which a terminal sends without stopping. After it, the end of
/// the paste counts as lost, and the keys work again.
const PASTE_PAUSE: Duration = Duration::from_secs(3);

/// The longest escape sequence that a key sends.
const MAX_SEQUENCE: usize = 32;

/// A key, or a paste.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character to insert.
    Char(char),
    /// Ctrl and a letter in lower case, or one of `\`, `]`, `^`, `_` and `@`.
    Ctrl(char),
    /// Alt and a character; Alt-Enter is `\r`.
    Alt(char),
    Enter,
    Tab,
    Backspace,
    Delete,
    Escape,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    WordLeft,
    WordRight,
    /// A bracketed paste, with `\n` between its lines.
    Paste(Zeroizing<String>),
    /// A paste of more than [`MAX_PASTE`] bytes, which was dropped.
    PasteTooLong,
    /// A key that has no meaning here.
    Unknown,
}

/// The bytes that were typed and are not used yet.
#[derive(Default)]
pub(super) struct Keys {
    bytes: TypeAhead,
    /// The last key was a carriage return, so a line feed after it belongs to it.
    after_return: bool,
    paste: Option<Paste>,
}

#[derive(Default)]
struct Paste {
    bytes: SecretBuffer,
    too_long: bool,
}

impl Paste {
    fn add(&mut self, bytes: &[u8]) {
        self.too_long |= self.bytes.len() + bytes.len() > MAX_PASTE;
        if !self.too_long {
            self.bytes.add(bytes);
        }
    }

    fn finish(self) -> Key {
        if self.too_long {
            return Key::PasteTooLong;
        }
        let text = Zeroizing::new(String::from_utf8_lossy(&self.bytes).into_owned());
        // Long enough from the start: a string that grows leaves copies.
        let mut lines = Zeroizing::new(String::with_capacity(text.len()));
        let mut after_return = false;
        for character in text.chars() {
            match character {
                '\n' if after_return => {}
                '\r' => lines.push('\n'),
                other => lines.push(other),
            }
            after_return = character == '\r';
        }
        Key::Paste(lines)
    }
}

impl Keys {
    /// Adds bytes that were read.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.add(bytes);
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.as_slice().len()
    }

    /// The pause that decides what the last bytes are: an Escape that may be the beginning of
    /// another key, or a paste whose end has not come. `None` if nothing is undecided.
    pub(super) fn undecided(&self) -> Option<Duration> {
        match &self.paste {
            Some(_) => Some(PASTE_PAUSE),
            None if self.bytes.as_slice() == [0x1b] => Some(ESCAPE_PAUSE),
            None => None,
        }
    }

    /// The next key; `None` if it is incomplete. With `paused`, the pause of
    /// [`undecided`](Self::undecided) is over: a lone Escape is a key, and a paste ends where it is.
    pub(super) fn next(&mut self, paused: bool) -> Option<Key> {
        loop {
            if self.paste.is_some() {
                return self.pasted(paused);
            }
            let (key, used) = parse(self.bytes.as_slice(), paused)?;
            let first = self.bytes.as_slice().first().copied();
            self.bytes.forget(used);
            let belongs = std::mem::replace(&mut self.after_return, first == Some(b'\r'));
            match key {
                Parsed::Key(Key::Enter) if belongs && first == Some(b'\n') => {}
                Parsed::Key(key) => return Some(key),
                Parsed::PasteBegins => self.paste = Some(Paste::default()),
            }
        }
    }

    /// The next byte sequence as a character, whatever key it stands for. A paste stays a paste.
    pub(super) fn literal(&mut self) -> Option<Key> {
        let bytes = self.bytes.as_slice();
        if self.paste.is_some() || bytes.starts_with(PASTE_BEGINS) {
            return self.next(false);
        }
        let (character, used) = character(bytes)?;
        self.bytes.forget(used);
        self.after_return = false;
        Some(Key::Char(character))
    }

    /// The next whole line, or the rest at the `end`, from a terminal that edits lines by itself.
    pub(super) fn line(&mut self, end: bool) -> Option<Zeroizing<String>> {
        let bytes = self.bytes.as_slice();
        let length = match memchr::memchr(b'\n', bytes) {
            Some(at) => at + 1,
            None if end && !bytes.is_empty() => bytes.len(),
            None => return None,
        };
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes[..length]).into_owned());
        self.bytes.forget(length);
        Some(Zeroizing::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        ))
    }

    /// Drops the last line if it is incomplete.
    pub(super) fn drop_draft(&mut self) {
        let whole = memchr::memrchr(b'\n', self.bytes.as_slice());
        self.bytes.truncate(whole.map_or(0, |at| at + 1));
    }

    /// Continues a paste, or ends it after a pause.
    fn pasted(&mut self, paused: bool) -> Option<Key> {
        let mut paste = self.paste.take()?;
        let bytes = self.bytes.as_slice();
        let end = memchr::memmem::find(bytes, PASTE_ENDS);
        // The marker of its end may have come in part.
        let begun = |count: &usize| bytes.ends_with(&PASTE_ENDS[..*count]);
        let partial = (1..PASTE_ENDS.len()).rev().find(begun).unwrap_or(0);
        let inside = end.unwrap_or(bytes.len() - partial);
        paste.add(&bytes[..inside]);
        match end {
            Some(_) => self.bytes.forget(inside + PASTE_ENDS.len()),
            None if paused => self.bytes.forget(inside + partial),
            None => {
                self.bytes.forget(inside);
                self.paste = Some(paste);
                return None;
            }
        }
        Some(paste.finish())
    }
}

enum Parsed {
    Key(Key),
    PasteBegins,
}

/// The first key in `bytes`, and how many bytes it takes.
fn parse(bytes: &[u8], paused: bool) -> Option<(Parsed, usize)> {
    let (key, used) = match *bytes.first()? {
        0x1b => return escape(bytes, paused),
        b'\r' | b'\n' => (Key::Enter, 1),
        b'\t' => (Key::Tab, 1),
        0x08 | 0x7f => (Key::Backspace, 1),
        byte @ 0..0x20 => (Key::Ctrl(char::from(byte | 0x40).to_ascii_lowercase()), 1),
        _ => character(bytes).map(|(character, used)| (Key::Char(character), used))?,
    };
    Some((Parsed::Key(key), used))
}

/// The first character, and how many bytes it takes. Invalid UTF-8 becomes U+FFFD.
fn character(bytes: &[u8]) -> Option<(char, usize)> {
    let chunk = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(chunk) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&chunk[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => {
            // An error without a length means that more bytes are needed.
            return Some((char::REPLACEMENT_CHARACTER, error.error_len()?));
        }
    };
    let first = valid.chars().next()?;
    Some((first, first.len_utf8()))
}

fn escape(bytes: &[u8], paused: bool) -> Option<(Parsed, usize)> {
    let alone = Some((Parsed::Key(Key::Escape), 1));
    match bytes.get(1) {
        None => alone.filter(|_| paused),
        Some(b'[') => sequence(bytes),
        Some(b'O') => {
            let last = *bytes.get(2)?;
            match last.is_ascii_alphabetic() {
                true => Some((Parsed::Key(named(last, "")), 3)),
                false => Some((Parsed::Key(Key::Alt('O')), 2)),
            }
        }
        Some(0x1b) => alone,
        Some(0x08 | 0x7f) => Some((Parsed::Key(Key::Alt('\x7f')), 2)),
        Some(b'\n') => Some((Parsed::Key(Key::Alt('\r')), 2)),
        Some(_) => {
            let (character, used) = character(&bytes[1..])?;
            Some((Parsed::Key(Key::Alt(character)), 1 + used))
        }
    }
}

/// Parses `ESC [`, parameters and a final byte. Any other byte ends the sequence.
fn sequence(bytes: &[u8]) -> Option<(Parsed, usize)> {
    if bytes.starts_with(PASTE_BEGINS) {
        return Some((Parsed::PasteBegins, PASTE_BEGINS.len()));
    }
    // The Linux console's function keys have a second bracket.
    if bytes.get(2) == Some(&b'[') {
        return bytes.get(3).map(|_| (Parsed::Key(Key::Unknown), 4));
    }
    let body = &bytes[2..];
    let length = body
        .iter()
        .take(MAX_SEQUENCE)
        .take_while(|byte| matches!(byte, 0x20..=0x3f))
        .count();
    let end = 2 + length;
    let (key, used) = match *body.get(length)? {
        last @ 0x40..=0x7e if length < MAX_SEQUENCE => {
            let parameters = std::str::from_utf8(&body[..length]).unwrap_or_default();
            (named(last, parameters), end + 1)
        }
        _ => (Key::Unknown, end),
    };
    Some((Parsed::Key(key), used))
}

/// The key that a sequence's final byte and parameters stand for.
fn named(last: u8, parameters: &str) -> Key {
    // The number after a semicolon is a modifier: 5 is Ctrl, 3 is Alt.
    let words = parameters.ends_with(";5") || parameters.ends_with(";3");
    match (last, parameters) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if words => Key::WordRight,
        (b'D', _) if words => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', "1" | "7") => Key::Home,
        (b'F', _) | (b'~', "4" | "8") => Key::End,
        (b'~', "3") => Key::Delete,
        (b'M', "") => Key::Enter,
        _ => Key::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        keys.add(bytes);
        std::iter::from_fn(|| keys.next(true)).collect()
    }

    fn paste(text: &str) -> Key {
        Key::Paste(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn keys_are_known_by_their_bytes() {
        let bytes = "aü\x1b[A\x1bOD\x1b[1;5C\x1b[3~\x01\x7f\t\x1bf\x1b\r\x1b[99;7u\x1b";
        let expected = vec![
            Key::Char('a'),
            Key::Char('ü'),
            Key::Up,
            Key::Left,
            Key::WordRight,
            Key::Delete,
            Key::Ctrl('a'),
            Key::Backspace,
            Key::Tab,
            Key::Alt('f'),
            Key::Alt('\r'),
            Key::Unknown,
            Key::Escape,
        ];
        assert_eq!(keys(bytes.as_bytes()), expected);
    }

    #[test]
    fn every_kind_of_line_end_is_one_enter() {
        let enter = |count| (0..count).map(|_| Key::Enter).collect::<Vec<_>>();
        assert_eq!(keys(b"\r"), enter(1));
        assert_eq!(keys(b"\r\n\r\n"), enter(2));
        assert_eq!(keys(b"\n\n"), enter(2));
        assert_eq!(keys(b"\r\r"), enter(2));
    }

    #[test]
    fn a_paste_without_an_end_is_over_after_a_pause() {
        let mut keys = Keys::default();
        keys.add(b"\x1b[200~half\x1b[20");
        assert_eq!(keys.next(false), None);
        assert_eq!(keys.undecided(), Some(PASTE_PAUSE));
        assert_eq!(keys.next(true), Some(paste("half")));
        keys.add(b"\x03");
        assert_eq!(keys.next(false), Some(Key::Ctrl('c')));
        assert_eq!(keys.undecided(), None);
    }

    #[test]
    fn a_paste_is_one_key_whatever_is_in_it() {
        let pasted = b"x\x1b[200~one\r\n\ttwo\r\x03 \x1b[31m\x1b[A\n\x1b[201~\r";
        assert_eq!(
            keys(pasted),
            [
                Key::Char('x'),
                paste("one\n\ttwo\n\x03 \x1b[31m\x1b[A\n"),
                Key::Enter
            ]
        );
    }

    #[test]
    fn a_paste_that_is_too_long_is_left_out_and_said() {
        let mut bytes = PASTE_BEGINS.to_vec();
        bytes.resize(MAX_PASTE + 7, b'x');
        bytes.extend_from_slice(PASTE_ENDS);
        bytes.push(b'y');
        assert_eq!(keys(&bytes), [Key::PasteTooLong, Key::Char('y')]);
    }

    #[test]
    fn what_is_no_utf8_and_no_sequence_stops_nothing() {
        assert_eq!(
            keys(b"\xffa\x1b[12\rb"),
            [
                Key::Char(char::REPLACEMENT_CHARACTER),
                Key::Char('a'),
                Key::Unknown,
                Key::Enter,
                Key::Char('b')
            ]
        );
    }

    #[test]
    fn a_literal_is_what_was_typed() {
        let mut keys = Keys::default();
        keys.add(b"\x1b\x03\x1b[200~p\x1b[201~");
        assert_eq!(keys.literal(), Some(Key::Char('\x1b')));
        assert_eq!(keys.literal(), Some(Key::Char('\x03')));
        assert_eq!(keys.literal(), Some(paste("p")));
        assert_eq!(keys.literal(), None);
    }

    proptest! {
        /// However reads cut what was typed, the keys are the same.
        #[test]
        fn cuts_change_nothing(
            parts in prop::collection::vec(prop::sample::select(vec![
                "a", "ü", "👩", "\r", "\n", "\x1b[200~", "\x1b[201~", "\x1b[A", "\x1b[1;5C", "\t", "\x03",
            ]), 0..30),
            size in 1usize..7,
        ) {
            let bytes = parts.concat().into_bytes();
            let mut whole = Keys::default();
            whole.add(&bytes);
            let expected: Vec<_> = std::iter::from_fn(|| whole.next(false)).collect();
            let mut cut = Keys::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                cut.add(piece);
                found.extend(std::iter::from_fn(|| cut.next(false)));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
