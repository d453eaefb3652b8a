//! Completions for zsh: one function for each command, which `_arguments` does the work of.

use clap::{Arg, ArgAction, Command};

use super::{function, header};
use crate::command_line::levels::{
    Level, Value, about, commands, help, levels, options, value, value_name,
};

pub(super) fn script(program: &Command) -> String {
    let name = program.get_name();
    let this = function(&[name]);
    let functions: String = levels(program)
        .iter()
        .map(|level| of_level(name, level))
        .collect();
    // Read by `source`, it names itself; found in $fpath, it is the function's body.
    format!(
        "#compdef {name}\n{}{functions}\
         if [ \"${{funcstack[1]}}\" = \"{this}\" ]; then\n    {this} \"$@\"\n\
         else\n    compdef {this} {name}\nfi\n",
        header(name, "zsh"),
    )
}

fn of_level(name: &str, level: &Level<'_>) -> String {
    let this = function(&[&[name], level.words.as_slice()].concat());
    let mut specs: Vec<String> = options(level.command).map(of_option).collect();
    let has_commands = commands(level.command).next().is_some();
    if has_commands {
        specs.push("': :->command'".to_owned());
        specs.push("'*:: :->rest'".to_owned());
    }
    for argument in level.command.get_positionals() {
        let colons = if argument.is_required_set() {
            ":"
        } else {
            "::"
        };
        specs.push(format!(
            "'{colons}{}:{}'",
            escape(&value_name(argument)),
            action(argument)
        ));
    }
    let mut text = format!(
        "{this}() {{\n    local curcontext=\"$curcontext\" state line\n    \
         typeset -A opt_args\n    _arguments -C \\\n        {}\n",
        specs.join(" \\\n        ")
    );
    if has_commands {
        text.push_str("    case $state in\n        command)\n            local -a commands\n            commands=(\n");
        for command in commands(level.command) {
            text.push_str(&format!(
                "                '{}:{}'\n",
                command.get_name(),
                escape(&about(command))
            ));
        }
        text.push_str("            )\n            _describe command commands\n            ;;\n");
        text.push_str("        rest)\n            case $words[1] in\n");
        for command in commands(level.command) {
            let word = command.get_name();
            text.push_str(&format!(
                "                {word}) {this}{} ;;\n",
                function(&[word])
            ));
        }
        text.push_str("            esac\n            ;;\n    esac\n");
    }
    text.push_str("}\n");
    text
}

fn of_option((long, option): (&str, &Arg)) -> String {
    let many = match option.get_action() {
        ArgAction::Append => "*",
        _ => "",
    };
    let help = escape(&help(option));
    match value(option) {
        Value::Nothing => format!("'{many}--{long}[{help}]'"),
        _ => format!(
            "'{many}--{long}=[{help}]:{}:{}'",
            escape(&value_name(option)),
            action(option)
        ),
    }
}

/// What completes a value.
fn action(argument: &Arg) -> String {
    match value(argument) {
        Value::Words(words) => format!("({})", words.join(" ")),
        Value::File => "_files".to_owned(),
        Value::Folder => "_files -/".to_owned(),
        // With a blank, which also means that there is nothing, options are not offered either.
        Value::Nothing | Value::Other => "()".to_owned(),
    }
}

/// A text within single quotes, in which `_arguments` finds no sign of its own.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\'' => escaped.push_str("'\\''"),
            '\\' | '[' | ']' | ':' | '$' | '`' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}
