//! Measures Pusher-compatible servers beside a floor server: see README.md.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people at a terminal"
)]

mod cluster;
mod compare;
mod contention;
mod instructions;
mod loads;
mod reports;
mod run;
mod servers;
mod simulation;
mod subscribers;
#[cfg(test)]
mod tests;
mod wire;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about = "Measures Pusher-compatible servers beside a floor server")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the floor server: one shared frame, one write for each subscriber, and nothing else.
    Floor {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
    },
    /// Run one load against one server, and print what it cost.
    Run(run::Options),
    /// Run the loads against all servers of a file, and print medians.
    Compare(compare::Options),
    /// Measure what threads wait for each other at, in this process.
    Contention(contention::Options),
    /// Measure three nodes of a cluster, over Redis and over NATS.
    Cluster(cluster::Options),
    /// Count the server's instructions under callgrind, and compare them with the budgets.
    Instructions(instructions::Options),
    /// Draw pictures of what `compare --json` has kept.
    Plot(reports::plot::Options),
    /// Become another program, on one core, which ends when this process's parent does.
    #[command(hide = true)]
    Exec(servers::server::Exec),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    raise_open_files()?;
    match Cli::parse().command {
        Command::Floor { port } => servers::floor::run(port),
        Command::Run(options) => run::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Contention(options) => contention::run(&options),
        Command::Cluster(options) => cluster::run(&options),
        Command::Instructions(options) => instructions::run(&options),
        Command::Plot(options) => reports::plot::run(&options),
        Command::Exec(exec) => exec.replace(),
    }
}

/// The servers that are started inherit the limit.
fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
