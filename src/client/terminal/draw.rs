//! Lays out a prompt and the line after it in the rows of a terminal, with the cursor. It writes
//! nothing; it returns text for a terminal that understands a few ANSI sequences.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::protocol::sanitize::sanitize;

/// How a tab in the line is shown.
const TAB: &str = "    ";

/// The size of a terminal, in columns and rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The rows of a prompt and a line, and the cursor's row and column.
struct Layout {
    rows: Vec<String>,
    /// The width of the last row so far.
    width: usize,
    cursor: (usize, usize),
}

/// A prompt and a line as text for the terminal.
pub(super) struct Drawn {
    pub(super) text: String,
    /// How many rows there are above the cursor.
    pub(super) above: usize,
    /// How many rows there are below the cursor.
    pub(super) below: usize,
    /// What these rows are after a change of the terminal's width.
    pub(super) shape: Shape,
}

/// The widths of the rows above the cursor, in columns, and the column of the cursor.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    above: Vec<usize>,
    column: usize,
}

impl Shape {
    /// How many rows there are above the cursor once a terminal has wrapped them anew at another
    /// width. Rows are never joined, since each ends with its own line break.
    pub(super) fn above_at(&self, columns: usize) -> usize {
        let columns = columns.max(1);
        let rows = self
            .above
            .iter()
            .map(|width| width.div_ceil(columns).max(1));
        rows.sum::<usize>() + self.column / columns
    }
}

/// Goes back to the first row of what was drawn, and clears from there on. It clears below from the
/// second column on: tmux takes "all below" in the first cell of the screen for the screen's end, and
/// puts what was drawn there into its history.
pub(super) fn erase(above: usize) -> String {
    const CLEAR: &str = "\x1b[C\x1b[J\r\x1b[K";
    match above {
        0 => format!("\r{CLEAR}"),
        _ => format!("\r\x1b[{above}A{CLEAR}"),
    }
}

/// Draws a prompt and a line. If they have more rows than the terminal, only those around the
/// cursor are drawn.
pub(super) fn draw(prompt: &str, text: &str, cursor: usize, size: Size) -> Drawn {
    let layout = lay_out(prompt, text, cursor, size.columns);
    let (first, last) = window(&layout, size);
    let mut out = String::new();
    // Each row ends with a line break of its own, so that a terminal that is made wider does not
    // join rows that are cleared one by one.
    for row in &layout.rows[first..last] {
        out.push_str(row);
        out.push_str("\r\n");
    }
    out.push_str(&layout.rows[last]);
    let (cursor, column) = layout.cursor;
    let above = layout.rows[first..cursor].iter();
    let shape = Shape {
        above: above.map(|row| row.width()).collect(),
        column,
    };
    if cursor < last {
        out.push_str(&format!("\x1b[{}A", last - cursor));
    }
    out.push('\r');
    if column > 0 {
        out.push_str(&format!("\x1b[{column}C"));
    }
    Drawn {
        text: out,
        above: cursor - first,
        below: last - cursor,
        shape,
    }
}

/// The first and the last row that are drawn.
fn window(layout: &Layout, size: Size) -> (usize, usize) {
    let height = size.rows.saturating_sub(1).max(1);
    let first = (layout.cursor.0 + 1).saturating_sub(height);
    (first, (first + height).min(layout.rows.len()) - 1)
}

fn lay_out(prompt: &str, text: &str, cursor: usize, columns: usize) -> Layout {
    let columns = columns.max(2);
    let mut layout = Layout {
        rows: vec![String::new()],
        width: 0,
        cursor: (0, 0),
    };
    for piece in prompt.graphemes(true) {
        layout.put(piece, columns);
    }
    for (at, piece) in text.grapheme_indices(true) {
        layout.make_room(
            if piece == "\n" {
                1
            } else {
                shown(piece).width()
            },
            columns,
        );
        // A cursor inside a grapheme cluster stands before it.
        if at <= cursor {
            layout.mark();
        }
        match piece {
            "\n" => layout.new_row(),
            _ => layout.put(&shown(piece), columns),
        }
    }
    if cursor >= text.len() {
        layout.make_room(1, columns);
        layout.mark();
    }
    layout
}

impl Layout {
    fn mark(&mut self) {
        self.cursor = (self.rows.len() - 1, self.width);
    }

    fn new_row(&mut self) {
        self.rows.push(String::new());
        self.width = 0;
    }

    /// Begins a row if this one has no room for `width` more columns.
    fn make_room(&mut self, width: usize, columns: usize) {
        if self.width + width > columns && self.width > 0 {
            self.new_row();
        }
    }

    /// Appends the shown form of one character, which may be wider than a row.
    fn put(&mut self, piece: &str, columns: usize) {
        for part in piece.graphemes(true) {
            let width = part.width();
            self.make_room(width, columns);
            if let Some(row) = self.rows.last_mut() {
                row.push_str(part);
            }
            self.width += width;
        }
    }
}

/// The shown form of a character that was typed or pasted.
fn shown(piece: &str) -> std::borrow::Cow<'_, str> {
    match piece.as_bytes() {
        b"\t" => TAB.into(),
        [control @ (0..0x20 | 0x7f)] => format!("^{}", char::from(control ^ 0x40)).into(),
        _ => sanitize(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        columns: 10,
        rows: 5,
    };

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        let layout = lay_out("a> ", "1234567890", 10, 10);
        assert_eq!(layout.rows, ["a> 1234567", "890"]);
        assert_eq!(layout.cursor, (1, 3));
        let full = lay_out("a> ", "1234567", 7, 10);
        assert_eq!((full.rows.len(), full.cursor), (2, (1, 0)));
        let wide = lay_out("a> ", "123456世", 6, 10);
        assert_eq!(wide.rows, ["a> 123456", "世"]);
        assert_eq!(wide.cursor, (1, 0));
    }

    #[test]
    fn newlines_tabs_and_controls_are_shown() {
        let layout = lay_out("> ", "a\n\tb\x03\u{202e}", 2, 40);
        assert_eq!(layout.rows, ["> a", "    b^C\\u{202e}"]);
        assert_eq!(layout.cursor, (1, 0));
    }

    #[test]
    fn a_narrower_terminal_wraps_what_was_drawn() {
        let text = "1234567890123456789";
        let drawn = draw("a> ", text, text.len(), SIZE);
        assert_eq!(drawn.above, 2);
        // Ten columns, ten and two.
        for (columns, above) in [(20, 2), (10, 2), (9, 4), (5, 4), (4, 6), (2, 11)] {
            assert_eq!(drawn.shape.above_at(columns), above, "{columns}");
        }
        let wide = draw("", "世界世界世界", 18, SIZE);
        assert_eq!(wide.shape.above_at(4), 3, "{:?}", wide.shape);
    }

    #[test]
    fn of_a_line_that_is_too_high_the_cursors_part_is_drawn() {
        let text = "1\n2\n3\n4\n5\n6\n7";
        let drawn = draw("", text, text.len(), SIZE);
        assert_eq!(drawn.above, 3);
        assert!(drawn.text.starts_with("4\r\n5"), "{:?}", drawn.text);
        let top = draw("", text, 0, SIZE);
        assert_eq!(top.above, 0);
        assert_eq!(top.text, "1\r\n2\r\n3\r\n4\x1b[3A\r");
    }
}
