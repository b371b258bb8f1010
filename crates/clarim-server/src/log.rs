//! The log: one line for each thing worth knowing, to standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::console::Console;
use crate::traffic::TARGET;

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts the log. `debug` also prints the traffic to standard output.
///
/// # Errors
/// When the process has a log already.
pub fn start(format: Format, level: Level, debug: bool) -> Result<(), TryInitError> {
    let wanted = Targets::new().with_default(level).with_target(TARGET, LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let traffic = debug.then(|| {
        Console::new().with_filter(Targets::new().with_target(TARGET, LevelFilter::DEBUG))
    });
    tracing_subscriber::registry().with(lines.with_filter(wanted)).with(traffic).try_init()
}
