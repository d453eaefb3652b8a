//! Makes the characters of untrusted text harmless and visible on a terminal.
//!
//! All text that comes from the wire (messages, names, error texts) passes through here once,
//! before it is shown. Afterwards it cannot move the cursor, set a title, change colours, reverse
//! the writing direction, or hide another text in itself. [`super::rows`] cuts it into rows.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use unicode_width::UnicodeWidthChar;

/// The most combining marks on one letter. Fully pointed Hebrew and Arabic, and the letters of
/// Old Korean, need no more.
const MARKS: usize = 4;

/// `text` as one line. Characters that are invisible or control a terminal, line ends included,
/// are written as `\u{…}`, and a tab becomes a blank. Clean text is not copied.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    match is_plain(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(cleaned(text, ' ')),
    }
}

/// The lines of `text`, which end with LF or CR LF; at least one. Each is as [`sanitize`] makes
/// it, but keeps its tabs.
pub fn visible_lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    // An empty text is one empty line, and a final line end begins no further line.
    let empty = text.is_empty().then_some("");
    text.lines().chain(empty).map(|line| match is_plain(line) {
        true => Cow::Borrowed(line),
        false => Cow::Owned(cleaned(line, '\t')),
    })
}

/// Whether a character is one of Unicode's spaces, which are invisible and have a width.
pub fn is_blank(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn cleaned(line: &str, tab: char) -> String {
    let mut clean = String::with_capacity(line.len() + 16);
    let mut characters = line.chars().peekable();
    // The previous character, if it was kept as it is, and how many marks it has.
    let mut before = None;
    let mut marks = 0;
    while let Some(character) = characters.next() {
        if character == '\t' {
            clean.push(tab);
            before = None;
        } else if is_blank(character) {
            clean.push(character);
            before = None;
        } else if joins(before, character, &mut characters) {
            clean.push(character);
            before = Some(character);
        } else if is_hidden(character) {
            clean.extend(character.escape_unicode());
            before = None;
        } else if character.width() == Some(0) {
            // A mark without a letter of its own would combine with our text before it.
            match before {
                Some(_) if marks < MARKS => {
                    clean.push(character);
                    before = Some(character);
                    marks += 1;
                }
                _ => clean.extend(character.escape_unicode()),
            }
        } else {
            clean.push(character);
            before = Some(character);
            marks = 0;
        }
    }
    clean
}

/// Whether an invisible character is needed to join or separate its neighbours, and so cannot
/// carry a hidden text: there is at most one between two of them.
fn joins(before: Option<char>, character: char, behind: &mut Peekable<Chars<'_>>) -> bool {
    let Some(before) = before else { return false };
    let next = behind.peek().copied();
    match character {
        // Selects the emoji form of a character, or belongs to a key cap.
        '\u{fe0f}' => {
            is_picture(before)
                || (matches!(before, '0'..='9' | '#' | '*') && next == Some('\u{20e3}'))
        }
        // Joins emoji into one, or forms ligatures in the scripts of India.
        '\u{200d}' => {
            let picture = is_picture(before) || before == '\u{fe0f}';
            (picture && next.is_some_and(is_picture)) || both(before, next, is_indic)
        }
        // Separates letters within a word of these scripts.
        '\u{200c}' => both(before, next, is_arabic) || both(before, next, is_indic),
        _ => false,
    }
}

fn both(before: char, next: Option<char>, script: fn(char) -> bool) -> bool {
    script(before) && next.is_some_and(script)
}

/// Whether a character can be part of an emoji sequence, or is of the same block as one.
fn is_picture(character: char) -> bool {
    matches!(character,
        '©' | '®' | '‼' | '⁉' | '™' | 'ℹ' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}'
        | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '〰' | '〽' | '㊗' | '㊙' | '\u{1f000}'..='\u{1faff}')
}

fn is_indic(character: char) -> bool {
    matches!(character, '\u{900}'..='\u{dff}')
}

fn is_arabic(character: char) -> bool {
    matches!(character, '\u{620}'..='\u{6ff}' | '\u{750}'..='\u{77f}')
}

