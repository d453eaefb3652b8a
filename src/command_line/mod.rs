//! Parses the command line of either program, its environment and its config file. What its
//! options are, and what they lead to, is decided in the program's own `args`.
//!
//! An option has the value that was typed; without one, that of its environment variable; without
//! one, that of the config file; without one, its default.
//!
//! | file | what |
//! | --- | --- |
//! | this one | the order of these sources, and how a wrong command line is reported |
//! | `config_file` | reads `name = value` lines |
//! | `settings` | makes them defaults of the options |
//! | `levels` | the commands at each level, and what follows an option |
//! | `completions` | completions for shells |
//! | `manual` | the manual page |
//! | `secret_file` | the first line of a file that holds a secret |

pub(crate) mod completions;
mod config_file;
mod levels;
pub(crate) mod manual;
pub(crate) mod secret_file;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};

use self::completions::Shell;
use self::config_file::ConfigError;
use self::manual::Chapter;

/// What `--help` shows before the sentence that a program has behind it: on a screen of 24 rows, the
/// shell's prompt and the command have room, too.
const SHORT_HELP: &str =
    "{about}\n{usage-heading} {usage}\nCommands:\n{subcommands}\nOptions:\n{options}\n";

/// The options of a program. One of them is `--config FILE`, with the id `config`.
pub(crate) trait Program: Parser {
    /// The options that a config file must not set, by their long names: `config`, and what is
    /// meant for one run only.
    const TYPED_ONLY: &'static [&'static str];

    /// Groups of options that say one thing together, by their ids: a config file sets those of a
    /// group only if none of them was given otherwise.
    const GROUPS: &'static [&'static [&'static str]];

    /// The options that `--help` shows, by their long names; the others are in the manual and
    /// wherever else all are listed. With none, it shows those that are not hidden.
    const SHORT_HELP: &'static [&'static str];

    /// The config file that is read, if it exists, when `--config` names none.
    fn config_file() -> Option<PathBuf>;

    /// What is wrong with options that are each well-formed. `given` tells by its id whether an
    /// option was typed or stands in the environment, rather than in the config file.
    fn contradiction(&self, given: &dyn Fn(&str) -> bool) -> Option<&'static str>;
}

/// What was parsed.
pub(crate) struct Loaded<P> {
    pub options: P,
    /// What each option has that a config file may set.
    pub values: Values,
}

/// The values of options by their long names, as text; `None` where there is none.
pub(crate) type Values = BTreeMap<String, Option<String>>;

/// Parses the command line of this process, its environment and its config file. `unwritten` is the
/// exit code if the output can't be written.
///
/// # Errors
/// The process is to end with this code: help or the version was asked for and is printed, or
/// the command line or the config file is wrong, which was said.
pub(crate) fn parse<P: Program>(unwritten: u8) -> Result<Loaded<P>, ExitCode> {
    // Clap reports a request for help or the version as an error, too.
    load(std::env::args_os()).map_err(|error| {
        match error.print().and_then(|()| io::stdout().flush()) {
            Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(unwritten)),
            Err(why) => not_printed(definition::<P>().get_name(), &why, unwritten),
        }
    })
}

/// Parses these arguments, the environment and the config file. A program that reads its
/// config file again calls it with the arguments that it was started with.
///
/// # Errors
/// Help or the version was asked for, or something is wrong; the error's text says it in full.
pub(crate) fn load<P: Program>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Loaded<P>, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut matches = definition::<P>().try_get_matches_from(&arguments)?;
    // Without the usage, which says nothing about a file.
    let configured = with_config_file::<P>(&matches)
        .map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")))?;
    if let Some(command) = configured {
        matches = command.try_get_matches_from(&arguments)?;
    }
    let options = P::from_arg_matches(&matches)?;
    match options.contradiction(&|id| is_given(&matches, id)) {
        None => Ok(Loaded {
            values: values::<P>(&matches),
            options,
        }),
        Some(sentence) => Err(definition::<P>().error(ErrorKind::ValueValidation, sentence)),
    }
}

