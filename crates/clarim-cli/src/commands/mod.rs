//! The command line: what was typed, and a file for each command.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::apps_database;
use clarim_config::{Config, ConfigError, ConfigSources, Flags, keys};
use clarim_server::App;

mod api;
mod app_new;
mod banner;
mod config_check;
mod doctor;
mod install;
mod reload;
mod remote;
mod restart;
mod start;
mod tail;
mod top;

/// A real-time server for every Pusher client and SDK.
#[derive(Debug, Parser)]
#[command(name = "clarim", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: ServerFlags,
}

impl Cli {
    /// The command; without one: `start`.
    #[must_use]
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Start(self.start))
    }
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server (also without any command).
    Start(ServerFlags),
    /// Let the running server drain and exit; its supervisor starts it anew.
    Restart(RestartFlags),
    /// Look at the settings.
    #[command(subcommand, after_long_help = keys::help())]
    Config(ConfigCommand),
    /// Make credentials.
    #[command(subcommand)]
    App(AppCommand),
    /// Publish one event, over the HTTP API of a running server.
    Send {
        /// Its channel.
        channel: String,
        /// Its name.
        event: String,
        /// Its data: JSON, or a text.
        #[arg(default_value = "{}")]
        data: String,
        /// Where.
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Print how many connections there are, and which channels have how many subscribers.
    Stats {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Where.
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Watch the running server in the terminal: what its inspector shows.
    Top(TopFlags),
    /// Print what comes on a channel, a line each, until it is interrupted. On a presence channel it is a
    /// member called clarim-tail.
    Tail {
        /// The channel, with its prefix.
        channel: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Where.
        #[command(flatten)]
        api: ApiFlags,
    },
    /// Find out what is wrong between pages, server and backend, and what to do about it.
    Doctor(DoctorFlags),
    /// Add what Laravel needs to its .env, keeping all that is there.
    Install {
        /// Directory of the .env file.
        #[arg(default_value = ".")]
        directory: PathBuf,
    },
}

/// Commands about settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every problem, or the settings in force and where each was read. Writes nothing.
    Check(ServerFlags),
}

/// Commands about apps.
#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Print the credentials of a new app, for .env and for clarim.toml.
    New,
}

/// Settings that can be given as flags.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerFlags {
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    port: Option<String>,
    /// Prefix of every path.
    #[arg(long)]
    path: Option<String>,
    /// Host name under which clients reach the server.
    #[arg(long)]
    hostname: Option<String>,
    /// Print every message of clients and backends.
    #[arg(long)]
    debug: bool,
    /// Path to the TOML file [default: clarim.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl From<ServerFlags> for Flags {
    fn from(flags: ServerFlags) -> Self {
        let ServerFlags { host, port, path, hostname, debug, config } = flags;
        Self { host, port, path, hostname, debug, config }
    }
}

/// Settings of this process, which may name a database of apps.
fn sources() -> ConfigSources {
    ConfigSources::of_process().with_databases(apps_database::unfit)
}

/// Which app is meant. What is not given is that of the settings.
#[derive(Debug, clap::Args)]
pub(crate) struct AppFlags {
    /// Id of the app.
    #[arg(long)]
    app_id: Option<String>,
    /// Key of the app.
    #[arg(long)]
    key: Option<String>,
    /// Secret of the app.
    #[arg(long)]
    secret: Option<String>,
    /// TOML file with settings [default: clarim.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AppFlags {
    /// The settings in which the app is looked for, with those of the database if it is in no file.
    fn settings(&self) -> Result<Config, ConfigError> {
        let flags = Flags { config: self.config.clone(), ..Flags::default() };
        let mut settings = Config::check(&flags, &sources())?;
        if self.app(&settings).is_none()
            && let Some(table) = apps_database::table(&settings)?
        {
            settings.apps.extend(table.apps().map(|it| it.app.clone()));
        }
        Ok(settings)
    }

    /// The app with the id that was given, or else the first.
    fn app<'a>(&self, settings: &'a Config) -> Option<&'a App> {
        settings.apps.iter().find(|app| self.app_id.as_ref().is_none_or(|id| *id == app.id))
    }
}

/// Which server is asked, and as which app. Without these it is that of the settings; with all of them, any
/// server of the protocol.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiFlags {
    /// Its address, as in `https://ws.example.com`.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    app: AppFlags,
}

/// Which server is watched. Without these it is that of the settings.
#[derive(Debug, clap::Args)]
pub(crate) struct TopFlags {
    /// Its address, as in `https://ws.example.com`.
    #[arg(long)]
    url: Option<String>,
    /// Its `INSPECTOR_TOKEN`.
    #[arg(long)]
    token: Option<String>,
    /// TOML file with settings [default: clarim.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the doctor looks at. Without an address it is the server of the settings.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorFlags {
    /// Address of the server as pages reach it, as in `wss://ws.example.com`.
    url: Option<String>,
    #[command(flatten)]
    app: AppFlags,
    /// Origin of the page that is to connect, as in `https://app.example.com`.
    #[arg(long)]
    origin: Option<String>,
    /// Where the page asks for private channels, as in `https://app.example.com/broadcasting/auth`.
    #[arg(long, value_name = "URL")]
    auth: Option<String>,
    /// A header of the page for it, as in `Cookie: session=…`. May be given several times.
    #[arg(long, requires = "auth")]
    header: Vec<String>,
    /// The channel to ask for, with its prefix [default: private-clarim-doctor].
    #[arg(long, requires = "auth")]
    channel: Option<String>,
    /// Watch a silent connection for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Name of an event as the backend sends it, to be compared with --listen.
    #[arg(long, requires = "listen")]
    event: Option<String>,
    /// What the page gives to Echo's `.listen('…')`.
    #[arg(long, requires = "event")]
    listen: Option<String>,
}

/// Which server is to restart.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartFlags {
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
pub(crate) enum CommandError {
    /// The settings can't be used.
    #[error("{} in the settings:\n{}", count(.0), indented(.0))]
    Settings(ConfigError),
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
    /// The HTTP API did not do what was asked for.
    #[error("{0}")]
    Api(String),
    /// Something was typed that means nothing.
    #[error("{0}")]
    Usage(String),
    /// Output or randomness.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<ConfigError> for CommandError {
    // Not by `#[from]`: as the source it would be told twice, since the text has it all.
    fn from(error: ConfigError) -> Self {
        Self::Settings(error)
    }
}

fn count(ConfigError(problems): &ConfigError) -> String {
    match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}

fn indented(error: &ConfigError) -> String {
    error.to_string().lines().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
}

/// Runs a command.
///
/// # Errors
/// Why the command has failed, as a text for people.
pub(crate) fn run(command: Command, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    match command {
        Command::Start(flags) => return start::start(&flags.into(), out),
        Command::Restart(RestartFlags { port, config }) => {
            restart::run(&Flags { port, config, ..Flags::default() }, out)?;
        }
        Command::Config(ConfigCommand::Check(flags)) => config_check::run(&flags.into(), out)?,
        Command::App(AppCommand::New) => app_new::run(out)?,
        Command::Send { channel, event, data, api } => {
            api::send(&api, (&channel, &event, &data), out)?;
        }
        Command::Stats { json, api } => api::stats(&api, json, out)?,
        Command::Top(flags) => top::run(&flags)?,
        Command::Tail { channel, json, api } => tail::run(&api, (&channel, json), out)?,
        Command::Doctor(flags) => return doctor::run(flags, out),
        Command::Install { directory } => install::run(&directory, out)?,
    }
    Ok(ExitCode::SUCCESS)
}
