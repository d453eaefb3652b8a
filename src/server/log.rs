//! The server's log: one line an event on standard error, with time, level and
//! connection. Never a password, a key or a message.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use termcolor::{BufferWriter, Color, ColorChoice, ColorSpec, WriteColor};

/// Which connection a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(pub u64);

/// What an operator may want to read.
pub fn info(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    line("info", Color::Green, connection, text);
}

/// What an operator should look at.
pub fn warn(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    line("warn", Color::Yellow, connection, text);
}

/// What an operator must act on.
pub fn error(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    line("error", Color::Red, connection, text);
}

fn line(level: &str, color: Color, connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    let text = text.to_string();
    let text = crate::protocol::visible::visible(&text);
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let choice = color_choice(io::stderr().is_terminal());
    // In one piece: other connections' threads write, too.
    let writer = BufferWriter::stderr(choice);
    let mut out = writer.buffer();
    let mut write = || -> io::Result<()> {
        write!(out, "{time} ")?;
        out.set_color(ColorSpec::new().set_fg(Some(color)))?;
        write!(out, "{level:5}")?;
        out.reset()?;
        match connection {
            Some(ConnectionId(id)) => writeln!(out, " #{id} {text}")?,
            None => writeln!(out, " {text}")?,
        }
        writer.print(&out)
    };
    // With standard error gone there is nobody left to tell.
    let _ = write();
}

/// Colours on a terminal only, and never against NO_COLOR (<https://no-color.org>).
pub fn color_choice(terminal: bool) -> ColorChoice {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match terminal && !refused {
        true => ColorChoice::Auto,
        false => ColorChoice::Never,
    }
}
