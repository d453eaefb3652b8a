//! Finds the word that somebody probably meant when they mistyped one. It knows no commands.

/// The word among `words` that is nearest to what was typed, if one is so near that a slip of the
/// finger explains it: one change for every three characters, and at least one. A change
/// inserts, deletes or replaces a character, or swaps two neighbours.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.chars().take(LONGEST).collect();
    let most = (typed.len() / 3).max(1);
    let mut best = None;
    for word in words {
        let changes = changes(&typed, &word.chars().collect::<Vec<_>>());
        if changes <= most && best.is_none_or(|(fewest, _)| changes < fewest) {
            best = Some((changes, word));
        }
    }
    best.map(|(_, word)| word)
}

/// The most characters of a typed word that are compared. No word is so long.
const LONGEST: usize = 40;

/// How many changes turn one word into another (optimal string alignment).
fn changes(one: &[char], other: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut fewest = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && one[row - 1] == *b && other[column - 1] == *a;
            if swapped {
                fewest = fewest.min(before_last[column - 1] + 1);
            }
            current.push(fewest);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_none() {
        let words = ["/msg", "/who", "/history", "/block", "/blocked", "/unblock"];
        for (typed, meant) in [
            ("/mgs", Some("/msg")),
            ("/histroy", Some("/history")),
            ("/hstory", Some("/history")),
            ("/bloc", Some("/block")),
            ("/unblok", Some("/unblock")),
            ("/whoo", Some("/who")),
            ("/dance", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), words), None);
    }
}
