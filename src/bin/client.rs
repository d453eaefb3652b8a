//! The client's command line.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use secure_chat::programs::client::{self, Options};

fn main() -> ExitCode {
    match Options::try_parse() {
        Ok(options) => ExitCode::from(client::run(options)),
        // Clap reports a request for help or the version as an error, too.
        Err(error) => match error.print().and_then(|()| std::io::stdout().flush()) {
            Ok(()) => {
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(client::WRONG_USAGE))
            }
            Err(_) => ExitCode::from(client::UNWRITTEN),
        },
    }
}
