//! What keys do to the line that is being typed: editing, history, search and
//! completion. A state that keys change; it reads nothing, draws nothing, waits for
//! nobody.

use zeroize::Zeroizing;

use super::keys::Key;
use super::line::{EditLine, MAX_LINE, Motion};

/// How many lines are remembered.
const HISTORY: usize = 200;

/// How many candidates of a completion are listed.
const LISTED: usize = 60;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A command or a message, which Ctrl-C only drops.
    Line,
    /// An answer to a question, which Ctrl-C cancels.
    Question,
    /// An answer that is neither shown nor remembered.
    Secret,
}

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Draw the line again.
    Draw,
    /// This was typed.
    Line(Zeroizing<String>),
    /// There will be no more lines.
    End,
    /// The question is not answered.
    Cancel,
    /// This draft was dropped, the line is empty.
    Drop(Zeroizing<String>),
    /// Say this above the line.
    Say(String),
    /// Clear the terminal.
    Clear,
    /// Let the shell have the terminal.
    Suspend,
}

/// Finds what a word could be: where it begins, and the candidates.
pub(super) type Complete<'a> = &'a dyn Fn(&str) -> (usize, Vec<String>);

#[derive(Default)]
enum Mode {
    #[default]
    Edit,
    /// The next character is inserted, whatever key it is.
    Quote,
    /// The next key belongs to a Ctrl-X.
    Prefix,
    /// Looking for a line in the history.
    Search(Search),
}

#[derive(Default)]
struct Search {
    what: String,
    /// Where in the history the line was found.
    found: Option<usize>,
    /// The text that was there before.
    before: Zeroizing<String>,
}

/// The line that is being typed, and those before it.
pub(super) struct Editor {
    kind: Kind,
    line: EditLine,
    mode: Mode,
    history: Vec<String>,
    /// Which line of the history is shown, and what was being typed instead.
    recalled: Option<(usize, Zeroizing<String>)>,
    /// What was cut out last, or dropped.
    cut: Zeroizing<String>,
}

impl Editor {
    pub(super) fn new() -> Self {
        Editor {
            kind: Kind::Line,
            line: EditLine::default(),
            mode: Mode::Edit,
            history: Vec::new(),
            recalled: None,
            cut: Zeroizing::default(),
        }
    }

    /// Asks for something of this kind. What was typed for another kind is dropped.
    pub(super) fn ask(&mut self, kind: Kind) {
        if self.kind != kind {
            self.start();
        }
        self.kind = kind;
    }

    /// Whether the next key is to be taken as it was typed.
    pub(super) fn takes_literally(&self) -> bool {
        matches!(self.mode, Mode::Quote)
    }

    /// The prompt, the text behind it, and the cursor in that.
    pub(super) fn shown(&self, prompt: &str) -> (String, &str, usize) {
        match &self.mode {
            _ if self.kind == Kind::Secret => (prompt.to_owned(), "", 0),
            Mode::Search(search) => {
                let failed = match search.found.is_none() && !search.what.is_empty() {
                    true => "not found",
                    false => "search",
                };
                let prompt = format!("({failed} '{}') ", search.what);
                (prompt, self.line.text(), self.line.cursor())
            }
            _ => (prompt.to_owned(), self.line.text(), self.line.cursor()),
        }
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: Key, complete: Complete<'_>) -> Step {
        match std::mem::take(&mut self.mode) {
            Mode::Edit => self.edit(key, complete),
            Mode::Quote => self.put_key(&key),
            Mode::Prefix => match key {
                Key::Ctrl('u') => self.undo(),
                // Only a key that means nothing behind Ctrl-X is swallowed with it.
                Key::Ctrl(letter) if letter != 'c' => Step::Draw,
                key => self.edit(key, complete),
            },
            Mode::Search(search) => self.search(search, key, complete),
        }
    }

    fn edit(&mut self, key: Key, complete: Complete<'_>) -> Step {
        match key {
            Key::Enter => self.finish(),
            Key::Tab => self.complete(complete),
            Key::Char(_) | Key::Paste(_) | Key::PasteTooLong => self.put_key(&key),
            Key::Ctrl(letter) => self.ctrl(letter),
            Key::Alt(letter) => self.alt(letter),
            Key::Up => self.row_or_recall(true),
            Key::Down => self.row_or_recall(false),
            Key::Left => self.go(Motion::Left),
            Key::Right => self.go(Motion::Right),
            Key::WordLeft => self.go(Motion::WordLeft),
            Key::WordRight => self.go(Motion::WordRight),
            Key::Home => self.go(Motion::Home),
            Key::End => self.go(Motion::End),
            Key::Backspace => self.remove(Motion::Left),
            Key::Delete => self.remove(Motion::Right),
            Key::Escape | Key::Unknown => Step::Draw,
        }
    }

