//! The server's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    secure_chat::programs::server::main()
}
