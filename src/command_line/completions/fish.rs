//! Completions for fish: one line for each option and command, with the condition under which it
//! is offered.

use clap::{Arg, Command};

use super::header;
use crate::command_line::levels::{Level, Value, about, commands, help, levels, options, value};

pub(super) fn script(program: &Command) -> String {
    let name = program.get_name();
    let mut text = header(name, "fish");
    text.push_str(&format!("complete -c {name} -f\n"));
    let everywhere: Vec<&str> = options(program)
        .filter(|(long, option)| option.is_global_set() || *long == "help")
        .map(|(long, _)| long)
        .collect();
    for level in levels(program) {
        let here = condition(&level);
        for (long, option) in options(level.command) {
            let when = match everywhere.contains(&long) {
                // It stands at the program's own level, without a condition.
                true if !level.words.is_empty() => continue,
                true => String::new(),
                false => format!(" -n '{here}'"),
            };
            text.push_str(&format!(
                "complete -c {name}{when} -l {long}{} -d '{}'\n",
                of_value(option),
                escape(&help(option))
            ));
        }
        for command in commands(level.command) {
            text.push_str(&format!(
                "complete -c {name} -n '{here}' -a {} -d '{}'\n",
                command.get_name(),
                escape(&about(command))
            ));
        }
        for argument in level.command.get_positionals() {
            let offer = match value(argument) {
                Value::Words(words) => format!(" -a '{}'", words.join(" ")),
                Value::File | Value::Folder => " -F".to_owned(),
                Value::Nothing | Value::Other => continue,
            };
            text.push_str(&format!("complete -c {name} -n '{here}'{offer}\n"));
        }
    }
    text
}

/// Whether the line has the words that lead to a command, and none of its own commands.
fn condition(level: &Level<'_>) -> String {
    let seen = |word: &&str| format!("__fish_seen_subcommand_from {word}");
    let mut parts: Vec<String> = level.words.iter().map(seen).collect();
    let below: Vec<&str> = commands(level.command).map(Command::get_name).collect();
    if !below.is_empty() {
        parts.push(format!(
            "not __fish_seen_subcommand_from {}",
            below.join(" ")
        ));
    }
    match parts.is_empty() {
        true => "true".to_owned(),
        false => parts.join("; and "),
    }
}

fn of_value(option: &Arg) -> String {
    match value(option) {
        Value::Nothing => String::new(),
        Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
        Value::File => " -r -F".to_owned(),
        Value::Folder => " -x -a '(__fish_complete_directories)'".to_owned(),
        Value::Other => " -x".to_owned(),
    }
}

/// A text within single quotes.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
