//! The client's command line.

use std::process::ExitCode;

use clap::Parser;
use secure_chat::client::{chat, options::Options};

fn main() -> ExitCode {
    ExitCode::from(chat::run(Options::parse()))
}