    fn ctrl(&mut self, letter: char) -> Step {
        match letter {
            'a' => self.go(Motion::Home),
            'b' => self.go(Motion::Left),
            'c' => self.interrupt(),
            'd' if self.line.text().is_empty() => Step::End,
            'd' => self.remove(Motion::Right),
            'e' => self.go(Motion::End),
            'f' => self.go(Motion::Right),
            'k' => self.cut(Motion::End),
            'l' => Step::Clear,
            'n' => self.recall(false),
            'p' => self.recall(true),
            'q' | 'v' => self.switch(Mode::Quote),
            'r' | 's' if self.kind != Kind::Secret => {
                let before = Zeroizing::new(self.line.text().to_owned());
                self.switch(Mode::Search(Search {
                    before,
                    ..Search::default()
                }))
            }
            't' if self.kind != Kind::Secret => {
                self.line.transpose();
                Step::Draw
            }
            'u' => self.cut(Motion::Start),
            'w' => self.cut(Motion::WordLeft),
            'x' => self.switch(Mode::Prefix),
            'y' => {
                let cut = self.cut.clone();
                self.put(&cut)
            }
            'z' => Step::Suspend,
            '_' => self.undo(),
            _ => Step::Draw,
        }
    }

    fn alt(&mut self, letter: char) -> Step {
        match letter {
            '\r' if self.kind == Kind::Line => self.put("\n"),
            '\r' => self.finish(),
            'b' => self.go(Motion::WordLeft),
            'f' => self.go(Motion::WordRight),
            'd' => self.cut(Motion::WordRight),
            '\x7f' => self.cut(Motion::WordLeft),
            // Nothing that was typed is lost because an Escape came before it.
            letter if !letter.is_control() => self.put_key(&Key::Char(letter)),
            _ => Step::Draw,
        }
    }

    fn switch(&mut self, mode: Mode) -> Step {
        self.mode = mode;
        Step::Draw
    }

    fn put_key(&mut self, key: &Key) -> Step {
        match key {
            Key::Char(character) => self.put(character.encode_utf8(&mut [0; 4])),
            // The newline behind a copied password is no part of it.
            Key::Paste(text) if self.kind != Kind::Line => self.put(text.trim_end_matches('\n')),
            Key::Paste(text) => self.put(text),
            Key::PasteTooLong => too_long(),
            _ => Step::Draw,
        }
    }

    fn put(&mut self, text: &str) -> Step {
        match self.line.insert(text, self.kind == Kind::Secret) {
            true => Step::Draw,
            false => too_long(),
        }
    }

    fn go(&mut self, motion: Motion) -> Step {
        self.line.go(motion);
        Step::Draw
    }

    fn remove(&mut self, motion: Motion) -> Step {
        let _removed = self.line.cut(motion);
        Step::Draw
    }

    fn cut(&mut self, motion: Motion) -> Step {
        let cut = self.line.cut(motion);
        if self.kind != Kind::Secret && !cut.is_empty() {
            self.cut = cut;
        }
        Step::Draw
    }

    fn undo(&mut self) -> Step {
        self.line.undo();
        Step::Draw
    }

    /// An empty line: what belongs to the one before it is forgotten.
    fn start(&mut self) -> Zeroizing<String> {
        self.mode = Mode::Edit;
        self.recalled = None;
        self.line.take()
    }

    fn finish(&mut self) -> Step {
        let text = self.start();
        let known = self.history.last().is_some_and(|last| *last == *text);
        if self.kind == Kind::Line && !known && !text.trim().is_empty() {
            if self.history.len() == HISTORY {
                self.history.remove(0);
            }
            self.history.push(text.to_string());
        }
        Step::Line(text)
    }

    fn interrupt(&mut self) -> Step {
        let draft = self.start();
        match self.kind {
            Kind::Question | Kind::Secret => Step::Cancel,
            Kind::Line if draft.is_empty() => {
                Step::Say("to quit, press Ctrl-D or type /quit".to_owned())
            }
            Kind::Line => {
                self.cut = draft.clone();
                Step::Drop(draft)
            }
        }
    }

