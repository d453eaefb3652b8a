//! The manual page of a program, written from its definition in the language of `man(7)`. What only
//! the program knows, such as its exit codes, it hands over as chapters.

use clap::{Arg, Command};

use super::levels::{Value, about, commands, help, levels, options, value, value_name};

/// When the wording of the manual was last looked through. A page has the same bytes whenever it
/// is printed.
const EDITION: &str = "2026-11-27";

/// Columns of a line of the page's source, before signs are escaped.
const LINE: usize = 66;

/// A chapter that the program adds: its heading, and what it consists of.
pub(crate) struct Chapter {
    /// The heading, in capitals.
    pub heading: &'static str,
    /// What stands before the rows.
    pub text: &'static str,
    /// Terms and what they mean.
    pub rows: Vec<(String, String)>,
}

/// The rows of a chapter: terms and what they mean.
pub(crate) fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter()
        .map(|(term, meaning)| ((*term).to_owned(), (*meaning).to_owned()))
        .collect()
}

/// The page of a program that is called by the name of `program`, in a section of the manual.
pub(super) fn page(mut program: Command, section: u8, chapters: &[Chapter]) -> String {
    program.build();
    let name = program.get_name().to_owned();
    let mut page = format!(
        ".TH {} {section} {EDITION} \"Secure Chat {}\" \"Secure Chat\"\n.SH NAME\n{} \\- {}\n",
        escape(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        escape(&name),
        escape(about(&program).split(". ").next().unwrap_or_default()),
    );
    page.push_str(&format!(
        ".SH SYNOPSIS\n.B {0}\n.RI [ options ]\n.br\n.B {0}\n.RI [ options ]\n.I command\n.RI [ options ]\n",
        escape(&name)
    ));
    page.push_str(
        ".SH OPTIONS\nThey work before and after a command, except for those that belong to one.\n",
    );
    for (long, option) in options(&program) {
        page.push_str(&entry(long, option));
    }
    page.push_str(".SH COMMANDS\n");
    for level in levels(&program).iter().skip(1) {
        if commands(level.command).next().is_some() {
            continue;
        }
        let mut head = format!(".B {}", escape(&level.words.join(" ")));
        for argument in level.command.get_positionals() {
            let name = escape(&value_name(argument));
            head.push_str(&match argument.is_required_set() {
                true => format!("\n.I {name}"),
                false => format!("\n.RI [ {name} ]"),
            });
        }
        page.push_str(&format!(
            ".SS {}\n{head}\n.PP\n{}\n",
            escape(&level.words.join(" ")),
            sentence(&about(level.command))
        ));
        for argument in level.command.get_positionals() {
            page.push_str(&format!(
                ".TP\n.I {}\n{}\n",
                escape(&value_name(argument)),
                sentence(&help(argument))
            ));
        }
        for (long, option) in options(level.command) {
            if !option.is_global_set() && long != "help" {
                page.push_str(&entry(long, option));
            }
        }
    }
    for chapter in chapters {
        page.push_str(&of_chapter(chapter));
    }
    page
}

/// An option with its value, its meaning, its default and its variable.
fn entry(long: &str, option: &Arg) -> String {
    let head = match value(option) {
        Value::Nothing => format!(".B \\-\\-{}", escape(long)),
        Value::Words(words) => format!(
            ".BR \\-\\-{} \" {}\"",
            escape(long),
            escape(&words.join("|"))
        ),
        _ => format!(
            ".BI \\-\\-{} \" {}\"",
            escape(long),
            escape(&value_name(option))
        ),
    };
    let mut text = sentence(&help(option));
    let defaults: Vec<_> = option
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if value(option) != Value::Nothing && !defaults.is_empty() {
        text.push_str(&format!(
            "\nThe default is {}.",
            escape(&defaults.join(", "))
        ));
    }
    if let Some(variable) = option.get_env() {
        text.push_str(&format!(
            "\nIts environment variable is\n.BR {} .",
            escape(&variable.to_string_lossy())
        ));
    }
    format!(".TP\n{head}\n{text}\n")
}

fn of_chapter(chapter: &Chapter) -> String {
    let mut text = format!(".SH {}\n", escape(chapter.heading));
    for (at, paragraph) in chapter.text.split("\n\n").enumerate() {
        if paragraph.is_empty() {
            continue;
        }
        if at > 0 {
            text.push_str(".PP\n");
        }
        match paragraph.strip_prefix("    ") {
            None => text.push_str(&format!("{}\n", filled(paragraph))),
            Some(_) => {
                text.push_str(".nf\n.RS 4\n");
                for line in paragraph.lines() {
                    text.push_str(&format!("{}\n", escape(line.trim_start())));
                }
                text.push_str(".RE\n.fi\n");
            }
        }
    }
    for (term, meaning) in &chapter.rows {
        text.push_str(&format!(
            ".TP\n.B {}\n{}\n",
            escape(term),
            sentence(meaning)
        ));
    }
    text
}

/// A text as a sentence of its own.
fn sentence(text: &str) -> String {
    let end = match text.ends_with(['.', '?', '!']) {
        true => "",
        false => ".",
    };
    filled(&format!("{text}{end}"))
}

/// A text in lines of the length that roff's checkers ask for.
fn filled(text: &str) -> String {
    let mut lines = String::new();
    let mut columns = 0;
    for word in text.split_whitespace() {
        let fits = columns + 1 + word.len() <= LINE;
        columns = if fits {
            columns + 1 + word.len()
        } else {
            word.len()
        };
        if !lines.is_empty() {
            lines.push(if fits { ' ' } else { '\n' });
        }
        lines.push_str(word);
    }
    escape(&lines)
}

/// A text in which `man` finds no sign of its own. A line break stays one.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let mut begins = true;
    for c in text.chars() {
        match c {
            '.' | '\'' if begins => escaped.extend(['\\', '&', c]),
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '~' => escaped.push_str("\\(ti"),
            '^' => escaped.push_str("\\(ha"),
            '"' => escaped.push_str("\\(dq"),
            c => escaped.push(c),
        }
        begins = c == '\n';
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_request_of_roff() {
        assert_eq!(escape(".TH\n'br a.b"), "\\&.TH\n\\&'br a.b");
        assert_eq!(escape("--a \"b\" c\\d"), "\\-\\-a \\(dqb\\(dq c\\ed");
    }
}
