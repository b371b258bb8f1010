//! The `clarim` program.

mod apps_database;
mod commands;
mod console;
mod doctor;
mod http_client;
mod log;
mod open_files;
mod run_file;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use commands::Cli;

#[expect(clippy::print_stderr, reason = "errors of a command are for people at a terminal")]
fn main() -> ExitCode {
    commands::run(Cli::parse().command(), &mut io::stdout()).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
