//! Where messages of one's own stand on the terminal, so that a mark can be drawn at them later. It
//! counts rows and draws nothing.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthStr;

use crate::client::terminal::format::MARK_COLUMN;
use crate::protocol::MessageId;

/// How many messages are remembered. A terminal shows fewer.
const REMEMBERED: usize = 500;

/// The messages and their rows.
#[derive(Default)]
pub(super) struct Marks {
    /// How many rows were printed above the line that is typed.
    rows: u64,
    /// The messages, the latest last, with how many rows were printed before each; `None` once
    /// the place is not known any more.
    places: VecDeque<(MessageId, Option<u64>)>,
}

impl Marks {
    /// Notes that a text was printed above the line, on a terminal with so many columns.
    pub(super) fn printed(&mut self, text: &str, columns: usize) {
        self.rows += rows(text, columns);
    }

    /// Notes that the next text to be printed is this message.
    pub(super) fn begin(&mut self, id: MessageId) {
        self.places.push_back((id, Some(self.rows)));
        if self.places.len() > REMEMBERED {
            self.places.pop_front();
        }
    }

    /// Notes that rows are not where they were: the terminal has another size, or was cleared.
    pub(super) fn lose_places(&mut self) {
        for (_, place) in &mut self.places {
            *place = None;
        }
    }

    /// Whether this message was printed.
    pub(super) fn knows(&self, id: &MessageId) -> bool {
        self.places.iter().any(|(known, _)| known == id)
    }

    /// The sequences that draw a mark at messages, as far as they are still on a terminal of so many
    /// rows. `drawn` is how many rows the line that is typed has above and below the cursor.
    pub(super) fn drawn(
        &self,
        ids: &[MessageId],
        mark: &str,
        drawn: (usize, usize),
        rows: usize,
    ) -> String {
        let (above, below) = drawn;
        let mut out = String::new();
        for distance in ids.iter().filter_map(|id| self.distance(id)) {
            let up = distance + above as u64;
            if up + (below as u64) < rows as u64 {
                out.push_str(&format!("\x1b7\x1b[{up}A\r\x1b[{MARK_COLUMN}C{mark}\x1b8"));
            }
        }
        out
    }

    /// How many rows the message stands above the first row of the line that is typed.
    fn distance(&self, id: &MessageId) -> Option<u64> {
        let mut places = self.places.iter().rev();
        let (_, place) = places.find(|(known, _)| known == id)?;
        Some(self.rows - (*place)?)
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
        assert_eq!(marks.distance(&id), None);
        marks.printed("before\n", 80);
        marks.begin(id);
        marks.printed("a message\nof two rows\n", 80);
        assert_eq!(marks.distance(&id), Some(2));
        marks.printed("another\n", 80);
        assert_eq!(marks.distance(&id), Some(3));
        marks.lose_places();
        assert_eq!(marks.distance(&id), None);
        assert!(marks.knows(&id));
    }
}
