//! How events look, as text with or without colours. Text from other people is made visible and
//! cut into rows here, once.

pub(super) mod json;
mod sent;
mod server_row;

pub(super) use self::sent::{MARK_COLUMN, ProgressMark, as_sent, mark};

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

use termcolor::{Buffer, Color, ColorSpec, WriteColor};

use crate::appearance::BANNER;
use crate::client::local_time;
use crate::client::view::{Mark, Tone, ViewEvent};
use crate::clock;
use crate::protocol::UserName;
use crate::protocol::reply::UserStatus;
use crate::protocol::rows::{Frame, Row, rows};
use crate::transport::qr_code;

/// The colours of people's names. No tone of a line uses them.
const PEOPLE: [Color; 3] = [Color::Cyan, Color::Magenta, Color::Blue];

/// The beginning of each row of a text after the first. It is as wide as a tab stop, so tabs in
/// the text keep their columns.
const GUTTER: &str = "      │ ";

/// The rows that the banner leaves for the menu and the first lines.
const BELOW_BANNER: usize = 12;

/// Tells a terminal to stop wrapping lines, and to wrap them again. If it draws a character wider
/// than we count, the end of the row is lost, but no new row begins.
const NO_WRAP: (&str, &str) = ("\x1b[?7l", "\x1b[?7h");

/// What the output can show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether to use colours.
    pub(super) colours: bool,
    /// Whether to use words instead of signs, for screen readers.
    pub(super) plain: bool,
    /// Whether the terminal obeys control sequences.
    pub(super) controls: bool,
    /// How the time of a message is shown.
    pub(super) times: Times,
}

/// How the time of a message is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// The time of the day alone, since a line says each new day.
    OfDay,
    /// With its date if that is not today's.
    Short,
    /// With its date.
    Full,
}

impl Look {
    /// When a message was written, as it stands before it.
    fn time(self, at: u64) -> String {
        match self.times {
            Times::OfDay => local_time::time_of_day(at),
            Times::Short => local_time::short(at, clock::unix_ms()),
            Times::Full => local_time::date_and_time(at),
        }
    }
}

/// A text in pieces, each with its style.
struct Text<'a> {
    pieces: Vec<(Style, String)>,
    plain: bool,
    /// The beginning of each row after the first.
    gutter: &'a str,
}

/// What a piece of text is, which decides how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Tone(Tone),
    Person(UserName),
    Heading,
    Key,
}

impl Style {
    fn spec(self) -> ColorSpec {
        let mut spec = ColorSpec::new();
        match self {
            Style::Tone(tone) => return of(tone),
            Style::Person(name) => return of_person(&name),
            Style::Heading => spec.set_fg(Some(Color::Cyan)).set_bold(true),
            Style::Key => spec.set_bold(true),
        };
        spec
    }
}

impl Text<'_> {
    fn new(plain: bool) -> Self {
        Text {
            pieces: Vec::new(),
            plain,
            gutter: GUTTER,
        }
    }

    fn put(&mut self, style: Style, text: impl Into<String>) {
        self.pieces.push((style, text.into()));
    }

    fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.put(Style::Tone(tone), text);
    }

    /// Its rows with their colours, for a terminal with this many columns, or for a pipe.
    fn finish(self, look: Look, columns: Option<usize>) -> String {
        let frame = Frame {
            gutter: (Style::Tone(Tone::Quiet), self.gutter),
            width: columns,
        };
        let pieces: Vec<_> = self
            .pieces
            .iter()
            .map(|(style, text)| (*style, text.as_str()))
            .collect();
        let painted = paint(&rows(&pieces, frame), look.colours);
        // All terminals agree on the width of these characters.
        let simple = painted.chars().all(|c| c.is_ascii() || "│…─".contains(c));
        match columns {
            Some(_) if look.controls && !simple => {
                format!("{}{painted}{}", NO_WRAP.0, NO_WRAP.1)
            }
            _ => painted,
        }
    }
}

