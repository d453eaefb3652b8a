//! The server's program.

use std::process::ExitCode;

use secure_chat::programs::server::{self, Options};

fn main() -> ExitCode {
    server::main(Options::from_command_line())
}