    fn row_or_recall(&mut self, up: bool) -> Step {
        match self.line.row(up) {
            true => Step::Draw,
            false => self.recall(up),
        }
    }

    /// Goes through the history.
    fn recall(&mut self, earlier: bool) -> Step {
        if self.kind != Kind::Line {
            return Step::Draw;
        }
        let now = match &self.recalled {
            Some((at, _)) => *at,
            None => self.history.len(),
        };
        let next = match earlier {
            true => now.checked_sub(1),
            false => Some(now + 1),
        };
        match next {
            Some(next) if next < self.history.len() => {
                let draft = match self.recalled.take() {
                    Some((_, draft)) => draft,
                    None => Zeroizing::new(self.line.text().to_owned()),
                };
                self.line.set(&self.history[next]);
                self.recalled = Some((next, draft));
            }
            Some(_) => {
                if let Some((_, draft)) = self.recalled.take() {
                    self.line.set(&draft);
                }
            }
            None => {}
        }
        Step::Draw
    }

    fn search(&mut self, mut search: Search, key: Key, complete: Complete<'_>) -> Step {
        let from = match key {
            Key::Char(character) => {
                search.what.push(character);
                self.history.len()
            }
            Key::Backspace => {
                search.what.pop();
                self.history.len()
            }
            Key::Ctrl('r') => search.found.unwrap_or(self.history.len()),
            Key::Ctrl('s') => {
                let later = |at: &usize| self.history[*at].contains(&search.what);
                let next = search.found.map_or(0, |at| at + 1);
                match (next..self.history.len()).find(later) {
                    Some(at) => at + 1,
                    None => search.found.map_or(0, |at| at + 1),
                }
            }
            Key::Ctrl('g') | Key::Escape => {
                self.line.set(&search.before);
                return Step::Draw;
            }
            // Any other key does what it does, with the line that was found.
            key => return self.edit(key, complete),
        };
        let earlier = self.history[..from].iter();
        let found = earlier
            .enumerate()
            .rev()
            .find(|(_, line)| line.contains(&search.what));
        if let Some((at, line)) = found
            && !search.what.is_empty()
        {
            self.line.set(line);
            search.found = Some(at);
        } else if matches!(key, Key::Char(_)) {
            search.found = None;
        }
        self.switch(Mode::Search(search))
    }

    fn complete(&mut self, complete: Complete<'_>) -> Step {
        if self.kind != Kind::Line {
            return match self.kind {
                Kind::Secret => self.put("\t"),
                _ => Step::Draw,
            };
        }
        let typed = &self.line.text()[..self.line.cursor()];
        let (start, found) = complete(typed);
        let word = typed[start..].to_owned();
        let common = common_beginning(&found);
        match common.strip_prefix(word.as_str()) {
            Some(more) if !more.is_empty() => {
                let more = more.to_owned();
                self.put(&more)
            }
            _ if found.len() > 1 => {
                let mut names: Vec<_> = found.iter().map(|name| name.trim_end()).collect();
                names.truncate(LISTED);
                let mut list = names.join("  ");
                if found.len() > LISTED {
                    list.push_str(&format!("  and {} more", found.len() - LISTED));
                }
                Step::Say(list)
            }
            _ if found.is_empty() && self.in_text() => self.put("\t"),
            _ => Step::Draw,
        }
    }

    /// Whether the cursor is in a text, where a tab is a tab: a paste without brackets
    /// types it.
    fn in_text(&self) -> bool {
        let before = &self.line.text()[..self.line.cursor()];
        !before.starts_with('/') || before.split_whitespace().count() > 2
    }
}

fn too_long() -> Step {
    Step::Say(format!(
        "a line has at most {} KiB; the last piece is not in it, so cut it into several messages",
        MAX_LINE / 1024
    ))
}

