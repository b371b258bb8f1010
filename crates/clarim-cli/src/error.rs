//! Errors of commands.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clarim_config::ConfigError;
use clarim_server::StartError;

use crate::doctor::{ClientError, Finding, TargetError};
use crate::remote::RemoteError;

/// The error of a command. Its `Display` output is for people, and contains the causes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    #[error("{} in the settings:\n{}", count(.0), indented(.0))]
    Config(#[from] ConfigError),
    #[error("{} cannot be {access}: {source}", .path.display())]
    File { path: PathBuf, access: Access, source: io::Error },
    #[error(
        "no Clarim server is running on port {port} (looked for its run file in {}); start one with \
         `clarim start`, or choose another with --port", listed(.directories)
    )]
    NotRunning { port: u16, directories: Vec<PathBuf> },
    #[error(
        "the run file {} may only be read by the user of the server; run this command as that user or as \
         root", .file.display()
    )]
    HiddenServer { file: PathBuf },
    #[error(
        "the server on port {port} is process {pid} of another user; run this command as that user or as \
         root"
    )]
    NotPermitted { port: u16, pid: i32 },
    #[error("another restart of the server on port {port} is under way; wait for its end")]
    RestartUnderWay { port: u16 },
    #[error("the server on port {port} was not restarted and goes on: {reason}")]
    RestartFailed { port: u16, reason: String },
    #[error(
        "the server on port {port} does not say whether it was restarted; its log does. It may be stuck, or be \
         under a heavy load"
    )]
    RestartSilent { port: u16 },
    #[error(
        "the server has ended during the restart; its supervisor starts it again, and clients reconnect. Its log \
         says why"
    )]
    EndedInRestart,
    #[error("the server on port {port} (process {pid}) cannot be signalled: {source}")]
    Signal { port: u16, pid: i32, source: io::Error },
    #[error(
        "the settings have no app{}{}; give all of --app-id, --key and --secret, or correct them",
        with("id", .id.as_ref()), with("key", .key.as_ref())
    )]
    NoApp { id: Option<String>, key: Option<String> },
    #[error("no server is known; give its URL")]
    NoServer,
    // The value may be a secret, so it is not shown.
    #[error("--header expects 'Name: value'")]
    Header,
    #[error("{name:?}: {source}")]
    ChannelName { name: String, source: clarim_protocol::InvalidChannelName },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the data is not valid JSON: {0}; correct it, or send it as it is with --raw")]
    Data(serde_json::Error),
    #[error("clarim top needs a terminal; `clarim stats` prints to files and pipes")]
    NoTerminal,
    #[error("{channel}: {reason}")]
    Subscription { channel: String, reason: String },
    #[error("{0}")]
    History(Finding),
    #[error("{}{}", .0, port_hint(.0))]
    Start(#[from] StartError),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl CommandError {
    /// Whether the reader of the output has gone, such as `head`, which is not a failure.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code of the program: 2 for a wrong use, as for wrong arguments, otherwise 1.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoTerminal => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The access of a command to a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    Read,
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "written",
        })
    }
}

fn listed(directories: &[PathBuf]) -> String {
    let texts: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
    texts.join(", ")
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

/// How to choose another port, if it is in use.
fn port_hint(error: &StartError) -> &'static str {
    match error {
        StartError::Listen { source } if source.kind() == io::ErrorKind::AddrInUse => {
            " with --port"
        }
        _ => "",
    }
}

fn with(what: &str, value: Option<&String>) -> String {
    value.map_or_else(String::new, |value| format!(" with the {what} {value}"))
}
