//! The client's command line.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use secure_chat::programs::client::{self, Options};

fn main() -> ExitCode {
    match Options::try_parse() {
        Ok(options) => ExitCode::from(client::run(options)),
        // Help, the version, or what is wrong with the command line.
        Err(told) => match told.print().and_then(|()| std::io::stdout().flush()) {
            Ok(()) => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(client::WRONG_USAGE)),
            Err(_) => ExitCode::from(client::UNWRITTEN),
        },
    }
}
