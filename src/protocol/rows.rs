//! Lays text out in the rows of a terminal, so that no text of another person can begin a row at
//! the left edge: a long line is cut here, not by the terminal, and each row after the first
//! begins with a gutter.
//!
//! It knows neither colours nor authors. It takes pieces, each with a style of the caller's,
//! makes them [harmless](super::sanitize), and returns them as rows.

use unicode_width::UnicodeWidthChar;

use super::sanitize::{is_blank, visible_lines};

/// The distance between tab stops, counted from the beginning of a line of the text.
const TAB: usize = 8;

/// The most blanks in a row inside a line. More are replaced by a mark with their number; tables
/// have fewer.
const BLANKS: usize = 32;

/// The most blanks at the beginning of a line, or three quarters of a row if that is less. Code
/// is seldom indented further.
const INDENT: usize = 48;

/// The fewest columns that a row has for text, however narrow the terminal is.
const LEAST: usize = 4;

/// The place where rows are shown.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a, S> {
    /// The beginning of each row after the first, and its style.
    pub gutter: (S, &'a str),
    /// The terminal's columns. With `None` the output is not a terminal: a line of the text is one
    /// row, however long, and its blanks and tabs stay as they are.
    pub width: Option<usize>,
}

/// The pieces of a row, each with its style.
pub type Row<S> = Vec<(S, String)>;

struct Cell<S> {
    character: char,
    width: usize,
    style: S,
}

impl<S> Cell<S> {
    fn is_blank(&self) -> bool {
        is_blank(self.character)
    }
}

/// The rows of a text that consists of `pieces`; at least one.
///
/// On a terminal the last column stays empty, since terminals differ in when they wrap there,
/// and in how wide some characters are.
pub fn rows<S: Copy + PartialEq>(pieces: &[(S, &str)], frame: Frame<'_, S>) -> Vec<Row<S>> {
    let gutter = width_of(frame.gutter.1);
    let limit = frame
        .width
        .map(|width| (width.saturating_sub(1)).max(gutter + LEAST));
    let mut lines = vec![Vec::new()];
    for (style, text) in pieces {
        for (count, line) in visible_lines(text).enumerate() {
            if count > 0 {
                lines.push(Vec::new());
            }
            let line = match limit {
                Some(limit) => spread(&line, limit - gutter),
                None => line.into_owned(),
            };
            if let Some(cells) = lines.last_mut() {
                cells.extend(cells_of(&line, *style));
            }
        }
    }
    let mut rows: Vec<Row<S>> = Vec::new();
    for cells in &lines {
        let mut rest = cells.as_slice();
        loop {
            let first = rows.is_empty();
            let room = limit.map(|limit| if first { limit } else { limit - gutter });
            let (row, behind) = match room {
                Some(room) => cut(rest, room, limit.map_or(room, |limit| limit - gutter)),
                None => (rest, &rest[rest.len()..]),
            };
            let mut pieces = Vec::new();
            if !first {
                pieces.push((frame.gutter.0, frame.gutter.1.to_owned()));
            }
            append(&mut pieces, row);
            rows.push(pieces);
            if behind.is_empty() {
                break;
            }
            rest = behind;
        }
    }
    rows
}

fn cells_of<S: Copy>(line: &str, style: S) -> impl Iterator<Item = Cell<S>> {
    line.chars().map(move |character| Cell {
        character,
        width: columns(character),
        style,
    })
}

fn append<S: Copy + PartialEq>(pieces: &mut Row<S>, cells: &[Cell<S>]) {
    for cell in cells {
        match pieces.last_mut() {
            Some((style, text)) if *style == cell.style => text.push(cell.character),
            _ => pieces.push((cell.style, cell.character.to_string())),
        }
    }
}

/// The most columns that a character takes. An emoji sequence that one terminal draws as one
/// picture may be drawn in its parts by another.
fn columns(character: char) -> usize {
    match character {
        // Two of these letters make a flag, and one alone is as wide as a flag.
        '\u{1f1e6}'..='\u{1f1ff}' => 2,
        // It turns a character of one column into an emoji of two.
        '\u{fe0f}' => 1,
        _ => character.width().unwrap_or(0),
    }
}

