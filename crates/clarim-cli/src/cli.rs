//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use clarim_config::keys;

use crate::commands::api::Outgoing;
use crate::commands::{
    api, app_new, completions, config_check, doctor, install, man, restart, stop, tail,
};
use crate::error::CommandError;
use crate::flags::{ApiFlags, DoctorFlags, RunningServerFlags, ServerFlags, TopFlags};
use crate::{start, top};

const EXAMPLES: &str = "\
Examples:
  clarim                                  Try it: a server for this machine, with an app of its own
  clarim install && clarim start          In the directory of a Laravel application
  clarim start --directory /var/www/app   From anywhere, such as a supervisor

Environment variables:
  CLARIM_… and REVERB_…                   Settings; `clarim config --help` lists them
  CLARIM_DIRECTORY                        Directory of .env and clarim.toml
  APP_ENV                                 Its file .env.NAME is read in place of .env, if it exists
  NO_COLOR                                No colours";

const SEND_EXAMPLES: &str = "\
Examples:
  clarim send orders 'App\\Events\\OrderShipped' '{\"id\": 7}'   Echo: .listen('OrderShipped')
  clarim send orders order.shipped '{\"id\": 7}'                Echo: .listen('.order.shipped')
  clarim send orders order.shipped --url https://ws.example.com";

const TAIL_EXAMPLES: &str = "\
Examples:
  clarim tail private-orders
  clarim tail presence-room --json | jq .data";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  clarim completions bash > ~/.local/share/bash-completion/completions/clarim
  clarim completions fish > ~/.config/fish/completions/clarim.fish
  clarim completions zsh > ~/.zfunc/_clarim     With ~/.zfunc in fpath, before compinit";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  clarim doctor
  clarim doctor wss://ws.example.com --origin https://app.example.com
  clarim doctor --auth https://app.example.com/broadcasting/auth --header 'Cookie: session=…'
  clarim doctor --event order.shipped --listen order.shipped";

/// Real-time server for every Pusher client and SDK.
#[derive(Debug, Parser)]
#[command(
    name = "clarim",
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: ServerFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (the default command).
    Start(ServerFlags),
    /// Replace the program of the running server by the one on disk. Connections stay open.
    Restart(RunningServerFlags),
    /// Drain the running server and let it exit. A supervisor may start it again.
    Stop(RunningServerFlags),
    /// Check the settings.
    #[command(subcommand, after_long_help = keys::help())]
    Config(ConfigCommand),
    /// Manage app credentials.
    #[command(subcommand)]
    App(AppCommand),
    /// Publish an event through the HTTP API of a running server.
    #[command(after_help = SEND_EXAMPLES)]
    Send {
        /// Name of the channel.
        channel: String,
        /// Name of the event.
        event: String,
        /// Data of the event: JSON or text.
        #[arg(default_value = "{}")]
        data: String,
        /// Send the data as it is, even if it is not JSON.
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Show the number of connections, and the channels with their subscribers.
    Stats {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Show a live view of a running server in the terminal, from its inspector.
    Top(TopFlags),
    /// Print the events of a channel, one per line, until interrupted. On a presence channel it joins as the
    /// member clarim-tail.
    #[command(after_help = TAIL_EXAMPLES)]
    Tail {
        /// Name of the channel, with its prefix.
        channel: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Find problems between pages, server and backend, and how to solve them.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorFlags),
    /// Add the variables that Laravel needs to .env. Existing lines are kept.
    Install {
        /// Directory of the .env file.
        #[arg(default_value = ".")]
        directory: PathBuf,
    },
    /// Print the script with which a shell completes commands and flags.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Name of the shell.
        shell: Shell,
    },
    /// Write the manual pages: clarim.1, and one for each command.
    Man {
        /// Directory of the pages, which is created.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every problem, or all values with their sources. Writes nothing.
    Check(ServerFlags),
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    /// Print the credentials of a new app, for .env and for clarim.toml.
    New,
}

/// Runs the command of this process's arguments.
///
/// # Errors
/// If the command fails.
pub(crate) fn run(out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let Cli { command, start } = Cli::parse();
    match command.unwrap_or(Command::Start(start)) {
        Command::Start(flags) => return start::run(flags.into(), out),
        Command::Restart(flags) => restart::run(&flags.into(), out)?,
        Command::Stop(flags) => stop::run(&flags.into(), out)?,
        Command::Config(ConfigCommand::Check(flags)) => config_check::run(&flags.into(), out)?,
        Command::App(AppCommand::New) => app_new::run(out)?,
        Command::Send { channel, event, data, raw, api } => {
            let outgoing = Outgoing { channel: &channel, event: &event, data: &data, is_raw: raw };
            api::send(&api, &outgoing, out)?;
        }
        Command::Stats { json, api } => api::stats(&api, json, out)?,
        Command::Top(flags) => top::run(&flags)?,
        Command::Tail { channel, json, api } => tail::run(&api, &channel, json, out)?,
        Command::Doctor(flags) => return doctor::run(flags, out),
        Command::Install { directory } => install::run(&directory, out)?,
        Command::Completions { shell } => completions::run(Cli::command(), shell, out)?,
        Command::Man { directory } => man::run(Cli::command(), &directory)?,
    }
    Ok(ExitCode::SUCCESS)
}
