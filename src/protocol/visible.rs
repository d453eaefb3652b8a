//! Makes untrusted text harmless on a terminal.
//!
//! Whatever comes from the wire (messages, names, error texts) passes through
//! [`visible`] once, at the edge of a screen: it cannot move the cursor, set a
//! title, change colours or forge a line afterwards.

use std::borrow::Cow;

/// `text` with C0 controls, DEL, C1 controls, line separators, bidirectional
/// and other invisible format characters spelled out as `\u{…}`. A tab becomes
/// a space; everything else is untouched, and clean text is not copied.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\t' => clean.push(' '),
            hostile if is_hostile(hostile) => clean.extend(hostile.escape_unicode()),
            harmless => clean.push(harmless),
        }
    }
    Cow::Owned(clean)
}

fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero-width, directional marks; line and paragraph separators, embeddings, overrides.
            | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates, deprecated format characters.
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags, which hide a second text inside the first.
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_text_is_borrowed() {
        for text in ["", "hello", "grüße, 世界 👩‍👩‍👧 עברית"] {
            assert!(
                matches!(visible(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn controls_are_spelled_out() {
        assert_eq!(visible("\x1b[2Jx"), "\\u{1b}[2Jx");
        assert_eq!(visible("a\r\nb\tc\x7f"), "a\\u{d}\\u{a}b c\\u{7f}");
        assert_eq!(visible("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(visible("\u{202e}evil\u{2066}"), "\\u{202e}evil\\u{2066}");
    }
}
