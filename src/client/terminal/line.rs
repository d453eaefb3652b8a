//! A line that is being typed: its text, its cursor, and the changes that can be undone. It knows
//! neither keys nor the screen.

use unicode_segmentation::UnicodeSegmentation;
use zeroize::{Zeroize, Zeroizing};

/// The longest line, in bytes. The longest paste fits into it.
pub(super) const MAX_LINE: usize = super::keys::MAX_PASTE;

/// How many changes can be undone.
const UNDOS: usize = 50;

/// A text with a cursor, which stands between two grapheme clusters.
#[derive(Default)]
pub(super) struct EditLine {
    text: Zeroizing<String>,
    cursor: usize,
    /// Earlier texts and cursors, the latest last.
    before: Vec<(Zeroizing<String>, usize)>,
}

/// A movement of the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Motion {
    Left,
    Right,
    WordLeft,
    WordRight,
    /// The beginning of the whole line.
    Start,
    /// The beginning of the row between two newlines.
    Home,
    /// The end of that row.
    End,
}

impl EditLine {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Empties the line, and returns its text.
    pub(super) fn clear(&mut self) -> Zeroizing<String> {
        self.forget();
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Replaces the text, and puts the cursor at its end.
    pub(super) fn set(&mut self, text: &str) {
        self.remember();
        self.text.zeroize();
        self.text.push_str(text);
        self.cursor = text.len();
    }

    /// Inserts at the cursor. Returns `false` and inserts nothing if the line would get too long.
    pub(super) fn insert(&mut self, text: &str, secret: bool) -> bool {
        if self.text.len() + text.len() > MAX_LINE {
            return false;
        }
        if secret {
            // A string that grows by itself leaves copies of a secret in memory.
            let mut larger = Zeroizing::new(String::with_capacity(self.text.len() + text.len()));
            larger.push_str(&self.text);
            larger.insert_str(self.cursor, text);
            self.text = larger;
        } else {
            self.remember();
            self.text.insert_str(self.cursor, text);
        }
        self.cursor += text.len();
        true
    }

    pub(super) fn go(&mut self, motion: Motion) {
        self.cursor = self.target(motion);
    }

    /// Cuts out the text between the cursor and the target of `motion`.
    pub(super) fn cut(&mut self, motion: Motion) -> Zeroizing<String> {
        let target = self.target(motion);
        let (from, to) = (self.cursor.min(target), self.cursor.max(target));
        if from < to {
            self.remember();
        }
        self.cursor = from;
        let cut = Zeroizing::new(self.text[from..to].to_owned());
        self.text.drain(from..to);
        cut
    }

    /// Swaps the two characters around the cursor, and moves it forward by one.
    pub(super) fn transpose(&mut self) {
        if self.cursor == self.text.len() {
            self.go(Motion::Left);
        }
        let (left, right) = (self.target(Motion::Left), self.target(Motion::Right));
        if left < self.cursor && self.cursor < right {
            self.remember();
            let first = self.text[left..self.cursor].to_owned();
            self.text.insert_str(right, &first);
            self.text.drain(left..self.cursor);
            self.cursor = right;
        }
    }

    /// Moves the cursor a row up or down. Returns `false` if there is none.
    pub(super) fn row(&mut self, up: bool) -> bool {
        let start = self.target(Motion::Home);
        let column = self.text[start..self.cursor].graphemes(true).count();
        let target = match up {
            true if start == 0 => return false,
            true => self.text[..start - 1].rfind('\n').map_or(0, |at| at + 1),
            false => match self.text[self.cursor..].find('\n') {
                Some(at) => self.cursor + at + 1,
                None => return false,
            },
        };
        let row = self.text[target..].split('\n').next().unwrap_or_default();
        let inside: usize = row.graphemes(true).take(column).map(str::len).sum();
        self.cursor = target + inside;
        true
    }

    /// Undoes the last change.
    pub(super) fn undo(&mut self) {
        if let Some((text, cursor)) = self.before.pop() {
            self.text = text;
            self.cursor = cursor;
        }
    }

    fn remember(&mut self) {
        if self.before.len() == UNDOS {
            self.before.remove(0);
        }
        self.before.push((self.text.clone(), self.cursor));
    }

    /// Wipes the texts that could be restored.
    pub(super) fn forget(&mut self) {
        self.before.clear();
    }

    fn target(&self, motion: Motion) -> usize {
        let (left, right) = self.text.split_at(self.cursor);
        let in_word = |c: &char| c.is_alphanumeric() || *c == '_';
        let length = |found: usize, text: &str| {
            text.char_indices()
                .nth(found)
                .map_or(text.len(), |(at, _)| at)
        };
        match motion {
            Motion::Left => left
                .grapheme_indices(true)
                .next_back()
                .map_or(0, |(at, _)| at),
            Motion::Right => self.cursor + right.graphemes(true).next().map_or(0, str::len),
            Motion::Start => 0,
            Motion::Home => left.rfind('\n').map_or(0, |at| at + 1),
            Motion::End => self.cursor + right.find('\n').unwrap_or(right.len()),
            Motion::WordRight => {
                let gap = right.chars().take_while(|c| !in_word(c)).count();
                let word = right.chars().skip(gap).take_while(in_word).count();
                self.cursor + length(gap + word, right)
            }
            Motion::WordLeft => {
                let gap = left.chars().rev().take_while(|c| !in_word(c)).count();
                let word = left.chars().rev().skip(gap).take_while(in_word).count();
                length(left.chars().count() - gap - word, left)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> EditLine {
        let mut line = EditLine::default();
        assert!(line.insert(text, false));
        line
    }

    #[test]
    fn the_cursor_moves_by_what_people_call_characters() {
        let mut line = line("ae\u{301}👩‍👩‍👧");
        line.go(Motion::Left);
        line.go(Motion::Left);
        assert_eq!(line.cursor(), 1);
        assert_eq!(*line.cut(Motion::Right), "e\u{301}");
        assert_eq!(line.text(), "a👩‍👩‍👧");
        line.undo();
        assert_eq!(line.text(), "ae\u{301}👩‍👩‍👧");
    }

    #[test]
    fn words_and_rows() {
        let mut line = line("one, two\n\tthree");
        line.go(Motion::WordLeft);
        assert_eq!(line.cursor(), 10);
        assert!(line.row(true));
        assert_eq!(line.cursor(), 1);
        assert!(!line.row(true));
        line.go(Motion::WordRight);
        line.go(Motion::WordRight);
        assert_eq!(line.cursor(), 8);
        assert_eq!(*line.cut(Motion::WordLeft), "two");
        assert!(line.row(false));
        assert!(!line.row(false));
    }

    #[test]
    fn swapping_and_too_much() {
        let mut line = line("abc");
        line.transpose();
        assert_eq!(line.text(), "acb");
        assert!(!line.insert(&"x".repeat(MAX_LINE), false));
        assert_eq!(line.text(), "acb");
    }
}
