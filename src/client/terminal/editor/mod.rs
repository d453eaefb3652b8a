//! What keys do to the line that is being typed: editing, history, search and completion.
//!
//! It is a state that keys change. It reads nothing, draws nothing and waits for nobody.

mod history;

use zeroize::Zeroizing;

use self::history::History;
use super::keys::Key;
use super::line::{EditLine, MAX_LINE, Motion};

/// How many candidates of a completion are listed.
const MAX_LISTED: usize = 60;

/// What the person is asked for.
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
    /// Show this above the line.
    Say(String),
    /// Clear the terminal.
    Clear,
    /// Let the shell have the terminal.
    Suspend,
}

/// Completes the last word of a text: returns where the word begins, and the candidates for it.
pub(super) type Complete<'a> = &'a dyn Fn(&str) -> (usize, Vec<String>);

#[derive(Default)]
enum Mode {
    #[default]
    Edit,
    /// The next character is inserted, whatever key it is.
    Quote,
    /// The next key belongs to a Ctrl-X.
    Prefix,
    /// Keys are added to a text that is searched for in the history.
    Search(Search),
}

#[derive(Default)]
struct Search {
    what: String,
    /// The place in the history of the line that was found.
    found: Option<usize>,
    /// The text that was being typed when the search began.
    before: Zeroizing<String>,
}

/// The line that is being typed, and the lines entered before it.
pub(super) struct Editor {
    kind: Kind,
    line: EditLine,
    mode: Mode,
    history: History,
    /// The text that was cut out or dropped last.
    cut: Zeroizing<String>,
    /// The line that was being typed when a question came.
    draft: Option<Zeroizing<String>>,
}

impl Editor {
    pub(super) fn new() -> Self {
        Editor {
            kind: Kind::Line,
            line: EditLine::default(),
            mode: Mode::Edit,
            history: History::default(),
            cut: Zeroizing::default(),
            draft: None,
        }
    }

    /// Asks for something of this kind. A line that is being typed comes back after a question;
    /// what was typed for a question is dropped with it.
    pub(super) fn ask(&mut self, kind: Kind) {
        if self.kind != kind {
            let typed = self.clear();
            if self.kind == Kind::Line && !typed.is_empty() {
                self.draft = Some(typed);
            }
        }
        self.kind = kind;
        if kind == Kind::Line
            && let Some(draft) = self.draft.take()
        {
            self.line.set(&draft);
        }
    }

    /// Puts a text into an empty line, as if it had been typed.
    pub(super) fn offer(&mut self, text: &str) {
        if self.line.text().is_empty() && !text.is_empty() {
            self.line.set(text);
        }
    }

    /// Whether the next key is to be inserted as a character, whatever it is.
    pub(super) fn quotes_next_key(&self) -> bool {
        matches!(self.mode, Mode::Quote)
    }

    /// The prompt, the text after it, and the cursor's place in that text.
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

    /// Does what a key stands for.
    pub(super) fn key(&mut self, key: Key, complete: Complete<'_>) -> Step {
        match std::mem::take(&mut self.mode) {
            Mode::Edit => self.edit(key, complete),
            Mode::Quote => self.put_key(&key),
            Mode::Prefix => match key {
                Key::Ctrl('u') => self.undo(),
                // A key that means nothing after Ctrl-X is dropped with it.
                Key::Ctrl(letter) if letter != 'c' => Step::Draw,
                key => self.edit(key, complete),
            },
            Mode::Search(search) => self.search(search, key, complete),
        }
    }

    fn edit(&mut self, key: Key, complete: Complete<'_>) -> Step {
        match key {
            Key::Enter => self.enter(),
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
            // A newline after a copied password does not belong to it.
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

    /// Begins an empty line, and returns the text of the one before it.
    fn clear(&mut self) -> Zeroizing<String> {
        self.mode = Mode::Edit;
        self.history.leave();
        self.line.clear()
    }

    fn finish(&mut self) -> Step {
        let text = self.clear();
        if self.kind == Kind::Line {
            self.history.remember(&text);
        }
        Step::Line(text)
    }

    /// Ends the line, unless a backslash at its end says that it goes on in the next row. Two
    /// backslashes are just that.
    fn enter(&mut self) -> Step {
        let text = self.line.text();
        let backslashes = text.len() - text.trim_end_matches('\\').len();
        if self.kind != Kind::Line || backslashes != 1 || self.line.cursor() != text.len() {
            return self.finish();
        }
        let _backslash = self.line.cut(Motion::Left);
        self.put("\n")
    }

    fn interrupt(&mut self) -> Step {
        let draft = self.clear();
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

    /// Steps through the history.
    fn recall(&mut self, earlier: bool) -> Step {
        if self.kind == Kind::Line
            && let Some(line) = self.history.step(earlier, self.line.text())
        {
            self.line.set(&line);
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
                let next = search.found.map_or(0, |at| at + 1);
                let later = self.history.find_from(next, &search.what);
                later.map_or(next, |at| at + 1)
            }
            Key::Ctrl('g') | Key::Escape => {
                self.line.set(&search.before);
                return Step::Draw;
            }
            // Any other key ends the search and acts on the line that was found.
            key => return self.edit(key, complete),
        };
        if let Some((at, line)) = self.history.find_before(from, &search.what)
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
                names.truncate(MAX_LISTED);
                let mut list = names.join("  ");
                if found.len() > MAX_LISTED {
                    list.push_str(&format!("  and {} more", found.len() - MAX_LISTED));
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
mod tests;
