//! Measures Pusher-compatible servers beside a floor server: see README.md.
#![expect(clippy::print_stdout, reason = "a command for people at a terminal")]

mod clients;
mod compare;
mod floor;
mod load;
mod publisher;
mod server;
#[cfg(test)]
mod tests;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Measures Pusher-compatible servers beside a floor server")]
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
    /// Run the loads against all servers of a file, and print medians.
    Compare(compare::Options),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Floor { port } => floor::run(port),
        Command::Compare(options) => compare::run(&options),
    }
}
