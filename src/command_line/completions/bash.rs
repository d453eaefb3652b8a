//! Completions for bash. They need nothing but bash itself, not the package bash-completion.

use std::collections::BTreeMap;

use clap::Command;

use super::{function, header};
use crate::command_line::levels::{Value, commands, levels, options, value};

/// The part that finds out where the cursor is. Bash makes each `=` a word of its own.
const BEFORE: &str = r#"    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command="" at words=""
    COMPREPLY=()
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $previous == "=" && $COMP_CWORD -gt 2 ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
"#;

/// The part that offers paths, whose names may have blanks.
const PATHS: &str = r#"    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen "$1" -- "$current"))
"#;

pub(super) fn script(program: &Command) -> String {
    let name = program.get_name();
    let this = function(&[name]);
    let levels = levels(program);
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    let mut steps = String::new();
    let mut offers = String::new();
    for level in &levels {
        let here: String = level.words.iter().map(|word| format!(" {word}")).collect();
        let mut words: Vec<String> = commands(level.command)
            .map(|command| command.get_name().to_owned())
            .collect();
        for (long, option) in options(level.command) {
            words.push(format!("--{long}"));
            values.insert(format!("--{long}"), value(option));
        }
        let mut paths = None;
        for argument in level.command.get_positionals() {
            match value(argument) {
                Value::Words(more) => words.extend(more),
                Value::File => paths = Some("-f"),
                Value::Folder => paths = Some("-d"),
                Value::Nothing | Value::Other => {}
            }
        }
        if !level.words.is_empty() {
            steps.push_str(&format!("            \"{here}\") command=\"{here}\" ;;\n"));
        }
        let paths = paths.map_or(String::new(), |kind| {
            format!(" [[ $current == -* ]] || {{ {this}_paths {kind}; return; }};")
        });
        offers.push_str(&format!(
            "        \"{here}\"){paths} words=\"{}\" ;;\n",
            words.join(" ")
        ));
    }
    let with_value: Vec<&str> = values
        .iter()
        .filter(|(_, value)| **value != Value::Nothing)
        .map(|(option, _)| option.as_str())
        .collect();
    format!(
        "{header}{this}() {{\n{BEFORE}    \
         for ((at = 1; at < COMP_CWORD; at++)); do\n        \
         case ${{COMP_WORDS[at]}} in\n            \
         {with_value})\n                \
         ((at++))\n                \
         [[ ${{COMP_WORDS[at]}} == \"=\" ]] && ((at++))\n                \
         continue\n                ;;\n        esac\n        \
         case \"$command ${{COMP_WORDS[at]}}\" in\n{steps}        esac\n    done\n    \
         case $previous in\n{of_values}    esac\n    \
         case $command in\n{offers}    esac\n    \
         COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}}\n\
         {this}_paths() {{\n{PATHS}}}\n\
         complete -F {this} {name}\n",
        header = header(name, "bash"),
        with_value = with_value.join(" | "),
        of_values = of_values(&this, &values),
    )
}

/// The lines about what follows an option.
fn of_values(this: &str, values: &BTreeMap<String, Value>) -> String {
    let mut lines = String::new();
    for (option, value) in values {
        let offer = match value {
            Value::Nothing => continue,
            Value::Words(words) => format!(
                "COMPREPLY=($(compgen -W \"{}\" -- \"$current\"))",
                words.join(" ")
            ),
            Value::File => format!("{this}_paths -f"),
            Value::Folder => format!("{this}_paths -d"),
            Value::Other => ":".to_owned(),
        };
        lines.push_str(&format!("        {option}) {offer}; return ;;\n"));
    }
    lines
}
