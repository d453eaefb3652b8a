//! The terminal's title, which says what is unread if the person wants that. The terminal gets its
//! own title back.

/// Makes the terminal remember its title, and take it back.
const KEEP: &str = "\x1b[22;2t";
const RESTORE: &str = "\x1b[23;2t";

/// The title that was set last.
#[derive(Default)]
pub(super) struct Title(Option<String>);

impl Title {
    /// The sequence that sets this title, if it is another than before.
    pub(super) fn set(&mut self, title: Option<String>) -> String {
        if title.is_none() || title == self.0 {
            return String::new();
        }
        let keep = if self.0.is_none() { KEEP } else { "" };
        self.0 = title;
        let title = self.0.as_deref().unwrap_or_default();
        format!("{keep}\x1b]2;{title}\x07")
    }

    /// The sequence that gives the terminal its own title back.
    pub(super) fn restore(&mut self) -> &'static str {
        match self.0.take() {
            Some(_) => RESTORE,
            None => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_set_once_and_given_back() {
        let mut title = Title::default();
        assert_eq!((title.set(None), title.restore()), (String::new(), ""));
        assert_eq!(title.set(Some("a".into())), format!("{KEEP}\x1b]2;a\x07"));
        assert_eq!(title.set(Some("a".into())), "");
        assert_eq!(title.set(Some("b".into())), "\x1b]2;b\x07");
        assert_eq!((title.restore(), title.restore()), (RESTORE, ""));
    }
}
