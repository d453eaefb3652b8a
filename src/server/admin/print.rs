//! Prints the answer of a command: rows as a table for people, or as JSON lines for programs. What
//! was done is a sentence. Where there are rows, it goes to standard error, so that standard output has
//! the result alone.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::error::AdminError;
use super::perform::Output;
use super::request::Request;
use crate::protocol::sanitize::sanitize;
use crate::transport::qr_code;

/// A column of a table: the field, and its heading.
type Column = (&'static str, &'static str);

/// Fields that are times: ms since 1970.
const TIMES: &[&str] = &[
    "created",
    "last_seen",
    "expires",
    "since",
    "code_expires",
    "at",
];

/// The field that names another server, in the last column.
const NODE: &str = "node";

/// The field that is shown as a QR code, too.
const LINK: &str = "link";

/// What a list begins with.
const FIRST: &[&str] = &["name", "state"];

/// How rows look.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// No row comes.
    None,
    /// A table with these columns.
    Table(&'static [Column]),
    /// One row, a line for each field.
    List,
    /// One field alone.
    Field(&'static str),
    /// Rows of many tables: a heading for each kind, a line for each row.
    Sections,
}

/// Prints one answer.
pub(super) struct Printer {
    shape: Shape,
    json: bool,
    /// The terminal's last line says how far the work is.
    has_progress: bool,
    /// The heading of the rows that are printed.
    section: String,
    /// The rows of a table, kept until the widths are known.
    table: Vec<Vec<String>>,
}

impl Printer {
    /// A printer for the answer to this request.
    pub(super) fn new(request: &Request, json: bool) -> Self {
        Printer {
            shape: shape(request),
            json,
            has_progress: false,
            section: String::new(),
            table: Vec::new(),
        }
    }

    /// Prints the table and what was done.
    pub(super) fn finish(mut self, done: &str) -> Result<(), AdminError> {
        self.end_progress();
        if let (Shape::Table(columns), false) = (self.shape, self.json) {
            write(&layout(columns, &self.table))?;
        }
        if done.is_empty() {
            return Ok(());
        }
        match (self.shape, self.json) {
            (Shape::None, true) => write(&format!("{}\n", serde_json::json!({ "done": done }))),
            (Shape::None, false) => write(&format!("{done}\n")),
            (_, true) => Ok(()),
            // A result that was printed is not undone by a standard error that is closed.
            (_, false) => {
                let _said = writeln!(io::stderr(), "{done}");
                Ok(())
            }
        }
    }
}

impl Printer {
    fn end_progress(&mut self) {
        if std::mem::take(&mut self.has_progress) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        // An error's sentence follows.
        self.end_progress();
    }
}

impl Output for Printer {
    /// Prints a row, or keeps it for the table.
    fn row(&mut self, json: String) -> Result<(), AdminError> {
        if self.json {
            return write(&format!("{json}\n"));
        }
        let row: Value = serde_json::from_str(&json).map_err(|_| AdminError::OtherServer)?;
        match self.shape {
            Shape::None => Ok(()),
            Shape::Field(field) => {
                let text = cell(field, &row[field]);
                let code = match field {
                    LINK => code_for_terminal(&text),
                    _ => String::new(),
                };
                write(&format!("{text}\n{code}"))
            }
            Shape::List => {
                let (first, others): (Vec<_>, Vec<_>) = row
                    .as_object()
                    .into_iter()
                    .flatten()
                    .partition(|(field, _)| FIRST.contains(&field.as_str()));
                let fields = first.into_iter().chain(others);
                let lines = fields.map(|(field, value)| {
                    let title = field.replace('_', " ");
                    format!("{title:<20} {}\n", cell(field, value))
                });
                write(&lines.collect::<String>())
            }
            Shape::Sections => {
                let text = |field: &str| row[field].as_str().unwrap_or_default();
                let section = format!("{}: {}", text("table"), text("relation"));
                let heading = match self.section == section {
                    true => String::new(),
                    false => format!("{}\n", sanitize(&section)),
                };
                self.section = section;
                let values = row["values"].as_object();
                let cells = values
                    .into_iter()
                    .flatten()
                    .map(|(field, value)| format!("{field} {}", cell(field, value)));
                let cells: Vec<_> = cells.collect();
                write(&format!("{heading}  {}\n", cells.join(", ")))
            }
            Shape::Table(columns) => {
                let cells = columns.iter().map(|(field, _)| cell(field, &row[*field]));
                self.table.push(cells.collect());
                Ok(())
            }
        }
    }

    fn progress(&mut self, words: &str) -> Result<(), AdminError> {
        // What is not read by a person needs no account of it.
        let mut to = io::stderr();
        if to.is_terminal() {
            self.has_progress = true;
            let _said = write!(to, "\r\x1b[K{}", sanitize(words));
        }
        Ok(())
    }
}

fn shape(request: &Request) -> Shape {
    match request {
        Request::UserList {} => Shape::Table(&[
            ("name", "NAME"),
            ("state", "STATE"),
            ("online", "ONLINE"),
            ("last_seen", "LAST SEEN"),
            ("logins", "LOGINS"),
            ("has_keys", "CLIENT"),
            ("created", "CREATED"),
        ]),
        Request::UserShow { .. } | Request::Status {} => Shape::List,
        Request::WhatWeKnow { .. } => Shape::Sections,
        Request::UserReset { .. } => Shape::Field("code"),
        Request::InviteCreate { .. } => Shape::Field(LINK),
        Request::InviteList {} => Shape::Table(&[
            ("id", "ID"),
            ("inviter", "BY"),
            ("state", "STATE"),
            ("uses", "USES LEFT"),
            ("expires", "EXPIRES"),
            ("created", "CREATED"),
        ]),
        Request::SessionsList {} => Shape::Table(&[
            ("name", "NAME"),
            ("address", "ADDRESS"),
            ("since", "SINCE"),
            ("shown", "SHOWN ONLINE"),
            (NODE, "AT"),
        ]),
        Request::CertificateList {} => Shape::Table(&[
            ("old", "CERTIFICATE"),
            ("new", "IS FOLLOWED BY"),
            ("at", "ANNOUNCED"),
            ("state", "STATE"),
        ]),
        Request::BanList {} => Shape::Table(&[("network", "NETWORK"), ("since", "SINCE")]),
        _ => Shape::None,
    }
}

/// A value in a word: times in UTC, yes and no, a dash for nothing.
fn cell(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) if TIMES.contains(&field) => utc(number.as_i64().unwrap_or(0)),
        Value::String(text) => sanitize(text).to_string(),
        Value::Object(size) if size.contains_key("bytes") => format!("{} bytes", size["bytes"]),
        other => other.to_string(),
    }
}

