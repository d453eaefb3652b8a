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

mod config_file;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Parser};

use self::config_file::ConfigError;

/// The options of a program. One of them is `--config FILE`, with the id `config`.
pub(crate) trait Program: Parser {
    /// The options that a config file must not set, by their long names: `config`, and what is
    /// meant for one run only.
    const TYPED_ONLY: &'static [&'static str];

    /// Groups of options that say one thing together, by their ids: a config file sets those of a
    /// group only if none of them was given otherwise.
    const GROUPS: &'static [&'static [&'static str]];

    /// The config file that is read, if it exists, when `--config` names none.
    fn config_file() -> Option<PathBuf>;

    /// What is wrong with options that are each well-formed. `given` tells by its id whether an
    /// option was typed or stands in the environment, rather than in the config file.
    fn contradiction(&self, given: &dyn Fn(&str) -> bool) -> Option<&'static str>;
}

/// Parses the command line of this process, its environment and its config file. `unwritten` is the
/// exit code if the output can't be written.
///
/// # Errors
/// The process is to end with this code: help or the version was asked for and is printed, or
/// the command line or the config file is wrong, which was said.
pub(crate) fn parse<P: Program>(unwritten: u8) -> Result<P, ExitCode> {
    // Clap reports a request for help or the version as an error, too.
    load(std::env::args_os()).map_err(|error| {
        match error.print().and_then(|()| io::stdout().flush()) {
            Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(unwritten)),
            Err(why) => {
                let name = called(P::command().get_name());
                // If standard error fails as well, only the code is left to tell.
                let _said = writeln!(io::stderr(), "{name}: the output can't be written: {why}");
                ExitCode::from(unwritten)
            }
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
) -> Result<P, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut matches = P::command().try_get_matches_from(&arguments)?;
    let configured = with_config_file::<P>(&matches)
        .map_err(|error| P::command().error(ErrorKind::ValueValidation, error))?;
    if let Some(command) = configured {
        matches = command.try_get_matches_from(&arguments)?;
    }
    let options = P::from_arg_matches(&matches)?;
    match options.contradiction(&|id| is_given(&matches, id)) {
        None => Ok(options),
        Some(sentence) => Err(P::command().error(ErrorKind::ValueValidation, sentence)),
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
    let mut command = settings::as_defaults(P::command(), &settings, P::TYPED_ONLY)
        .map_err(|fault| ConfigError::new(&path, fault))?;
    let decided = |group: &&&[&str]| group.iter().any(|id| is_given(matches, id));
    for id in P::GROUPS.iter().filter(decided).copied().flatten() {
        command = command.mut_arg(id, |option| option.default_value(None::<&str>));
    }
    Ok(Some(command))
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    let source = matches.value_source(id);
    matches!(
        source,
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// The name by which this process was called; `name` if the system does not tell.
pub(crate) fn called(name: &str) -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    path.as_deref()
        .and_then(std::path::Path::file_name)
        .map_or_else(
            || name.to_owned(),
            |called| called.to_string_lossy().into_owned(),
        )
}
