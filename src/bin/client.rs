//! The client's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    secure_chat::programs::client::main()
}