fn common_beginning(words: &[String]) -> &str {
    let Some((first, rest)) = words.split_first() else {
        return "";
    };
    let mut length = first.len();
    for word in rest {
        let same = first.bytes().zip(word.bytes()).take_while(|(a, b)| a == b);
        length = length.min(same.count());
    }
    while !first.is_char_boundary(length) {
        length -= 1;
    }
    &first[..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::terminal::keys::Keys;

    fn complete(typed: &str) -> (usize, Vec<String>) {
        crate::client::app::commands::complete(typed, true, &["bob".to_owned(), "bea".to_owned()])
    }

    /// Types bytes, and gives the steps that are more than drawing.
    fn type_into(editor: &mut Editor, bytes: &str) -> Vec<Step> {
        let mut keys = Keys::default();
        keys.add(bytes.as_bytes());
        let mut steps = Vec::new();
        loop {
            let key = match editor.takes_literally() {
                true => keys.literal(),
                false => keys.next(true),
            };
            let Some(key) = key else { return steps };
            match editor.key(key, &complete) {
                Step::Draw => {}
                step => steps.push(step),
            }
        }
    }

    fn lines(bytes: &str) -> Vec<String> {
        let typed = type_into(&mut Editor::new(), bytes);
        let line = |step| match step {
            Step::Line(text) => Some(text.to_string()),
            _ => None,
        };
        typed.into_iter().filter_map(line).collect()
    }

    #[test]
    fn lines_are_edited() {
        assert_eq!(lines("helo\x1b[Dl\r"), ["hello"]);
        assert_eq!(lines("two words\x17\x15all\x19\r"), ["alltwo "]);
        assert_eq!(lines("abc\x01\x04\x0b\x19\x19\r"), ["bcbc"]);
        assert_eq!(lines("a\x16\x03b\x1b\rc\r"), ["a\u{3}b\nc"]);
        assert_eq!(lines("abc\x7f\x1f\r"), ["abc"]);
        // An Escape pressed by mistake swallows no letter.
        assert_eq!(lines("\x1bhello\r"), ["hello"]);
    }

    #[test]
    fn earlier_lines_come_back() {
        assert_eq!(
            lines("one\rtwo\rdraft\x1b[A\x1b[A\r").last().unwrap(),
            "one"
        );
        let kept = lines("one\rdraft\x1b[A\x1b[B\r");
        assert_eq!(kept, ["one", "draft"]);
        assert_eq!(lines("one\rtwo\ronly\r\x12o\x12\r").last().unwrap(), "two");
        assert_eq!(lines("one\rtwo\r\x12o\x12\x13\r").last().unwrap(), "two");
        assert_eq!(lines("one\rdraft\x12on\x07!\r").last().unwrap(), "draft!");
        assert_eq!(lines("one\r\x12on!\x7f\r").last().unwrap(), "one");
    }

    #[test]
    fn tab_completes_and_is_a_tab_in_a_text() {
        assert_eq!(lines("/con\t\r"), ["/contacts "]);
        assert_eq!(lines("/msg bo\thi\tyou\r"), ["/msg bob hi\tyou"]);
        assert_eq!(lines("\tindented\r"), ["\tindented"]);
        let listed = type_into(&mut Editor::new(), "/msg b\t");
        assert_eq!(listed, [Step::Say("bob  bea".to_owned())]);
    }

    #[test]
    fn an_interrupt_drops_the_draft_or_the_question() {
        let mut editor = Editor::new();
        for draft in ["draft", "x\x12dr"] {
            let steps = type_into(&mut editor, &format!("{draft}\x03"));
            assert!(matches!(steps[..], [Step::Drop(_)]), "{steps:?}");
        }
        assert!(matches!(type_into(&mut editor, "\x03")[..], [Step::Say(_)]));
        assert_eq!(type_into(&mut editor, "\x04"), [Step::End]);
        for kind in [Kind::Question, Kind::Secret] {
            editor.ask(kind);
            assert_eq!(type_into(&mut editor, "y\x03"), [Step::Cancel]);
            assert_eq!(editor.shown("> ").1, "");
        }
    }

    #[test]
    fn a_secret_is_neither_shown_nor_remembered() {
        let mut editor = Editor::new();
        editor.ask(Kind::Secret);
        assert!(
            type_into(
                &mut editor,
                "open\x17sesame\x15\x1b[200~open sesame\n\x1b[201~"
            )
            .is_empty()
        );
        assert_eq!(editor.shown("> ").1, "");
        let typed = type_into(&mut editor, "\r");
        assert_eq!(
            typed,
            [Step::Line(Zeroizing::new("open sesame".to_owned()))]
        );
        editor.ask(Kind::Line);
        assert!(type_into(&mut editor, "\x19\x1b[A\x1f").is_empty());
        assert_eq!(editor.shown("> ").1, "");
    }

    #[test]
    fn a_line_that_is_too_long_is_said() {
        let mut editor = Editor::new();
        let long = "x".repeat(MAX_LINE);
        assert!(matches!(
            type_into(&mut editor, &format!("\x1b[200~{long}\x1b[201~y"))[..],
            [Step::Say(_)]
        ));
        assert_eq!(lines(&format!("\x1b[200~{long}\x1b[201~\r")), [long]);
    }
}
