//! The known word that somebody probably meant who typed an unknown one. Which words are known is the
//! callers' business.

/// The longest word that is compared, in characters: no option and no command is longer, and the
/// work grows with the square of the length.
const LONGEST: usize = 40;

/// The known word that is nearest to `word`, if one is near enough to be what was meant: a few
/// letters differ, or it alone begins with `word`.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word
        .to_lowercase()
        .chars()
        .map(|c| if c == '_' { '-' } else { c })
        .collect();
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let known: Vec<(&str, Vec<char>)> = known
        .into_iter()
        .map(|other| (other, other.chars().collect()))
        .collect();
    let near = known
        .iter()
        .map(|(other, letters)| (distance(&word, letters), *other))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= (word.len() / 3).clamp(1, 3));
    let mut longer = known
        .iter()
        .filter(|(_, letters)| letters.starts_with(&word));
    match (near, longer.next(), longer.next()) {
        (Some((_, other)), _, _) => Some(other),
        (None, Some((other, _)), None) => Some(other),
        _ => None,
    }
}

/// How many letters have to be put in, left out, changed, or swapped with their neighbour.
fn distance(one: &[char], other: &[char]) -> usize {
    // The rows of the usual table for the last two letters of `one`.
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, letter_of_other) in other.iter().enumerate() {
            let changed = last[j] + usize::from(letter != letter_of_other);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped =
                i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *letter_of_other;
            if swapped {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant() {
        let known = ["/msg", "/to", "/who", "/history", "/help", "/settings"];
        for (typed, meant) in [
            ("/mgs", Some("/msg")),
            ("/histroy", Some("/history")),
            ("/HELP", Some("/help")),
            ("/hist", Some("/history")),
            ("/set", Some("/settings")),
            ("/h", None),
            ("/frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        assert_eq!(
            nearest("on_message", ["on-message", "user"]),
            Some("on-message")
        );
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }

    #[test]
    fn the_distance_counts_letters() {
        let count = |one: &str, other: &str| {
            let letters = |word: &str| word.chars().collect::<Vec<_>>();
            distance(&letters(one), &letters(other))
        };
        for (one, other, letters) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("colour", "color", 1),
        ] {
            assert_eq!(count(one, other), letters, "{one} {other}");
        }
    }
}
