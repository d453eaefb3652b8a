//! The server's program under the name by which it is installed.

use std::process::ExitCode;

fn main() -> ExitCode {
    secure_chat::programs::server::main()
}