fn width_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// A line with its tabs as blanks and its long runs of blanks as marks. `room` is the columns
/// that a row has for text.
fn spread(line: &str, room: usize) -> String {
    let mut spread = String::with_capacity(line.len());
    let mut column = 0;
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = |blank| rest.find(|character| is_blank(character) != blank);
        if !is_blank(first) {
            let word = &rest[..end(false).unwrap_or(rest.len())];
            spread.push_str(word);
            column += width_of(word);
            rest = &rest[word.len()..];
            continue;
        }
        let run = &rest[..end(true).unwrap_or(rest.len())];
        let begin = column;
        for blank in run.chars() {
            column += match blank {
                '\t' => TAB - column % TAB,
                other => columns(other),
            };
        }
        let most = match begin {
            0 => INDENT.min(room / 4 * 3),
            _ => BLANKS,
        };
        let count = column - begin;
        if count > most {
            let before = if begin == 0 { "" } else { " " };
            let mark = format!("{before}[{count} blanks] ");
            column = begin + mark.len();
            spread.push_str(&mark);
        } else {
            spread.extend(std::iter::repeat_n(' ', count));
        }
        rest = &rest[run.len()..];
    }
    spread
}

/// Cuts a row of at most `room` columns off a line, between words if possible, and drops the
/// blanks at the cut. `next` is the room of the following row.
fn cut<S>(cells: &[Cell<S>], room: usize, next: usize) -> (&[Cell<S>], &[Cell<S>]) {
    let mut width = 0;
    let fits = cells.iter().position(|cell| {
        width += cell.width;
        width > room
    });
    let Some(mut fits) = fits else {
        return (without_blanks(cells), &[]);
    };
    while fits > 1 && sticks(cells, fits) {
        fits -= 1;
    }
    let indent = cells.iter().take_while(|cell| cell.is_blank()).count();
    let at_word = (indent + 1..=fits).rev().find(|at| is_between(cells, *at));
    // A word that is longer than a row is cut where this row ends.
    let at = match at_word {
        Some(at) if word_fits(cells, at, next) => at,
        _ => at_hyphen(cells, fits, indent).unwrap_or(fits),
    };
    let at = at.max(1);
    let (row, behind) = cells.split_at(at);
    let blanks = behind.iter().take_while(|cell| cell.is_blank()).count();
    (without_blanks(row), &behind[blanks..])
}

fn without_blanks<S>(cells: &[Cell<S>]) -> &[Cell<S>] {
    let end = cells.iter().rposition(|cell| !cell.is_blank());
    &cells[..end.map_or(0, |last| last + 1)]
}

/// Whether the character at `at` belongs to the one before, so that no row may begin with it.
fn sticks<S>(cells: &[Cell<S>], at: usize) -> bool {
    let joiner = |cell: &Cell<S>| matches!(cell.character, '\u{200d}' | '\u{fe0f}');
    let joined = cells
        .get(at)
        .is_some_and(|cell| cell.width == 0 || joiner(cell));
    joined
        || cells
            .get(at - 1)
            .is_some_and(|cell| cell.character == '\u{200d}')
}

/// Whether a line can be cut before `at`: at a blank, or beside a character of two columns, since
/// scripts with such characters put no blanks between words.
fn is_between<S>(cells: &[Cell<S>], at: usize) -> bool {
    let Some(cell) = cells.get(at) else {
        return true;
    };
    let before = &cells[at - 1];
    cell.is_blank()
        || before.is_blank()
        || ((cell.width == 2 || before.width == 2) && !sticks(cells, at))
}

