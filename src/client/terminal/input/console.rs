//! The body of the thread `input`, the only one that reads a terminal and draws on it. It reads
//! every byte that is typed, whether or not a line is asked for at that moment, so nothing typed
//! ahead is lost between two prompts.
//!
//! It waits for nothing but the terminal and [`Request`]s, and handles either of them in any state
//! of the editor. Each request is answered once. Printed text appears above the line that is being
//! typed.
//!
//! A terminal that shows plain text only edits lines by itself. Then whole lines are read, and the
//! prompt is printed again below each text that arrives.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::tcgetwinsize;
use zeroize::Zeroizing;

use super::marks::Marks;
use super::title::Title;
use super::{Bell, Request, Shown};
use crate::client::app::commands;
use crate::client::app::commands::TypedLine;
use crate::client::terminal::InputEvent;
use crate::client::terminal::completion::Completion;
use crate::client::terminal::draw;
use crate::client::terminal::draw::{Shape, Size};
use crate::client::terminal::editor::{Editor, Kind, Step};
use crate::client::terminal::keys::{Key, Keys};
use crate::client::terminal::modes;
use crate::client::terminal::modes::Modes;
use crate::client::terminal::output::Stream;
use crate::clock;

/// The most typed bytes that are kept. Beyond that the terminal is not read, and the system makes
/// the typist wait.
const MAX_AHEAD: usize = 1024 * 1024;

/// After this time of a command, Ctrl-C explains how to end the program.
const LONG_WORK: Duration = Duration::from_secs(1);

/// How long to wait for the shell to stop the program.
const STOPS_WITHIN: Duration = Duration::from_millis(100);

/// Ctrl-\, which ends the program while a command runs.
const QUIT: u8 = 0x1c;
const INTERRUPT: u8 = 0x03;

/// The thread's state.
pub(super) struct Console {
    requests: Receiver<Request>,
    woken: UnixStream,
    bell: Arc<Bell>,
    tell: SyncSender<InputEvent>,
    completion: Arc<Completion>,
    modes: Modes,
    /// `None` on a terminal that edits lines by itself.
    editor: Option<Editor>,
    keys: Keys,
    /// The kind of line that is asked for, and its prompt.
    asked: Option<(Kind, String)>,
    /// How many rows the drawn line has above and below the cursor; `None` if no line is drawn. A
    /// prompt on a terminal that edits lines by itself counts as a line.
    drawn: Option<(usize, usize)>,
    /// The drawn line's rows, for a change of the terminal's width.
    shape: Shape,
    marks: Marks,
    title: Title,
    /// The terminal has reported the end of its input.
    ended: bool,
    lent: bool,
    /// Why nothing more can be read.
    failed: Option<String>,
    busy_since: Instant,
}

impl Console {
    pub(super) fn new(
        (requests, woken, bell): (Receiver<Request>, UnixStream, Arc<Bell>),
        modes: Modes,
        tell: SyncSender<InputEvent>,
        completion: Arc<Completion>,
    ) -> Self {
        Console {
            requests,
            woken,
            bell,
            tell,
            completion,
            editor: modes.edits_lines().then(Editor::new),
            modes,
            keys: Keys::default(),
            asked: None,
            drawn: None,
            shape: Shape::default(),
            marks: Marks::default(),
            title: Title::default(),
            ended: false,
            lent: false,
            failed: None,
            busy_since: clock::now(),
        }
    }

    /// Reads and draws until it is asked to end.
    pub(super) fn run(mut self) {
        let mut paused = false;
        loop {
            self.answer(paused);
            let pause = self.keys.undecided().filter(|_| self.asked.is_some());
            let (woken, typed) = self.wait(pause);
            paused = pause.is_some() && !woken && !typed;
            if woken && !self.serve() {
                return;
            }
            if typed {
                self.read();
            }
        }
    }

