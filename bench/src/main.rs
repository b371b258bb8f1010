//! Measures Pusher-compatible servers and compares them with a floor server; see README.md.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a command")]

#[cfg(not(target_os = "linux"))]
compile_error!("clarim-bench needs Linux: it reads /proc, pins threads to cores and uses timerfd");

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
#[command(
    version,
    about = "Measures Pusher-compatible servers and compares them with a floor server"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the floor server: one shared frame, one write per subscriber, and nothing else.
    Floor {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
    },
    /// Run one load against one server, and print what it cost.
    Run(run::Options),
    /// Run the loads against all servers of a file, and print the medians.
    Compare(compare::Options),
    /// Measure lock contention of the hub, in this process.
    Contention(contention::Options),
    /// Measure a cluster of three nodes, over Redis and over NATS.
    Cluster(cluster::Options),
    /// Count the server's instructions under callgrind, and compare them with the budgets.
    Instructions(instructions::Options),
    /// Draw charts of the results that `compare --json` has written.
    Plot(reports::plot::Options),
    /// Run another program on one core in place of this process, killed together with its parent.
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

/// Raises the limit of open files, which started servers inherit.
fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .context("cannot raise the limit of open files; check `ulimit -Hn`")
}
