//! How things look, as text with or without colours. Everything that comes from
//! elsewhere passes `visible` here, once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use termcolor::{Buffer, Color, ColorSpec, WriteColor};

use crate::client::clock;
use crate::client::messenger::{Mark, Show, Tone};
use crate::protocol::UserName;
use crate::protocol::reply::UserStatus;
use crate::protocol::visible::visible;

const BANNER: [&str; 5] = [
    r"  ____                              ____ _           _   ",
    r" / ___|  ___  ___ _   _ _ __ ___   / ___| |__   __ _| |_ ",
    r" \___ \ / _ \/ __| | | | '__/ _ \ | |   | '_ \ / _` | __|",
    r"  ___) |  __/ (__| |_| | | |  __/ | |___| | | | (_| | |_ ",
    r" |____/ \___|\___|\__,_|_|  \___|  \____|_| |_|\__,_|\__|",
];

/// The colours that people get: none that a kind of line has.
const PEOPLE: [Color; 3] = [Color::Cyan, Color::Magenta, Color::Blue];

/// Whether to use colours.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

struct Text {
    buffer: Buffer,
    plain: bool,
}

impl Text {
    fn new(paint: Paint, plain: bool) -> Self {
        let buffer = match paint.0 {
            true => Buffer::ansi(),
            false => Buffer::no_color(),
        };
        Text { buffer, plain }
    }

    fn put(&mut self, spec: &ColorSpec, text: &str) {
        // Writing to memory does not fail.
        let _written = self
            .buffer
            .set_color(spec)
            .and_then(|()| self.buffer.write_all(text.as_bytes()))
            .and_then(|()| self.buffer.reset());
    }

    fn finish(self) -> String {
        String::from_utf8_lossy(self.buffer.as_slice()).into_owned()
    }
}

fn of(tone: Tone) -> ColorSpec {
    let mut spec = ColorSpec::new();
    match tone {
        Tone::Good => spec.set_fg(Some(Color::Green)),
        Tone::Bad => spec.set_fg(Some(Color::Red)).set_bold(true),
        Tone::Warning => spec.set_fg(Some(Color::Yellow)),
        Tone::Plain => &mut spec,
        Tone::Quiet => spec.set_dimmed(true),
    };
    spec
}

/// The same colour for the same person, in every run.
fn of_person(name: &UserName) -> ColorSpec {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let hash = hasher.finish() as usize;
    let mut spec = ColorSpec::new();
    spec.set_bold(true)
        .set_fg(Some(PEOPLE[hash % PEOPLE.len()]))
        .set_intense(hash / PEOPLE.len() % 2 == 1);
    spec
}

/// One thing as lines, the last newline included.
pub(super) fn lines(show: &Show, paint: Paint, plain: bool) -> String {
    let mut text = Text::new(paint, plain);
    match show {
        Show::Line(tone, line) => text.put(&of(*tone), &visible(line)),
        Show::Message { .. } => message(&mut text, show),
        Show::Receipt { to, state, count } => {
            let place = match *state {
                "stored" => format!("stored for {to}"),
                _ => format!("delivered to {to}"),
            };
            let line = match count {
                1 => format!("  {place}"),
                _ => format!("  {count} messages {place}"),
            };
            text.put(&of(Tone::Quiet), &line);
        }
        Show::Status(status) => user(&mut text, status),
    }
    let mut lines = text.finish();
    lines.push('\n');
    lines
}