    /// Waits for a request or for keys, and returns which of the two came.
    fn wait(&self, limit: Option<Duration>) -> (bool, bool) {
        let reads =
            !self.lent && !self.ended && self.failed.is_none() && self.keys.waiting() < MAX_AHEAD;
        let stdin = io::stdin();
        let mut sources = vec![PollFd::new(&self.woken, PollFlags::IN)];
        if reads {
            sources.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        if poll(&mut sources, limit.as_ref()).is_err() {
            return (false, false);
        }
        let ready = |at: usize| sources.get(at).is_some_and(|fd| !fd.revents().is_empty());
        (ready(0), ready(1))
    }

    /// Handles the requests that wait. Returns `false` at the end.
    fn serve(&mut self) -> bool {
        let mut rung = [0; 64];
        while matches!((&self.woken).read(&mut rung), Ok(64)) {}
        if self.bell.resumed.swap(false, Ordering::SeqCst) && !self.lent {
            let _set = self.modes.type_in();
            self.forget_drawn();
        }
        let resized = self.bell.resized.swap(false, Ordering::SeqCst);
        let changed = self.bell.changed.swap(false, Ordering::SeqCst);
        if resized {
            self.marks.lose_places();
            if let Some((above, _)) = &mut self.drawn
                && modes::rewraps()
            {
                *above = self.shape.above_at(size().columns);
            }
        }
        if (resized || changed) && self.editor.is_some() && !self.lent {
            self.redraw();
        }
        if self.bell.interrupted.swap(false, Ordering::SeqCst) && !self.lent {
            self.interrupt_plain();
        }
        loop {
            match self.requests.try_recv() {
                Ok(Request::End(done)) => {
                    self.leave();
                    let _heard = done.send(());
                    return false;
                }
                Ok(request) => self.do_request(request),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    self.leave();
                    return false;
                }
            }
        }
    }

    fn do_request(&mut self, request: Request) {
        match request {
            Request::Ask(kind, prompt, text) => self.ask(kind, prompt, &text),
            Request::AskAgain(kind, prompt) if self.asked.is_some() => {
                self.ask(kind, prompt, "");
            }
            // The line is on its way already.
            Request::AskAgain(..) => {}
            Request::Show(shown, done) => {
                let printed = self.show(shown);
                let _heard = done.send(printed);
            }
            Request::Lend(done) => {
                self.leave();
                self.lent = true;
                self.bell.signals.store(true, Ordering::SeqCst);
                let _heard = done.send(());
            }
            Request::Reclaim => {
                self.lent = false;
                self.bell
                    .signals
                    .store(self.editor.is_none(), Ordering::SeqCst);
                let _set = self.modes.type_in();
            }
            // `serve` handles it.
            Request::End(_) => {}
        }
    }

    fn ask(&mut self, kind: Kind, prompt: String, text: &str) {
        match &mut self.editor {
            Some(editor) => {
                editor.ask(kind);
                editor.offer(text);
            }
            None if kind == Kind::Secret => {
                let _set = self.modes.hide();
            }
            None => {}
        }
        let same = self
            .asked
            .as_ref()
            .is_some_and(|asked| asked.0 == kind && asked.1 == prompt);
        self.asked = Some((kind, prompt));
        if !same || self.drawn.is_none() {
            self.redraw();
        }
    }