fn paint(rows: &[Row<Style>], colours: bool) -> String {
    let mut buffer = match colours {
        true => Buffer::ansi(),
        false => Buffer::no_color(),
    };
    for row in rows {
        for (style, text) in row {
            // Writing to memory does not fail.
            let _written = buffer
                .set_color(&style.spec())
                .and_then(|()| buffer.write_all(text.as_bytes()))
                .and_then(|()| buffer.reset());
        }
        let _written = buffer.write_all(b"\n");
    }
    String::from_utf8_lossy(buffer.as_slice()).into_owned()
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

/// The style of a person's name, which is the same in each run.
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

/// An event as lines, including the last newline, for a terminal with this many columns, or for a
/// pipe.
pub(super) fn lines(event: &ViewEvent, look: Look, columns: Option<usize>) -> String {
    let mut text = Text::new(look.plain);
    match event {
        ViewEvent::Line(tone, line) => text.say(*tone, line.as_str()),
        ViewEvent::Message { .. } => message(&mut text, event, look),
        ViewEvent::Sent { .. } => sent::sent(&mut text, event, look),
        ViewEvent::Receipt { to, state, ids, at } => {
            let place = match *state {
                "stored" => format!("stored for {to}"),
                "received" => format!("received by {to}"),
                _ => format!("delivered to {to}"),
            };
            // Only this is proven; the rest is the server's word.
            let tone = match *state {
                "received" => Tone::Good,
                _ => Tone::Quiet,
            };
            // Words are read out aloud with the time that others see at the message itself.
            let indent = match look.plain && look.times == Times::OfDay {
                true => format!("{} ", look.time(*at)),
                false => "  ".to_owned(),
            };
            let line = match ids.len() {
                1 => format!("{indent}{place}"),
                count => format!("{indent}{count} messages {place}"),
            };
            text.say(tone, line);
        }
        ViewEvent::Status(status) => user(&mut text, status),
        ViewEvent::SafetyNumber { name, number, .. } => {
            let mut text = rows_of(&format!("safety number with {name}:"), look, columns);
            for line in number.lines() {
                text.push_str(&rows_of(&format!("    {line}"), look, columns));
            }
            return text;
        }
        ViewEvent::QrCode(link) => {
            let columns = columns.filter(|_| !look.plain).unwrap_or(0);
            let rows = qr_code::rows(link, columns).unwrap_or_default();
            return rows.iter().map(|row| format!("{row}\n")).collect();
        }
        other => text.say(Tone::Plain, plain(other)),
    }
    text.finish(look, columns)
}

/// A line of the client's own as rows.
fn rows_of(line: &str, look: Look, columns: Option<usize>) -> String {
    let mut text = Text::new(look.plain);
    text.say(Tone::Plain, line);
    text.finish(look, columns)
}

/// What has no colours and takes one line.
fn plain(event: &ViewEvent) -> String {
    match event {
        ViewEvent::Contact {
            name,
            known,
            verified,
            changed,
            blocked,
            unread,
            dropped,
        } => {
            let trust = match (known, changed, verified) {
                (false, true, _) => "identity not accepted",
                (false, false, _) => "no identity known",
                (true, false, true) => "verified",
                (true, false, false) => "not verified",
                (true, true, true) => "verified; identity changed, not accepted",
                (true, true, false) => "not verified; identity changed, not accepted",
            };
            let blocked = if *blocked { ", blocked" } else { "" };
            let unread = match unread {
                0 => String::new(),
                count => format!(", {count} unread"),
            };
            let dropped = match dropped {
                0 => String::new(),
                count => format!(", {count} dropped under a rejected identity"),
            };
            format!("{name:<20} {trust}{blocked}{unread}{dropped}")
        }
        ViewEvent::Registered { name, .. } => format!("account {name} created"),
        ViewEvent::Waiting(count) => format!("{count} waiting on the server"),
        ViewEvent::ServerRow(row) => server_row::line(row),
        ViewEvent::Withheld(rows) => {
            format!(
                "not shown: {} ({}), since {}",
                rows.table, rows.relation, rows.why
            )
        }
        _ => String::new(),
    }
}

/// Appends a message. What we say about it stands before the colon, so that no words of the
/// sender can pass for it. Only the state of an outgoing message stands after the text.
fn message(text: &mut Text, event: &ViewEvent, look: Look) {
    let ViewEvent::Message {
        name,
        outgoing,
        text: words,
        at,
        mark,
        state,
        id,
        listed,
        ..
    } = event
    else {
        return;
    };
    text.say(Tone::Quiet, format!("{} ", look.time(*at)));
    if *listed {
        text.say(Tone::Quiet, format!("[{}] ", id.beginning()));
    }
    if *outgoing {
        text.say(Tone::Quiet, if text.plain { "you to " } else { "you > " });
    }
    text.put(Style::Person(*name), name.as_str());
    if !outgoing && !state.is_empty() {
        text.say(Tone::Quiet, format!(" ({state})"));
    }
    match mark {
        Mark::None => {}
        Mark::Unencrypted => text.say(Tone::Warning, " [UNENCRYPTED]"),
        Mark::Unproven => text.say(Tone::Warning, " (unproven) [UNENCRYPTED]"),
        Mark::Undecryptable(_) => {}
        Mark::Held => text.say(Tone::Warning, " (identity changed)"),
        Mark::HeldNew => text.say(Tone::Warning, " (new)"),
    }
    match mark {
        Mark::None | Mark::Unencrypted | Mark::Unproven => {
            text.say(Tone::Plain, ": ");
            text.say(Tone::Plain, words.as_str());
        }
        Mark::Undecryptable(why) => text.say(
            Tone::Warning,
            format!(": (a message that could not be decrypted: {why})"),
        ),
        Mark::Held | Mark::HeldNew => text.say(
            Tone::Warning,
            format!(": (a message that is held until you /verify {name}, /accept {name} or /reject {name})"),
        ),
    }
    if *outgoing && !state.is_empty() {
        text.say(Tone::Quiet, format!("  ({state})"));
    }
}

/// A line that says the day of what follows.
pub(super) fn day(day: &str, look: Look, columns: Option<usize>) -> String {
    let mut text = Text::new(look.plain);
    let line = match look.plain {
        true => day.to_owned(),
        false => format!("── {day} ──"),
    };
    text.say(Tone::Quiet, line);
    text.finish(look, columns)
}

fn user(text: &mut Text, status: &UserStatus) {
    text.put(Style::Person(status.name), format!("{:<20}", status.name));
    match (status.online, status.last_seen) {
        (true, _) => text.say(Tone::Good, " online"),
        (false, None) => text.say(Tone::Quiet, " offline"),
        (false, Some(at)) => {
            let line = format!(
                " offline, last seen {}",
                local_time::short(at, clock::unix_ms())
            );
            text.say(Tone::Quiet, line);
        }
    }
}

/// An event as a line of an exported history: as JSON if `json` names the account, otherwise as a
/// line of text with its date.
pub(crate) fn transcript(event: &ViewEvent, json: Option<UserName>) -> String {
    let look = Look {
        colours: false,
        plain: true,
        controls: false,
        times: Times::Full,
    };
    let line = json.and_then(|me| json::line(event, &me));
    line.unwrap_or_else(|| lines(event, look, None))
}

/// Rows of what to type and what it does, in two columns.
pub(super) fn table(rows: &[(String, String)], look: Look, columns: Option<usize>) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let most = columns.map_or(WIDEST_KEY, |columns| WIDEST_KEY.min(columns / 3));
    // A wider first column gets a line of its own.
    let column = width.min(most);
    // The table is our own text, so its rows need no gutter that nobody can forge.
    let indent = " ".repeat(column + 4);
    let mut table = String::new();
    for (key, what) in rows {
        let mut text = Text::new(look.plain);
        text.gutter = &indent;
        text.put(Style::Key, format!("  {key:<column$}"));
        if key.len() > column {
            table.push_str(&text.finish(look, columns));
            text = Text::new(look.plain);
            text.gutter = &indent;
            text.say(Tone::Plain, format!("  {:column$}", ""));
        }
        text.say(Tone::Plain, format!("  {what}"));
        table.push_str(&text.finish(look, columns));
    }
    table
}

