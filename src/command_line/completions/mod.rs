//! Completions for shells, written from a program's definition: each is a script that the shell reads.
//!
//! | file | shell |
//! | --- | --- |
//! | `bash` | bash, from version 3.2 on |
//! | `zsh` | zsh |
//! | `fish` | fish |

mod bash;
mod fish;
mod zsh;

use clap::{Command, ValueEnum};

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// source <(secure-chat completions bash)
    Bash,
    /// source <(secure-chat completions zsh), after compinit
    Zsh,
    /// secure-chat completions fish | source
    Fish,
}

/// The script for a program that is called by the name of `program`.
pub(super) fn script(mut program: Command, shell: Shell) -> String {
    // Spreads the options that work behind a command, and adds --help.
    program.build();
    match shell {
        Shell::Bash => bash::script(&program),
        Shell::Zsh => zsh::script(&program),
        Shell::Fish => fish::script(&program),
    }
}

/// A name for a shell's function.
fn function(words: &[&str]) -> String {
    let mut name = String::new();
    for word in words {
        name.push('_');
        name.extend(word.chars().map(|c| match c.is_ascii_alphanumeric() {
            true => c,
            false => '_',
        }));
    }
    name
}

/// The comment that the scripts begin with.
fn header(name: &str, shell: &str) -> String {
    format!("# Completions of {name}, as `{name} completions {shell}` prints them.\n")
}