    /// Reads what was typed.
    fn read(&mut self) {
        let mut bytes = Zeroizing::new([0; 4096]);
        match rustix::io::read(io::stdin(), &mut bytes[..]) {
            Ok(0) if self.editor.is_none() => self.ended = true,
            Ok(0) => self.failed = Some("the terminal was closed".to_owned()),
            Ok(count) => {
                let typed = &bytes[..count];
                self.keys.add(typed);
                if self.asked.is_none() && self.editor.is_some() {
                    self.typed_at_work(typed);
                }
            }
            Err(error) => {
                let error = io::Error::from(error);
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    self.failed = Some(format!("the terminal can't be read: {error}"));
                }
            }
        }
    }

    /// Handles the two keys that work while nothing is asked for; all others wait.
    fn typed_at_work(&mut self, typed: &[u8]) {
        if self.busy_since.elapsed() < LONG_WORK {
            return;
        }
        if typed.contains(&QUIT) {
            self.leave();
            std::process::exit(128 + 3);
        }
        if typed.contains(&INTERRUPT) {
            let _printed = self.print("still at work; press Ctrl-\\ to end the program at once\n");
        }
    }

    /// Answers what is asked for with what was typed, as far as that suffices.
    fn answer(&mut self, mut paused: bool) {
        let mut changed = false;
        while self.asked.is_some() {
            let Some(key) = self.next_key(paused) else {
                break;
            };
            paused = false;
            changed = true;
            if let Some(step) = self.step(key) {
                changed = !matches!(step, Step::Line(_));
                self.do_step(step);
            }
        }
        if changed {
            self.redraw();
        }
        if self.asked.is_some() && self.editor.is_none() {
            self.answer_plain();
        }
        if self.asked.is_some()
            && let Some(why) = self.failed.clone()
        {
            self.tell(InputEvent::Failed(why));
        }
    }

    fn next_key(&mut self, paused: bool) -> Option<Key> {
        match self.editor.as_ref()?.quotes_next_key() {
            true => self.keys.literal(),
            false => self.keys.next(paused),
        }
    }

    /// What the next keys lead to; `None` if only the line has to be drawn again.
    fn step(&mut self, key: Key) -> Option<Step> {
        let completion = Arc::clone(&self.completion);
        let complete = move |typed: &str| {
            let (logged_in, people) = completion.candidates();
            commands::complete(typed, logged_in, &people)
        };
        match self.editor.as_mut()?.key(key, &complete) {
            Step::Draw => None,
            step => Some(step),
        }
    }

    fn do_step(&mut self, step: Step) {
        match step {
            Step::Draw => {}
            Step::Line(text) => {
                let kept = match self.is_message(&text) {
                    // It stays until the message shows itself.
                    true => self.drawn,
                    false => {
                        self.finish_line(&text);
                        None
                    }
                };
                self.tell(InputEvent::Line(text));
                self.drawn = kept;
            }
            Step::End => {
                self.finish_line("");
                self.tell(InputEvent::Eof);
            }
            Step::Cancel => {
                self.finish_line("^C");
                self.tell(InputEvent::Cancelled);
            }
            Step::Drop(draft) => self.finish_line(&format!("{}^C", *draft)),
            Step::Say(text) => {
                let _printed = self.print(&format!("{text}\n"));
            }
            Step::Clear => self.clear("\x1b[H\x1b[2J"),
            Step::Suspend => self.suspend(),
        }
    }

    /// Whether a line that was typed sends a message.
    fn is_message(&self, text: &str) -> bool {
        if !matches!(self.asked, Some((Kind::Line, _))) {
            return false;
        }
        let (logged_in, _) = self.completion.candidates();
        let talks = self.completion.talks_to().is_some();
        match commands::parse(text, logged_in, talks) {
            Ok(TypedLine::Text(_)) => true,
            Ok(TypedLine::Command {
                spec,
                by_number: false,
                ..
            }) => spec.sends(),
            _ => false,
        }
    }

    /// Leaves the line that was typed on the terminal, and puts the cursor below it.
    fn finish_line(&mut self, text: &str) {
        if let Some((kind, prompt)) = &self.asked {
            let shown = match kind {
                Kind::Secret if text != "^C" => "",
                _ => text,
            };
            let prompt = match kind {
                Kind::Line => self.completion.bare_prompt(),
                Kind::Question | Kind::Secret => prompt.clone(),
            };
            let mut out = self.erased();
            let drawn = draw::draw(&prompt, shown, shown.len(), size());
            out.push_str(&drawn.text);
            out.push_str("\r\n");
            let _written = Stream::Out.write(&out);
            self.marks.printed(&"\n".repeat(drawn.above + 1), 1);
        }
        self.drawn = None;
    }

    /// The text that erases the drawn line.
    fn erased(&self) -> String {
        self.drawn
            .map(|(above, _)| draw::erase(above))
            .unwrap_or_default()
    }

    /// Clears the terminal with a control sequence.
    fn clear(&mut self, sequence: &str) {
        self.drawn = None;
        self.marks.lose_places();
        let _written = Stream::Out.write(sequence);
    }

    /// Draws the line that is being typed, or the plain prompt.
    fn redraw(&mut self) {
        let line = self.line_drawn();
        let _written = Stream::Out.write(&line);
    }

    /// The text that erases the drawn line and draws the present one.
    fn line_drawn(&mut self) -> String {
        let Some((kind, prompt)) = &self.asked else {
            return String::new();
        };
        let prompt = match kind {
            Kind::Line => self.completion.prompt(size().columns),
            Kind::Question | Kind::Secret => prompt.clone(),
        };
        let Some(editor) = &self.editor else {
            let above = self.drawn.replace((0, 0));
            let newline = if above.is_some() { "\n" } else { "" };
            return format!("{newline}{prompt}");
        };
        let mut out = self.erased();
        let (prompt, text, cursor) = editor.shown(&prompt);
        let drawn = draw::draw(&prompt, text, cursor, size());
        out.push_str(&drawn.text);
        self.drawn = Some((drawn.above, drawn.below));
        self.shape = drawn.shape;
        out.push_str(&self.title.set(self.completion.title()));
        out
    }

    fn show(&mut self, shown: Shown) -> io::Result<()> {
        match shown {
            Shown::Text(text) => self.print(&text),
            // What the terminal has edited by itself stands there already.
            Shown::Sent(..) if self.editor.is_none() => Ok(()),
            Shown::SentElsewhere(_, _, otherwise) if self.editor.is_none() => {
                self.print(&otherwise)
            }
            Shown::Sent(id, text) | Shown::SentElsewhere(id, text, _) => {
                self.marks.begin(id);
                self.print(&text)
            }
            Shown::Mark(ids, mark, otherwise) => match ids.iter().any(|id| self.marks.knows(id)) {
                true => {
                    let drawn = self.drawn.unwrap_or((0, 0));
                    Stream::Out.write(&self.marks.draw(&ids, &mark, drawn, size().rows))
                }
                false => self.print(&otherwise),
            },
            Shown::Nothing if self.editor.is_none() => Ok(()),
            Shown::Nothing => {
                self.clear("\x1b[H\x1b[2J\x1b[3J");
                self.redraw();
                Ok(())
            }
        }
    }

    /// Shows text above the line that is being typed.
    fn print(&mut self, text: &str) -> io::Result<()> {
        let mut out = match (self.drawn.take(), &self.editor) {
            (Some((above, _)), Some(_)) => draw::erase(above),
            (Some(_), None) => "\n".to_owned(),
            (None, _) => String::new(),
        };
        out.push_str(text);
        self.marks.printed(text, size().columns);
        out.push_str(&self.line_drawn());
        Stream::Out.write(&out)
    }

    fn tell(&mut self, heard: InputEvent) {
        if self.editor.is_none() && matches!(self.asked, Some((Kind::Secret, _))) {
            // The Enter after a secret was not shown either.
            let _written = Stream::Out.write("\n");
            let _set = self.modes.type_in();
        }
        self.asked = None;
        self.drawn = None;
        self.busy_since = clock::now();
        // It fails only if the main thread has ended, which then asks for nothing more.
        let _gone = self.tell.send(heard);
    }

    /// Answers with a line that the terminal has edited by itself.
    fn answer_plain(&mut self) {
        match self.keys.line(self.ended) {
            Some(line) => self.tell(InputEvent::Line(line)),
            None if self.ended => {
                self.ended = false;
                let _written = Stream::Out.write("\n");
                self.tell(InputEvent::Eof);
            }
            None => {}
        }
    }

    /// Handles Ctrl-C on a terminal that edits lines by itself and has dropped the draft.
    fn interrupt_plain(&mut self) {
        self.keys.drop_draft();
        match &self.asked {
            Some((Kind::Line, _)) => {
                let _printed = self.print("to quit, press Ctrl-D or type /quit\n");
            }
            Some(_) => {
                let _written = Stream::Out.write("\n");
                self.tell(InputEvent::Cancelled);
            }
            None => {}
        }
    }

    /// Ends the drawn line, and restores the terminal's modes.
    fn leave(&mut self) {
        if self.drawn.take().is_some() {
            let _written = Stream::Out.write("\r\n");
        }
        let _written = Stream::Out.write(self.title.restore());
        self.marks.lose_places();
        self.modes.restore();
    }

    fn forget_drawn(&mut self) {
        self.drawn = None;
        self.marks.lose_places();
        self.redraw();
    }

    /// Stops the program, as the terminal's own Ctrl-Z would.
    fn suspend(&mut self) {
        self.leave();
        let _stopped = kill_process(getpid(), Signal::TSTP);
        // A signal ends the stop and wakes this thread. Without a shell, nothing stops it.
        let limit = Timespec::try_from(STOPS_WITHIN).ok();
        let _rung = poll(
            &mut [PollFd::new(&self.woken, PollFlags::IN)],
            limit.as_ref(),
        );
        let _set = self.modes.type_in();
    }
}

/// The terminal's size, or 80 by 24 if the terminal does not know it.
fn size() -> Size {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
        _ => Size {
            columns: 80,
            rows: 24,
        },
    }
}