/// The widest first column of a table.
const WIDEST_KEY: usize = 32;

/// The program's name in large letters; nothing on a terminal that is too small for it and for
/// what follows it.
pub(super) fn banner(look: Look, size: Option<(usize, usize)>) -> String {
    let fits = |(columns, rows): (usize, usize)| {
        let widest = BANNER.iter().map(|row| row.len()).max().unwrap_or(0);
        widest < columns && BANNER.len() + BELOW_BANNER <= rows
    };
    if !size.is_none_or(fits) {
        return String::new();
    }
    let rows: Vec<_> = BANNER
        .map(|line| vec![(Style::Heading, line.to_owned())])
        .into();
    paint(&rows, look.colours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MessageId;

    fn bob() -> UserName {
        "bob".parse().unwrap()
    }

    fn message_of(text: &str, mark: Mark) -> ViewEvent {
        ViewEvent::Message {
            name: bob(),
            outgoing: false,
            text: text.to_owned(),
            at: 0,
            mark,
            state: "",
            id: MessageId([1; 16]),
            verified: false,
            failed: None,
            listed: false,
        }
    }

    const BARE: Look = Look {
        colours: false,
        plain: false,
        controls: true,
        times: Times::Short,
    };

    fn on_paper(event: &ViewEvent) -> String {
        lines(event, BARE, None)
    }

    #[test]
    fn untrusted_text_stays_behind_its_beginning() {
        let hostile = "\x1b[2J\x1b]0;title\x07\rx\r\nsystem: logged out\u{202e}";
        for event in [
            message_of(hostile, Mark::None),
            message_of(hostile, Mark::Unproven),
            message_of("", Mark::Undecryptable(hostile.to_owned())),
            ViewEvent::bad(hostile),
        ] {
            let text = on_paper(&event);
            let (first, second) = text.trim_end_matches('\n').split_once('\n').unwrap();
            assert!(first.ends_with("\\u{d}x"), "{text:?}");
            assert!(
                second.starts_with("      │ system: logged out\\u{202e}"),
                "{text:?}"
            );
            assert!(
                !text.contains(['\x1b', '\r', '\u{7}', '\u{202e}']),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_was_readable_is_marked_loudly() {
        let line = on_paper(&message_of("hi", Mark::Unproven));
        assert!(line.contains("bob (unproven) [UNENCRYPTED]: hi"), "{line}");
        let line = on_paper(&message_of("hi", Mark::None));
        assert!(line.ends_with("bob: hi\n"), "{line}");
    }

    #[test]
    fn what_we_say_of_a_message_stands_where_its_sender_can_not_write() {
        let mut event = message_of("hi  (again)", Mark::Unencrypted);
        if let ViewEvent::Message { state, .. } = &mut event {
            *state = "again";
        }
        let line = on_paper(&event);
        assert!(
            line.ends_with("bob (again) [UNENCRYPTED]: hi  (again)\n"),
            "{line}"
        );
    }

    #[test]
    fn a_terminal_is_told_not_to_wrap_what_it_may_take_for_wider() {
        let on = |text, look| lines(&message_of(text, Mark::None), look, Some(80));
        assert!(on("世界", BARE).starts_with(NO_WRAP.0));
        assert!(on("世界", BARE).ends_with(NO_WRAP.1));
        assert!(!on("hello\nthere", BARE).contains('\x1b'));
        let dumb = Look {
            controls: false,
            ..BARE
        };
        assert!(!on("世界", dumb).contains('\x1b'));
        assert!(!on_paper(&message_of("世界", Mark::None)).contains('\x1b'));
    }

    #[test]
    fn a_person_keeps_their_colour() {
        let line = |name: &str| {
            let event = ViewEvent::Status(UserStatus {
                name: name.parse().unwrap(),
                online: true,
                last_seen: None,
            });
            let look = Look {
                colours: true,
                ..BARE
            };
            lines(&event, look, None)
        };
        assert_eq!(line("bob"), line("bob"));
        assert!(line("bob").contains("\x1b["));
    }
}

#[cfg(test)]
mod drawn;
