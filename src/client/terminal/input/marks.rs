//! Where messages of one's own stand on the terminal, so that a mark can be drawn at them later. It
//! counts rows and draws nothing.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthStr;

use crate::client::terminal::format::{MARK_COLUMN, ProgressMark};
use crate::protocol::MessageId;

/// How many messages are remembered. A terminal shows fewer.
const REMEMBERED: usize = 500;

/// The messages and their rows.
#[derive(Default)]
pub(super) struct Marks {
    /// How many rows were printed above the line that is typed.
    rows: u64,
    /// The messages, the latest last.
    places: VecDeque<Place>,
}

struct Place {
    id: MessageId,
    /// How many rows were printed before it; `None` once that is not known any more.
    row: Option<u64>,
    /// The rank of its mark.
    rank: u8,
}

impl Marks {
    /// Notes that a text was printed above the line, on a terminal with so many columns.
    pub(super) fn printed(&mut self, text: &str, columns: usize) {
        self.rows += rows(text, columns);
    }

    /// Notes that the next text to be printed is this message.
    pub(super) fn begin(&mut self, id: MessageId) {
        self.places.push_back(Place {
            id,
            row: Some(self.rows),
            rank: 0,
        });
        if self.places.len() > REMEMBERED {
            self.places.pop_front();
        }
    }

    /// Notes that rows are not where they were: the terminal has another size, or was cleared.
    pub(super) fn lose_places(&mut self) {
        for place in &mut self.places {
            place.row = None;
        }
    }

    /// Whether this message was printed.
    pub(super) fn knows(&self, id: &MessageId) -> bool {
        self.places.iter().any(|place| place.id == *id)
    }

    /// The sequences that draw a mark at messages, as far as they are still on a terminal of so many
    /// rows. `drawn` is how many rows the line that is typed has above and below the cursor.
    pub(super) fn draw(
        &mut self,
        ids: &[MessageId],
        mark: &ProgressMark,
        drawn: (usize, usize),
        rows: usize,
    ) -> String {
        let (above, below) = drawn;
        let drawn = &mark.drawn;
        let mut out = String::new();
        for place in &mut self.places {
            if !ids.contains(&place.id) || place.rank >= mark.rank {
                continue;
            }
            place.rank = mark.rank;
            let Some(row) = place.row else {
                continue;
            };
            let up = self.rows - row + above as u64;
            if up + (below as u64) < rows as u64 {
                out.push_str(&format!("\x1b7\x1b[{up}A\r\x1b[{MARK_COLUMN}C{drawn}\x1b8"));
            }
        }
        out
    }
}

/// How many rows a text of whole lines takes. We cut lines ourselves; one that is longer all the
/// same is cut by the terminal, unless it was told not to.
fn rows(text: &str, columns: usize) -> u64 {
    let cuts = !text.contains("\x1b[?7l");
    let lines = text.split_inclusive('\n');
    let whole = lines.filter_map(|line| line.strip_suffix('\n'));
    let rows = whole.map(|line| {
        let width = without_controls(line).width();
        match cuts {
            true => width.div_ceil(columns.max(1)).max(1) as u64,
            false => 1,
        }
    });
    rows.sum()
}

/// A line without the sequences that begin with an escape and a bracket and end with a letter.
fn without_controls(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &piece[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_as_a_terminal_draws_them() {
        for (text, count) in [
            ("", 0),
            ("\n", 1),
            ("hello\n", 1),
            ("hello\n\nthere\n", 3),
            ("1234567890\n", 1),
            ("12345678901\n", 2),
            ("\x1b[1m\x1b[32m12345\x1b[0m67890\n", 1),
            ("世世世世世世\n", 2),
            ("\x1b[?7l世世世世世世\n\x1b[?7h", 1),
        ] {
            assert_eq!(rows(text, 10), count, "{text:?}");
        }
    }

    #[test]
    fn a_message_is_found_until_its_place_is_lost() {
        let mut marks = Marks::default();
        let id = MessageId([1; 16]);
        let mark = |rank| ProgressMark {
            rank,
            drawn: "x".to_owned(),
        };
        let at = |up: u64| format!("\x1b7\x1b[{up}A\r\x1b[{MARK_COLUMN}Cx\x1b8");
        assert!(!marks.knows(&id));
        marks.printed("before\n", 80);
        marks.begin(id);
        marks.printed("a message\nof two rows\n", 80);
        assert_eq!(marks.draw(&[id], &mark(1), (0, 0), 24), at(2));
        marks.printed("another\n", 80);
        assert_eq!(marks.draw(&[id], &mark(3), (1, 0), 24), at(4));
        // The server's word comes after the proof.
        assert_eq!(marks.draw(&[id], &mark(2), (0, 0), 24), "");
        // It has scrolled away.
        assert_eq!(marks.draw(&[id], &mark(4), (0, 1), 4), "");
        marks.begin(MessageId([2; 16]));
        marks.lose_places();
        assert_eq!(marks.draw(&[MessageId([2; 16])], &mark(1), (0, 0), 24), "");
        assert!(marks.knows(&id));
    }
}
