//! The program `clarim`.

#[cfg(windows)]
compile_error!(
    "clarim does not run on Windows; use Linux or macOS, for example in WSL or a container"
);

mod apps_database;
mod cli;
mod commands;
mod doctor;
mod error;
mod flags;
mod log;
mod printable;
mod process;
mod remote;
mod start;
mod top;

use std::io;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "errors of a command are for people at a terminal")]
fn main() -> ExitCode {
    cli::run(&mut io::stdout()).unwrap_or_else(|error| {
        if error.is_closed_output() {
            return ExitCode::SUCCESS;
        }
        // It may contain a response of any server.
        eprintln!("{}", printable::printable_lines(&error.to_string()));
        error.exit_code()
    })
}