/// The program's command with the settings of the config file as defaults; `None` if there is
/// no such file.
fn with_config_file<P: Program>(matches: &ArgMatches) -> Result<Option<Command>, ConfigError> {
    let named = matches.get_one::<PathBuf>("config").cloned();
    let path = match named {
        Some(path) => path,
        None => match P::config_file() {
            // Whatever else is wrong with it is found out when it is read.
            Some(path) if path.symlink_metadata().is_ok() => path,
            _ => return Ok(None),
        },
    };
    let settings = config_file::read(&path)?;
    let mut command = settings::as_defaults(definition::<P>(), &settings, P::TYPED_ONLY)
        .map_err(|fault| ConfigError::new(&path, fault))?;
    let decided = |group: &&&[&str]| group.iter().any(|id| is_given(matches, id));
    for id in P::GROUPS.iter().filter(decided).copied().flatten() {
        command = command.mut_arg(id, |option| option.default_value(None::<&str>));
    }
    Ok(Some(command))
}

fn values<P: Program>(matches: &ArgMatches) -> Values {
    let command = definition::<P>();
    let options = settings::settable(&command, P::TYPED_ONLY);
    let value = |option: &Arg| {
        let raw = matches.get_raw(option.get_id().as_str())?;
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    options
        .filter_map(|option| Some((option.get_long()?.to_owned(), value(option))))
        .collect()
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    let source = matches.value_source(id);
    matches!(
        source,
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// The program's definition under the name by which it was called, with a help that is short.
fn definition<P: Program>() -> Command {
    let mut command = named::<P>().max_term_width(80);
    let behind = command.get_after_help().map(ToString::to_string);
    command = command
        .help_template(SHORT_HELP.to_owned() + &behind.unwrap_or_default())
        .after_help(None::<&str>);
    if !P::SHORT_HELP.is_empty() {
        command = command.mut_args(|option| {
            let shown = option
                .get_long()
                .is_none_or(|long| P::SHORT_HELP.contains(&long));
            let takes_value = option.get_action().takes_values();
            let help = option.get_help().map(ToString::to_string);
            let short = help.unwrap_or_default();
            let short = short.split([';', ',', '[']).next().unwrap_or_default();
            option
                .help(short.trim().to_owned())
                .hide(!shown)
                .hide_env(true)
                .hide_default_value(takes_value)
        });
    }
    command
}

/// The program's definition under the name by which it was called.
fn named<P: Program>() -> Command {
    let command = P::command();
    let name = called(command.get_name());
    command.name(name)
}

/// The name by which this process was called; `name` if the system does not tell.
pub(crate) fn called(name: &str) -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    path.as_deref().and_then(Path::file_name).map_or_else(
        || name.to_owned(),
        |called| called.to_string_lossy().into_owned(),
    )
}

/// The name by which people call the server, as far as this program, the client, can tell.
pub(crate) fn server_name() -> &'static str {
    match called("client").as_str() {
        "client" => "server",
        _ => "secure-chat-server",
    }
}

/// The name by which people call the client, as far as this program, the server, can tell.
pub(crate) fn client_name() -> &'static str {
    match called("server").as_str() {
        "server" => "client",
        _ => "secure-chat",
    }
}

/// Prints a text that a program was asked for, and returns its exit code, which is `unwritten` if
/// that failed.
pub(crate) fn print(program: &str, text: &str, unwritten: u8) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => not_printed(&called(program), &why, unwritten),
    }
}

fn not_printed(name: &str, why: &io::Error, unwritten: u8) -> ExitCode {
    // If standard error fails as well, only the code is left to tell.
    let _said = writeln!(io::stderr(), "{name}: the output can't be written: {why}");
    ExitCode::from(unwritten)
}

/// The help of a program with all its options.
pub(crate) fn full_help<P: Program>() -> String {
    named::<P>().term_width(100).render_help().to_string()
}

/// The script that completes the program's command line in a shell.
pub(crate) fn completions<P: Program>(shell: Shell) -> String {
    completions::script(named::<P>(), shell)
}

/// The program's page in a section of the manual, with chapters of its own at the end.
pub(crate) fn manual<P: Program>(section: u8, chapters: &[Chapter]) -> String {
    manual::page(named::<P>(), section, chapters)
}
