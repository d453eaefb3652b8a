//! An event of the log as one line: a sentence for people, or a JSON object for programs.

use std::fmt;
use std::io::{self, Write};

use termcolor::{Color, ColorSpec, WriteColor};

use super::sink::buffer;
use super::{ConnectionId, Field, Level};
use crate::protocol::sanitize::sanitize;

/// An event that happens now.
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) kind: &'static str,
    pub(super) connection: Option<ConnectionId>,
    pub(super) fields: &'a [Field<'a>],
    pub(super) text: fmt::Arguments<'a>,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    fn colour(self) -> Color {
        match self {
            Level::Debug => Color::Cyan,
            Level::Info => Color::Green,
            Level::Warn => Color::Yellow,
            Level::Error => Color::Red,
        }
    }
}

impl Line<'_> {
    /// `TIME LEVEL #CONNECTION TEXT`.
    pub(super) fn human(&self, colours: bool) -> Vec<u8> {
        let text = self.text.to_string();
        let text = sanitize(&text);
        let mut out = buffer(colours);
        let mut write = || -> io::Result<()> {
            write!(out, "{} ", time())?;
            out.set_color(ColorSpec::new().set_fg(Some(self.level.colour())))?;
            write!(out, "{:5}", self.level.name())?;
            out.reset()?;
            match self.connection {
                Some(ConnectionId(id)) => writeln!(out, " #{id} {text}"),
                None => writeln!(out, " {text}"),
            }
        };
        // Writing into memory does not fail.
        let _ = write();
        out.into_inner()
    }

    /// `{"time":…,"level":…,"event":…,…,"text":…}`.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut line = format!(
            "{{\"time\":\"{}\",\"level\":\"{}\",\"event\":\"{}\"",
            time(),
            self.level.name(),
            self.kind
        );
        if let Some(ConnectionId(id)) = self.connection {
            line.push_str(&format!(",\"connection\":{id}"));
        }
        for (name, value) in self.fields {
            line.push_str(&format!(",\"{name}\":{}", quoted(&value.to_string())));
        }
        line.push_str(&format!(",\"text\":{}}}\n", quoted(&self.text.to_string())));
        line.into_bytes()
    }
}

/// A text as JSON. It is sanitized as well, since people look at such lines, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(sanitize(text)).to_string()
}

fn time() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "x\n2026-01-01T00:00:00Z info  forged\r\x1b[2J\u{202e}\u{2028}\"}\0";

    fn evil<'a>(fields: &'a [Field<'a>], text: fmt::Arguments<'a>) -> Line<'a> {
        Line {
            level: Level::Warn,
            kind: "tried",
            connection: Some(ConnectionId(7)),
            fields,
            text,
        }
    }

    #[test]
    fn no_text_can_forge_a_line_or_move_the_cursor() {
        let harmless = |line: &[u8]| {
            let text = std::str::from_utf8(line).unwrap();
            let (text, end) = text.split_at(text.len() - 1);
            assert_eq!(end, "\n");
            assert!(text.chars().all(|c| !c.is_control()), "{text}");
            assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text}");
        };
        harmless(&evil(&[], format_args!("{EVIL}")).human(false));
        let line = evil(&[("user", &EVIL)], format_args!("{EVIL}")).json();
        harmless(&line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["connection"], 7);
        assert_eq!(value["event"], "tried");
        assert_eq!(value["user"], value["text"]);
        assert_eq!(value.as_object().unwrap().len(), 6);
    }
}