/// Whether the word after a cut at `at` fits into a row of `room` columns.
fn word_fits<S>(cells: &[Cell<S>], at: usize, room: usize) -> bool {
    let blanks = cells[at..]
        .iter()
        .take_while(|cell| cell.is_blank())
        .count();
    let begin = at + blanks;
    let mut width = 0;
    for end in begin..cells.len() {
        if end > begin && is_between(cells, end) {
            break;
        }
        width += cells[end].width;
        if width > room {
            return false;
        }
    }
    true
}

/// The place after the last hyphen of a long word, if the row is then at least half full.
fn at_hyphen<S>(cells: &[Cell<S>], fits: usize, indent: usize) -> Option<usize> {
    (indent + 1..=fits)
        .rev()
        .take_while(|at| *at > fits / 2)
        .find(|at| cells[at - 1].character == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str], width: Option<usize>) -> Vec<String> {
        let pieces: Vec<_> = pieces.iter().map(|text| ((), *text)).collect();
        let gutter = ((), "   | ");
        let frame = Frame { gutter, width };
        let text = |row: Row<()>| row.into_iter().map(|(_, text)| text).collect();
        rows(&pieces, frame).into_iter().map(text).collect()
    }

    #[test]
    fn long_lines_are_cut_at_words_and_stand_behind_the_gutter() {
        assert_eq!(
            shown(&["bob: ", "the quick brown fox  jumps over it"], Some(21)),
            ["bob: the quick brown", "   | fox  jumps over", "   | it"]
        );
        assert_eq!(shown(&["bob: ", ""], Some(21)), ["bob:"]);
        assert_eq!(
            shown(&["bob: ", &"x".repeat(40)], Some(21)),
            [
                "bob: xxxxxxxxxxxxxxx",
                "   | xxxxxxxxxxxxxxx",
                "   | xxxxxxxxxx"
            ]
        );
        // Groups of a number are words.
        assert_eq!(
            shown(&["    12345 67890 12345 67890"], Some(21)),
            ["    12345 67890", "   | 12345 67890"]
        );
        assert_eq!(
            shown(&["    AAAA-BBBB-CCCC-DDDD-EEEE"], Some(21)),
            ["    AAAA-BBBB-CCCC-", "   | DDDD-EEEE"]
        );
    }

    #[test]
    fn lines_of_a_text_keep_tabs_and_blanks_at_their_beginning() {
        let code = "if x {\n\tgo();\n  a\tb\n\n}";
        assert_eq!(
            shown(&["bob: ", code], Some(80)),
            [
                "bob: if x {",
                "   |         go();",
                "   |   a     b",
                "   | ",
                "   | }"
            ]
        );
        assert_eq!(
            shown(&["bob: ", code], None),
            [
                "bob: if x {",
                "   | \tgo();",
                "   |   a\tb",
                "   | ",
                "   | }"
            ]
        );
    }

    #[test]
    fn runs_that_could_draw_a_line_are_counted_instead() {
        let text = format!("hi{}10:00 eve: there", " ".repeat(70));
        assert_eq!(
            shown(&["bob: ", &text], Some(80)),
            ["bob: hi [70 blanks] 10:00 eve: there"]
        );
        let text = format!("a\n{}b", "\u{3000}".repeat(70));
        assert_eq!(shown(&[&text], Some(80)), ["a", "   | [140 blanks] b"]);
    }

    #[test]
    fn characters_of_two_columns_are_cut_between() {
        assert_eq!(
            shown(&["bob: ", "世界世界世界世界世界。"], Some(21)),
            ["bob: 世界世界世界世", "   | 界世界。"]
        );
        // Marks stay with their letters.
        let text = "e\u{301}".repeat(30);
        for row in shown(&["", &text], Some(21)) {
            assert_eq!(row.matches('e').count(), row.matches('\u{301}').count());
        }
    }

    #[test]
    fn a_terminal_without_room_still_gets_everything() {
        for width in 0..12 {
            let rows = shown(&["bob: ", "a text and 世界"], Some(width));
            let text: String = rows.iter().map(|row| row.replace("   | ", "")).collect();
            assert_eq!(text.replace(' ', ""), "bob:atextand世界");
        }
    }
}