/// Whether a character steers the terminal, or leaves no ink.
fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_control();
    }
    matches!(character,
        // Default ignorable: joiners, fillers, selectors of variants, shorthand and music
        // controls, and tags, which hide a second text inside the first.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffc}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
        // Letters that are blank: braille without a dot, a note without a head.
        | '\u{2800}' | '\u{1d159}')
        || !is_printable(character)
}

/// What the standard library prints as itself in a string: nothing that is a
/// control or a format, private or not assigned.
fn is_printable(character: char) -> bool {
    let mut bytes = [0; 5];
    bytes[0] = b'a';
    let end = 1 + character.encode_utf8(&mut bytes[1..]).len();
    // Behind a letter, because a mark alone counts as not printable.
    std::str::from_utf8(&bytes[..end]).is_ok_and(|pair| pair.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_stays_as_it_is() {
        for text in [
            "",
            "hello",
            "grüße, 世界 עברית кириллица ελληνικά",
            "👩‍👩‍👧 👍🏽 ❤️ ❤️‍🔥 🏳️‍🌈 1️⃣ 🇩🇪 ☀️",
            "e\u{301} o\u{323}\u{302} ק\u{5b8}\u{5bc} நி \u{1112}\u{1161}\u{11ab}",
            "می\u{200c}خواهم ශ\u{dca}\u{200d}රී",
            "全角\u{3000}空白 c'est\u{a0}bon",
        ] {
            assert_eq!(sanitize(text), text);
        }
        assert!(matches!(sanitize("hello"), Cow::Borrowed(_)));
    }

    #[test]
    fn controls_are_spelled_out() {
        assert_eq!(sanitize("\x1b[2Jx"), "\\u{1b}[2Jx");
        assert_eq!(sanitize("a\r\nb\tc\x7f"), "a\\u{d}\\u{a}b c\\u{7f}");
        assert_eq!(sanitize("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(sanitize("\u{202e}evil\u{2066}"), "\\u{202e}evil\\u{2066}");
    }

    #[test]
    fn what_leaves_no_ink_is_spelled_out() {
        for hidden in [
            0xad, 0x34f, 0x115f, 0x1160, 0x17b4, 0x180b, 0x180e, 0x200b, 0x200c, 0x200d, 0x2060,
            0x2065, 0x2800, 0x3164, 0xfe00, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0x1d159, 0x1d173,
            0xe0001, 0xe0041, 0xe0100, // Private, not assigned, not a character.
            0xe000, 0xf0000, 0x10fffd, 0x378, 0x40000, 0xfdd0, 0xffff,
        ] {
            let character = char::from_u32(hidden).unwrap();
            let text = format!("a{character}b");
            assert_eq!(sanitize(&text), format!("a\\u{{{hidden:x}}}b"));
        }
    }

    #[test]
    fn joiners_stand_only_where_they_join() {
        for text in [
            "👩\u{200d}",
            "👩\u{200d}\u{200d}👧",
            "a\u{fe0f}",
            "👍\u{fe0f}\u{fe0f}",
            "1\u{fe0f}",
        ] {
            assert!(sanitize(text).contains("\\u{"), "{text:?}");
        }
    }

    #[test]
    fn a_flood_of_marks_is_spelled_out() {
        let flood = format!("a{}", "\u{336}".repeat(300));
        let clean = sanitize(&flood).into_owned();
        assert_eq!(clean.matches('\u{336}').count(), MARKS);
        assert_eq!(clean.matches("\\u{336}").count(), 300 - MARKS);
        // On nothing of the text itself, it would sit on what stands before the text.
        assert_eq!(sanitize("\u{338}a \u{338}"), "\\u{338}a \\u{338}");
    }

    #[test]
    fn lines_end_where_the_text_says() {
        let lines = |text| visible_lines(text).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(lines("a\n\tb\r\n\nc\rd\n"), ["a", "\tb", "", "c\\u{d}d"]);
        assert_eq!(lines(""), [""]);
        assert_eq!(
            lines("a\u{85}b\u{2028}c\x0bd"),
            ["a\\u{85}b\\u{2028}c\\u{b}d"]
        );
    }
}
