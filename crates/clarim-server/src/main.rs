//! The `clarim` binary.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clarim_server::cli::{self, Cli};

#[expect(clippy::print_stderr, reason = "why a command has failed is for people at a terminal")]
fn main() -> ExitCode {
    cli::run(Cli::parse().command(), &mut io::stdout()).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
