//! The `clarim` binary.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clarim_server::cli::{self, Cli};
use clarim_server::settings::Flags;

#[expect(clippy::print_stderr, reason = "why a command has failed is for people at a terminal")]
fn main() -> ExitCode {
    let result = cli::run(Cli::parse().command(), &mut io::stdout().lock());
    let result = result.map_err(anyhow::Error::from);
    match result.and_then(|flags| flags.map_or(Ok(()), |flags| start(&flags))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the server until it is told to stop.
fn start(flags: &Flags) -> anyhow::Result<()> {
    let surroundings = clarim_server::settings::Surroundings::current();
    clarim_server::settings::Settings::load(flags, &surroundings)
        .map_err(cli::CommandError::from)?;
    anyhow::bail!("starting is not wired up yet")
}
