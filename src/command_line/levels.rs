//! What completions, the manual and the tests read from a program's definition: its commands at
//! each level, and what follows an option.

use clap::{Arg, Command, ValueHint};

/// A command and the words that lead to it, which are none for the program itself.
pub(super) struct Level<'a> {
    pub words: Vec<&'a str>,
    pub command: &'a Command,
}

/// What the value of an option or argument is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// There is none: the option is a switch.
    Nothing,
    /// One of these words.
    Words(Vec<String>),
    /// The path of a file.
    File,
    /// The path of a folder.
    Folder,
    /// Something that only the person knows.
    Other,
}

/// The program and all its commands, each before its own.
pub(super) fn levels(program: &Command) -> Vec<Level<'_>> {
    let mut levels = vec![Level {
        words: Vec::new(),
        command: program,
    }];
    let mut at = 0;
    while at < levels.len() {
        let (words, command) = (levels[at].words.clone(), levels[at].command);
        for command in commands(command) {
            let words = [words.as_slice(), &[command.get_name()]].concat();
            levels.push(Level { words, command });
        }
        at += 1;
    }
    levels
}

/// The commands of a command. `help`, which lists them again, is left out.
pub(super) fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
}

/// The options of a command.
pub(super) fn options(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command
        .get_arguments()
        .filter_map(|option| Some((option.get_long()?, option)))
}

pub(super) fn value(argument: &Arg) -> Value {
    if !argument.get_action().takes_values() {
        return Value::Nothing;
    }
    let words: Vec<String> = argument
        .get_possible_values()
        .iter()
        .map(|word| word.get_name().to_owned())
        .collect();
    match argument.get_value_hint() {
        _ if !words.is_empty() => Value::Words(words),
        ValueHint::DirPath => Value::Folder,
        ValueHint::AnyPath | ValueHint::FilePath => Value::File,
        _ => Value::Other,
    }
}

/// The name of a value, as usage shows it.
pub(super) fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().and_then(|names| names.first());
    match names {
        Some(name) => name.to_string(),
        None => argument.get_id().to_string().to_uppercase(),
    }
}

/// The help of an option or argument, on one line.
pub(super) fn help(argument: &Arg) -> String {
    one_line(argument.get_help())
}

/// What a command does, on one line.
pub(super) fn about(command: &Command) -> String {
    one_line(command.get_about())
}

fn one_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