fn message(text: &mut Text, show: &Show) {
    let Show::Message {
        name,
        outgoing,
        text: words,
        at,
        mark,
        state,
    } = show
    else {
        return;
    };
    let quiet = of(Tone::Quiet);
    text.put(&quiet, &format!("{} ", clock::short(*at, now())));
    if *outgoing {
        text.put(&quiet, if text.plain { "you to " } else { "you > " });
    }
    text.put(&of_person(name), name.as_str());
    let warning = of(Tone::Warning);
    match mark {
        Mark::None => text.put(&of(Tone::Plain), &format!(": {}", visible(words))),
        Mark::Unencrypted => {
            text.put(&warning, " [UNENCRYPTED]");
            text.put(&of(Tone::Plain), &format!(": {}", visible(words)));
        }
        Mark::Unproven => {
            text.put(&warning, " (unproven) [UNENCRYPTED]");
            text.put(&of(Tone::Plain), &format!(": {}", visible(words)));
        }
        Mark::Undecryptable(why) => {
            text.put(
                &warning,
                &format!(": (a message that could not be decrypted: {})", visible(why)),
            );
        }
        Mark::Held => text.put(
            &warning,
            &format!(
                " (identity changed): (a message that is held until you /verify {name} or /accept {name})"
            ),
        ),
    }
    if !state.is_empty() {
        text.put(&quiet, &format!("  ({state})"));
    }
}

fn user(text: &mut Text, status: &UserStatus) {
    text.put(&of_person(&status.name), &format!("{:<20}", status.name));
    match (status.online, status.last_seen) {
        (true, _) => text.put(&of(Tone::Good), " online"),
        (false, None) => text.put(&of(Tone::Quiet), " offline"),
        (false, Some(at)) => {
            let line = format!(" offline, last seen {}", clock::short(at, now()));
            text.put(&of(Tone::Quiet), &line);
        }
    }
}

/// Keys and what they do, in two columns.
pub(super) fn table(rows: &[(String, &str)], paint: Paint) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    // What is wider than this stands on a line of its own.
    let column = width.min(32);
    let mut text = Text::new(paint, false);
    let mut key_spec = ColorSpec::new();
    key_spec.set_bold(true);
    for (key, what) in rows {
        text.put(&key_spec, &format!("  {key:<column$}"));
        if key.len() > column {
            text.put(&of(Tone::Plain), &format!("\n  {:column$}", ""));
        }
        text.put(&of(Tone::Plain), &format!("  {what}\n"));
    }
    text.finish()
}

/// The program's name in large letters.
pub(super) fn banner(paint: Paint) -> String {
    let mut text = Text::new(paint, false);
    let mut spec = ColorSpec::new();
    spec.set_fg(Some(Color::Cyan)).set_bold(true);
    for line in BANNER {
        text.put(&spec, line);
        text.put(&ColorSpec::new(), "\n");
    }
    text.finish()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> UserName {
        "bob".parse().unwrap()
    }

    fn message_of(text: &str, mark: Mark) -> Show {
        Show::Message {
            name: bob(),
            outgoing: false,
            text: text.to_owned(),
            at: 0,
            mark,
            state: "",
        }
    }

    #[test]
    fn untrusted_text_stays_on_its_line() {
        let hostile = "\x1b[2J\x1b]0;title\x07\r\nsystem: logged out\u{202e}";
        for show in [
            message_of(hostile, Mark::None),
            message_of(hostile, Mark::Unproven),
            message_of("", Mark::Undecryptable(hostile.to_owned())),
            Show::bad(hostile),
        ] {
            let line = lines(&show, Paint(false), false);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.ends_with('\n'));
            assert!(
                !line.contains(['\x1b', '\r', '\u{7}', '\u{202e}']),
                "{line:?}"
            );
        }
    }

    #[test]
    fn what_was_readable_is_marked_loudly() {
        let line = lines(&message_of("hi", Mark::Unproven), Paint(false), false);
        assert!(line.contains("bob (unproven) [UNENCRYPTED]: hi"), "{line}");
        let line = lines(&message_of("hi", Mark::None), Paint(false), false);
        assert!(line.ends_with("bob: hi\n"), "{line}");
    }

    #[test]
    fn a_person_keeps_their_colour() {
        let line = |name: &str| {
            let show = Show::Status(UserStatus {
                name: name.parse().unwrap(),
                online: true,
                last_seen: None,
            });
            lines(&show, Paint(true), false)
        };
        assert_eq!(line("bob"), line("bob"));
        assert!(line("bob").contains("\x1b["));
    }
}