fn utc(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => millis.to_string(),
    }
}

/// The QR code of a link with an end of line, if standard output is a terminal that is wide enough.
fn code_for_terminal(link: &str) -> String {
    let stdout = io::stdout();
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if dumb || !stdout.is_terminal() {
        return String::new();
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    match qr_code::rows(link, columns.into()) {
        Some(rows) => rows.join("\n") + "\n",
        None => String::new(),
    }
}

fn layout(columns: &[Column], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = columns
        .iter()
        .map(|(_, title)| (*title).to_owned())
        .collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width = |at: usize| all().map(|row| row[at].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| width(at).unwrap_or(0))
        .collect();
    // A store that one server has alone knows no other.
    let alone = rows
        .iter()
        .all(|row| row.last().is_none_or(|cell| cell == "-"));
    let shown = match columns {
        [.., (NODE, _)] if alone => columns.len() - 1,
        _ => columns.len(),
    };
    let mut out = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).take(shown);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn write(text: &str) -> Result<(), AdminError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(AdminError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let columns: &[Column] = &[("name", "NAME"), ("since", "SINCE")];
        let rows = [vec!["a-long-name".to_owned(), "-".to_owned()]];
        assert_eq!(
            layout(columns, &rows),
            "NAME         SINCE\na-long-name  -\n"
        );
        assert_eq!(cell("since", &0.into()), "1970-01-01 00:00 UTC");
        assert_eq!(cell("uses", &0.into()), "0");
        assert!(!cell("text", &"\u{1b}[2J".into()).contains('\u{1b}'));
    }
}
