//! How many of something there are, in words, for what commands print.

/// A count and its noun: `1 account`, `2 accounts`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}
