//! The command line: what was typed, and a file for each command.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{Flags, SettingsError, keys};

mod app_new;
mod banner;
mod config_check;
mod install;
mod restart;
mod start;

/// A real-time server for every Pusher client and SDK.
#[derive(Debug, Parser)]
#[command(name = "clarim", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: Flags,
}

impl Cli {
    /// The command; without one: `start`.
    #[must_use]
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Start(self.start))
    }
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the server (also without any command).
    Start(Flags),
    /// Let the running server drain and exit; its supervisor starts it anew.
    Restart(RestartFlags),
    /// Look at the settings.
    #[command(subcommand, after_long_help = keys::help())]
    Config(ConfigCommand),
    /// Make credentials.
    #[command(subcommand)]
    App(AppCommand),
    /// Add what Laravel needs to its .env, keeping all that is there.
    Install {
        /// Directory of the .env file.
        #[arg(default_value = ".")]
        directory: PathBuf,
    },
}

/// Commands about settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every problem, or the settings in force and where each was read. Writes nothing.
    Check(Flags),
}

/// Commands about apps.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Print the credentials of a new app, for .env and for clarim.toml.
    New,
}

/// Which server is to restart.
#[derive(Debug, clap::Args)]
pub struct RestartFlags {
    /// Port it listens on.
    #[arg(long)]
    port: Option<String>,
    /// TOML file with settings [default: clarim.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The settings can't be used.
    #[error("{} in the settings:\n{}", count(.0), indented(.0))]
    Settings(SettingsError),
    /// A file can't be read or written.
    #[error("{} cannot be {what}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Read, or written.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// Nothing to restart.
    #[error(
        "no Clarim server is running for port {port} from this directory (looked at {}); \
         start one with `clarim start`, or name another with --port", .file.display()
    )]
    NotRunning {
        /// The port asked for.
        port: u16,
        /// Where its process id would be.
        file: PathBuf,
    },
    /// The server is there but could not be told.
    #[error("the server on port {port} (process {pid}) cannot be signalled: {error}")]
    Signal {
        /// Its port.
        port: u16,
        /// Its process.
        pid: i32,
        /// What the system says.
        error: io::Error,
    },
    /// Output or randomness.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<SettingsError> for CommandError {
    // Not by `#[from]`: as the source it would be told twice, since the text has it all.
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

fn count(SettingsError(problems): &SettingsError) -> String {
    match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}

fn indented(error: &SettingsError) -> String {
    error.to_string().lines().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
}

/// Runs a command.
///
/// # Errors
/// Why the command has failed, as a text for people.
pub fn run(command: Command, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    match command {
        Command::Start(flags) => return start::start(&flags, out),
        Command::Restart(RestartFlags { port, config }) => {
            restart::run(&Flags { port, config, ..Flags::default() }, out)?;
        }
        Command::Config(ConfigCommand::Check(flags)) => config_check::run(&flags, out)?,
        Command::App(AppCommand::New) => app_new::run(out)?,
        Command::Install { directory } => install::run(&directory, out)?,
    }
    Ok(ExitCode::SUCCESS)
}
