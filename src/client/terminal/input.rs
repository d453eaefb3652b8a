//! The thread that reads: keys from a terminal, or lines from a pipe.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use zeroize::Zeroizing;

use super::{Heard, Screen};
use crate::client::commands;

/// The longest line read from a pipe: the longest text and a command before it.
const MAX_LINE: u64 = 32 * 1024;

/// What the reader is asked for.
pub(super) enum Ask {
    /// A line, with this prompt.
    Line(String),
    /// A line that isn't shown or remembered, with this prompt.
    Secret(String),
}

/// Completes commands and names from their tables.
struct Completion(Arc<Screen>);

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (logged_in, people) = self.0.completion();
        let typed = line.get(..pos).unwrap_or(line);
        let (start, found) = commands::complete(typed, logged_in, &people);
        let pair = |word: String| Pair {
            display: word.trim_end().to_owned(),
            replacement: word,
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}

/// Reads from a terminal until nobody asks any more.
pub(super) fn from_keys(asks: &Receiver<Ask>, tell: &SyncSender<Heard>, screen: &Arc<Screen>) {
    let mut editor = match editor(screen) {
        Ok(editor) => editor,
        Err(error) => {
            let _gone = tell.send(Heard::Failed(format!(
                "the terminal can't be read: {error}"
            )));
            return;
        }
    };
    while let Ok(ask) = asks.recv() {
        let heard = match ask {
            Ask::Line(prompt) => match editor.readline(prompt.as_str()) {
                Ok(line) => {
                    // A history that is full forgets by itself.
                    let _added = editor.add_history_entry(line.as_str());
                    Heard::Line(Zeroizing::new(line))
                }
                Err(ReadlineError::Eof) => Heard::Eof,
                Err(ReadlineError::Interrupted) => Heard::Stop,
                Err(error) => Heard::Failed(format!("the terminal can't be read: {error}")),
            },
            Ask::Secret(prompt) => match rpassword::prompt_password(prompt) {
                Ok(line) => Heard::Line(Zeroizing::new(line)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Heard::Eof,
                // Ctrl-C, which raises SIGINT besides. Asking on until that is heard would
                // change the terminal's modes while the program is leaving them as they were.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Heard::Stop,
                Err(error) => Heard::Failed(format!("the terminal can't be read: {error}")),
            },
        };
        if tell.send(heard).is_err() {
            return;
        }
    }
}

fn editor(screen: &Arc<Screen>) -> rustyline::Result<Editor<Completion, MemHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .build();
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history)?;
    editor.set_helper(Some(Completion(Arc::clone(screen))));
    screen.print_above(Box::new(editor.create_external_printer()?));
    Ok(editor)
}

/// Reads lines from what is not a terminal until nobody asks any more. There are
/// no secrets to be had from it.
pub(super) fn from_lines(asks: &Receiver<Ask>, tell: &SyncSender<Heard>) {
    let mut lines = io::stdin().lock();
    while let Ok(ask) = asks.recv() {
        let heard = match ask {
            Ask::Line(_) => next_line(&mut lines),
            Ask::Secret(_) => Heard::Eof,
        };
        if tell.send(heard).is_err() {
            return;
        }
    }
}

fn next_line(lines: &mut dyn BufRead) -> Heard {
    let mut bytes = Vec::new();
    match io::Read::take(lines, MAX_LINE).read_until(b'\n', &mut bytes) {
        Err(error) => Heard::Failed(format!("the input can't be read: {error}")),
        Ok(0) => Heard::Eof,
        Ok(count) if count as u64 == MAX_LINE && !bytes.ends_with(b"\n") => {
            Heard::Failed("a line of the input is longer than 32 KiB; cut it in pieces".to_owned())
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(line) => Heard::Line(Zeroizing::new(
                line.trim_end_matches(['\r', '\n']).to_owned(),
            )),
            Err(_) => {
                Heard::Failed("a line of the input is not UTF-8; convert it first".to_owned())
            }
        },
    }
}
