//! Parses the command line of either program. What its options are, and what they lead to, is
//! decided in the program's own `args`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Parses the command line of this process. `contradiction` finds what is wrong with options
/// that are each well-formed, and says it in a sentence.
///
/// # Errors
/// The process is to end with this code: help or the version was asked for and is printed, or
/// the command line is wrong, which was said. The code is `unwritten` if that failed.
pub(crate) fn parse<T: Parser>(
    contradiction: impl FnOnce(&T) -> Option<&'static str>,
    unwritten: u8,
) -> Result<T, ExitCode> {
    let parsed = T::try_parse().and_then(|options| match contradiction(&options) {
        None => Ok(options),
        Some(sentence) => Err(T::command().error(ErrorKind::ValueValidation, sentence)),
    });
    // Clap reports a request for help or the version as an error, too.
    parsed.map_err(
        |error| match error.print().and_then(|()| io::stdout().flush()) {
            Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(unwritten)),
            Err(why) => {
                let command = T::command();
                let name = command.get_name();
                // If standard error fails as well, only the code is left to tell.
                let _said = writeln!(io::stderr(), "{name}: the output can't be written: {why}");
                ExitCode::from(unwritten)
            }
        },
    )
}
